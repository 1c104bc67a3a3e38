"""Backups in a folder: a disk of its own, or what another machine exports."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from core.errors import Unavailable
from ops.targets.target import STALE, Stored, digest, must_match, newest_first, pieces


class Folder:
    """See `Target`. The folder must be there: where nothing is mounted, nothing is filled."""

    def __init__(self, url: str) -> None:
        self.name = url
        self._folder = Path(urlsplit(url).path)

    def put(self, path: Path, sha256: str) -> None:
        """Store the file under its own name: whole and read back, or not at all."""
        scratch = self._folder / f".{path.name}.upload"
        with self._told():
            self._sweep()
            try:
                _copy(path, scratch)
                must_match(self.name, path.name, sha256, digest(pieces(scratch)))
                scratch.replace(self._folder / path.name)
            finally:
                scratch.unlink(missing_ok=True)
            _settle(self._folder)

    def listing(self) -> list[Stored]:
        """The backups there, the newest first."""
        with self._told():
            return newest_first(Stored(path.name, path.stat().st_size) for path in self._folder.iterdir())

    def get(self, name: str, into: Path) -> Path:
        """Fetch a backup into the folder `into`."""
        with self._told():
            _copy(self._folder / name, into / name)
        return into / name

    def remove(self, name: str) -> None:
        """Take a backup away."""
        with self._told():
            (self._folder / name).unlink()
            _settle(self._folder)

    def _sweep(self) -> None:
        for left in self._folder.glob(".yumen-*.upload"):
            if left.stat().st_mtime < time.time() - STALE.total_seconds():
                left.unlink()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise Unavailable(
                "`{target}` cannot be used: {reason}", target=self.name, reason=error.strerror or type(error).__name__
            ) from error


def _copy(source: Path, target: Path) -> None:
    """Copy durably; what is read afterwards comes from the disk and not from memory, as far as the kernel lets us."""
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        for piece in pieces(source):
            out.write(piece)
        out.flush()
        os.fsync(out.fileno())
        os.posix_fadvise(out.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _settle(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
