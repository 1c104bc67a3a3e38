"""What a place for backups can do, and how bytes are compared."""

from __future__ import annotations

import datetime as dt
import hashlib
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from core.errors import Unavailable
from ops.archive import NAME

#: What an upload that was broken off left behind is taken away when it is this old: nobody is still writing it.
STALE = dt.timedelta(days=1)
_CHUNK = 1 << 20


class Stored(NamedTuple):
    """A backup that lies at a target; its size in bytes."""

    name: str
    size: int


class Target(Protocol):
    """A place for backups. What lies there under its name was read back and is whole.

    Every method raises `Unavailable` when the place cannot be reached, refuses, or gives back other bytes.
    """

    @property
    def name(self) -> str:
        """Its address, as events and people name it; never with a secret."""

    def put(self, path: Path, sha256: str) -> None:
        """Store the file under its own name: whole and read back, or not at all."""

    def listing(self) -> list[Stored]:
        """The backups there, the newest first; other files are not told."""

    def get(self, name: str, into: Path) -> Path:
        """Fetch a backup into the folder `into`."""

    def remove(self, name: str) -> None:
        """Take a backup away."""


def pieces(path: Path, size: int = _CHUNK) -> Iterator[bytes]:
    """The bytes of a file, piece by piece."""
    with path.open("rb") as file:
        while piece := file.read(size):
            yield piece


def digest(parts: Iterable[bytes]) -> str:
    """SHA-256 of all parts, hex."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return found.hexdigest()


def must_match(target: str, name: str, wanted: str, found: str) -> None:
    """Check what a target gave back.

    Raises:
        Unavailable: it is not what it was given.
    """
    if wanted != found:
        raise Unavailable(
            "`{target}` gives back other bytes than it was given as `{name}`; look at its disk and at the network", target=target, name=name
        )


def newest_first(found: Iterable[Stored]) -> list[Stored]:
    """Backups among `found`, the newest first."""
    return sorted((one for one in found if NAME.fullmatch(one.name)), reverse=True)


def private(path: Path) -> Path:
    """A file with credentials, after a look at who may read it.

    Raises:
        Unavailable: it is not there, or others may read it.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise Unavailable("the credentials `{path}` cannot be read: {reason}", path=path, reason=error.strerror) from error
    if mode & 0o027:
        mode = stat.S_IMODE(mode)
        raise Unavailable("others may read or change `{path}` (mode {mode}): `chmod 600 {path}`", path=path, mode=f"{mode:o}")
    return path
