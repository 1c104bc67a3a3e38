"""Locks that end with their process, however it ends: who leads the jobs of a home, and which name a process writes under."""

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
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
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


def leadership(home: Path) -> Claim:
    """The claim on the jobs of a home: its holder issues, publishes and signs checkpoints."""
    return Claim(home / "leader.lock")


def is_led(home: Path) -> bool:
    """Whether some process leads now."""
    probe = leadership(home)
    led = not probe.take()
    probe.release()
    return led


def writer_name(home: Path, role: str) -> tuple[str, Claim]:
    """A name such as `serve-1` that no living process of the home writes under, and the claim that keeps it."""
    folder = home / "writers"
    folder.mkdir(exist_ok=True, mode=0o700)
    for number in count(1):
        claim = Claim(folder / f"{role}-{number}.lock")
        if claim.take():
            return f"{role}-{number}", claim
    raise AssertionError("count ended")
