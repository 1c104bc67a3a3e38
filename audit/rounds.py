"""The service verifies its whole trail by itself, a portion at a time, round after round.

A round walks each epoch of both logs as the verifier does: bodies, leaves, columns, tiles and journal, up to the root of
the last note outside the database. Damage is told once, as an event, and once more when a later round agrees again. How far
the round is stands in an event as well, so that the next leader goes on from there; nothing else is kept. The numbers of
processes are not looked at here: the reconciler does that.
"""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import structlog
from sqlalchemy.orm import Session

from audit import history
from audit.checkpoint import verifier_keys
from audit.event import Event, Kind
from audit.permit import Actor
from audit.trail import Trail
from audit.verifier.database import Connection, Walk, trees
from audit.verifier.errors import Tampered, Unreadable
from audit.verifier.merkle import Frontier
from audit.verifier.note import Checkpoint, VerifierKey, open_checkpoint
from core.clock import microseconds

_log = structlog.get_logger()

ITSELF = Actor.service("verifier")
#: A turn comes this often, in seconds, and takes at most so long.
EVERY, LONGEST = 10.0, 1.0
#: Entries of one turn; more when a round would take longer than a day otherwise.
PORTION, A_DAY = 2000, int(86_400 / EVERY)
#: Entries that are read in one look.
_CHUNK = 500
#: What has not changed is told no more often than this.
TELL = dt.timedelta(minutes=10)


class Damage(NamedTuple):
    """What is wrong with one log, such as `ca/1`: the first entry concerned (-1 when it is not about entries), and a sentence."""

    log: str
    first: int
    sentence: str


@dataclass(frozen=True)
class Result:
    """How far the verification has come."""

    at: dt.datetime
    #: When the last whole round ended, and the entries that it covered; None before the first one has.
    whole_at: dt.datetime | None
    entries: int
    #: Entries that the round under way has behind it.
    done: int
    damage: tuple[Damage, ...]


@dataclass
class _State:
    """Where the round is."""

    whole_at: int = 0
    #: Entries that the last whole round covered, and those that this one has behind it, by log and epoch.
    sizes: dict[str, int] = field(default_factory=dict)
    done: dict[str, int] = field(default_factory=dict)
    #: The log that is walked, with size, edge and journal of its walk; empty between two.
    at: tuple[str, int, bytes, int] | None = None
    damage: dict[str, Damage] = field(default_factory=dict)

    def encode(self) -> dict[str, Any]:
        """As details of an event."""
        told = {"at": [*self.at[:2], self.at[2].hex(), self.at[3]]} if self.at else {}
        sizes = {name: [list(one) for one in sorted(found.items())] for name, found in (("sizes", self.sizes), ("done", self.done))}
        return {"whole-at": self.whole_at, "damage": [list(one) for one in self.damage.values()], **sizes, **told}

    @classmethod
    def decode(cls, told: Mapping[str, Any]) -> _State:
        """From the details of an event; from the start when they cannot be read."""
        try:
            found = cls(told["whole-at"], dict(told["sizes"]), dict(told["done"]))
            found.damage = {one[0]: Damage(*one) for one in told["damage"]}
            if "at" in told:
                name, size, edge, journal = told["at"]
                found.at = (name, size, Frontier(size, bytes.fromhex(edge)).encode(), journal)
        except (KeyError, TypeError, ValueError, Tampered):
            return cls()
        return found


