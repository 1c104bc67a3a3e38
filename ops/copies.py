"""Copies of backups at their targets, as events tell: what was stored, what was taken away, what is too old.

What lies at a target without an event is not ours: it is neither counted nor taken away.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from sqlalchemy.orm import Session

from audit import history
from audit.event import Kind
from audit.history import Told
from core.clock import span
from core.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A backup that was stored at a target."""

    name: str
    #: The moment that it holds.
    at: dt.datetime
    size: int
    sha256: str
    target: str
    #: How events name the backup.
    object: str
    #: Whether it was taken away since.
    removed: bool


def listing(session: Session, most: int = 500) -> list[Copy]:
    """The copies that were stored, the newest first."""
    removed = {(told.details["name"], told.details["target"]) for told in history.newest(session, Kind.BACKUP_REMOVED, most)}
    return [_copy(told, removed) for told in history.newest(session, Kind.BACKUP_STORED, most)]


def last(session: Session, target: str = "") -> Copy | None:
    """The newest copy that should be there, at `target` or anywhere."""
    return next((copy for copy in listing(session) if not copy.removed and target in {"", copy.target}), None)


def problems(settings: Settings, session: Session, now: dt.datetime) -> list[str]:
    """Targets that have no backup, or none that is young enough, one sentence each."""
    found = []
    for target in settings.backup.targets.split():
        newest = last(session, target)
        if newest is None:
            found.append(f"no backup lies at `{target}`; run `yumen backup`, or read the worker's log")
        elif now - newest.at > settings.backup.late:
            age = span(dt.timedelta(hours=(now - newest.at) // dt.timedelta(hours=1)))
            found.append(f"the newest backup at `{target}` is {age} old; run `yumen backup`, or read the worker's log")
    return found


def _copy(told: Told, removed: set[tuple[str, str]]) -> Copy:
    said = told.details
    return Copy(
        name=said["name"],
        at=dt.datetime.fromisoformat(said["at"]),
        size=said["size"],
        sha256=said["sha256"],
        target=said["target"],
        object=told.object,
        removed=(said["name"], said["target"]) in removed,
    )
