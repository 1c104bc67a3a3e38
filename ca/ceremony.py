"""The key ceremony: one reviewed file says which authorities there shall be; this makes them, and tells every step.

Each step is durable and told before the next; a ceremony that was broken off is performed again with the same file and
takes up what is there. Only the first ceremony of a home names people: its first administrators and registrars.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from audit import search
from audit.event import Event, Kind
from audit.permit import Action, Permit
from audit.record import Transaction, recording
from authz import confirm
from authz.confirm import Named
from ca import intents, issuance
from ca.authorities import Issuer, issuer
from ca.intents import Leases
from ca.keys import Signer, Signers
from ca.order import Order
from ca.registration import Draft, enter
from ca.states import RequestState
from ca.tables import Approval, Authority, Request
from ca.worker import responder_order
from ca.works import Works
from certs.names import Kind as SubjectKind
from certs.names import Subject
from certs.profiles import PROFILES
from certs.suites import DEFAULT, SUITES, spki_sha256
from core.errors import Conflict, Denied, Malformed, Unavailable

#: OCSP answers are signed in great numbers by web processes, so their keys are of the cheapest kind.
RESPONDER_SUITE = "ecdsa-p256-sha256"

_NOT_MADE = "no certificate could be made for {whom}; read the log, then perform the ceremony again"

_ID = re.compile(r"[a-z][a-z0-9-]{0,31}")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedAuthority:
    """One authority to be made."""

    id: str
    name: str
    suite: str = DEFAULT
    #: Profiles it issues; none for a root.
    profiles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the ceremony file says."""

    #: Names this ceremony in permits and in the trail.
    name: str
    organisation: str
    root: PlannedAuthority
    issuing: tuple[PlannedAuthority, ...]
    #: First administrators and registrars: person, role and unit by entryUUID.
    people: tuple[Named, ...] = ()

    @property
    def resource(self) -> str:
        """What the permit for this ceremony must cover."""
        return f"ceremony:{self.name}"


