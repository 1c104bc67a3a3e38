"""Every fact has its event, every event its fact, and every process all its numbers: compared again and again.

Each turn reads the events that are new, a part of the old ones and a part of the rows, and compares what they say, pair
by pair. So a new event without its fact is found at the next turn; a row that was made or deleted behind the back when
its part comes round again, at the latest by the next `whole` turn. What seems to contradict is looked at once more after
everything that was enqueued has its place: only what stays the same is an alarm. Results are events themselves; nothing
else is kept.
"""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import structlog
from sqlalchemy import tuple_
from sqlalchemy.orm import Session

from audit import history
from audit.event import Event, Kind
from audit.history import Told
from audit.trail import Trail
from audit.verifier.numbers import Numbers
from core.clock import microseconds
from ops import acceptance
from ops.compare import ITSELF, Contradiction, alarm, alarmed, claim_of, compare
from ops.pairs import PAIRS
from ops.pairs.pair import Key, Pair
from ops.pairs.people import People

_log = structlog.get_logger()

#: Entries that are read in one look, and keys that are compared in one.
CHUNK, KEYS = 2000, 500
#: How many rows of each table, and entries of each log, are compared anew in one turn.
ROWS, ENTRIES = 4000, 20_000
#: Around the time of a row, for objects with very many events.
AROUND = dt.timedelta(days=1)
#: Heartbeats that a process may miss before it is taken for lost.
PATIENCE = 3
#: Contradictions that the event of a turn names.
TOLD = 200
#: Alarms that one turn records at most, and that are looked at again each turn.
ALARMS, KNOWN = 100, 1000

_NUMBERS = "numbers of a process"


@dataclass(frozen=True)
class Result:
    """What a turn found."""

    at: dt.datetime
    #: Contradictions that are there now, without those that officers have accepted.
    open: int
    #: The first few of them, as sentences.
    first: tuple[str, ...]
    #: When the last pass over everything ended; None before the first one has.
    whole_at: dt.datetime | None
    #: How many there are that officers have accepted.
    accepted: int = 0


class Stopped(Exception):
    """The process ends before the turn does."""


@dataclass
class _State:
    """How far the comparison has come. Kept in the event of each turn, so that the next leader goes on from there."""

    numbers: Numbers = field(default_factory=Numbers)
    #: Up to where each log was read.
    read: dict[tuple[str, int], int] = field(default_factory=dict)
    #: The pass over everything: where it is in each log and pair (absent: at the start, None: at the end).
    entries: dict[tuple[str, int], int | None] = field(default_factory=dict)
    rows: dict[str, list[Any] | None] = field(default_factory=dict)
    whole_at: int = 0

    def encode(self) -> dict[str, Any]:
        """As details of an event."""
        return {
            "read": [[*place, size] for place, size in sorted(self.read.items())],
            "entries": [[*place, at] for place, at in sorted(self.entries.items())],
            "rows": [[name, at] for name, at in self.rows.items()],
            "numbers": self.numbers.state(),
            "whole-at": self.whole_at,
        }

    @classmethod
    def decode(cls, told: Mapping[str, Any]) -> _State:
        """From the details of an event; from the start when they cannot be read."""
        try:
            return cls(
                Numbers.resumed(told["numbers"]),
                {(log, epoch): size for log, epoch, size in told["read"]},
                {(log, epoch): at for log, epoch, at in told["entries"]},
                dict(told["rows"]),
                told["whole-at"],
            )
        except (KeyError, TypeError, ValueError):
            return cls()


