"""The newest snapshot of directory and rows, and how fresh it is. One per process; readers take no lock.

A thread looks every `authz.poll`. A reading that succeeds swaps one pointer; one that fails leaves the last good snapshot,
which ages: beyond two seconds it refuses what is high-risk, beyond `authz.stale_limit` everything. Rows not looked at for
1.5 s refuse everything as well. A directory that lost too many memberships at once is not taken over until a security
administrator accepts it: meanwhile the one in force stays.
"""

from __future__ import annotations

import json
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import structlog
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from audit.event import Event, Kind
from audit.permit import Action, Actor, Permit
from audit.record import Transaction, recording
from audit.trail import Trail
from authz import ldif
from authz.evidence import Verifier
from authz.keys import Keys
from authz.people import Directory, Entry, build, empty
from authz.snapshot import Freshness, Known, Snapshot, application_of, asset_of, grant_of, index
from authz.tables import Account, ApplicationRow, AssetRow, Confirmation, DirectoryState, GrantRow, Resource, Revision, Standing, changed
from authz.throttle import Tally
from certs.chain import Trust
from core.errors import Conflict, Error
from core.settings import Settings

#: Rows that were not looked at for this long are too old to decide on.
ROWS_LIMIT = 1.5
#: A directory that was not read for this long is too old for rules marked high-risk.
RISK_LIMIT = 2.0
#: Fewer lost memberships than this never need to be accepted.
DROP_FLOOR = 10

_ITSELF = Actor.service("directory")
_log = structlog.get_logger()


def _nobody() -> Trust:
    return Trust(roots=())


