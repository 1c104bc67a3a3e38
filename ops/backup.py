"""Backups: one moment of the database, the sealed keys and the last signed heads in one file, while the service goes on.

The unsealing secrets are never in it. The heads are read before the database, so that the database extends them; the keys
after it, so that every key that it names is there. A backup that was read back and recorded gets its name, no other.
See `ops.archive` for the file and `ops.restore` for the way back.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import secrets
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

from sqlalchemy import func, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from audit.event import Event, Kind
from audit.permit import Action, Permit
from audit.tiles import PublishedLog
from audit.trail import LOGS
from authz.decide import Target, service_permit
from ca.tables import RevocationList
from core.clock import system
from core.database import Database
from core.errors import Error, Malformed, Unavailable
from core.seal import unseal
from core.settings import Settings
from ops import archive, capture, homes
from ops.archive import Entry, Kept, Reader
from ops.capture import Say
from ops.node import Node, open_node

#: The purpose in the worker's vault under which the key of backups is sealed.
PURPOSE = "backup"
#: What the database is called in an archive; files of the home begin with `HOME`.
SQLITE, POSTGRES, HOME = "database.sqlite", "database.dump", "home/"
#: What is kept of a home besides the database; of folders everything in them.
_KEPT = (
    *("yumen.toml", "directory.ldif", "root.pem", "keys", "notes", "tls/server.pem", "tls/clients.pem"),
    *("demo.json", "demo.seed", "certs"),
)


class Head(NamedTuple):
    """Where a log stood, and the last note about it that was signed before."""

    epoch: int
    size: int
    root: str
    note: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a backup says of itself."""

    id: str
    made_at: dt.datetime
    #: `sqlite` or `postgresql`.
    database: str
    mode: str
    origin: str
    #: The newest step of the schema.
    schema: str
    logs: Mapping[str, Head]
    #: The highest number of a revocation list by authority.
    lists: Mapping[str, int]
    files: tuple[Kept, ...]

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Manifest:
        """From the manifest of an archive.

        Raises:
            Malformed: it was signed, but not by a version that this one understands.
        """
        try:
            return cls(
                id=told["id"],
                made_at=dt.datetime.fromisoformat(told["made_at"]),
                **{name: str(told[name]) for name in ("database", "mode", "origin", "schema")},
                logs={log: Head(*told["logs"][log]) for log in LOGS},
                lists=dict(told["lists"]),
                files=tuple(Kept(*kept) for kept in told["files"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise Malformed("the backup was made by another version of Yumen; restore it with that one") from error


@dataclass(frozen=True)
class Made:
    """A backup that is there."""

    path: Path
    name: str
    at: dt.datetime
    #: In bytes.
    size: int
    sha256: str
    manifest: Manifest


def run(settings: Settings, folder: Path | None, *, tell: Say) -> Made:
    """Make a backup of the home of `settings` into `folder` (default: `backups` of the home), beside whatever runs.

    Raises:
        Unavailable: as `make`, or the home cannot be opened.
    """
    node = open_node(settings, role="backup", with_keys=True)
    try:
        return make(node, folder or settings.home / "backups", tell=tell)
    finally:
        node.close()


def make(node: Node, folder: Path, *, by: str = "operator", tell: Say) -> Made:
    """Make a backup into `folder` as `service:<by>`; it is read back and recorded before it gets its name.

    Raises:
        Unavailable: disk, database or trail refused; nothing is left, and the failure is in the trail if that can be written.
        Denied: the policy refused.
    """
    permit = service_permit(node.world, node.trail, by, Action.BACKUP_MAKE, Target("backup"))
    part = folder / f".{os.getpid()}.backup.part"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left in folder.glob(".*.backup.part"):  # of a process that was killed
            left.unlink()
        return _finished(node, part, permit, tell)
    except (Error, OSError, SQLAlchemyError, sqlite3.Error) as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        reason = error.detail if isinstance(error, Error) else str(getattr(error, "strerror", "") or type(error).__name__)
        with suppress(Error):  # where the trail cannot be written either, the one error is enough
            node.trail.append([Event.under(permit, Kind.BACKUP_FAILED, "backup", outcome="fail", details={"problem": reason[:300]})])
        if isinstance(error, Error):
            raise
        raise Unavailable("no backup could be made: {reason}; make room or mend what is broken, then try again", reason=reason) from error


def _finished(node: Node, part: Path, permit: Permit, tell: Say) -> Made:
    """A backup under its own name: recorded first, so that none is without its event."""
    began = time.monotonic()
    made = _written(node, part, tell)
    node.trail.append([_event(permit, made, time.monotonic() - began)])
    part.rename(made.path)
    _sync(part.parent)
    return made


class Opened:
    """A backup that is being read. Nothing of it counts before `manifest` is there."""

    def __init__(self, file: IO[bytes], secret: Path) -> None:
        self._reader = Reader(file)
        self._seed = unseal(self._reader.header.key, PURPOSE, secret)

    def pieces(self) -> Iterator[tuple[Entry, bytes]]:
        """Every file piece by piece, the first of each being empty.

        Raises:
            Malformed: damaged or incomplete; whatever was given before counts for nothing.
        """
        return self._reader.pieces(self._seed)

    @property
    def manifest(self) -> Manifest:
        """What the backup says of itself; there when everything was read and found whole."""
        return Manifest.read(self._reader.manifest)


@contextmanager
def opened(path: Path, secret: Path) -> Iterator[Opened]:
    """The backup at `path`, opened with the worker's unsealing secret.

    Raises:
        Malformed: it is no backup, or damaged.
        Unavailable: it cannot be read, or the secret is not the one that opens it.
    """
    try:
        with path.open("rb") as file:
            yield Opened(file, secret)
    except OSError as error:
        raise Unavailable("the backup `{path}` cannot be read: {reason}", path=path, reason=error.strerror) from error


def check(path: Path, secret: Path) -> Manifest:
    """Read the backup at `path` through, and give what it says of itself.

    Raises:
        Malformed, Unavailable: as `opened`.
    """
    with opened(path, secret) as backup:
        for _ in backup.pieces():
            pass
        return backup.manifest


def _written(node: Node, part: Path, tell: Say) -> Made:
    """The archive at `part`, durable and read back."""
    assert node.worker_vault is not None
    settings, began = node.settings, node.clock().replace(microsecond=0)
    seed = node.worker_vault.secret(PURPOSE)
    notes = {log: (homes.notes_folder(settings.home) / f"{log}.note").read_text("utf-8") for log in LOGS}
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        writer = archive.Writer(file, node.worker_vault.carried(PURPOSE), seed)
        with node.database.moment() as session:
            told = _told(settings, session, notes) | {"made_at": began.isoformat()}
            with _database(node, session, tell) as data:
                writer.add(Entry(SQLITE if settings.embedded else POSTGRES, 0o600), data)
        tell("keys and heads")
        for path in _files(settings):
            writer.add(Entry(HOME + str(path.relative_to(settings.home)), path.stat().st_mode & 0o777), [path.read_bytes()])
        writer.finish(told)
        file.flush()
        os.fsync(file.fileno())
    tell("reading back")
    manifest = check(part, homes.secrets(settings)["worker_secret"])
    name = f"yumen-{began:%Y%m%dT%H%M%SZ}-{writer.id[:8]}.backup"
    return Made(part.with_name(name), name, began, part.stat().st_size, _hash(part), manifest)


def _event(permit: Permit, made: Made, seconds: float) -> Event:
    details = {
        "name": made.name,
        "id": made.manifest.id,
        "size": made.size,
        "sha256": made.sha256,
        "seconds": round(seconds),
        "logs": [[f"{log}/{head.epoch}", head.size] for log, head in made.manifest.logs.items()],
    }
    return Event.under(permit, Kind.BACKUP_MADE, f"backup:{made.manifest.id}", details=details)


def found_in(database: Database, settings: Settings) -> Manifest:
    """What a backup of `database` would tell now, with the heads that were published last in it.

    Raises:
        Unavailable: no head was ever published in it.
    """
    with database.moment() as session:
        notes = {log: PublishedLog(session, log).checkpoint().decode() for log in LOGS}
        told = _told(settings, session, notes)
    return Manifest.read({**told, "id": secrets.token_hex(16), "made_at": system().isoformat(timespec="seconds"), "files": ()})


def _told(settings: Settings, session: Session, notes: Mapping[str, str]) -> dict[str, Any]:
    """What the manifest tells of the moment that `session` sees."""
    logs = {}
    for log in LOGS:
        published = PublishedLog(session, log)
        size, root = published.head()
        logs[log] = [published.epoch, size, root.hex(), notes[log]]
    numbers = select(RevocationList.authority, func.max(RevocationList.number)).group_by(RevocationList.authority)
    return {
        "database": "sqlite" if settings.embedded else "postgresql",
        "mode": settings.mode,
        "origin": settings.audit.origin,
        "schema": session.scalar(text("SELECT version_num FROM alembic_version")),
        "logs": logs,
        "lists": {row[0]: row[1] for row in session.execute(numbers)},
    }


def _database(node: Node, session: Session, tell: Say) -> AbstractContextManager[Iterator[bytes]]:
    if node.settings.embedded:
        return capture.sqlite(session, node.settings.home / "backup.scratch", tell)
    tell("database")
    return capture.postgres(node.settings.database.url, session)


def _files(settings: Settings) -> Iterator[Path]:
    """What is kept of the home. The last notes stand in the manifest: here they could be newer than the database."""
    left_out = {homes.notes_folder(settings.home) / name for name in ("lock", *(f"{log}.note" for log in LOGS))}
    left_out |= set(homes.secrets(settings).values())
    for name in _KEPT:
        path = settings.home / name
        yield from (one for one in sorted([path, *path.rglob("*")]) if one.is_file() and one not in left_out)


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
