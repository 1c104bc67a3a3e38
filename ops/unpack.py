"""A backup's content put into an empty home and an empty database, whole or not at all.

While it is under way the file `restoring` stands in the home, with which no process opens it; on PostgreSQL no role of
the service has a right to anything before the database is prepared at the end.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import IO

from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError

from core.errors import Conflict, Malformed, Unavailable
from core.seal import write_durably
from core.settings import Settings
from ops import backup, homes
from ops.archive import PIECE, Entry
from ops.backup import HOME, Manifest
from ops.capture import Say, last_words

#: Small files of a home that are needed before anything is unpacked.
_NEEDED = (".vkey", "yumen.toml")
#: What is not put back: with another key for sessions, none of those that ended since the backup is open again.
_LEFT_OUT = frozenset({f"{HOME}keys/web/session.sealed"})

_SCHEMAS = text("SELECT count(*) FROM pg_namespace WHERE nspname IN ('yumen', 'audit')")


@dataclass(frozen=True)
class Looked:
    """A backup that was read through and found whole, and its small files by name."""

    manifest: Manifest
    small: Mapping[str, bytes]


def look(archive: Path, secret: Path) -> Looked:
    """Read everything; nothing is written anywhere.

    Raises:
        Malformed, Unavailable: as `backup.opened`.
    """
    small: dict[str, bytes] = {}
    with backup.opened(archive, secret) as found:
        for entry, piece in found.pieces():
            if entry.name.startswith(HOME) and entry.name.endswith(_NEEDED):
                small[entry.name] = small.get(entry.name, b"") + piece
        return Looked(found.manifest, small)


@contextmanager
def beginning(settings: Settings, admin: Engine | None) -> Iterator[None]:
    """The time in which a home comes about; when it does not, nothing is left of it.

    Raises:
        Conflict: the home or the database is not empty.
    """
    home = settings.home
    if home.exists() and any(home.iterdir()):
        raise Conflict("`{home}` is not empty; restore into an empty home, and keep what is there until you know more", home=home)
    if admin is not None and _has_schemas(admin):
        raise Conflict("the database is not empty; restore into a new one, and keep this one until you know more")
    was_there = home.exists()
    homes.make(home, shared=not settings.embedded)
    marker = homes.restoring_file(home)
    write_durably(marker, b"")
    try:
        yield
        marker.unlink()
    except BaseException:
        for path in home.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        if not was_there:
            home.rmdir()
        if admin is not None:
            with admin.begin() as connection:
                connection.execute(text("DROP SCHEMA IF EXISTS yumen, audit CASCADE"))
        raise


def administrator(admin_url: str) -> Engine:
    """A connection to the empty database, as the administrator that the address names.

    Raises:
        Malformed: it is no address.
    """
    try:
        return create_engine(make_url(admin_url).set(drivername="postgresql+psycopg"), hide_parameters=True)
    except ArgumentError as error:
        raise Malformed("`--admin-url` is no address; write `postgresql://role@host/database`") from error


def unpack(settings: Settings, archive: Path, manifest: Manifest, admin_url: str, tell: Say) -> None:
    """Put the database and the files of the home where they belong.

    Raises:
        Malformed: the archive is no longer what was looked at.
        Unavailable: the disk or the database refuses.
    """
    with backup.opened(archive, homes.secrets(settings)["worker_secret"]) as found:
        for entry, pieces in groupby(found.pieces(), key=lambda told: told[0]):
            tell("keys and heads" if entry.name.startswith(HOME) else "database")
            data = (piece for _, piece in pieces)
            if entry.name == backup.SQLITE:
                _write_database(homes.database_file(settings.home), data)
            elif entry.name == backup.POSTGRES:
                _fill(admin_url, data)
            elif entry.name not in _LEFT_OUT:
                _write(settings.home, entry, b"".join(data))
        if found.manifest != manifest:
            raise Malformed("the backup was changed while it was read; take another copy of it")


def _write_database(path: Path, data: Iterator[bytes]) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        for piece in data:
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())


def _fill(admin_url: str, data: Iterator[bytes]) -> None:
    call = ["pg_restore", f"--dbname={admin_url}", "--no-password", "--no-owner", "--no-privileges", "--single-transaction"]
    with tempfile.TemporaryFile() as said:
        try:
            filling = subprocess.Popen(call, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said)  # noqa: S603 - the address is ours
        except OSError as error:
            raise Unavailable(
                "`pg_restore` cannot be run: {reason}; install the client of PostgreSQL here", reason=error.strerror
            ) from error
        try:
            assert filling.stdin is not None
            _pour(data, filling.stdin)
            if filling.wait():
                raise Unavailable("`pg_restore` failed: {reason}", reason=last_words(said))
        finally:
            filling.kill()
            filling.wait()


def _pour(data: Iterator[bytes], into: IO[bytes]) -> None:
    try:
        with into:
            for piece in data:
                into.write(piece)
    except BrokenPipeError:
        pass  # the program ended early, and says why by itself


def _write(home: Path, entry: Entry, data: bytes) -> None:
    name = PurePosixPath(entry.name)
    if not entry.name.startswith(HOME) or ".." in name.parts or len(data) > 64 * PIECE:
        raise Malformed("the backup holds `{name}`, which belongs into no home; call whoever made it", name=entry.name)
    path = home / name.relative_to(HOME)
    _make_folder(path.parent)
    write_durably(path, data, entry.mode & 0o750)


def _make_folder(folder: Path) -> None:
    """Open to whom its parent is open."""
    if not folder.exists():
        _make_folder(folder.parent)
        folder.mkdir(mode=0o700)
        folder.chmod(stat.S_IMODE(folder.parent.stat().st_mode))


def _has_schemas(admin: Engine) -> bool:
    try:
        with admin.connect() as connection:
            return bool(connection.scalar(_SCHEMAS))
    except DBAPIError as error:
        raise Unavailable("the database cannot be reached; give the address of an administrator of an empty one") from error