class World:
    """See the module.

    `source` is the directory. `trust` gives the authorities by which callers' certificates are verified, and the same
    object as long as they are the same.
    """

    def __init__(
        self,
        trail: Trail,
        source: ldif.Source,
        keys: Keys,
        settings: Settings,
        *,
        trust: Callable[[], Trust] = _nobody,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.trail, self.source, self.keys, self.settings, self.trust = trail, source, keys, settings, trust
        self.database, self.clock = trail.database, trail.clock
        self.verifier, self.tally = Verifier(), Tally()
        self._monotonic = monotonic
        # The directory and the rows are looked at apart: a server that does not answer must not age the rows.
        self._looking = {"directory": threading.Lock(), "rows": threading.Lock()}
        self._publishing = threading.Lock()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._reading: ldif.Reading | None = None
        self._state: tuple[str, str, str] = ("", "", "")
        self._problems = {"directory": "not read yet", "rows": "not read yet"}
        never = monotonic() - 1e9
        self._rows_at = self._directory_at = self._tried_at = never
        self._keep(Snapshot(0, empty(self.clock()), demo=settings.demo))

    def current(self) -> Snapshot:
        """The newest snapshot; its `freshness` says what may still be decided on it."""
        now = self._monotonic()
        if now - self._tried_at > 2 * self.settings.authz.poll.total_seconds() and not self.database.in_write:
            self._look("rows", wait=False)
            if not self._threads:
                self._look("directory", wait=False)
            now = self._monotonic()
        directory_age = now - self._directory_at
        if now - self._rows_at > ROWS_LIMIT or directory_age > self.settings.authz.stale_limit.total_seconds():
            return self._kept[Freshness.STALE]
        return self._kept[Freshness.AGEING if directory_age > RISK_LIMIT else Freshness.FRESH]

    def refresh(self) -> Snapshot:
        """Look now, wait for it, and give what is current: after a change of one's own, others need up to 250 ms.

        Where a thread follows the directory, only the rows are waited for: a server may take seconds to fail.
        """
        if not self._threads:
            self._look("directory", wait=True)
        self._look("rows", wait=True)
        return self.current()

    @property
    def directory_age(self) -> float:
        """Seconds since the directory was last read well."""
        return self._monotonic() - self._directory_at

    @property
    def rows_age(self) -> float:
        """Seconds since this process last read the rows."""
        return self._monotonic() - self._rows_at

    def problems(self) -> list[str]:
        """What keeps decisions from being made or current; empty when all is well."""
        found = [problem for problem in self._problems.values() if problem]
        if self._state[1]:
            found.append("a directory change is refused: it drops too many roles; a security administrator can accept it")
        if self.current().freshness is Freshness.STALE:
            found.append("the directory is stale: every decision is no")
        return found

    @property
    def refused(self) -> str:
        """Digest of the directory that waits for a security administrator, or empty."""
        return self._state[1]

    def start(self) -> None:
        """Look from now on in threads of its own, one for the directory and one for the rows."""
        self.refresh()
        self._threads = [threading.Thread(target=self._run, args=(what,), name=f"authz-{what}", daemon=True) for what in self._looking]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End the threads."""
        self._stop.set()
        for thread in self._threads:
            thread.join(5)

    def _run(self, what: str) -> None:
        while not self._stop.wait(self.settings.authz.poll.total_seconds()):
            try:
                self._look(what, wait=True)
            except Exception:  # noqa: BLE001 - the snapshot ages and decisions become no, whatever it was
                _log.exception("authz poll failed", what=what)

    def _look(self, what: str, *, wait: bool) -> None:
        if self.database.in_write or not self._looking[what].acquire(blocking=wait):
            return
        try:
            if what == "rows":
                self._tried_at = self._monotonic()
                problem = "; ".join(filter(None, (_problem(self._look_at_rows), _problem(self._flush))))
            else:
                problem = _problem(self._look_at_directory)
            if problem and problem != self._problems[what]:
                _log.warning("authz cannot look", what=what, reason=problem)
            self._problems[what] = problem
        finally:
            self._looking[what].release()

    def _look_at_directory(self) -> None:
        """Take over what the directory says; an error leaves the last good reading, which ages."""
        began = self._monotonic()
        reading = self.source.read()
        if reading is not self._reading or self._accepted_meanwhile(reading):
            self._take_over(reading)
        self._directory_at = began

    def _accepted_meanwhile(self, reading: ldif.Reading) -> bool:
        return self._state[1] == reading.digest and self._state[2] == reading.digest

    def _take_over(self, reading: ldif.Reading) -> None:
        old = self._kept[Freshness.FRESH].directory
        new = build(reading.entries, self.trail.pseudonym, self.clock())
        with self.database.reading() as session:
            state = session.get(DirectoryState, 1)
        if state is None or state.digest != reading.digest:
            if state is not None and not old.people:
                old = self._kept_copy(state)
            if state is not None and reading.digest != state.accepted and self._drops_too_much(old, new):
                self._refuse(state, reading, old, new)
                new = old
            else:
                self._record(reading, old, new, first=state is None)
        self._reading = reading
        self._publish(directory=new)

    def _kept_copy(self, state: DirectoryState) -> Directory:
        return build(ldif.parse(zlib.decompress(state.copy)), self.trail.pseudonym, self.clock())

    def _drops_too_much(self, old: Directory, new: Directory) -> bool:
        gone = sum(len(held - new.holdings.get(person, frozenset())) for person, held in old.holdings.items())
        return gone >= DROP_FLOOR and gone * 100 > old.memberships() * self.settings.directory.max_drop_percent

    def _refuse(self, state: DirectoryState, reading: ldif.Reading, old: Directory, new: Directory) -> None:
        if state.refused == reading.digest:
            return
        with recording(self.trail) as tx:
            row = tx.db.get_one(DirectoryState, 1)
            row.refused, row.accepted = reading.digest, ""
            changed(tx.db)
            details = {"digest": reading.digest, "memberships": new.memberships(), "in-force": old.memberships()}
            tx.record(
                Event(
                    kind=Kind.DIRECTORY_REFUSED, actor=_ITSELF, object="directory", outcome="deny", reason="drops-too-much", details=details
                )
            )

    def _record(self, reading: ldif.Reading, old: Directory, new: Directory, *, first: bool) -> None:
        """Put the change into the trail, with an alarm for each role that the directory gives in vain."""
        with recording(self.trail) as tx:
            row = tx.db.get(DirectoryState, 1)
            if row is None:
                row = DirectoryState(id=1)
                tx.db.add(row)
            elif row.digest == reading.digest:
                return  # another process was faster
            row.digest, row.memberships, row.refused, row.accepted = reading.digest, new.memberships(), "", ""
            row.copy = zlib.compress(ldif.encode(_without_passwords(reading.entries)))
            revision = changed(tx.db)
            details = {"digest": reading.digest, "persons": len(new.people), "memberships": new.memberships()}
            tx.record(Event(kind=Kind.DIRECTORY_CHANGED, actor=_ITSELF, object="directory", revision=revision, details=details))
            for alarm in self._alarms(old, new, first=first):
                tx.record(alarm)

    def _alarms(self, old: Directory, new: Directory, *, first: bool) -> Iterator[Event]:
        before, after = (replace(self._kept[Freshness.FRESH], directory=directory, _roles={}) for directory in (old, new))
        for person in new.people.values():
            who = f"person:{person.id}"
            if (roles := after.conflict(person.uuid)) != before.conflict(person.uuid) and roles:
                yield Event(
                    kind=Kind.ROLE_CONFLICT,
                    actor=_ITSELF,
                    object=who,
                    outcome="deny",
                    reason="role-conflict",
                    details={"roles": sorted(roles)},
                )
            added = frozenset() if first else after.unconfirmed(person.uuid) - before.unconfirmed(person.uuid)
            for role, unit in sorted(added):
                yield Event(
                    kind=Kind.ROLE_UNCONFIRMED,
                    actor=_ITSELF,
                    object=who,
                    outcome="deny",
                    reason="unconfirmed",
                    scope=unit,
                    details={"role": role},
                )

    def _look_at_rows(self) -> None:
        began = self._monotonic()
        with self.database.reading() as session:
            revision = session.scalar(select(Revision.value).where(Revision.id == 1)) or 0
            known = self._kept[Freshness.FRESH]
            if revision != known.revision:
                self._publish(revision=revision, **_rows(session, known))
                state = session.get(DirectoryState, 1)
                self._state = (state.digest, state.refused, state.accepted) if state else ("", "", "")
        self._rows_at = began

    def _flush(self) -> None:
        self.tally.flush(self.trail, self.clock())

    def _publish(self, **news: Any) -> None:
        """Put `news` into force beside what the other thread publishes."""
        with self._publishing:
            self._keep(replace(self._kept[Freshness.FRESH], _roles={}, **news))

    def _keep(self, snapshot: Snapshot) -> None:
        self._kept = {age: replace(snapshot, freshness=age) for age in Freshness}


def accept_directory(tx: Transaction, digest: str, *, permit: Permit) -> None:
    """Let the refused directory with this digest be taken over at the next look.

    Raises:
        Conflict: it is not the one that waits.
    """
    permit.must_cover(Action.DIRECTORY_ACCEPT, "directory")
    row = tx.db.get(DirectoryState, 1)
    if row is None or row.refused != digest:
        raise Conflict("the directory changed again; look at the new change before you accept it")
    row.accepted = digest
    changed(tx.db)
    tx.record(Event.under(permit, Kind.DIRECTORY_ACCEPTED, "directory", details={"digest": digest}))


def _problem(look: Callable[[], None]) -> str:
    """What kept `look` from succeeding, or nothing."""
    try:
        look()
    except Error as error:
        return error.detail
    except SQLAlchemyError as error:
        return f"the database cannot be read: {type(error).__name__}"
    return ""


def _rows(session: Session, known: Snapshot) -> Mapping[str, Any]:
    """Everything in the tables that a snapshot holds; of the standing only what changed since `known`."""
    grants = [grant_of(row) for row in session.scalars(select(GrantRow).where(GrantRow.withdrawn_at.is_(None)).order_by(GrantRow.id))]
    applications = [application_of(row) for row in session.scalars(select(ApplicationRow))]
    standing = dict(known.standing)
    for row in session.scalars(select(Standing).where(Standing.revision > known.revision)):
        standing.pop((row.issuer, int(row.serial, 16)), None)
        if row.state != "released":
            standing[row.issuer, int(row.serial, 16)] = row.state
    return {
        "permits": index(grant for grant in grants if grant.effect == "permit"),
        "forbids": index(grant for grant in grants if grant.effect != "permit"),
        "resources": _resources(session),
        "applications": MappingProxyType({application.id: application for application in applications}),
        "assets": MappingProxyType({row.ref: asset_of(row) for row in session.scalars(select(AssetRow))}),
        "confirmed": frozenset((row.person, row.role, row.unit) for row in session.scalars(select(Confirmation))),
        "standing": MappingProxyType(standing),
        "blocked": frozenset(session.scalars(select(Account.person))),
    }


def _resources(session: Session) -> Mapping[tuple[str, str], Mapping[str, Known]]:
    found: dict[tuple[str, str], dict[str, Known]] = {}
    for row in session.scalars(select(Resource).order_by(Resource.id)):
        found.setdefault((row.application, row.type), {})[row.id] = Known(row.unit, json.loads(row.properties))
    return MappingProxyType(found)


def _without_passwords(entries: Sequence[Entry]) -> Iterator[Entry]:
    for entry in entries:
        yield Entry(entry.dn, {name: values for name, values in entry.attributes.items() if name != "userpassword"})
