"""Requests for certificates: submitted by their owner, decided by officers of the unit, never by those who asked.

Every act takes a permit and checks once more on the locked row: its state, its unit, and that nobody decides for himself.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from audit.event import Event, Kind
from audit.permit import Action, ActorKind, Permit
from audit.record import Transaction
from ca.states import REQUESTS, RequestState, RequestStep, Standing, after
from ca.subjects import Facts
from ca.tables import Approval, Authority, Certificate, Request, Revocation
from certs.csr import Csr
from certs.profiles import PROFILES, Profile
from core.errors import Conflict, Denied, Malformed, NotFound

#: Rows that one page of a list may hold.
PAGE = 100
#: States in which something is still to come.
UNDER_WAY = (RequestState.SUBMITTED, RequestState.APPROVED, RequestState.ISSUING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What is asked for: a profile, a key that proved its possession, and the subject as the directory knows it."""

    profile: str
    csr: Csr
    facts: Facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which requests to list; what is None does not matter, an empty collection matches nothing."""

    states: Collection[str] | None = None
    units: Collection[str] | None = None
    #: Pseudonym of the person who answers for the subject: nobody else can have asked, but Yumen itself.
    owner: str | None = None
    profile: str | None = None
    subject: str | None = None


class About(NamedTuple):
    """What the policy is asked about: the fields of a target, in its order."""

    ref: str
    unit: str
    owner: str
    requester: str


def submit(tx: Transaction, *, permit: Permit, draft: Draft) -> Request:
    """Take in a request. It waits for as many approvals as its profile asks for.

    Raises:
        NotFound: no authority issues the profile.
        Malformed: the profile is not for this kind of subject.
        Conflict: the key belongs to another subject or was compromised, or the subject is not active.
    """
    permit.must_cover(Action.REQUEST_SUBMIT, draft.facts.ref)
    _must_still_be(permit, draft.facts.unit, draft.facts.ref)
    request = enter(tx, draft, requester=permit.actor.id, state=RequestState.SUBMITTED)
    if not PROFILES[draft.profile].approvals:
        _advance(request, RequestStep.APPROVE)
    tx.record(_event(permit, Kind.REQUEST_SUBMITTED, request, _asked(request)))
    return request


def renew(tx: Transaction, *, permit: Permit, draft: Draft, previous: str) -> Request:
    """Take in a key for the subject of the good certificate `previous` (`cert:…`), approved at once: for Yumen's own.

    One that ended while the service was off is followed by one for the same key only: it was never withdrawn.

    Raises:
        Denied: a service asks, and only for what it holds: the same subject, in good standing, of the same profile.
    """
    permit.must_cover(Action.REQUEST_SUBMIT, draft.facts.ref)
    held = tx.db.scalar(select(Certificate).where(Certificate.ref_is(previous)))
    usable = held is not None and (held.not_after > tx.now or held.spki_sha256 == draft.csr.spki_sha256)
    good = held is not None and held.standing is Standing.VALID and usable
    same = held is not None and (held.subject, held.profile) == (draft.facts.ref, draft.profile)
    if permit.actor.kind is not ActorKind.SERVICE or not (good and same):
        raise Denied("only a certificate in good standing is renewed without an approval; submit a request", reason="not-renewable")
    request = enter(tx, draft, requester=permit.actor.id, state=RequestState.APPROVED)
    _approve_by(request, previous, permit, tx.now)
    tx.record(_event(permit, Kind.REQUEST_SUBMITTED, request, {**_asked(request), "renews": previous}))
    return request


def renew_own(tx: Transaction, *, permit: Permit, draft: Draft, previous: str) -> Request:
    """Take in a new key for the holder of the certificate `previous` (`cert:…`).

    A person who comes with that very certificate vouches for the new key with the old one: approved at once, in the last
    weeks of a certificate in good standing, while name and unit are what they were. Any other renewal waits for a registrar.

    Raises:
        Malformed, Conflict: as `submit`.
    """
    permit.must_cover(Action.REQUEST_RENEW, draft.facts.ref)
    _must_still_be(permit, draft.facts.unit, draft.facts.ref)
    vouched = _vouched(tx, permit, draft, previous)
    request = enter(tx, draft, requester=permit.actor.id, state=RequestState.APPROVED if vouched else RequestState.SUBMITTED)
    if vouched:
        _approve_by(request, previous, permit, tx.now)
    tx.record(_event(permit, Kind.REQUEST_SUBMITTED, request, _asked(request) | ({"renews": previous} if vouched else {})))
    return request


def is_renewable(held: Certificate, now: dt.datetime) -> bool:
    """Whether the certificate is good and near enough to its end."""
    return held.standing is Standing.VALID and held.renewable_from <= now < held.not_after


def _vouched(tx: Transaction, permit: Permit, draft: Draft, previous: str) -> bool:
    held = tx.db.scalar(select(Certificate).where(Certificate.ref_is(previous)))
    if held is None or not is_renewable(held, tx.now):
        return False
    shown = permit.actor.kind is ActorKind.PERSON and permit.actor.auth == "cert" and permit.actor.serial == held.serial
    mine = held.subject == draft.facts.ref == f"person:{permit.actor.id}" and held.profile == draft.profile
    return shown and mine and (held.common_name, held.unit) == (draft.facts.common_name, draft.facts.unit)


def _approve_by(request: Request, previous: str, permit: Permit, at: dt.datetime) -> None:
    """The certificate `previous` speaks where an officer would."""
    request.decided_at = at
    request.approvals.append(Approval(approver=previous, word="approve", comment="", rule=permit.rule, revision=permit.revision, at=at))


def enter(tx: Transaction, draft: Draft, *, requester: str, state: RequestState) -> Request:
    """Check a draft and write its row; the caller records the event."""
    profile = _profile(tx.db, draft)
    draft.facts.subject().name()  # a name that no certificate can carry is refused here, not after somebody has approved it
    if not draft.facts.active:
        raise Conflict("`{ref}` is not active in the directory; ask its administrator", ref=draft.facts.ref)
    _key_must_be_free(tx.db, draft)
    request = Request(
        profile=profile.name,
        state=state,
        subject=draft.facts.ref,
        requester=requester,
        owner=draft.facts.owner,
        unit=draft.facts.unit,
        common_name=draft.facts.common_name,
        facts=draft.facts.encode(),
        spki=draft.csr.public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        spki_sha256=draft.csr.spki_sha256,
        submitted_at=tx.now,
    )
    tx.db.add(request)
    tx.db.flush()
    return request


def _asked(request: Request) -> dict[str, object]:
    """What the event of a request says of it: enough to see later that the row is still what was asked for."""
    return {"profile": request.profile, "spki-sha256": request.spki_sha256}


def approve(tx: Transaction, request_id: int, *, permit: Permit, comment: str = "") -> Request:
    """Give one officer's approval; the last one that the profile asks for hands the request to issuance.

    Raises:
        NotFound, Conflict: no such request, or it is no longer waiting, or this officer has spoken already.
        Denied: it is the officer's own request.
    """
    request = _decide(tx, request_id, permit, Action.REQUEST_APPROVE, comment)
    given = sum(1 for approval in request.approvals if approval.word == "approve")
    if given >= PROFILES[request.profile].approvals:
        _advance(request, RequestStep.APPROVE)
        request.decided_at = tx.now
    elif request.state != RequestState.SUBMITTED:
        after(REQUESTS, RequestState(request.state), RequestStep.APPROVE, request.ref)
    details = {"given": given, "needed": PROFILES[request.profile].approvals}
    tx.record(_event(permit, Kind.REQUEST_APPROVED, request, details, comment))
    return request


def refuse(tx: Transaction, request_id: int, *, permit: Permit, comment: str = "") -> Request:
    """Refuse a waiting request for good; raises as `approve`."""
    request = _decide(tx, request_id, permit, Action.REQUEST_REFUSE, comment)
    _advance(request, RequestStep.REFUSE)
    request.reasons = "refused"
    request.decided_at = tx.now
    tx.record(_event(permit, Kind.REQUEST_REFUSED, request, {}, comment))
    return request


def find(session: Session, request_id: int) -> Request | None:
    """The request, its approvals and its certificate, or nothing."""
    return session.get(Request, request_id)


def get(session: Session, request_id: int) -> Request:
    """The request, its approvals and its certificate.

    Raises:
        NotFound: there is none of that number.
    """
    if request := find(session, request_id):
        return request
    raise NotFound("there is no request `{request}`", request=request_id)


def find_same(session: Session, subject: str, key: str) -> Request | None:
    """The request of this subject for this very key (SHA-256 in hex) that was not turned down: who sends twice is shown the first."""
    which = (Request.spki_sha256 == key, Request.subject == subject, Request.state.in_((*UNDER_WAY, RequestState.ISSUED)))
    return session.scalar(select(Request).where(*which).order_by(Request.id).limit(1))


def target(request: Request) -> About:
    """What the policy is asked about before anything is done with the request."""
    return About(request.ref, request.unit, request.owner, request.requester)


def listing(session: Session, which: Filter, *, before: int | None = None, limit: int = PAGE) -> list[Request]:
    """Requests, newest first; give the last one's id as `before` for the next page."""
    query = select(Request).where(*_conditions(which)).order_by(Request.id.desc()).limit(min(limit, PAGE))
    return list(session.scalars(query if before is None else query.where(Request.id < before)))


