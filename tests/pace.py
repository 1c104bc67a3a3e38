"""Seconds as a claim on a machine that is shared: a run in which the machine itself stood still judges nothing."""

from __future__ import annotations

import functools
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

#: Seconds between two looks, and how long one may take on a machine whose processors and disk serve us.
TICK, LATE = 0.05, 0.25
ATTEMPTS = 4


@dataclass
class Pace:
    """How the machine went while a block ran."""

    #: Seconds of the longest pause in which a thread here got no turn, or one small write did not reach the disk.
    stood_still: float = 0.0

    @property
    def steady(self) -> bool:
        """Whether seconds that were measured meanwhile say something about what was measured."""
        return self.stood_still < LATE


@contextmanager
def paced() -> Iterator[Pace]:
    """Watch processors and disk while the block runs."""
    pace, over = Pace(), threading.Event()

    def watch() -> None:
        with tempfile.TemporaryFile() as file:
            before = time.monotonic()
            while not over.wait(TICK):
                os.pwrite(file.fileno(), b"x", 0)
                os.fsync(file.fileno())
                now = time.monotonic()
                pace.stood_still = max(pace.stood_still, now - before - TICK)
                before = now

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield pace
    finally:
        over.set()
        watcher.join()


def in_time(claim: Callable[..., None]) -> Callable[..., None]:
    """A test that fails only when it fails on a steady machine; otherwise it runs again, `ATTEMPTS` times at most."""

    @functools.wraps(claim)
    def judged(*args: object, **kwargs: object) -> None:
        for left in reversed(range(ATTEMPTS)):
            try:
                with paced() as pace:
                    claim(*args, **kwargs)
            except Exception:
                if pace.steady or not left:
                    raise
                print(f"the machine stood still for {pace.stood_still:.2f} s: once more")
            else:
                return

    return judged
