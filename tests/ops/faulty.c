/* A disk and a clock that fail. While the file that FAULT names says `disk <errno> <folder>`, whatever is written below that folder
   fails with this number; with `gone <errno> <folder>` whatever is read as well. Its line `clock <seconds>` moves the clock of the day. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define REAL(type, name, ...) ((type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name))

/* By system calls of its own: what is used here must not come back here. */
static int told(char *text, size_t size) {
    const char *path = getenv("FAULT");
    long file = path ? syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0) : -1;
    long length;
    if (file < 0)
        return 0;
    length = syscall(SYS_read, file, text, size - 1);
    syscall(SYS_close, file);
    text[length < 0 ? 0 : length] = 0;
    return length > 0;
}

static long clock_step(void) {
    int kept = errno;
    char text[600], *line;
    long seconds = 0;
    if (told(text, sizeof text) && (line = strstr(text, "clock ")))
        seconds = strtol(line + 6, NULL, 10);
    errno = kept;
    return seconds;
}

static int fails_at(const char *path, int writes) {
    int kept = errno, number = 0;
    char text[600], kind[8], folder[512];
    if (!told(text, sizeof text) || sscanf(text, "%7s %d %511s", kind, &number, folder) != 3 || strncmp(path, folder, strlen(folder)))
        number = 0;
    else if (!(strcmp(kind, "gone") == 0 || (writes && strcmp(kind, "disk") == 0)))
        number = 0;
    errno = number ? number : kept;
    return number;
}

static int fails(int descriptor, int writes) {
    int kept = errno;
    char link[64], path[4096];
    ssize_t length;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    length = readlink(link, path, sizeof path - 1);
    errno = kept;
    if (length < 0)
        return 0;
    path[length] = 0;
    return fails_at(path, writes);
}

ssize_t pwrite64(int d, const void *b, size_t n, off64_t o) { return fails(d, 1) ? -1 : REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t)(d, b, n, o); }
ssize_t pwrite(int d, const void *b, size_t n, off_t o) { return fails(d, 1) ? -1 : REAL(ssize_t, pwrite, int, const void *, size_t, off_t)(d, b, n, o); }
ssize_t write(int d, const void *b, size_t n) { return fails(d, 1) ? -1 : REAL(ssize_t, write, int, const void *, size_t)(d, b, n); }
ssize_t pread64(int d, void *b, size_t n, off64_t o) { return fails(d, 0) ? -1 : REAL(ssize_t, pread64, int, void *, size_t, off64_t)(d, b, n, o); }
ssize_t pread(int d, void *b, size_t n, off_t o) { return fails(d, 0) ? -1 : REAL(ssize_t, pread, int, void *, size_t, off_t)(d, b, n, o); }
ssize_t read(int d, void *b, size_t n) { return fails(d, 0) ? -1 : REAL(ssize_t, read, int, void *, size_t)(d, b, n); }
int ftruncate64(int d, off64_t n) { return fails(d, 1) ? -1 : REAL(int, ftruncate64, int, off64_t)(d, n); }
int ftruncate(int d, off_t n) { return fails(d, 1) ? -1 : REAL(int, ftruncate, int, off_t)(d, n); }
int fsync(int d) { return fails(d, 1) ? -1 : REAL(int, fsync, int)(d); }
int fdatasync(int d) { return fails(d, 1) ? -1 : REAL(int, fdatasync, int)(d); }
int rename(const char *a, const char *b) { return fails_at(b, 1) ? -1 : REAL(int, rename, const char *, const char *)(a, b); }
int access(const char *a, int mode) { return fails_at(a, mode & W_OK) ? -1 : REAL(int, access, const char *, int)(a, mode); }
int unlink(const char *a) { return fails_at(a, 1) ? -1 : REAL(int, unlink, const char *)(a); }

static int opened(const char *name, const char *path, int flags, mode_t mode) {
    int (*real)(const char *, int, mode_t) = (int (*)(const char *, int, mode_t))dlsym(RTLD_NEXT, name);
    int creates = (flags & O_CREAT) && syscall(SYS_faccessat, AT_FDCWD, path, F_OK) != 0;
    int kept = errno, number = path[0] == '/' ? fails_at(path, creates || (flags & O_ACCMODE) != O_RDONLY) : 0;
    if (number && (number != ENOSPC || creates))
        return -1;
    errno = kept;
    return real(path, flags, mode);
}

#define MODE(flags) ({ va_list more; va_start(more, flags); mode_t mode = (flags) & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; va_end(more); mode; })
int open64(const char *path, int flags, ...) { return opened("open64", path, flags, MODE(flags)); }
int open(const char *path, int flags, ...) { return opened("open", path, flags, MODE(flags)); }

int clock_gettime(clockid_t which, struct timespec *at) {
    int answer = REAL(int, clock_gettime, clockid_t, struct timespec *)(which, at);
    if (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)
        at->tv_sec += clock_step();
    return answer;
}

/* Whoever moves the clock is no time source. */
int adjtimex(struct timex *said) {
    return clock_step() ? TIME_ERROR : REAL(int, adjtimex, struct timex *)(said);
}

int gettimeofday(struct timeval *at, void *zone) {
    int answer = REAL(int, gettimeofday, struct timeval *, void *)(at, zone);
    at->tv_sec += clock_step();
    return answer;
}

time_t time(time_t *at) {
    time_t now = REAL(time_t, time, time_t *)(NULL) + clock_step();
    if (at)
        *at = now;
    return now;
}
