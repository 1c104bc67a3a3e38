"""How a log ends and goes on: a restore closes the present epoch of both logs and opens the next, and nothing else does.

What was restored is a beginning of what was there: entries behind it are lost, or nobody can say. So nothing is ever
appended to it. The first entry of the next epoch tells its size and root and the last head that is known of the log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audit.body import Writer
from audit.checkpoint import LogKey, keep_notes
from audit.ledgers import ledger_of
from audit.tiles import PublishedLog
from audit.trail import Trail, open_trail
from audit.verifier.merkle import EMPTY_ROOT, verify_consistency
from audit.verifier.note import Checkpoint
from core.clock import Clock, microseconds
from core.database import Database
from core.settings import Audit

#: On PostgreSQL only its administrator may do this: no role of the service opens an epoch.
_NEXT = "INSERT INTO trail_epoch (log, epoch, origin, t) VALUES (?, ?, ?, ?) RETURNING epoch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """An epoch that ends: what of it was restored from which backup, and the heads of its log that are known."""

    log: str
    epoch: int
    size: int
    root: bytes
    #: The last head that was signed before the backup, and the last one that anybody has shown us: that may be of a larger
    #: tree, or of a later epoch.
    signed: Checkpoint
    known: Checkpoint
    backup: str

    @property
    def next(self) -> int:
        """The epoch that follows: one that nobody has seen."""
        return max(self.epoch, epoch_of(self.known)) + 1

    @property
    def lost(self) -> range | None:
        """The entries that were seen and are not there; None when entries of a later epoch were, whose number nobody knows."""
        if epoch_of(self.known) > self.epoch:
            return None
        return range(self.size, max(self.size, self.known.size))

    def told(self) -> dict[str, Any]:
        """What the first entry of the next epoch says of this one."""
        restored = {"log": f"{self.log}/{self.epoch}", "size": self.size, "root": self.root.hex()}
        known = {"origin": self.known.origin, "size": self.known.size, "root": self.known.root.hex()}
        return {"restored": restored, "known": known, "backup": self.backup}


def epoch_of(head: Checkpoint) -> int:
    """The number at the end of a head's origin."""
    return int(head.origin.rpartition("/")[2])


def reopen(database: Database, clock: Clock, writer: Writer, privacy_key: bytes, settings: Audit, ended: Sequence[Ended]) -> Trail:
    """Open the next epoch of every log in `ended`, and write there from now on.

    Raises:
        Unavailable: the trail cannot be written.
    """
    rows = ledger_of(database).rows
    with database.appending() as cursor:
        for one in ended:
            rows(cursor)(_NEXT, (one.log, one.next, f"{settings.origin}/{one.log}/{one.next}", microseconds(clock())))
    return open_trail(database, clock, writer, privacy_key, settings, {one.log: one.told() for one in ended})


def conclude(trail: Trail, keys: Mapping[str, LogKey], notes: Path, ended: Sequence[Ended]) -> None:
    """Sign the last head of every ended epoch, so that all its entries are proved, and the first of the next.

    Raises:
        Tampered: what was restored does not extend what was signed before the backup.
        Unavailable: the database cannot be written.
    """
    for one in ended:
        with trail.database.reading() as session:
            proof = PublishedLog(session, one.log, one.epoch).consistency(one.signed.size, one.size)
        verify_consistency(one.signed.size, one.size, one.signed.root, one.root, proof)
        last = Checkpoint(one.signed.origin, one.size, one.root)
        _publish(trail, one, keys[one.log].sign(last))
        keep_notes(notes, f"{one.log}-{one.epoch}", keys[one.log], last)
        keep_notes(notes, one.log, keys[one.log], Checkpoint(trail.origin(one.log), 0, EMPTY_ROOT))


def _publish(trail: Trail, one: Ended, note: bytes) -> None:
    with trail.database.reading() as session:
        if PublishedLog(session, one.log, one.epoch).signed() >= one.size:
            return
    row = {"log": one.log, "epoch": one.epoch, "size": one.size, "root": one.root, "note": note.decode()}
    with trail.database.writing() as session:
        trail.ledger.put_checkpoint(session, row | {"t": microseconds(trail.clock())})
