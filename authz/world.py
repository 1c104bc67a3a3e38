"""The newest snapshot of directory and rows, and how fresh it is. One per process; readers take no lock.

A thread looks at the rows every `authz.poll`, and at once when it is woken. What it finds is swapped in as one pointer.
The directory is in the rows, written by the one process that follows it (`authz.follower`); each look of that process
makes the directory younger here. Without one it ages: beyond two seconds it refuses what is high-risk, beyond
`authz.stale_limit` everything. Rows not looked at for 1.5 s refuse everything as well.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import structlog
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from audit.trail import Trail
from authz import ldif, replica
from authz.evidence import Verifier
from authz.keys import Keys
from authz.people import empty
from authz.snapshot import Freshness, Known, Snapshot, application_of, asset_of, grant_of, index
from authz.tables import (
    Account,
    ApplicationRow,
    AssetRow,
    Confirmation,
    DirectoryLook,
    DirectoryState,
    GrantRow,
    Resource,
    Revision,
    Standing,
)
from authz.throttle import Tally
from certs.chain import Trust
from core.errors import Error
from core.settings import Settings

#: Rows that were not looked at for this long are too old to decide on.
ROWS_LIMIT = 1.5
#: A directory that was not read for this long is too old for rules marked high-risk.
RISK_LIMIT = 2.0
#: A process that follows the directory tells of each look; silent for this long, there is none.
LEADER_LIMIT = 3.0

_log = structlog.get_logger()

_NOW = (
    select(Revision.value, DirectoryLook.announced, DirectoryLook.done, DirectoryLook.problem)
    .select_from(Revision)
    .outerjoin(DirectoryLook, DirectoryLook.id == 1)
    .where(Revision.id == 1)
)


def _nobody() -> Trust:
    return Trust(roots=())


class World:
    """See the module.

    `source` is the directory, where passwords are checked. `trust` gives the authorities by which callers' certificates
    are verified, and the same object as long as they are the same.
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
        self.database, self.clock, self.monotonic = trail.database, trail.clock, monotonic
        self.verifier, self.tally = Verifier(), Tally()
        self._looking = threading.Lock()
        self._wake = self.database.bell()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        #: What the rows of the directory say.
        self._tree = replica.empty_tree(trail.pseudonym)
        self._sighting = replica.Sighting()
        #: Digest of the directory that waits for a security administrator, or empty.
        self.refused = ""
        self._problems = {"here": "", "elsewhere": "", "rows": "not read yet"}
        never = monotonic() - 1e9
        self._rows_at = self._directory_at = self._seen_at = self._tried_at = never
        self._keep(Snapshot(0, empty(), demo=settings.demo))

    def current(self) -> Snapshot:
        """The newest snapshot; its `freshness` says what may still be decided on it."""
        now = self.monotonic()
        if now - self._tried_at > 2 * self.settings.authz.poll.total_seconds() and not self.database.in_write:
            self._look(wait=False)
            now = self.monotonic()
        directory_age = now - self._directory_at
        if now - self._rows_at > ROWS_LIMIT or directory_age > self.settings.authz.stale_limit.total_seconds():
            return self._kept[Freshness.STALE]
        return self._kept[Freshness.AGEING if directory_age > RISK_LIMIT else Freshness.FRESH]

    def refresh(self) -> Snapshot:
        """Look at the rows now, wait for it, and give what is current: after a change of one's own, others need up to 250 ms."""
        self._look(wait=True)
        return self.current()

    def saw(self, at: float | None, problem: str) -> None:
        """Hear that this process itself looked at the directory, at `at` by `monotonic`, and wrote what it found; or could not."""
        self._seen_at = max(self._seen_at, at or self._seen_at)
        self._problems["here"] = problem

    @property
    def directory_age(self) -> float:
        """Seconds since the directory was last read well."""
        return self.monotonic() - self._directory_at

    @property
    def rows_age(self) -> float:
        """Seconds since this process last read the rows."""
        return self.monotonic() - self._rows_at

    def problems(self) -> list[str]:
        """What keeps decisions from being made or current; empty when all is well."""
        found = [problem for problem in dict.fromkeys(self._problems.values()) if problem]
        if self.refused:
            found.append("a directory change is refused: it drops too many roles; a security administrator can accept it")
        if self.current().freshness is Freshness.STALE:
            if max(self._sighting.heard or self._seen_at, self._seen_at) < self.monotonic() - LEADER_LIMIT:
                found.append("nobody follows the directory; run `yumen worker`")
            found.append("the directory is stale: every decision is no")
        return found

    def start(self) -> None:
        """Look at the rows from now on in a thread of its own."""
        self.refresh()
        self._thread = threading.Thread(target=self._run, name="authz-rows", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(5)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait(self.settings.authz.poll.total_seconds())
            self._wake.clear()
            try:
                self._look(wait=True)
            except Exception:  # noqa: BLE001 - the snapshot ages and decisions become no, whatever it was
                _log.exception("authz poll failed")

    def _look(self, *, wait: bool) -> None:
        if self.database.in_write or not self._looking.acquire(blocking=wait):
            return
        try:
            self._tried_at = self.monotonic()
            problem = "; ".join(filter(None, (problem_of(self._look_at_rows), problem_of(self._flush))))
            if problem and problem != self._problems["rows"]:
                _log.warning("authz cannot look", reason=problem)
            self._problems["rows"] = problem
        finally:
            self._looking.release()

    def _look_at_rows(self) -> None:
        began, seen_at = self.monotonic(), self._seen_at
        with self.database.moment() as session:
            revision, announced, done, problem = session.execute(_NOW).one_or_none() or (0, None, None, None)
            known = self._kept[Freshness.FRESH]
            if revision != known.revision:
                self._tree = replica.grown(session, self._tree, known.revision)
                self._keep(replace(known, revision=revision, directory=self._tree.directory, _roles={}, **_rows(session, known)))
                state = session.get(DirectoryState, 1)
                self.refused = state.refused if state else ""
        elsewhere = self._sighting.see(began, announced or 0, done or 0)
        self._directory_at = max(self._directory_at, seen_at, elsewhere or seen_at)
        self._problems["elsewhere"] = problem or ""
        self._rows_at = began

    def _flush(self) -> None:
        self.tally.flush(self.trail, self.clock())

    def _keep(self, snapshot: Snapshot) -> None:
        self._kept = {age: replace(snapshot, freshness=age) for age in Freshness}


def problem_of(look: Callable[[], None]) -> str:
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
