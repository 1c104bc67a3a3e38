"""The service checks itself: the whole trail against the last notes outside the database, and one entry for its badge.

This shows damage and tampering in the database. It convicts nobody who also holds the service's own files: for that,
somebody else keeps the keys and the notes and runs the stand-alone verifier.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from sqlalchemy.orm import Session

from audit.checkpoint import verifier_keys
from audit.event import Event, Kind
from audit.permit import Action, Permit
from audit.search import Entry
from audit.tiles import PublishedLog
from audit.trail import LOGS, Trail
from audit.verifier.database import check_database
from audit.verifier.errors import Tampered, Unreadable
from audit.verifier.note import VerifierKey, open_checkpoint
from core.errors import NotFound, Unavailable


@dataclass(frozen=True)
class Checked:
    """What the check of one log showed; `problem` is empty when everything agrees."""

    origin: str
    size: int
    root: str
    key: str
    problem: str = ""


class Standing(StrEnum):
    """How far one entry is proved."""

    PROVED = "proved"
    PENDING = "pending"
    BROKEN = "broken"


def now(trail: Trail, notes: Path, *, permit: Permit) -> list[Checked]:
    """Check the whole trail against the notes in the folder `notes`, and record that it was done and what came out.

    Raises:
        Unavailable: the trail cannot be written.
    """
    permit.must_cover(Action.TRAIL_VERIFY, "trail")
    keys = verifier_keys(notes)
    checked = [_log(trail, notes / f"{log}.note", keys[log]) for log in LOGS if log in keys]
    problems = {one.origin: one.problem for one in checked if one.problem}
    details = {"sizes": [[one.origin, one.size] for one in checked], "problems": [list(told) for told in problems.items()]}
    outcome = "fail" if problems else "ok"
    trail.append([Event.under(permit, Kind.TRAIL_CHECKED, "trail", outcome=outcome, details=details)])
    return checked


def standing(session: Session, found: Entry, notes: Path) -> Standing:
    """Whether `found` is proved under the newest checkpoint; `PENDING` for the second until one covers it."""
    try:
        proof = PublishedLog(session, found.log, found.epoch).receipt(found.idx)
        proof.verify(found.raw, list(verifier_keys(notes).values()))
    except Unavailable:
        return Standing.PENDING
    except (Tampered, Unreadable, NotFound):
        return Standing.BROKEN
    return Standing.PROVED


def _log(trail: Trail, note: Path, key: VerifierKey) -> Checked:
    file = Path(trail.database.engine.url.database or "")
    try:
        head = open_checkpoint(note.read_bytes(), [key])
        report = check_database(file, [head])
    except (Tampered, Unreadable, OSError) as error:
        return Checked(key.name, 0, "", key.encode(), str(error))
    found = next(log for log in report.logs if log.origin == head.origin)
    return Checked(found.origin, found.size, found.root.hex(), key.encode())
