"""The trail of one process: hands out numbers, builds entries, and places them durably in the two logs.

Acknowledged means in the tree: when `append` returns, the entries, their places and the new root are on disk. If they
cannot be written, `Unavailable` is raised and the caller's answer must be no; once writing succeeds again, an event
tells how long the trail was closed and how much was refused meanwhile.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from sqlalchemy.exc import DatabaseError, IntegrityError

from audit.append import Batch, Receipt, place
from audit.body import Entry, Writer, entry
from audit.counters import Counters, ranges
from audit.event import Event, Kind
from audit.flusher import Flusher, Full, Silent
from audit.permit import Actor
from audit.privacy import Privacy
from audit.writers import predecessors
from core.clock import Clock, microseconds
from core.database import Database
from core.errors import Unavailable
from core.settings import Audit

__all__ = ["LOGS", "Receipt", "Trail", "Writer", "open_trail"]

LOGS = ("ca", "access")
#: While the trail is closed an idle process tries again this often, in seconds.
RETRY = 1.0

_ITSELF = Actor.service("trail")


@dataclass(slots=True)
class Closed:
    """Since when (microseconds) the trail could not be written, and how many attempts failed."""

    since: int
    refused: int = 0


class Placed(NamedTuple):
    """What a transaction placed: receipts for its own entries, every number that lands with its commit, and the notice told."""

    receipts: list[Receipt]
    numbers: set[int]
    notice: Closed | None


class Trail:
    """Everything one process needs to write the trail. Safe to share between threads; make it with `open_trail`."""

    def __init__(self, database: Database, clock: Clock, writer: Writer, privacy_key: bytes, settings: Audit) -> None:
        self.database, self.clock, self.writer, self.settings = database, clock, writer, settings
        self.privacy = Privacy(privacy_key)
        self._counters = Counters()
        self._epochs: dict[str, int] = {}
        self._mutex = threading.Lock()
        self._closed: Closed | None = None
        self._start()
        self._flusher = Flusher(self._write, settings.queue, self._idle, self._pause)

    @property
    def epochs(self) -> Mapping[str, int]:
        """The present epoch of each log."""
        return MappingProxyType(self._epochs)

    @property
    def closed(self) -> bool:
        """Whether the last attempt to write failed: not ready, and nothing that needs an event is done."""
        return self._closed is not None

    def origin(self, log: str, epoch: int | None = None) -> str:
        """The name of a tree to the outside, such as `yumen.local/ca/1`."""
        return f"{self.settings.origin}/{log}/{self._epochs[log] if epoch is None else epoch}"

    def pseudonym(self, entry_uuid: str) -> str:
        """The id under which a person appears: `p_` and 32 hex digits."""
        return self.privacy.pseudonym(entry_uuid)

    def append(self, events: Sequence[Event]) -> list[Receipt]:
        """Record `events` by themselves and wait until they are in the tree.

        Raises:
            Unavailable: they could not be written; the answer to whatever they are about must be no.
        """
        if self.database.in_write:
            raise RuntimeError("waiting for the flusher inside a write transaction would never end; use tx.record")
        entries = self.prepare(events)
        try:
            return self._flusher.submit(entries)
        except Full:
            self.lost(entries, None)
            self.failed()
            raise
        except Silent:
            self.failed()  # the entries are with the flusher: they may still be written, or be voided by it
            raise

    def close(self) -> None:
        """Write what waits, then stop writing."""
        self._flusher.close()

    def prepare(self, events: Sequence[Event]) -> list[Entry]:
        """Give each event its number and its bytes; from now on each must be placed or owed."""
        at = microseconds(self.clock())
        made: list[Entry] = []
        for happened in events:
            number = self._counters.take()
            try:
                made.append(entry(happened, at, self.writer, number, self.privacy))
            except BaseException:
                self._counters.owe([number, *(earlier.counter for earlier in made)])
                raise
        return made

    def place(self, cursor: sqlite3.Cursor, entries: Sequence[Entry]) -> Placed:
        """Place `entries` in the open write transaction of `cursor`, with the voids and notices that are due."""
        with self._mutex:
            was_closed, self._closed = self._closed, None
        owed = self._counters.collect_owed()
        extra: list[Entry] = []
        try:
            extra = self.prepare(_arrears(owed, was_closed))
            numbers = {made.counter for made in (*extra, *entries)} | owed
            receipts = self._place(cursor, [*extra, *entries], self._counters.settled_with(numbers))
        except BaseException:
            self._counters.owe(owed | {made.counter for made in extra})
            self._reopen_notice(was_closed)
            raise
        return Placed(receipts[len(extra) :], numbers, was_closed)

    def landed(self, placed: Placed) -> None:
        """The transaction of `placed` has committed."""
        self._counters.land(placed.numbers)

    def lost(self, entries: Sequence[Entry], placed: Placed | None) -> None:
        """The transaction of `entries` was rolled back: their numbers are owed a void, and a notice must be told again."""
        self._counters.owe({made.counter for made in entries} | (placed.numbers if placed else set()))
        if placed:
            self._reopen_notice(placed.notice)

    def failed(self) -> None:
        """Storage refused an event: the trail is closed until a write succeeds."""
        with self._mutex:
            self._closed = self._closed or Closed(microseconds(self.clock()))
            self._closed.refused += 1

    def beat(self) -> None:
        """Record that this process lives; called by the flusher when nothing else was written for a while.

        Raises:
            Unavailable: the trail cannot be written.
        """
        self._write(self.prepare([Event(kind=Kind.WRITER_HEARTBEAT, actor=_ITSELF, object=f"node:{self.writer.node}")]))

    def _reopen_notice(self, notice: Closed | None) -> None:
        """Put back a notice that could not be placed."""
        with self._mutex:
            self._closed = self._closed or notice

    def _write(self, entries: Sequence[Entry]) -> list[Receipt]:
        """One transaction of its own for `entries`."""
        placed = None
        try:
            with self.database.appending() as cursor:
                placed = self.place(cursor, entries)
        except BaseException as error:
            self.lost(entries, placed)
            self.failed()
            if is_storage_failure(error):
                raise Unavailable("the trail cannot be written now; try again, and tell the operator if it stays") from error
            raise
        self.landed(placed)
        return placed.receipts

    def _place(self, cursor: sqlite3.Cursor, entries: Sequence[Entry], settled: int) -> list[Receipt]:
        at = microseconds(self.clock())
        receipts: dict[int, Receipt] = {}
        for log in LOGS:
            if mine := [made for made in entries if made.log == log]:
                batch = Batch(log, self._epochs[log], at, self.writer, settled, mine)
                receipts |= zip((made.counter for made in mine), place(cursor, batch), strict=True)
        return [receipts[made.counter] for made in entries]

    def _start(self) -> None:
        """Open the first epochs where there are none, and record that this process writes."""
        with self.database.appending() as cursor:
            events = []
            for log in LOGS:
                row = cursor.execute("SELECT max(epoch) FROM trail_epoch WHERE log = ?", (log,)).fetchone()
                self._epochs[log] = row[0] or 1
                if row[0] is None:
                    events.append(self._open_epoch(cursor, log))
            previous = predecessors(cursor, self.writer.node)
            about = {"previous": previous} if previous else {}
            starts = (Kind.CA_WRITER_STARTED, Kind.ACCESS_WRITER_STARTED)
            events += [Event(kind=kind, actor=_ITSELF, object=f"node:{self.writer.node}", details=about) for kind in starts]
            placed = self.place(cursor, self.prepare(events))
        self.landed(placed)

    def _open_epoch(self, cursor: sqlite3.Cursor, log: str) -> Event:
        origin, at = self.origin(log), microseconds(self.clock())
        cursor.execute("INSERT INTO trail_epoch (log, epoch, origin, t) VALUES (?, ?, ?, ?)", (log, self._epochs[log], origin, at))
        kind = Kind.CA_EPOCH_OPENED if log == "ca" else Kind.ACCESS_EPOCH_OPENED
        return Event(kind=kind, actor=_ITSELF, object=f"log:{log}/{self._epochs[log]}", details={"origin": origin, "size": 0})

    def _idle(self) -> None:
        with suppress(Exception):  # a failed heartbeat is told by the notice that the trail was closed
            self.beat()

    def _pause(self) -> float:
        return RETRY if self.closed else self.settings.heartbeat.total_seconds()


def open_trail(database: Database, clock: Clock, writer: Writer, privacy_key: bytes, settings: Audit | None = None) -> Trail:
    """Start writing: opens the logs' first epochs when there are none, and records that this process began.

    Raises:
        Unavailable: the trail cannot be written; the process must not serve.
    """
    try:
        return Trail(database, clock, writer, privacy_key, settings or Audit())
    except Exception as error:
        if is_storage_failure(error):
            raise Unavailable("the trail cannot be written; check the database, its disk and its rights, then start again") from error
        raise


def is_storage_failure(error: BaseException) -> bool:
    """Whether `error` says that the database, the disk or the lock did not do its part."""
    if isinstance(error, IntegrityError | sqlite3.IntegrityError):
        return False
    return isinstance(error, sqlite3.Error | DatabaseError | OSError | Unavailable)


def _arrears(owed: set[int], closed: Closed | None) -> list[Event]:
    """What must be told before anything else: numbers that were rolled back, and that the trail was closed."""
    events = []
    if closed:
        details = {"since": closed.since, "refused": closed.refused}
        events.append(Event(kind=Kind.TRAIL_CLOSED, actor=_ITSELF, object="trail:*", outcome="error", details=details))
    if owed:
        numbers = {"numbers": ranges(owed)}
        events.append(Event(kind=Kind.WRITER_VOID, actor=_ITSELF, object="trail:*", outcome="void", details=numbers))
    return events