def _conditions(which: Filter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if which.states is not None:
        found.append(Request.state.in_(which.states))
    if which.units is not None:
        found.append(Request.unit.in_(which.units))
    if which.owner is not None:
        found.append(Request.owner == which.owner)
    if which.profile is not None:
        found.append(Request.profile == which.profile)
    if which.subject is not None:
        found.append(Request.subject == which.subject)
    return found


def _profile(session: Session, draft: Draft) -> Profile:
    issued = {name for profiles in session.scalars(select(Authority.profiles)) for name in profiles.split()}
    profile = PROFILES.get(draft.profile)
    if profile is None or draft.profile not in issued:
        known = ", ".join(sorted(issued))
        raise NotFound("no authority issues the profile `{profile}`; choose one of: {known}", profile=draft.profile, known=known)
    if profile.kind != draft.facts.kind:
        raise Malformed("profile `{profile}` is not for a {kind}; choose another", profile=draft.profile, kind=draft.facts.kind)
    return profile


def _key_must_be_free(session: Session, draft: Draft) -> None:
    """One key, one subject; and a key that was once compromised is never certified again."""
    key = draft.csr.spki_sha256
    other = select(Request.id).where(Request.spki_sha256 == key, Request.subject != draft.facts.ref).limit(1)
    own = select(Authority.id).where(Authority.spki_sha256 == key).limit(1)
    if session.scalar(other) is not None or session.scalar(own) is not None:
        raise Conflict("this key belongs to another subject; make a new key")
    lost = (
        select(Revocation.intent_id)
        .join(Certificate, Certificate.intent_id == Revocation.intent_id)
        .where(Certificate.spki_sha256 == key, Revocation.standing == Standing.REVOKED, Revocation.reason == "keyCompromise")
        .limit(1)
    )
    if session.scalar(lost) is not None:
        raise Conflict("this key was revoked as compromised; make a new key")


def _decide(tx: Transaction, request_id: int, permit: Permit, action: Action, comment: str) -> Request:
    permit.must_cover(action, f"request:{request_id}")
    request = _locked(tx.db, request_id)
    _must_still_be(permit, request.unit, request.ref)
    if permit.actor.kind is not ActorKind.PERSON:
        raise RuntimeError(f"the policy let {permit.actor.kind} {permit.actor.id} decide on a request")
    if permit.actor.id in {request.requester, request.owner}:
        raise Denied("nobody decides on a request of their own; ask another registrar of the unit", reason="own-request")
    if any(approval.approver == permit.actor.id for approval in request.approvals):
        raise Conflict("you have decided on request `{request}` already; another officer must", request=request_id)
    word = "approve" if action is Action.REQUEST_APPROVE else "refuse"
    request.approvals.append(
        Approval(approver=permit.actor.id, word=word, comment=comment, rule=permit.rule, revision=permit.revision, at=tx.now)
    )
    return request


def _locked(session: Session, request_id: int) -> Request:
    row = session.get(Request, request_id, with_for_update=True, populate_existing=True)
    if row is None:
        raise NotFound("there is no request `{request}`", request=request_id)
    return row


def _must_still_be(permit: Permit, unit: str, what: str) -> None:
    if permit.unit != unit:
        raise Conflict("`{what}` moved to another unit meanwhile; reload and look again", what=what)


def _advance(request: Request, step: RequestStep) -> None:
    request.state = after(REQUESTS, RequestState(request.state), step, request.ref)


def _event(permit: Permit, kind: Kind, request: Request, details: Mapping[str, object], comment: str = "") -> Event:
    about = {"subject": request.subject} | dict(details)
    personal = {"comment": comment} if comment else {}
    return Event.under(permit, kind, request.ref, scope=request.unit, details=about, personal=personal)
