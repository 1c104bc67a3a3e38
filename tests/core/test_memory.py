"""Threads take their memory from few places together."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

#: Twenty threads ask the C library for memory at once; prints how many arenas it has then.
THREADS = """
import ctypes, sys, threading
from core import memory
assert sys.argv[1] == "apart" or memory.share_arenas()
library, together = ctypes.CDLL(None), threading.Barrier(20)
library.malloc.restype = library.open_memstream.restype = ctypes.c_void_p
def thread():
    together.wait()
    library.malloc(ctypes.c_size_t(10_000))
    together.wait()
threads = [threading.Thread(target=thread) for _ in range(20)]
for one in threads:
    one.start()
for one in threads:
    one.join()
told, size = ctypes.c_char_p(), ctypes.c_size_t()
stream = ctypes.c_void_p(library.open_memstream(ctypes.byref(told), ctypes.byref(size)))
library.malloc_info(0, stream)
library.fclose(stream)
print(told.value.count(b"<heap nr="))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library has no arenas")
def test_many_threads_share_two_arenas() -> None:
    number = {how: int(subprocess.check_output([sys.executable, "-c", THREADS, how])) for how in ("apart", "together")}
    assert number["together"] <= 2 < number["apart"]
