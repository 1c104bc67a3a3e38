"""The service checks itself: the whole trail against the last notes outside the database, and one entry for its badge.

This shows damage and tampering in the database. It convicts nobody who also holds the service's own files: for that,
somebody else keeps the keys and the notes and runs the stand-alone verifier.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path

from sqlalchemy.orm import Session

from audit.checkpoint import verifier_keys
from audit.event import Event, Kind
from audit.ledgers import ledger_of
from audit.permit import Action, Permit
from audit.search import Entry
from audit.tiles import PublishedLog
from audit.trail import Trail
from audit.verifier.database import Report, check_connection
from audit.verifier.errors import Tampered, Unreadable
from audit.verifier.merkle import leaf_hash, verify_inclusion
from audit.verifier.note import Checkpoint, VerifierKey, open_checkpoint
from core.database import Database
from core.errors import Unavailable


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
    checked = _logs(trail, notes)
    problems = {one.origin: one.problem for one in checked if one.problem}
    details = {"sizes": [[one.origin, one.size] for one in checked], "problems": [list(told) for told in problems.items()]}
    outcome = "fail" if problems else "ok"
    trail.append([Event.under(permit, Kind.TRAIL_CHECKED, "trail", outcome=outcome, details=details)])
    return checked


def evidence(database: Database, heads: Sequence[Checkpoint]) -> Report:
    """Check every entry of `database` against trusted heads, from its first entry on; reading is enough for it.

    Raises:
        Tampered: the first thing found wrong, with its index or range.
        Unreadable: no head was given, or there is no trail.
    """
    with ledger_of(database).frozen(database) as connection:
        return check_connection(connection, heads)


def standing(session: Session, found: Entry, notes: Path) -> Standing:
    """Whether `found` is proved under the newest checkpoint; `PENDING` for the second until one covers it."""
    return standings(session, [found], notes)[0]


def standings(session: Session, found: Sequence[Entry], notes: Path) -> list[Standing]:
    """How far each of `found` is proved; every head is opened once, and what of the tree they share is read once."""
    heads: dict[tuple[str, int], tuple[PublishedLog, Checkpoint | Standing]] = {}
    for one in found:
        if (one.log, one.epoch) not in heads:
            heads[one.log, one.epoch] = _head(session, one, notes)
    return [_proved(one, *heads[one.log, one.epoch]) for one in found]


def _head(session: Session, found: Entry, notes: Path) -> tuple[PublishedLog, Checkpoint | Standing]:
    view = PublishedLog(session, found.log, found.epoch)
    try:
        head = _opened(view.checkpoint(), tuple(verifier_keys(notes).values()))
    except Unavailable:
        return view, Standing.PENDING
    except (Tampered, Unreadable):
        return view, Standing.BROKEN
    return view, head if head.origin == view.origin else Standing.BROKEN


@lru_cache(maxsize=64)
def _opened(note: bytes, keys: tuple[VerifierKey, ...]) -> Checkpoint:
    """As `open_checkpoint`; the same note under the same keys is verified once, because in plain Python that takes milliseconds."""
    return open_checkpoint(note, keys)


def _proved(found: Entry, view: PublishedLog, head: Checkpoint | Standing) -> Standing:
    if isinstance(head, Standing):
        return head
    if found.idx >= head.size:
        return Standing.PENDING
    try:
        verify_inclusion(leaf_hash(found.raw), found.idx, head.size, view.inclusion(found.idx, head.size), head.root)
    except Tampered:
        return Standing.BROKEN
    return Standing.PROVED


def _logs(trail: Trail, notes: Path) -> list[Checked]:
    keys = verifier_keys(notes)
    names = {log: "/".join(key.name.split("/")[-2:]) for log, key in keys.items()}
    try:
        heads = [open_checkpoint((notes / f"{log}.note").read_bytes(), [key]) for log, key in keys.items()]
        report = evidence(trail.database, heads)
    except (Tampered, Unreadable, OSError) as error:
        concerned = getattr(error, "log", "")
        found = {log: str(error) if concerned in {"", names[log]} else "" for log in keys}
        return [Checked(key.name, 0, "", key.encode(), found[log]) for log, key in keys.items()]
    shown = {log.origin: log for log in report.logs}
    return [Checked(key.name, shown[key.name].size, shown[key.name].root.hex(), key.encode()) for key in keys.values()]