class Rounds:
    """Verifies without end. One per process, used by one thread; `stop` may be called by another one."""

    def __init__(self, trail: Trail, notes: Path, monotonic: Callable[[], float] = time.monotonic) -> None:
        """`notes` is the folder outside the database where the last signed heads are."""
        self._trail, self._notes, self._monotonic = trail, notes, monotonic
        self._state: _State | None = None
        self._walk: Walk | None = None
        #: How large the log is that is walked; None when it is walked to its end, because nothing is added to it any more.
        self._until: int | None = None
        self._stop = threading.Event()

    def stop(self) -> None:
        """Let the turn that is under way end after the portion at hand."""
        self._stop.set()

    def rest(self) -> None:
        """Another process leads: where that one is counts, once this one leads again."""
        self._state = self._walk = None

    def turn(self, most: int = 0) -> Result:
        """Verify the next portion, at most to the end of the round; `most` entries where that is given.

        Raises:
            Unavailable: the trail cannot be written; what was found is told by the next turn.
            Unreadable: the database cannot be read.
        """
        if self._state is None:
            self._state = self._remembered()
        state, end = self._state, self._monotonic() + LONGEST
        left = most or max(PORTION, sum(state.sizes.values()) // A_DAY)
        while left > 0 and self._monotonic() < end and not self._stop.is_set():
            number = self._portion(state, min(left, _CHUNK))
            if number is None:
                break
            left -= number
        return self._tell(state)

    def _remembered(self) -> _State:
        with self._trail.database.reading() as session:
            told = history.newest(session, Kind.TRAIL_VERIFIED)
        return _State.decode(told[0].details) if told else _State()

    def _portion(self, state: _State, most: int) -> int | None:
        """Walk on by `most` entries in the log at hand, or open the next one; gives how many there were, None when the round is over."""
        with self._trail.ledger.frozen(self._trail.database) as connection:
            name = self._walk.name if self._walk else self._next(state, connection)
            if name is None:
                state.whole_at, state.sizes, state.done = microseconds(self._trail.clock()), state.done, {}
                return None
            try:
                if self._walk is None:  # its note may be newer than this moment of the database: it is walked from the next one on
                    self._walk = self._opened(state, connection, name)
                    return 0
                return self._walked(state, connection, self._walk, most)
            except Tampered as error:
                self._ended(state, name, error)
                return 0

    def _walked(self, state: _State, connection: Connection, walk: Walk, most: int) -> int:
        number = walk.on(connection, most if self._until is None else min(most, self._until - walk.tree.size))
        state.at = (walk.name, walk.tree.size, walk.tree.encode(), walk.journal)
        if number < most:
            walk.end(connection if self._until is None else None)
            self._ended(state, walk.name, None)
        return number

    def _next(self, state: _State, connection: Connection) -> str | None:
        """The log that comes next in this round: every one of the database, and every one that has a note."""
        names = set(self._keys())
        with suppress(Tampered):  # told of each log when it is opened
            names |= {f"{log}/{epoch}" for log, epoch in trees(connection).values()}
        return min(names - state.done.keys(), default=None)

    def _opened(self, state: _State, connection: Connection, name: str) -> Walk:
        """The walk over a log up to its last note: anew, or from where it was left. A closed one may have its note elsewhere."""
        log, _, epoch = name.partition("/")
        place, is_closed = (log, int(epoch)), self._trail.epochs.get(log) != int(epoch)
        heads = [] if is_closed and name not in self._keys() else [self._head(name)]
        if any(head.origin not in trees(connection) for head in heads):
            raise Tampered(f"the log {name} is not in the database")
        self._until = None if is_closed else heads[0].size
        if state.at and state.at[0] == name and all(state.at[1] <= head.size for head in heads):
            return Walk(place, heads, tree=Frontier(*state.at[1:3]), journal=state.at[3])
        return Walk(place, heads)

    def _ended(self, state: _State, name: str, found: Tampered | None) -> None:
        state.done[name] = state.at[1] if state.at and state.at[0] == name else 0
        state.at = self._walk = None
        if found is None:
            state.damage.pop(name, None)
        else:
            state.damage[name] = Damage(name, -1 if found.first is None else found.first, str(found)[:300])

    def _keys(self) -> dict[str, tuple[str, VerifierKey]]:
        """By log and epoch: the name of its note, and the key that signed it."""
        return {"/".join(key.name.split("/")[-2:]): (note, key) for note, key in verifier_keys(self._notes).items()}

    def _head(self, name: str) -> Checkpoint:
        try:
            note, key = self._keys()[name]
            return open_checkpoint((self._notes / f"{note}.note").read_bytes(), [key])
        except (KeyError, OSError, Unreadable) as error:
            raise Tampered(f"the last note of {name}, outside the database, is lost or cannot be read") from error

    def _tell(self, state: _State) -> Result:
        """Record what changed since it was last told, by whichever process; else once in a while how far it is."""
        with self._trail.database.reading() as session:
            told = last(session)
        news = list(_news({one.log: one for one in told.damage} if told else {}, state.damage))
        now = self._trail.clock()
        if told and not news and now - told.at < TELL and (told.whole_at or not state.whole_at):
            return told
        details = state.encode()
        outcome = "fail" if state.damage else "ok"
        verified = Event(kind=Kind.TRAIL_VERIFIED, actor=ITSELF, object="trail", outcome=outcome, details=details)
        self._trail.append([*news, verified])
        return _result(now, details)


def _news(told: Mapping[str, Damage], now: Mapping[str, Damage]) -> Iterator[Event]:
    """An event for each log that was found damaged, or agrees again."""
    for name, damage in now.items():
        if name not in told or told[name].first != damage.first:
            _log.critical("the trail is damaged", log=name, problem=damage.sentence)
            details = {"first": damage.first, "problem": damage.sentence}
            yield Event(kind=Kind.TRAIL_DAMAGED, actor=ITSELF, object=f"log:{name}", outcome="fail", details=details)
    for name in told.keys() - now.keys():
        yield Event(kind=Kind.TRAIL_MENDED, actor=ITSELF, object=f"log:{name}")


def last(session: Session) -> Result | None:
    """How far the verification was when it was last told; None before the first time."""
    found = history.newest(session, Kind.TRAIL_VERIFIED)
    return _result(_moment(found[0].t), found[0].details) if found else None


def _result(at: dt.datetime, details: Mapping[str, Any]) -> Result:
    state = _State.decode(details)
    done = sum(state.done.values()) + (state.at[1] if state.at else 0)
    whole_at = _moment(state.whole_at) if state.whole_at else None
    return Result(at, whole_at, sum(state.sizes.values()), done, tuple(state.damage.values()))


def _moment(at: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(at / 1_000_000, dt.UTC)
