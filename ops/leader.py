"""Who does the jobs: whoever holds the lock of `leader.lock` in the home. It is let go when the process ends, however it ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class Leader:
    """A claim on the jobs of one home. Safe to try again and again; not shared between threads."""

    def __init__(self, home: Path) -> None:
        self._path = home / "leader.lock"
        self._descriptor: int | None = None

    @property
    def leading(self) -> bool:
        """Whether this process does the jobs."""
        return self._descriptor is not None

    def claim(self) -> bool:
        """Take the lock if nobody has it; whether this process leads now."""
        if self._descriptor is not None:
            return True
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def resign(self) -> None:
        """Let another process lead."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def is_led(home: Path) -> bool:
    """Whether some process leads now."""
    probe = Leader(home)
    led = not probe.claim()
    probe.resign()
    return led
