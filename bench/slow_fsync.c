/* A slow disk: while the file that SLOW_FSYNC names exists, each flush waits as many milliseconds as it says. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void wait_for_the_disk(void) {
    const char *path = getenv("SLOW_FSYNC");
    FILE *file = path ? fopen(path, "r") : NULL;
    double milliseconds = 0;
    if (!file)
        return;
    if (fscanf(file, "%lf", &milliseconds) == 1)
        usleep((useconds_t)(milliseconds * 1000));
    fclose(file);
}

int fsync(int descriptor) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    wait_for_the_disk();
    return real(descriptor);
}

int fdatasync(int descriptor) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    wait_for_the_disk();
    return real(descriptor);
}
