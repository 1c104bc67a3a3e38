"""The file that writers lock before SQLite, one after the other in the order in which they came."""

from __future__ import annotations

import datetime as dt
import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.errors import Unavailable


@contextmanager
def locked(path: Path, patience: dt.timedelta) -> Iterator[None]:
    """Hold an exclusive `flock` on a descriptor of one's own: a shared one would exclude nobody.

    Raises:
        Unavailable: others held it for as long as `patience`.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _Waiter(descriptor).wait(patience.total_seconds())
    try:
        yield
    finally:
        os.close(descriptor)


class _Waiter:
    """Waits in the kernel's queue, but not for ever.

    Asking again and again after a sleep is unfair: at 2,000 commits a second some would wait for 50 ms and more. The
    kernel's own queue is woken at once but knows no deadline, so a thread stands in it and may be left behind there.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._mutex = threading.Lock()
        self._arrived = threading.Event()
        self._given_up = False
        threading.Thread(target=self._stand, name="database-lock", daemon=True).start()

    def wait(self, seconds: float) -> None:
        """Return with the lock held, or leave the queue."""
        arrived = False
        try:
            arrived = self._arrived.wait(seconds)
        finally:
            if not arrived:
                self._leave()
        if not arrived:
            raise Unavailable("other writers hold the database; try again in a moment")

    def _leave(self) -> None:
        """Whoever comes last closes the descriptor, and the lock with it."""
        with self._mutex:
            if self._arrived.is_set():
                os.close(self._descriptor)
            self._given_up = True

    def _stand(self) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        with self._mutex:
            if self._given_up:
                os.close(self._descriptor)
            self._arrived.set()