class Reconciler:
    """Compares facts and events. One per process, used by one thread; `stop` may be called by another one."""

    def __init__(
        self, trail: Trail, people: People, *, pairs: Sequence[Pair] = PAIRS, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._trail, self._people, self._pairs, self._monotonic = trail, people, pairs, monotonic
        self._by_name = {pair.name: pair for pair in pairs}
        self._kinds = {kind: [pair for pair in pairs if kind in pair.kinds] for pair in pairs for kind in pair.kinds}
        self._state: _State | None = None
        #: Contradictions that were told of and have not gone since.
        self._open: set[Contradiction] = set()
        #: When each writer was last heard of, by our own monotonic clock.
        self._heard: dict[tuple[str, str], tuple[int, float]] = {}
        self._suspects: dict[str, set[Key]] = {}
        self._stop = threading.Event()

    def stop(self) -> None:
        """Let the turn that is under way end soon, with `Stopped`."""
        self._stop.set()

    def turn(self, *, whole: bool = False) -> Result:
        """Compare what is new and some of what is old; with `whole` everything, from the first entry on.

        Raises:
            Unavailable: the trail or the database cannot be read or written; the next turn begins where this one did.
            Stopped: see `stop`.
        """
        known = self._known()
        state = _State() if whole or self._state is None else self._state
        if self._state is None:
            self._open = set(known)
            state = _State() if whole else self._remembered()
        self._suspects = {}
        try:
            found = [*self._read(state), *(one for one in known if one.pair == _NUMBERS)]
            self._compare_anew(state, whole=whole)
            for one in known:
                self._suspect(one.pair, [one.key])
            found += self._confirmed()
            self._declare_lost(state.numbers)
        except BaseException:
            self._state = None  # what was read and not told of is read again
            raise
        self._state = state
        return self._tell(state, found)

    # What is read

    def _known(self) -> list[Contradiction]:
        with self._trail.database.reading() as session:
            return list(dict.fromkeys(alarmed(told) for told in history.newest(session, Kind.CONTRADICTED, KNOWN)))

    def _remembered(self) -> _State:
        with self._trail.database.reading() as session:
            last = history.newest(session, Kind.RECONCILED)
        return _State.decode(last[0].details) if last else _State()

    def _read(self, state: _State) -> list[Contradiction]:
        """Read what is new in every log; gives the numbers that are missing."""
        self._walk(state)
        running = list(state.numbers.running)
        with self._trail.database.reading() as session:
            settled = history.settled(session, running)
        self._walk(state)  # what was settled then is in what is read now
        return list(self._holes(state.numbers, running, settled))

    def _walk(self, state: _State) -> None:
        with self._trail.database.reading() as session:
            sizes = history.heads(session)
        for place, size in sizes.items():
            for start in range(state.read.get(place, 0), size, CHUNK):
                with self._moment() as session:
                    self._compare_events(
                        session, self._counted(state.numbers, history.walk(session, place, start, min(start + CHUNK, size)))
                    )
            if place not in state.read:
                state.entries[place] = None  # all of them were compared just now
            state.read[place] = max(size, state.read.get(place, 0))

    def _counted(self, numbers: Numbers, events: Iterable[Told]) -> Iterator[Told]:
        for told in events:
            numbers.note(told.body)
            yield told

    def _holes(
        self, numbers: Numbers, running: Collection[tuple[str, str]], settled: Mapping[tuple[str, str], int]
    ) -> Iterator[Contradiction]:
        """Numbers that must be there: of a process that ended all, of a running one those that it calls settled."""
        ended = numbers.missing(ended=True)
        for writer in {*running, *ended}:
            gaps = ended.get(writer) or numbers.gaps(writer, settled.get(writer, 0))
            if gaps:
                numbers.declare(writer, gaps)
                ranges = tuple(f"{first}-{last}" for first, last in gaps[:10])
                yield Contradiction(_NUMBERS, (f"node:{writer[0]}", writer[1]), "numbers-missing", ranges, None)

    def _compare_anew(self, state: _State, *, whole: bool) -> None:
        """Compare the next part of what was compared before; begin again after the last part."""
        for place, size in state.read.items():
            state.entries[place] = self._entries_anew(place, state.entries.get(place, 0), size, whole=whole)
        for pair in self._pairs:
            state.rows[pair.name] = self._rows_anew(pair, state.rows.get(pair.name, []), whole=whole)
        if all(at is None for at in (*state.entries.values(), *state.rows.values())):
            state.whole_at = microseconds(self._trail.clock())
            state.entries, state.rows = {}, {}

    def _entries_anew(self, place: tuple[str, int], at: int | None, size: int, *, whole: bool) -> int | None:
        if at is None or whole:  # a whole turn has just read all of them
            return None
        until = min(at + ENTRIES, size)
        for start in range(at, until, CHUNK):
            with self._moment() as session:
                self._compare_events(session, history.walk(session, place, start, min(start + CHUNK, until), self._kinds))
        return None if until == size else until

    def _rows_anew(self, pair: Pair, at: list[Any] | None, *, whole: bool) -> list[Any] | None:
        left = ROWS
        while at is not None and (left > 0 or whole):
            with self._moment() as session:
                at, number = self._rows_compared(session, pair, at)
                left -= number
        return at

    def _rows_compared(self, session: Session, pair: Pair, at: list[Any]) -> tuple[list[Any] | None, int]:
        """Compare the next rows behind `at`; gives where they end (None: with the table) and how many they were."""
        order = tuple_(*pair.walk)
        wanted = pair.rows.add_columns(*pair.walk).order_by(*pair.walk).limit(KEYS)
        rows = session.execute(wanted.where(order > tuple_(*at)) if at else wanted).all()
        if rows:
            keys = {pair.shown(row, self._people)[0] for row in rows}
            span = _span(map(pair.at, rows)) if pair.at else None
            events = history.about(session, {key[0] for key in keys}, pair.kinds, span)
            self._suspect(pair.name, [one.key for one in compare(pair, keys, events, rows, self._people)])
        return (list(rows[-1][-len(pair.walk) :]) if len(rows) == KEYS else None), len(rows)

    def _compare_events(self, session: Session, events: Iterable[Told]) -> None:
        """Compare every key that `events` are about."""
        touched: dict[str, dict[Key, int]] = {}
        for told in events:
            for pair in self._kinds.get(told.kind, ()) if told.kind else ():
                if claim := claim_of(pair, told):
                    touched.setdefault(pair.name, {})[claim[0]] = told.t
        told_of = self._histories(session, touched)
        for name, keys in touched.items():
            pair, left = self._by_name[name], iter(keys.items())
            while some := dict(islice(left, KEYS)):
                if pair.at:
                    span = (min(some.values()) - _MICROSECONDS, max(some.values()) + _MICROSECONDS)
                    found = self._looked_up(session, pair, set(some), history.about(session, {key[0] for key in some}, pair.kinds, span))
                else:
                    mine = (told for about in {key[0] for key in some} for told in told_of.get(about, ()) if told.kind in pair.kinds)
                    found = self._looked_up(session, pair, set(some), mine)
                self._suspect(name, [one.key for one in found])

    def _histories(self, session: Session, touched: Mapping[str, Mapping[Key, int]]) -> dict[str, list[Told]]:
        """Everything that was told of the objects of `touched`, read once for all pairs."""
        pairs = [pair for name in touched if not (pair := self._by_name[name]).at]
        objects = iter({key[0] for pair in pairs for key in touched[pair.name]})
        kinds = frozenset[Kind]().union(*(pair.kinds for pair in pairs))
        found: dict[str, list[Told]] = {}
        while some := set(islice(objects, KEYS)):
            for told in history.about(session, some, kinds):
                found.setdefault(told.object, []).append(told)
        return found

    def _looked_up(self, session: Session, pair: Pair, keys: set[Key], events: Iterable[Told]) -> list[Contradiction]:
        rows = session.execute(pair.rows.where(pair.having(keys, self._people))).all()
        return compare(pair, keys, events, rows, self._people)

    def _moment(self) -> Any:
        if self._stop.is_set():
            raise Stopped
        return self._trail.database.moment()

    # What is concluded

    def _suspect(self, name: str, keys: Iterable[Key]) -> None:
        if name in self._by_name:
            self._suspects.setdefault(name, set()).update(keys)

    def _confirmed(self) -> list[Contradiction]:
        """What still contradicts itself when nothing waits for its place any more, and in the same way as before."""
        found = self._looked_at_suspects()
        if found and self._trail.ledger.enqueues:
            self._trail.settle()
            found &= self._looked_at_suspects()
        return sorted(found, key=repr)

    def _looked_at_suspects(self) -> set[Contradiction]:
        found: set[Contradiction] = set()
        for name, keys in self._suspects.items():
            left = iter(sorted(keys))
            while some := set(islice(left, KEYS)):
                with self._moment() as session:
                    pair = self._by_name[name]
                    found.update(self._looked_up(session, pair, some, history.about(session, {key[0] for key in some}, pair.kinds)))
        return found

    def _declare_lost(self, numbers: Numbers) -> None:
        """Say of every process that was silent for too long that it is lost, with its last number and what died with it."""
        now, patience = self._monotonic(), PATIENCE * self._trail.settings.heartbeat.total_seconds()
        running = numbers.running
        self._heard = {who: kept for who, kept in self._heard.items() if who in running}
        lost = []
        for writer, last in running.items():
            before, since = self._heard.setdefault(writer, (last, now))
            if before != last:
                self._heard[writer] = (last, now)
            elif now - since >= patience and writer != tuple(self._trail.writer):
                gaps = [list(gap) for gap in numbers.gaps(writer, last)]
                about = {"boot": writer[1], "last": last} | ({"lost": gaps} if gaps else {})
                lost.append(Event(kind=Kind.WRITER_LOST, actor=ITSELF, object=f"node:{writer[0]}", outcome="error", details=about))
        if lost:
            self._trail.append(lost)

    def _tell(self, state: _State, found: Sequence[Contradiction]) -> Result:
        now = list(dict.fromkeys(found))
        with self._trail.database.reading() as session:
            accepted = acceptance.accepted(session)
        new = [one for one in now if one not in self._open and one.id not in accepted]
        for one in new:
            _log.critical("facts and events contradict each other", what=one.sentence)
        left = [one for one in now if one.id not in accepted]
        ids = [one.id for one in (*left, *(one for one in now if one.id in accepted))]
        told = {"open": len(left), "accepted": len(now) - len(left), "first": [one.sentence[:300] for one in left[:5]]}
        details = {**told, "contradictions": ids[:TOLD], **state.encode()}
        done = Event(kind=Kind.RECONCILED, actor=ITSELF, object="trail", outcome="fail" if left else "ok", details=details)
        self._trail.append([*(alarm(one) for one in new[:ALARMS]), done])
        self._open = set(now)
        return _result(self._trail.clock(), details)


_MICROSECONDS = AROUND // dt.timedelta(microseconds=1)


def last(session: Session) -> Result | None:
    """The result of the last turn of any process; None before the first one."""
    found = history.newest(session, Kind.RECONCILED)
    return _result(_moment(found[0].t), found[0].details) if found else None


def problems(session: Session) -> list[str]:
    """What readiness must tell: that there are contradictions. Which ones, anybody who asks for readiness need not know."""
    result = last(session)
    if result is None or not result.open:
        return []
    return [f"{result.open} contradictions between facts and the trail: keep everything, look at `yumen status` and call an auditor"]


def _result(at: dt.datetime, details: Mapping[str, Any]) -> Result:
    whole = details.get("whole-at", 0)
    first = tuple(details.get("first", ()))
    return Result(at, details.get("open", 0), first, _moment(whole) if whole else None, details.get("accepted", 0))


def _moment(at: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(at / 1_000_000, dt.UTC)


def _span(times: Iterable[dt.datetime]) -> tuple[int, int]:
    known = list(times)
    return microseconds(min(known) - AROUND), microseconds(max(known) + AROUND)