def parse(text: str) -> Plan:
    """The plan in a ceremony file (TOML).

    Raises:
        Malformed: unreadable, with unknown or missing keys, or with values that do not fit; all problems at once.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Malformed("the ceremony file cannot be read: {reason}; write it as docs/ceremony.md shows", reason=error) from error
    found: list[str] = []
    if unknown := sorted(raw.keys() - {"name", "organisation", "root", "issuing", "people"}):
        found.append(f"unknown: {', '.join(unknown)}")
    plan = Plan(
        name=_text(raw, "name", found, _ID),
        organisation=_text(raw, "organisation", found),
        root=_authority(raw.get("root", {}), "root", found),
        issuing=tuple(_authority(each, f"issuing {number}", found) for number, each in enumerate(_tables(raw, "issuing", found), 1)),
        people=tuple(Named(*(_text(each, key, found) for key in Named._fields)) for each in _tables(raw, "people", found)),
    )
    found += _misfits(plan)
    if found:
        raise Malformed("the ceremony file needs work: {problems}", problems="; ".join(found))
    return plan


def perform(
    works: Works, plan: Plan, *, responders: Signers, permit: Permit, say: Say = print, naming: Callable[[Transaction], None] | None = None
) -> list[str]:
    """Make what `plan` asks for, and name the people in a first ceremony; gives the transcript, which is recorded.

    `naming` is done with the people's confirmation, last in its transaction: what it shows counts once that commits.

    Raises:
        Denied: a later ceremony names people; the refusal is recorded.
        Conflict: an authority of this id exists with another name or suite.
        Unavailable: the trail cannot be written, or a key misbehaved; perform it again.
    """
    permit.must_cover(Action.CEREMONY_PERFORM, plan.resource)
    _refuse_later_people(works, plan, permit)
    intents.sweep(works, Leases(works.monotonic))
    transcript: list[str] = []

    def tell(line: str) -> None:
        transcript.append(line)
        say(line)

    tell(f"ceremony {plan.name} of {plan.organisation}")
    _authority_made(works, plan, plan.root, None, permit, tell)
    for each in plan.issuing:
        _authority_made(works, plan, each, plan.root.id, permit, tell)
    for each in (plan.root, *plan.issuing):
        _responder_made(works, each.id, responders, permit, tell)
    for who in plan.people:
        tell(f"{who.role}: person {who.person} in unit {who.unit}")
    with recording(works.trail) as tx:
        if plan.people:
            _must_be_first(tx.db, plan)
            confirm.first(tx, works.snapshot().directory, plan.people, permit=permit)
        tx.record(Event.under(permit, Kind.CEREMONY_PERFORMED, plan.resource, details={"transcript": transcript}))
        if plan.people and naming:
            naming(tx)
    say("ceremony recorded in the trail")
    return transcript


def admit(tx: Transaction, draft: Draft, *, permit: Permit) -> Request:
    """Take in a request approved by the ceremony itself: the portal's and the first applications' certificates.

    Raises:
        Conflict: a request that came in otherwise exists; from then on registrars approve.
    """
    if permit.action is not Action.CEREMONY_PERFORM:
        raise RuntimeError(f"permit for {permit.action} used to admit a request")
    others = select(func.count()).select_from(Request).where(Request.requester != permit.actor.id)
    if tx.db.scalar(others) or draft.facts.kind == SubjectKind.PERSON:
        raise Conflict("the ceremony admits only the first servers and applications; submit a request to a registrar")
    request = enter(tx, draft, requester=permit.actor.id, state=RequestState.APPROVED)
    request.approvals.append(
        Approval(approver=permit.resource, word="approve", comment="", rule=permit.rule, revision=permit.revision, at=tx.now)
    )
    request.decided_at = tx.now
    told = {"subject": request.subject, "profile": request.profile, "spki-sha256": request.spki_sha256}
    details = {**told, "admitted-by": permit.resource}
    tx.record(Event.under(permit, Kind.REQUEST_SUBMITTED, request.ref, scope=request.unit, details=details))
    return request


def is_first(session: Session) -> bool:
    """Whether no ceremony was performed yet, by the trail itself."""
    query = search.parse_query(f"code:{Kind.CEREMONY_PERFORMED.code} out:ok")
    return not search.find(session, query, limit=1).entries


def _must_be_first(session: Session, plan: Plan) -> None:
    if plan.people and not is_first(session):
        reason = "later-ceremony"
        raise Denied("only the first ceremony of a home names people; a security administrator confirms further ones", reason=reason)


def _refuse_later_people(works: Works, plan: Plan, permit: Permit) -> None:
    try:
        with works.database.reading() as session:
            _must_be_first(session, plan)
    except Denied:
        told = {"people": [list(who) for who in plan.people]}
        refused = Event.under(permit, Kind.CEREMONY_REFUSED, plan.resource, outcome="deny", reason="later-ceremony", details=told)
        works.trail.append([refused])
        raise


def _authority_made(works: Works, plan: Plan, wanted: PlannedAuthority, parent: str | None, permit: Permit, tell: Say) -> None:
    signer = works.signers.make(f"ca/{wanted.id}", wanted.suite)
    spki = spki_sha256(signer.public_key)
    row = _row_made(works, plan, wanted, parent, signer, permit)
    tell(f"authority {wanted.id} ({row.name}): {row.suite} key {spki}")
    if row.cert is not None:
        tell(f"authority {wanted.id}: certificate exists")
        return
    order = Order(
        authority=parent or wanted.id,
        profile="issuing" if parent else "root",
        subject=Subject(kind=SubjectKind.AUTHORITY, id=wanted.id, common_name=wanted.name, organisation=plan.organisation),
        public_key=signer.public_key,
        permit=permit,
        resource=plan.resource,
        action=Action.CEREMONY_PERFORM,
        subject_ref=f"ca:{wanted.id}",
    )
    itself = None if parent else Issuer(wanted.id, signer.suite, spki, None, signer)
    made = issuance.issue(works, [order], root=itself)
    if not made:
        raise Unavailable(_NOT_MADE, whom=f"authority {wanted.id}")
    tell(f"authority {wanted.id}: certificate {made[0].serial} by {parent or 'itself'}, until {made[0].not_after.date().isoformat()}")


def _row_made(works: Works, plan: Plan, wanted: PlannedAuthority, parent: str | None, signer: Signer, permit: Permit) -> Authority:
    spki = spki_sha256(signer.public_key)
    with works.database.reading() as session:
        row = session.get(Authority, wanted.id)
    if row is not None:
        if (row.name, row.suite, row.parent, row.spki_sha256) != (wanted.name, wanted.suite, parent, spki):
            raise Conflict("authority `{authority}` exists with another name, suite or key; choose another id", authority=wanted.id)
        return row
    row = Authority(
        id=wanted.id,
        name=wanted.name,
        organisation=plan.organisation,
        parent=parent,
        suite=wanted.suite,
        profiles=" ".join(wanted.profiles),
        spki_sha256=spki,
        stopped="",
    )
    with recording(works.trail) as tx:
        row.created_at = tx.now
        tx.db.add(row)
        details = {"purpose": f"ca/{wanted.id}", "suite": wanted.suite, "spki-sha256": spki}
        tx.record(Event.under(permit, Kind.KEY_GENERATED, f"ca:{wanted.id}", details=details))
    return row


def _responder_made(works: Works, authority: str, responders: Signers, permit: Permit, tell: Say) -> None:
    with works.database.reading() as session:
        row = session.get_one(Authority, authority)
        issuer(session, works.signers, authority)
    if row.responder is not None:
        tell(f"responder {authority}: certificate exists")
        return
    signer = responders.make(f"ocsp/{authority}", RESPONDER_SUITE)
    spki = spki_sha256(signer.public_key)
    with recording(works.trail) as tx:
        details = {"purpose": f"ocsp/{authority}", "suite": RESPONDER_SUITE, "spki-sha256": spki}
        tx.record(Event.under(permit, Kind.KEY_GENERATED, f"ca:{authority}", details=details))
    made = issuance.issue(works, [responder_order(row, signer.public_key, permit)])
    if not made:
        raise Unavailable(_NOT_MADE, whom=f"responder {authority}")
    tell(f"responder {authority}: key {spki}, certificate {made[0].serial}, until {made[0].not_after.date().isoformat()}")


def _text(raw: Any, key: str, found: list[str], form: re.Pattern[str] | None = None) -> str:
    value = raw.get(key, "") if isinstance(raw, dict) else ""
    if not isinstance(value, str) or not value or (form and not form.fullmatch(value)):
        found.append(f"`{key}` is missing or cannot be used")
        return ""
    return value


def _authority(raw: Any, where: str, found: list[str]) -> PlannedAuthority:
    raw = raw if isinstance(raw, dict) else {}
    if unknown := sorted(raw.keys() - {field.name for field in fields(PlannedAuthority)}):
        found.append(f"{where}: unknown {', '.join(unknown)}")
    profiles = raw.get("profiles", [])
    return PlannedAuthority(
        id=_text(raw, "id", found, _ID),
        name=_text(raw, "name", found),
        suite=_text({"suite": DEFAULT, **raw}, "suite", found),
        profiles=tuple(str(profile) for profile in profiles) if isinstance(profiles, list) else (),
    )


def _tables(raw: dict[str, Any], key: str, found: list[str]) -> list[Any]:
    value = raw.get(key, [])
    if isinstance(value, list):
        return value
    found.append(f"`{key}` must be tables, written `[[{key}]]`")
    return []


def _misfits(plan: Plan) -> list[str]:
    every = (plan.root, *plan.issuing)
    found = [f"suite `{each.suite}` is not one of {', '.join(SUITES)}" for each in every if each.suite not in SUITES]
    known = {name for name, profile in PROFILES.items() if profile.path_length is None and name != "ocsp"}
    issued = [profile for each in plan.issuing for profile in each.profiles]
    found += [f"profile `{name}` is not one of {', '.join(sorted(known))}" for name in issued if name not in known]
    if plan.root.profiles or not all(each.profiles for each in plan.issuing):
        found.append("the root issues no profile, every issuing authority at least one")
    if len(issued) != len(set(issued)) or len(every) != len({each.id for each in every}):
        found.append("ids and profiles must not repeat")
    if not plan.issuing:
        found.append("there is no issuing authority")
    return found
