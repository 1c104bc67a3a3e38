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
from sqlalchemy.orm import Session
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
        self._troubles: frozenset[str] = frozenset()

    def step(self) -> None:
        """Do everything that is due. An error of one part is logged and does not keep the others from their work.

        With a clock that cannot be believed nothing is signed: a list from the future would be in the way of the right ones.
        """
        signing = () if self.works.doubtful() else (self.renew_responders, self.issue, self.publish)
        for part in (self.beat, self.sweep, self.resume, *signing):
            try:
                part()
            except Error as error:
                _log.warning("worker part failed", part=part.__name__, reason=error.detail)
            except Exception as error:  # noqa: BLE001 - lists must go out although issuance has a bug, and the other way
                _log.error("worker part failed", part=part.__name__, reason=repr(error))

    def beat(self) -> None:
        """Give a sign of life, when one is due."""
        now = self.works.monotonic()
        if self._beaten is None or now - self._beaten >= _BEAT.total_seconds():
            intents.beat(self.works)
            intents.forget(self.works, self._leases)
            self._beaten = now

    def sweep(self) -> list[int]:
        """Sweep orphaned intents and lists; gives the ids of the intents. Nothing of this process runs meanwhile."""
        crls.sweep(self.works, self._leases)
        return intents.sweep(self.works, self._leases)

    def resume(self) -> list[str]:
        """Let stopped authorities go on that a security administrator cleared; gives their ids."""
        with self.works.database.reading() as session:
            cleared = authorities.cleared(session)
        resumed = []
        for authority, said in cleared.items():
            if (permit := self._permit(Action.AUTHORITY_RESUME, f"ca:{authority}")) is not None:
                authorities.resume(self.works.trail, authority, said, permit=permit)
                resumed.append(authority)
        return resumed

    def issue(self) -> list[Certificate]:
        """Issue what is approved, one batch; requests whose facts changed go back. While the log of certificates is damaged, all wait."""
        due = (Request.retry_at.is_(None)) | (Request.retry_at <= self.works.now())
        with self.works.database.reading() as session:
            ready = self._ready(session)
            approved = select(Request).where(Request.state == RequestState.APPROVED, Request.profile.in_(ready), due)
            waiting = list(session.scalars(approved.order_by(Request.id).limit(BATCH)))
        if waiting and self.works.damaged():
            return []
        orders = [order for request in waiting if (order := self._order(request, ready[request.profile])) is not None]
        return issuance.issue(self.works, orders) if orders else []

    def _ready(self, session: Session) -> dict[str, str]:
        """Authorities that can sign now, by profile: requests for others wait without keeping anybody from his turn."""
        ready, troubles = authorities.ready(session, self.works.signers)
        for trouble in troubles - self._troubles:
            _log.warning("authority cannot sign", reason=trouble)
        self._troubles = troubles
        return ready

    def renew_responders(self) -> list[Certificate]:
        """Give each OCSP responder a new certificate for its key when half of the old one's life is over."""
        now = self.works.now()
        orders = []
        with self.works.database.reading() as session:
            rows = [
                row
                for row in certificates.authorities(session)
                if row.responder is not None and not row.held and _is_half_over(row.responder, now)
            ]
        for row in rows:
            if (permit := self._permit(Action.CERT_ISSUE, f"ocsp:{row.id}")) is not None:
                key = cast("PublicKey", x509.load_der_x509_certificate(row.responder or b"").public_key())
                orders.append(responder_order(row, key, permit))
        made = issuance.issue(self.works, orders) if orders else []
        for order in orders:
            if order.authority not in {certificate.authority for certificate in made}:
                self._leave(order.resource)
        return made

    def publish(self) -> list[str]:
        """Publish the lists that are due; gives the authorities."""
        now = self.works.now()
        with self.works.database.reading() as session:
            due = [row.id for row in certificates.authorities(session) if not (row.stopped or row.held) and crls.due(session, row.id, now)]
        published = []
        for authority in due:
            permit = self._permit(Action.STATUS_PUBLISH, f"crl:{authority}")
            if permit is None:
                continue
            if crls.publish(self.works, authority, permit=permit):
                published.append(authority)
            else:
                self._leave(f"crl:{authority}")
        return published

    def _order(self, request: Request, authority: str) -> Order | None:
        """The order for an approved request; None when it must wait or went back."""
        permit = self._permit(Action.CERT_ISSUE, request.ref)
        if permit is None:
            return None
        snapshot: Snapshot = self.works.snapshot()
        facts = Facts.decode(request.facts)
        if changed := facts.changes(find_facts(snapshot, request.subject)):
            self._return(request, changed, permit)
            return None
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
            self._leave(resource)
            return None
        self._not_before.pop(resource, None)
        return permit

    def _leave(self, resource: str) -> None:
        """Leave `resource` alone for a while."""
        self._not_before[resource] = self.works.monotonic() + _PAUSE.total_seconds()


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
