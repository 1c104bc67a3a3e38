"""What the worker does again and again: give a sign of life, sweep, renew responders, issue, publish lists.

One `Worker` per process; the process that holds the leader's lock calls `step` every `ca.period`. Each part may be
called alone. A part that fails leaves its work to the next step.
"""

from __future__ import annotations

import datetime as dt
from typing import cast

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_der_public_key
from sqlalchemy import select
from structlog import get_logger

from audit.event import Event, Kind
from audit.permit import Action, Permit
from audit.record import recording
from authz.snapshot import Snapshot
from ca import authorities, certificates, crls, intents, issuance
from ca.intents import Leases
from ca.order import Order
from ca.states import REQUESTS, RequestState, RequestStep, after
from ca.subjects import Facts, find_facts
from ca.tables import Authority, Certificate, Request
from ca.works import Works
from certs.names import Kind as SubjectKind
from certs.names import Subject
from certs.suites import PublicKey
from core.errors import Denied, Error

_log = get_logger()

#: Requests that one step takes at most: the batch of one pair of commits.
BATCH = 64
#: A sign of life is given this often; far below `intents.PATIENCE`.
_BEAT = dt.timedelta(seconds=2)
#: After a refused or failed permit the same thing is not asked again for this long.
_PAUSE = dt.timedelta(seconds=5)


class Worker:
    """The jobs of one signing process. Not safe to share between threads."""

    def __init__(self, works: Works) -> None:
        self.works = works
        self._leases = Leases(works.monotonic)
        self._beaten: float | None = None
        self._not_before: dict[str, float] = {}

    def step(self) -> None:
        """Do everything that is due. An error of one part is logged and does not keep the others from their work."""
        for part in (self.beat, self.sweep, self.renew_responders, self.issue, self.publish):
            try:
                part()
            except Error as error:
                _log.warning("worker part failed", part=part.__name__, reason=error.detail)

    def beat(self) -> None:
        """Give a sign of life, when one is due."""
        now = self.works.monotonic()
        if self._beaten is None or now - self._beaten >= _BEAT.total_seconds():
            intents.beat(self.works)
            self._beaten = now

    def sweep(self) -> list[int]:
        """Sweep orphaned intents and lists; gives the ids of the intents. Nothing of this process runs meanwhile."""
        crls.sweep(self.works, self._leases)
        return intents.sweep(self.works, self._leases)

    def issue(self) -> list[Certificate]:
        """Issue what is approved, one batch; requests whose facts changed go back."""
        now = self.works.now()
        with self.works.database.reading() as session:
            waiting = list(
                session.scalars(
                    select(Request)
                    .where(Request.state == RequestState.APPROVED, (Request.retry_at.is_(None)) | (Request.retry_at <= now))
                    .order_by(Request.id)
                    .limit(BATCH)
                )
            )
        orders = [order for request in waiting if (order := self._order(request)) is not None]
        return issuance.issue(self.works, orders) if orders else []

    def renew_responders(self) -> list[Certificate]:
        """Give each OCSP responder a new certificate for its key when half of the old one's life is over."""
        now = self.works.now()
        orders = []
        with self.works.database.reading() as session:
            rows = [row for row in certificates.authorities(session) if row.responder is not None and _is_half_over(row.responder, now)]
        for row in rows:
            if (permit := self._permit(Action.CERT_ISSUE, f"ocsp:{row.id}")) is not None:
                key = cast("PublicKey", x509.load_der_x509_certificate(row.responder or b"").public_key())
                orders.append(responder_order(row, key, permit))
        return issuance.issue(self.works, orders) if orders else []

    def publish(self) -> list[str]:
        """Publish the lists that are due; gives the authorities."""
        now = self.works.now()
        with self.works.database.reading() as session:
            due = [row.id for row in certificates.authorities(session) if not row.stopped and crls.due(session, row.id, now)]
        published = []
        for authority in due:
            permit = self._permit(Action.STATUS_PUBLISH, f"crl:{authority}")
            if permit is not None and crls.publish(self.works, authority, permit=permit):
                published.append(authority)
        return published

    def _order(self, request: Request) -> Order | None:
        """The order for an approved request; None when it must wait or went back."""
        permit = self._permit(Action.CERT_ISSUE, request.ref)
        if permit is None:
            return None
        snapshot: Snapshot = self.works.snapshot()
        facts = Facts.decode(request.facts)
        if changed := facts.changes(find_facts(snapshot, request.subject)):
            self._return(request, changed, permit)
            return None
        with self.works.database.reading() as session:
            authority = authorities.for_profile(session, request.profile)
        return Order(
            authority=authority,
            profile=request.profile,
            subject=facts.subject(),
            public_key=cast("PublicKey", load_der_public_key(request.spki)),
            permit=permit,
            resource=request.ref,
            request_id=request.id,
            approvals=tuple((approval.approver, approval.rule) for approval in request.approvals),
            subject_ref=request.subject,
            owner=request.owner,
            unit=request.unit,
        )

    def _return(self, request: Request, reasons: list[str], permit: Permit) -> None:
        """Give a request back whose facts are no longer what was approved."""
        with recording(self.works.trail) as tx:
            row = tx.db.get_one(Request, request.id, with_for_update=True, populate_existing=True)
            row.state = after(REQUESTS, RequestState(row.state), RequestStep.RETURN, row.ref)
            row.reasons = " ".join(reasons)
            details = {"subject": row.subject, "changed": reasons}
            more = {"outcome": "fail", "reason": reasons[0], "scope": row.unit, "details": details}
            tx.record(Event.under(permit, Kind.REQUEST_RETURNED, row.ref, **more))

    def _permit(self, action: Action, resource: str) -> Permit | None:
        """Ask the policy; after a refusal the same thing is left alone for a while."""
        now = self.works.monotonic()
        if self._not_before.get(resource, now) > now:
            return None
        try:
            permit = self.works.permits(action, resource)
        except Denied as error:
            _log.warning("the policy refused", action=action, resource=resource, reason=error.detail)
            self._not_before[resource] = now + _PAUSE.total_seconds()
            return None
        self._not_before.pop(resource, None)
        return permit


def responder_order(authority: Authority, key: PublicKey, permit: Permit) -> Order:
    """The order for the certificate of an authority's OCSP responder; responders use it from their next poll on."""
    name = f"{authority.name} OCSP"
    subject = Subject(kind=SubjectKind.RESPONDER, id=authority.id, common_name=name, organisation=authority.organisation)
    return Order(
        authority=authority.id,
        profile="ocsp",
        subject=subject,
        public_key=key,
        permit=permit,
        resource=permit.resource,
        action=permit.action,
        subject_ref=f"ocsp:{authority.id}",
    )


def _is_half_over(der: bytes, now: dt.datetime) -> bool:
    certificate = x509.load_der_x509_certificate(der)
    return now >= certificate.not_valid_before_utc + (certificate.not_valid_after_utc - certificate.not_valid_before_utc) / 2
