"""The trail of one process: hands out numbers, builds entries, and places them durably in the two logs.

Acknowledged means in the tree: when `append` returns, the entries, their places and the new root are on disk. If they
cannot be written, `Unavailable` is raised and the caller's answer must be no; once writing succeeds again, an event
tells how long the trail was closed and how much was refused meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from audit.append import Batch, Receipt
from audit.arrears import ITSELF, Closed, arrears
from audit.body import Entry, Writer, entry
from audit.counters import Counters, ranges
from audit.event import Event, Kind
from audit.flusher import Flusher, Full, Outcome, Silent
from audit.ledgers import is_storage_failure, ledger_of, waiting_seconds
from audit.postgres import Missequenced
from audit.privacy import Privacy
from audit.writers import predecessors
from core.clock import Clock, microseconds
from core.database import Database
from core.errors import Error, NotYetProved, Unavailable
from core.settings import Audit

__all__ = ["LOGS", "Receipt", "Trail", "Writer", "open_trail"]

LOGS = ("ca", "access")
Opening = Mapping[str, Mapping[str, Any]]
#: An event that waits for its place longer than this, in seconds, is placed by whoever leads.
LATE = 2.0
#: While the trail is closed an idle process tries again this often, in seconds.
RETRY = 1.0


class Placed(NamedTuple):
    """What a transaction placed: receipts for its own entries, every number that lands with its commit, and the notice told."""

    receipts: list[Receipt]
    numbers: set[int]
    notice: Closed | None
    #: Everything that is new in it, and those numbers that are in the tree by somebody else's hand.
    entries: Sequence[Entry]
    found: Collection[int]


class Trail:
    """Everything one process needs to write the trail. Safe to share between threads; make it with `open_trail`."""

    def __init__(
        self, database: Database, clock: Clock, writer: Writer, privacy_key: bytes, settings: Audit, opening: Opening | None = None
    ) -> None:
        self.database, self.clock, self.writer, self.settings = database, clock, writer, settings
        self.privacy = Privacy(privacy_key)
        self._counters = Counters()
        self._epochs: dict[str, int] = {}
        self._mutex = threading.Lock()
        self._closed: Closed | None = None
        self.ledger = ledger_of(database)
        #: Entries that are committed and wait for their place, and those whose commit was never answered; by counter.
        self._afloat: dict[int, Entry] = {}
        self._doubtful: set[int] = set()
        #: Numbers with the flusher that were enqueued: to be found, never to be placed again.
        self._enqueued: set[int] = set()
        self._start(opening or {})
        self._flusher = Flusher(self._write, settings.queue, self._idle, self._pause)

    @property
    def epochs(self) -> Mapping[str, int]:
        """The present epoch of each log."""
        return MappingProxyType(self._epochs)

    @property
    def closed(self) -> bool:
        """Whether the last attempt to write failed: not ready, and nothing that needs an event is done."""
        return self._closed is not None

    @property
    def unproved(self) -> int:
        """How many events of this process are committed with their facts and have no place in the tree yet."""
        return len(self._afloat)

    @property
    def waiting(self) -> int:
        """How many events wait for the flusher."""
        return self._flusher.waiting

    def watch(self, written: Callable[[float], None]) -> None:
        """Call `written` with the seconds that each commit of the flusher takes."""
        self._flusher.written = written

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

    def append_later(self, events: Sequence[Event], then: Callable[[Outcome], object]) -> None:
        """As `append`, without waiting: another thread calls `then`, once and within the same time, which must be quick.

        Raises:
            Unavailable: nothing was taken; `then` is not called.
        """
        entries = self.prepare(events)

        def told(outcome: Outcome) -> None:
            if isinstance(outcome, Silent):
                self.failed()
            then(outcome)

        try:
            self._flusher.hand_over(entries, told)
        except Full:
            self.lost(entries, None)
            self.failed()
            raise

    def close(self) -> None:
        """Write what waits, say that this process ends, then stop writing."""
        left = self._counters.under_way()
        told = {"open": ranges(left)} if left else {}
        ended = Event(kind=Kind.WRITER_ENDED, actor=ITSELF, object=f"node:{self.writer.node}", details=told)
        with suppress(Error):  # a process that cannot say it is taken for lost, which is true
            self._flusher.submit(self.prepare([ended]))
        self._flusher.close()

    def settle(self) -> None:
        """Let everything that any process has enqueued take its place.

        Raises:
            Unavailable: the trail cannot be written.
        """
        if not self.ledger.enqueues:
            return
        with self.database.appending() as cursor:
            for log in LOGS:
                self.ledger.place(cursor, Batch(log, self._epochs[log], microseconds(self.clock()), self.writer, 0, ()))

    def settle_late(self) -> None:
        """The same when something waits longer than it should; its own process did not, or cannot, do it.

        Raises:
            Unavailable: the trail cannot be written, or the database not be read.
        """
        if waiting_seconds(self.database, self.clock()) > LATE:
            self.settle()

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

    def place(self, cursor: Any, entries: Sequence[Entry]) -> Placed:
        """Place `entries` in the open write transaction of `cursor`, with the voids and notices that are due."""
        with self._mutex:
            was_closed, self._closed = self._closed, None
            afloat = self._afloat | {made.counter: made for made in entries if made.counter in self._enqueued}
        owed = self._counters.collect_owed()
        new = [made for made in entries if made.counter not in afloat]
        extra: list[Entry] = []
        try:
            extra = self.prepare(arrears(owed, was_closed))
            numbers = {made.counter for made in (*extra, *new)} | owed
            receipts = self._place(cursor, [*extra, *new], self._counters.settled_with(numbers), {made.log for made in afloat.values()})
            found = self._found(cursor, afloat)
        except BaseException:
            self._counters.owe(owed | {made.counter for made in extra})
            self._reopen_notice(was_closed)
            raise
        receipts |= found
        return Placed([receipts[made.counter] for made in entries], numbers | found.keys(), was_closed, [*extra, *new], found)

    def place_with(self, session: Session, entries: Sequence[Entry]) -> Placed | None:
        """Let `entries` commit with the facts of `session`; None where the tree takes them in only after that commit."""
        if not self.ledger.enqueues:
            return self.place(session.connection().connection.cursor(), entries)
        self.ledger.enqueue(session, entries, self.writer, self._counters.settled_with(frozenset()))
        return None

    def acknowledge(self, entries: Sequence[Entry], placed: Placed | None) -> list[Receipt]:
        """The facts of `entries` have committed: where the entries stand in the tree.

        Raises:
            NotYetProved: the tree could not take them in now; the next write of any process does.
        """
        if placed:
            self.landed(placed)
            return placed.receipts
        if not entries:
            return []
        with self._mutex:
            self._afloat |= {made.counter: made for made in entries}
            self._enqueued |= {made.counter for made in entries}
        try:
            return self._flusher.submit(entries)
        except Unavailable as error:
            if isinstance(error, Full):
                with self._mutex:
                    self._enqueued.difference_update(made.counter for made in entries)
            self.failed()
            about = entries[0].columns[5]
            raise NotYetProved("`{about}` is recorded and not yet proved; look at it again in a moment", about=about) from error

    def must_be_open(self) -> None:
        """Where facts commit before their events have a place: refuse more of them while the tree takes nothing in.

        Raises:
            Unavailable: the trail is closed, and still cannot be written.
        """
        if self.ledger.enqueues and self.closed:
            self._flusher.submit([])

    def landed(self, placed: Placed) -> None:
        """The transaction of `placed` has committed."""
        self._counters.land(placed.numbers)
        with self._mutex:
            for number in placed.found:
                self._afloat.pop(number, None)
            self._doubtful.difference_update(placed.found)

    def lost(self, entries: Sequence[Entry], placed: Placed | None, *, doubtful: bool = False) -> None:
        """The transaction of `entries` was rolled back: their numbers are owed a void, and a notice must be told again.

        With `doubtful` it may have committed all the same: then the tree will tell.
        """
        written = [*entries, *(placed.entries if placed else [])]
        told = placed.numbers.difference(placed.found) if placed else set()
        with self._mutex:
            numbers = ({made.counter for made in entries} | told) - self._afloat.keys() - self._enqueued
            if doubtful:
                new = {made.counter: made for made in written if made.counter in numbers}
                self._afloat |= new
                self._doubtful |= new.keys()
                numbers -= new.keys()
        self._counters.owe(numbers)
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
        self._write(self.prepare([Event(kind=Kind.WRITER_HEARTBEAT, actor=ITSELF, object=f"node:{self.writer.node}")]))

    def _reopen_notice(self, notice: Closed | None) -> None:
        """Put back a notice that could not be placed."""
        with self._mutex:
            self._closed = self._closed or notice

    def _found(self, cursor: Any, afloat: Mapping[int, Entry]) -> dict[int, Receipt]:
        """Where those stand that were afloat; what was doubtful and is not there was rolled back."""
        if not afloat:
            return {}
        found = self.ledger.find(cursor, afloat.values())
        with self._mutex:
            missing = afloat.keys() - found.keys()
            sunk = missing & self._doubtful
            for number in sunk:
                del self._afloat[number]
            self._doubtful -= sunk
        self._counters.owe(sunk)
        if missing - sunk:
            raise Missequenced(f"event {min(missing - sunk)} of this process was enqueued and is not in the tree")
        return found

    def _write(self, entries: Sequence[Entry]) -> list[Receipt]:
        """One transaction of its own for `entries`."""
        placed = None
        try:
            with self.database.appending() as cursor:
                placed = self.place(cursor, entries)
        except BaseException as error:
            self.lost(entries, placed, doubtful=placed is not None and self.ledger.enqueues)
            self.failed()
            if is_storage_failure(error):
                raise Unavailable("the trail cannot be written now; try again, and tell the operator if it stays") from error
            raise
        finally:
            with self._mutex:
                self._enqueued.difference_update(made.counter for made in entries)
        self.landed(placed)
        return placed.receipts

    def _place(self, cursor: Any, entries: Sequence[Entry], settled: int, waiting: Collection[str]) -> dict[int, Receipt]:
        """Place `entries` log by log, always in the same order; a log in `waiting` takes in what was enqueued for it."""
        at = microseconds(self.clock())
        receipts: dict[int, Receipt] = {}
        for log in LOGS:
            mine = [made for made in entries if made.log == log]
            if mine or log in waiting:
                batch = Batch(log, self._epochs[log], at, self.writer, settled, mine)
                receipts |= zip((made.counter for made in mine), self.ledger.place(cursor, batch), strict=True)
        return receipts

    def _start(self, opening: Opening) -> None:
        """Open the first epochs where there are none, and record that this process writes; the first entry of an epoch is its opening."""
        with self.database.appending() as cursor:
            events = []
            for log in LOGS:
                origin = f"{self.settings.origin}/{log}"
                self._epochs[log], is_new = self.ledger.open_epoch(cursor, log, origin, microseconds(self.clock()))
                if is_new:
                    kind = Kind.CA_EPOCH_OPENED if log == "ca" else Kind.ACCESS_EPOCH_OPENED
                    details = {"origin": self.origin(log), "size": 0, **opening.get(log, {})}
                    events.append(Event(kind=kind, actor=ITSELF, object=f"log:{log}/{self._epochs[log]}", details=details))
            previous = predecessors(self.ledger.rows(cursor), self.writer.node)
            about = {"previous": previous} if previous else {}
            starts = (Kind.CA_WRITER_STARTED, Kind.ACCESS_WRITER_STARTED)
            events += [Event(kind=kind, actor=ITSELF, object=f"node:{self.writer.node}", details=about) for kind in starts]
            placed = self.place(cursor, self.prepare(events))
        self.landed(placed)

    def _idle(self) -> None:
        with suppress(Exception):  # a failed heartbeat is told by the notice that the trail was closed
            self.beat()

    def _pause(self) -> float:
        return RETRY if self.closed else self.settings.heartbeat.total_seconds()


def open_trail(
    database: Database, clock: Clock, writer: Writer, privacy_key: bytes, settings: Audit | None = None, opening: Opening | None = None
) -> Trail:
    """Start writing: opens the logs' first epochs when there are none, and records that this process began.

    `opening` is what the first entry of an epoch in which nothing is tells besides, by log.

    Raises:
        Unavailable: the trail cannot be written; the process must not serve.
    """
    try:
        return Trail(database, clock, writer, privacy_key, settings or Audit(), opening)
    except Exception as error:
        if is_storage_failure(error):
            raise Unavailable("the trail cannot be written; check the database, its disk and its rights, then start again") from error
        raise
