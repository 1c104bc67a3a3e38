"""What people are to be told now: certificates that end, requests that wait. Looked up anew each time; what was told is left out."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

from sqlalchemy import Select, exists, func, literal, select
from sqlalchemy.orm import Session, aliased

from authz.people import Person
from authz.snapshot import Snapshot
from ca.states import RequestState, Standing
from ca.tables import Approval, Certificate, Request, Revocation
from core.settings import Notices as Settings
from ops.notices.notice import Kind, Planned
from ops.tables import Notice

#: A digest that says nothing new is repeated no sooner than this.
REMINDER = dt.timedelta(days=1)


def expiring(session: Session, snapshot: Snapshot, now: dt.datetime, days: Sequence[int]) -> Iterator[Planned]:
    """Good certificates that end within so many days and have no successor: each is told once at each step, to who answers for it.

    A step that is longer than half of a certificate's life is left out.
    """
    for step, next_step in pairwise((*sorted(days, reverse=True), 0)):
        for authority, serial, subject, owner, not_after in session.execute(_ending(now, step, next_step)):
            person = snapshot.directory.by_id.get(owner)
            if person is not None:
                told = "" if subject.startswith("person:") else subject
                facts: dict[str, str | int] = {"subject": told, "serial": serial, "days": step, "ends_at": not_after.isoformat()}
                yield Planned(f"expiry:{authority}/{serial}:{step}", Kind.EXPIRY, person.uuid, facts)


def _ending(now: dt.datetime, step: int, next_step: int) -> Select[str, str, str, str, dt.datetime]:
    new = aliased(Certificate)
    bad = exists().where(Revocation.intent_id == Certificate.intent_id, Revocation.standing != Standing.VALID)
    renewed = exists().where(new.subject == Certificate.subject, new.profile == Certificate.profile, new.not_after > Certificate.not_after)
    key = literal("expiry:").concat(Certificate.authority).concat("/").concat(Certificate.serial).concat(f":{step}")
    return select(Certificate.authority, Certificate.serial, Certificate.subject, Certificate.owner, Certificate.not_after).where(
        Certificate.not_after > now + dt.timedelta(days=next_step),
        Certificate.not_after <= now + dt.timedelta(days=step),
        Certificate.not_before <= now - dt.timedelta(days=step),
        Certificate.owner != "",
        ~bad,
        ~renewed,
        ~exists().where(Notice.key == key),
    )


def awaiting(session: Session, snapshot: Snapshot, now: dt.datetime, settings: Settings) -> Iterator[Planned]:
    """One digest for each registrar on whom requests wait: the nearest ones above the unit, and after a day all above it.

    Nobody is told of requests of their own, or of such that they have decided on already.
    """
    digests = _digests(session, snapshot, now, settings)
    for person, before in _last(session, digests).items():
        digest = digests[person]
        newest, number, wait = max(digest), 1, dt.timedelta()
        if before is not None:
            number = int(before.key.rpartition(":")[2]) + 1
            wait = settings.digest_period if newest > json.loads(before.facts)["newest"] else REMINDER
        if before is None or now - before.made_at >= wait:
            facts: dict[str, str | int] = {"count": len(digest), "oldest": min(digest.values()).isoformat(), "newest": newest}
            yield Planned(f"approval:{number}", Kind.APPROVAL, person, facts)


def _digests(session: Session, snapshot: Snapshot, now: dt.datetime, settings: Settings) -> dict[str, dict[int, dt.datetime]]:
    """What waits for whom: since when, by request, by the registrar's entryUUID."""
    registrars, found = holders(snapshot, ["registrar"]), dict[str, dict[int, dt.datetime]]()
    spoken: dict[int, set[str]] = {}
    said = select(Approval.request_id, Approval.approver).join(Request).where(Request.state == RequestState.SUBMITTED)
    for request, approver in session.execute(said):
        spoken.setdefault(request, set()).add(approver)
    waiting = select(Request.id, Request.unit, Request.requester, Request.owner, Request.submitted_at)
    waiting = waiting.where(Request.state == RequestState.SUBMITTED, Request.submitted_at <= now - settings.approval_after)
    for request, unit, requester, owner, submitted_at in session.execute(waiting):
        not_these = {requester, owner} | spoken.get(request, set())
        everyone = now - submitted_at >= settings.escalate_after
        for person in _concerned(snapshot, registrars, unit, not_these, everyone=everyone):
            found.setdefault(person, {})[request] = submitted_at
    return found


def holders(snapshot: Snapshot, roles: Iterable[str]) -> Mapping[str, list[Person]]:
    """Those who hold one of `roles` and may act now, by the unit of the role."""
    wanted, found = frozenset(roles), dict[str, list[Person]]()
    for identity, held in snapshot.directory.holdings.items():
        if any(holding.role in wanted for holding in held) and not snapshot.barred(person := snapshot.directory.people[identity]):
            for unit in {holding.unit for holding in snapshot.roles(identity) if holding.role in wanted}:
                found.setdefault(unit, []).append(person)
    return found


def _concerned(snapshot: Snapshot, registrars: Mapping[str, list[Person]], unit: str, not_these: set[str], *, everyone: bool) -> set[str]:
    """EntryUUIDs of the registrars who are told of a request of this unit."""
    place, found = snapshot.directory.units.get(unit), set[str]()
    if place is None:
        return found
    for scope in (*reversed(place.chain), *sorted(place.above.difference(place.chain))):
        found |= {person.uuid for person in registrars.get(scope, ()) if person.id not in not_these}
        if found and not everyone:
            break
    return found


def _last(session: Session, digests: Iterable[str]) -> dict[str, Notice | None]:
    """The last digest of each of these registrars."""
    newest = select(func.max(Notice.id)).where(Notice.kind == Kind.APPROVAL).group_by(Notice.person)
    known = {row.person: row for row in session.scalars(select(Notice).where(Notice.id.in_(newest)))}
    return {person: known.get(person) for person in digests}
