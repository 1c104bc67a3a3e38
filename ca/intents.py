"""Signatures announced before the key moves, and what becomes of those that were never completed.

An intent is open, then fulfilled or swept; only an open one takes a certificate. Whoever finds an orphan (announced, not
completed, its process gone) sweeps it: the serial is revoked, the request is approved again, a late certificate is
discarded. Whether another process is gone is judged by its lease row and our own monotonic clock, never by wall clocks.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session, lazyload

from audit.event import Event, Kind
from audit.permit import Action, Permit
from audit.record import Transaction, recording
from ca import revocation
from ca.authorities import Issuer
from ca.order import Order, Rehearsed
from ca.states import INTENTS, REQUESTS, IntentState, IntentStep, RequestState, RequestStep, after
from ca.tables import Authority, Intent, Lease, Request
from ca.works import Works

#: A foreign process is taken for dead when its lease row stood still this long on our own monotonic clock.
PATIENCE = dt.timedelta(seconds=15)
#: A lease row that stood still this long is taken away; a process that lives after all writes a new one.
FORGOTTEN = dt.timedelta(hours=1)
#: Longest wait between two attempts for one request.
LONGEST_WAIT = dt.timedelta(minutes=5)


def announce(tx: Transaction, batch: Sequence[Rehearsed], writer: tuple[str, str]) -> list[tuple[Rehearsed, int]]:
    """Write the intents of `batch` and their events; gives those whose request still waits for this, each with its intent's id."""
    requests = _locked(tx.db, [made.order.request_id for made in batch])
    begun = [made for made in batch if made.order.request_id is None or _begin(requests[made.order.request_id])]
    intents = [_intent(tx, made, writer) for made in begun]
    tx.db.add_all(intents)
    tx.db.flush()
    for made, intent in zip(begun, intents, strict=True):
        facts = {"profile": made.profile.name, "version": made.profile.version, "tbs-sha256": intent.tbs_sha256}
        told = {**facts, "node": writer[0], "boot": writer[1]}
        tx.record(event(made.issuer, made.order, intent.serial, Kind.CERT_INTENDED, told))
    return [(made, intent.id) for made, intent in zip(begun, intents, strict=True)]


def _intent(tx: Transaction, made: Rehearsed, writer: tuple[str, str]) -> Intent:
    return Intent(
        authority=made.issuer.id,
        serial=f"{made.serial:x}",
        request_id=made.order.request_id,
        profile=made.profile.name,
        profile_version=made.profile.version,
        tbs=made.tbs,
        tbs_sha256=hashlib.sha256(made.tbs).hexdigest(),
        not_after=made.not_after,
        rule=made.order.permit.rule,
        revision=made.order.permit.revision,
        node=writer[0],
        boot=writer[1],
        opened_at=tx.now,
    )


def fulfil(tx: Transaction, numbers: Collection[int]) -> set[int]:
    """Take these intents for their certificates; gives those that were still open: the certificates of others must be discarded."""
    asked = select(Intent).where(Intent.id.in_(numbers), Intent.state == IntentState.OPEN).order_by(Intent.id).with_for_update()
    found = list(tx.db.scalars(asked, execution_options={"populate_existing": True}))
    requests = _locked(tx.db, [intent.request_id for intent in found])
    for intent in found:
        intent.state = after(INTENTS, IntentState.OPEN, IntentStep.FULFIL, f"intent:{intent.id}")
        if intent.request_id is not None:
            request = requests[intent.request_id]
            request.state = after(REQUESTS, RequestState(request.state), RequestStep.ISSUE, request.ref)
    return {intent.id for intent in found}


def event(issuer: Issuer, order: Order, serial: str, kind: Kind, details: Mapping[str, object]) -> Event:
    """The event about one certificate in the making, quoting the permit and the approvals."""
    outcome = "void" if kind is Kind.CERT_FAILED else "ok"
    about: dict[str, object] = {"subject": order.subject_ref, "authority": issuer.id, **details}
    if order.request_id is not None:
        about |= {"request": order.request_id, "approvals": [{"by": by, "rule": rule} for by, rule in order.approvals]}
    more = {"outcome": outcome, "cert": issuer.event_cert(serial), "scope": order.unit, "details": about}
    return Event.under(order.permit, kind, f"cert:{issuer.id}/{serial}", **more)


