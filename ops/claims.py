"""Locks on files, which end with their process, however it ends; and the name that a process of a home writes under."""

from __future__ import annotations

import fcntl
import os
from itertools import count
from pathlib import Path


class Claim:
    """A claim on one lock file. Try as often as you like; not shared between threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """Whether this claim holds the lock."""
        return self._descriptor is not None

    def take(self) -> bool:
        """Take the lock if nobody has it; whether it is held now."""
        if self._descriptor is not None:
            return True
        # Nothing is written to it: who only looks can do so on a disk that became read-only.
        descriptor = os.open(self._path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Let somebody else have it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def writer_name(home: Path, role: str) -> tuple[str, Claim]:
    """A name such as `serve-1` that no living process of the home writes under, and the claim that keeps it."""
    folder = home / "writers"
    folder.mkdir(exist_ok=True, mode=0o700)
    for number in count(1):
        path = folder / f"{role}-{number}.lock"
        claim = Claim(path)
        try:
            if claim.take():
                return f"{role}-{number}", claim
        except PermissionError:
            if not path.exists():
                raise  # the folder is closed to us; a name that another user's process left behind is only passed over
    raise AssertionError("count ended")
