"""What the C library keeps of memory that was given back to it."""

from __future__ import annotations

import ctypes

#: `M_ARENA_MAX` of glibc's malloc.h; see mallopt(3).
_ARENA_MAX = -8


def share_arenas(number: int = 2) -> bool:
    """Let all threads of this process take memory from so many arenas together; whether the C library has such and obeys.

    glibc gives nearly every thread an arena of its own, and what was given back to one serves no other: under a lasting
    load some 5 MB a minute became free that nobody could use, while what was in use stayed the same.
    """
    try:
        return bool(ctypes.CDLL(None).mallopt(_ARENA_MAX, number))
    except AttributeError:  # another C library
        return False