@dataclass
class Leases:
    """What this process has seen of the others' signs of life. One per worker, never shared."""

    monotonic: Callable[[], float]
    #: (node, boot) -> (last beat seen, when it was first seen).
    seen: dict[tuple[str, str], tuple[int, float]] = field(default_factory=dict)

    def is_dead(self, session: Session, node: str, boot: str, patience: dt.timedelta = PATIENCE) -> bool:
        """Whether the row of that process has not moved for `patience` while we watched."""
        row = session.get(Lease, (node, boot), populate_existing=True)
        beat, now = row.beat if row else -1, self.monotonic()
        known, since = self.seen.setdefault((node, boot), (beat, now))
        if known != beat:
            self.seen[node, boot] = (beat, now)
            return False
        return now - since >= patience.total_seconds()


def beat(works: Works) -> None:
    """Give a sign of life."""
    node, boot = works.trail.writer
    with recording(works.trail) as tx:
        row = tx.db.get(Lease, (node, boot))
        if row is None:
            tx.db.add(Lease(node=node, boot=boot, beat=0))
        else:
            row.beat += 1


def forget(works: Works, leases: Leases) -> None:
    """Take away the lease rows of processes that are long gone: each start of a worker leaves one."""
    with works.database.reading() as session:
        rows = session.execute(select(Lease.node, Lease.boot)).all()
        gone = [row for row in rows if tuple(row) != tuple(works.trail.writer) and leases.is_dead(session, *row, patience=FORGOTTEN)]
    if gone:
        with recording(works.trail) as tx:
            for node, boot in gone:
                tx.db.delete(tx.db.get_one(Lease, (node, boot)))
                leases.seen.pop((node, boot), None)


def sweep(works: Works, leases: Leases, running: Collection[int] = ()) -> list[int]:
    """Sweep the orphans: our own that are not in the running batch at once, others' when their lease stands still."""
    mine = tuple(works.trail.writer)
    with works.database.reading() as session:
        open_now = session.scalars(select(Intent).where(Intent.state == IntentState.OPEN).order_by(Intent.id))
        orphans = [
            intent.id
            for intent in open_now
            if intent.id not in running and ((intent.node, intent.boot) == mine or leases.is_dead(session, intent.node, intent.boot))
        ]
    if not orphans:
        return []
    permits = {intent_id: works.permits(Action.CERT_SWEEP, f"intent:{intent_id}") for intent_id in orphans}
    with recording(works.trail) as tx:
        for intent_id, permit in permits.items():
            permit.must_cover(Action.CERT_SWEEP, f"intent:{intent_id}")
            intent = tx.db.get_one(Intent, intent_id, with_for_update=True, populate_existing=True)
            if intent.state == IntentState.OPEN:
                sweep_one(tx, intent, permit)
    return orphans


def sweep_one(tx: Transaction, intent: Intent, permit: Permit) -> None:
    """Sweep one open intent: its serial revoked, its request approved again."""
    intent.state = after(INTENTS, IntentState.OPEN, IntentStep.SWEEP, f"intent:{intent.id}")
    revocation.revoke_swept(tx, intent)
    details: dict[str, object] = {"tbs-sha256": intent.tbs_sha256, "node": intent.node, "boot": intent.boot}
    unit = ""
    if intent.request_id is not None:
        request = _locked(tx.db, [intent.request_id])[intent.request_id]
        request.state = after(REQUESTS, RequestState(request.state), RequestStep.SWEEP, request.ref)
        request.attempts += 1
        request.retry_at = tx.now + min(dt.timedelta(seconds=2 ** min(request.attempts, 10) - 2), LONGEST_WAIT)
        details["request"], unit = request.id, request.unit
    spki = tx.db.get_one(Authority, intent.authority).spki_sha256
    more = {"outcome": "void", "cert": f"{spki}:{intent.serial}", "scope": unit, "details": details}
    tx.record(Event.under(permit, Kind.CERT_SWEPT, f"cert:{intent.authority}/{intent.serial}", **more))


def _begin(request: Request) -> bool:
    if request.state != RequestState.APPROVED:
        return False
    request.state = after(REQUESTS, RequestState.APPROVED, RequestStep.INTEND, request.ref)
    return True


def _locked(session: Session, numbers: Iterable[int | None]) -> dict[int, Request]:
    """The rows of these requests as they are now, by id and without what hangs on them."""
    wanted = {number for number in numbers if number is not None}
    asked = select(Request).where(Request.id.in_(wanted)).order_by(Request.id).options(lazyload("*")).with_for_update()
    found = session.scalars(asked, execution_options={"populate_existing": True}) if wanted else ()
    return {request.id: request for request in found}
