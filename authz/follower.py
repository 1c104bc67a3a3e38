"""Follows the directory for everybody: one process looks, guards against accidents and writes what changed as rows.

A look that succeeds is told to the others, who know by that how old the directory is. One that fails changes nothing: an
error is not an absence. A reading that takes away too many roles at once waits for a security administrator.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from audit.event import Event, Kind
from audit.permit import Action, Actor, Permit
from audit.record import Transaction, recording
from authz import ldif, replica
from authz.people import Directory, Entry
from authz.snapshot import Snapshot
from authz.tables import Confirmation, DirectoryState, changed, in_order
from authz.tree import Tree, kept
from authz.world import World, problem_of
from core.errors import Conflict

#: Fewer lost memberships than this never need to be accepted.
DROP_FLOOR = 10

#: All rows are compared with what was written this often, in seconds: who writes to the database behind our back gives nobody a role.
PATROL_SECONDS = 60.0

_ITSELF = Actor.service("directory")
_log = structlog.get_logger()


class Follower:
    """Follows the source of `world`, which hears of each look at once. Safe to share between threads."""

    def __init__(self, world: World) -> None:
        self._world, self._trail, self._database = world, world.trail, world.database
        #: What the rows say, up to which revision, and the reading that they were written from.
        self._tree, self._revision = replica.empty_tree(world.trail.pseudonym), 0
        self._written: Mapping[str, Entry] = {}
        self._hashes: dict[str, tuple[Entry, bytes]] = {}
        #: The last reading that would drop too much, and its digest.
        self._refused: tuple[Mapping[str, Entry], str] = ({}, "")
        #: Number of the look that was announced to the other processes.
        self._announced: int | None = None
        self._problem = ""
        self._patrolled = world.monotonic()
        self._stepping = threading.Lock()

    def follow(self, stop: threading.Event, leads: Callable[[], bool]) -> None:
        """Look every `authz.poll` until `stop` is set, as long as this process leads; tell the others of each look."""
        while not stop.is_set():
            again = False
            if leads():
                again = self._turn()
            elif self._announced is not None:
                self._announced = None
                self._world.saw(None, "")
            if not again:
                stop.wait(self._world.settings.authz.poll.total_seconds())

    def _turn(self) -> bool:
        """One look with its announcement; whether the next should follow at once."""
        try:
            if self._announced is None:
                self._announced = replica.announce(self._database)
            again = self.step()
            if not again:
                told = replica.tell(self._database, self._announced, done=not self._problem, problem=self._problem)
                self._announced = self._announced + 1 if told else None
        except Exception:  # noqa: BLE001 - the directory ages and decisions become no, whatever it was
            _log.exception("the directory cannot be followed")
            self._announced = None
            return False
        return again

    def step(self) -> bool:
        """Look once, and write what changed; whether the next look should follow at once, because more may have changed.

        What fails is told to the world, whose directory ages.
        """
        settled = False

        def look() -> None:
            nonlocal settled
            settled = self._look()

        with self._stepping:
            began = self._world.monotonic()
            problem = problem_of(look)
            if problem and problem != self._problem:
                _log.warning("the directory cannot be read", reason=problem)
            self._problem = problem
            self._world.saw(began if settled else None, problem)
        return not settled and not problem

    def _look(self) -> bool:
        state = self._rows()
        reading = self._world.source.read(state.mark if state else "")
        if reading.by_id is self._written and not (state and state.refused):
            return reading.settled
        return self._take_over(state, reading) and reading.settled

    def _rows(self) -> DirectoryState | None:
        """The state, after what other processes wrote was read; now and then all rows, whatever they say of themselves."""
        with self._database.moment() as session:
            state = session.get(DirectoryState, 1)
            if state is not None and state.revision != self._revision:
                self._tree, self._revision = replica.grown(session, self._tree, self._revision), state.revision
                self._written = {}
            if (now := self._world.monotonic()) - self._patrolled >= PATROL_SECONDS:
                self._patrolled = now
                if not replica.tells(session, self._tree):
                    _log.error("the rows of the directory are not what was written; they are put right")
                    self._tree = replica.grown(session, replica.empty_tree(self._trail.pseudonym), -1)
                    self._written = {}
        return state

    def _take_over(self, state: DirectoryState | None, reading: ldif.Reading) -> bool:
        """Write how `reading` differs from the rows; False when it must be looked at again."""
        if state and self._waits(state, reading):
            return True
        news = self._news(reading)
        new = self._tree.changed(news) if news else self._tree
        if state is not None and _drops_too_much(self._tree.directory, new.directory, self._world.settings.directory.max_drop_percent):
            if not reading.settled:
                return True  # whole readings are shown to people
            self._refused = (reading.by_id, self._digest(new))
            if state.accepted != self._refused[1]:
                self._refuse(state, self._refused[1], new.directory)
                return True
        if (news or state is None or state.refused) and not self._record(new, news, reading.mark):
            return False
        self._written = reading.by_id
        return True

    def _news(self, reading: ldif.Reading) -> dict[str, Entry | None]:
        """What the rows lack, and (None) what they have too much."""
        news: dict[str, Entry | None] = {}
        for identity, entry in reading.by_id.items():
            if self._written.get(identity) is not entry:
                found = kept(identity, entry)
                if found != self._tree.entries.get(identity):
                    news[identity] = found
        for identity in self._tree.entries.keys() - reading.by_id.keys():
            news[identity] = None
        return news

    def _waits(self, state: DirectoryState, reading: ldif.Reading) -> bool:
        """Whether this very reading was refused, and nobody has accepted it."""
        entries, digest = self._refused
        return entries is reading.by_id and state.refused == digest != state.accepted

    def _digest(self, tree: Tree) -> str:
        """What identifies the entries of `tree`: the hash of their hashes in the order of their entryUUIDs."""
        hashes, before = {}, self._hashes
        for identity, entry in tree.entries.items():
            known = before.get(identity)
            hashes[identity] = known if known and known[0] is entry else (entry, sha256(ldif.encode([entry])).digest())
        self._hashes = hashes
        return sha256(b"".join(hashes[identity][1] for identity in sorted(hashes))).hexdigest()

    def _refuse(self, state: DirectoryState, digest: str, new: Directory) -> None:
        if state.refused == digest:
            return
        with recording(self._trail) as tx:
            row = tx.db.get_one(DirectoryState, 1)
            row.refused, row.accepted = digest, ""
            changed(tx.db)
            details = {"digest": digest, "memberships": new.memberships(), "in-force": self._tree.directory.memberships()}
            tx.record(_happened(Kind.DIRECTORY_REFUSED, "directory", "drops-too-much", details=details))

    def _record(self, new: Tree, news: Mapping[str, Entry | None], mark: str) -> bool:
        """Write rows and events in one transaction; False when another process wrote rows meanwhile."""
        with recording(self._trail) as tx:
            in_order(tx.db)
            row = tx.db.get(DirectoryState, 1)
            if (row.revision if row else 0) != self._revision:
                return False
            revision, memberships, digest = changed(tx.db), new.directory.memberships(), self._digest(new)
            tx.db.merge(DirectoryState(id=1, revision=revision, digest=digest, memberships=memberships, mark=mark, refused="", accepted=""))
            if news:
                replica.store(tx.db, news, revision)
            gone = sum(entry is None for entry in news.values())
            details = {"digest": digest, "persons": len(new.people), "memberships": memberships, "changed": len(news) - gone, "gone": gone}
            tx.record(Event(kind=Kind.DIRECTORY_CHANGED, actor=_ITSELF, object="directory", revision=revision, details=details))
            for alarm in _alarms(tx.db, self._tree.directory, new.directory, first=row is None):
                tx.record(alarm)
        self._tree, self._revision = new, revision
        return True


def accept_directory(tx: Transaction, digest: str, *, permit: Permit) -> None:
    """Let the refused directory with this digest be taken over at the next look.

    Raises:
        Conflict: it is not the one that waits.
    """
    permit.must_cover(Action.DIRECTORY_ACCEPT, "directory")
    in_order(tx.db)
    row = tx.db.get(DirectoryState, 1)
    if row is None or row.refused != digest:
        raise Conflict("the directory changed again; look at the new change before you accept it")
    row.accepted = digest
    changed(tx.db)
    tx.record(Event.under(permit, Kind.DIRECTORY_ACCEPTED, "directory", details={"digest": digest}))


def _drops_too_much(old: Directory, new: Directory, most_percent: int) -> bool:
    gone = sum(len(held - new.holdings.get(person, frozenset())) for person, held in old.holdings.items())
    return gone >= DROP_FLOOR and gone * 100 > old.memberships() * most_percent


def _alarms(db: Session, old: Directory, new: Directory, *, first: bool) -> Iterator[Event]:
    """One for each role that the directory gives in vain now, and did not before."""
    confirmed = frozenset((row.person, row.role, row.unit) for row in db.scalars(select(Confirmation)))
    before, after = (Snapshot(0, directory, confirmed=confirmed) for directory in (old, new))
    for person, held in new.holdings.items():
        if old.holdings.get(person) == held:
            continue
        who = f"person:{new.people[person].id}"
        if (roles := after.conflict(person)) != before.conflict(person) and roles:
            yield _happened(Kind.ROLE_CONFLICT, who, "role-conflict", details={"roles": sorted(roles)})
        added = frozenset() if first else after.unconfirmed(person) - before.unconfirmed(person)
        for role, unit in sorted(added):
            yield _happened(Kind.ROLE_UNCONFIRMED, who, "unconfirmed", scope=unit, details={"role": role})


def _happened(kind: Kind, about: str, reason: str, *, scope: str = "", details: Mapping[str, object]) -> Event:
    return Event(kind=kind, actor=_ITSELF, object=about, outcome="deny", reason=reason, scope=scope, details=dict(details))
