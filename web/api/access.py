"""Identities for applications, and for officers what the policy and the grants say, would say, and of whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from flask import Blueprint, Response

from audit.permit import Action
from authz import explain, simulate, verify
from authz.caller import Assurance
from authz.decide import Decision, Target
from authz.evaluate import MAX_VALUE, Verdict
from authz.people import Person
from authz.simulate import Impact, Simulation
from core.errors import Denied
from web import door
from web.api.applications import DraftBody, draft, registered, time
from web.declare import Asked
from web.kinds import Level, Line, Moment, Name, Word
from web.shapes import Able, AbleList, CertificateShown, Explained, Verified, WhoCanBody
from web.strict import Facts, Items, Text

routes = Blueprint("api_access", __name__, url_prefix="/api/v1")

#: Most grants that are imagined at once, and most persons of each side that an answer names.
MAX_DRAFTS, MOST_NAMED = 50, 200


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulateBody:
    """A question to an application, and what is imagined to be otherwise: its grants, the time."""

    application: Name
    action: Word
    type: Word
    resource: Line = "*"
    #: uid, id or entryUUID; without it only the impact on everybody is told.
    person: Annotated[str, Text(at_most=255)] = ""
    #: As the application would send them, such as `{"resource.unit": "…"}`.
    properties: Annotated[dict[str, Any], Facts(at_most=MAX_DRAFTS, longest=MAX_VALUE)] = field(default_factory=dict)
    assurance: Level = 0
    at: Moment | None = None
    add: Annotated[list[DraftBody], Items(at_most=MAX_DRAFTS)] = field(default_factory=list)
    #: Ids of grants that are withdrawn.
    withdraw: Annotated[list[Name], Items(at_most=MAX_DRAFTS)] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An answer: by which grant, or the one that came nearest; `draft-1` is the first imagined one."""

    decision: bool
    reason: str
    rule: str
    role: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Whose:
    """Somebody whose answer changes."""

    id: str
    uid: str
    name: str
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """How many answers change in one direction, and the first of them by uid."""

    count: int
    first: list[Whose]


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulateAnswer:
    """What the person is told now and would be told then (none without a person), and on whom it has an effect."""

    revision: int
    now: Told | None
    then: Told | None
    gaining: Side
    losing: Side


@routes.post("/identities/verify")
@door.open_to(door.APPLICATION)
@door.described(summary="Whose certificate this is, and whether it stands now", body=CertificateShown, answer=Verified)
def verify_identity() -> Response:
    """Standing, not possession; only roles that have grants in the calling application."""
    shown, node = door.body(CertificateShown), door.node()
    with door.visit().recorded_there(Denied):
        return door.answer(verify.identity(node.world, node.trail, door.caller(), shown.certificate))


@routes.get("/authz/explain")
@door.open_to(door.PERSON)
@door.described(
    summary="What the policy would answer a person now, and why",
    query={
        "person": Asked("uid, id or entryUUID", needed=True),
        "action": Asked("an action of the policy page, such as `request:approve`", Action, needed=True),
        "unit": "entryUUID of the unit that the object belongs to",
        "owner": "id of the person to whom the object belongs",
    },
    answer=Explained,
    errors=("not-found",),
)
def explain_decision() -> Response:
    """A decision that is only looked at."""
    asked = door.query("person", "action", "unit", "owner")
    door.permit(Action.AUTHZ_EXPLAIN, Target("policy"))
    snapshot = door.node().world.current()
    person = snapshot.directory.get(asked["person"])
    target = Target("*", asked.get("unit", ""), asked.get("owner", ""))
    return door.answer(_explained(explain.explain(snapshot, person, Action(asked["action"]), target)))


@routes.post("/authz/who-can")
@door.open_to(door.PERSON)
@door.described(summary="Who may do something on objects of a unit", body=WhoCanBody, answer=AbleList)
def who_can() -> Response:
    """The people whom the policy would allow it now."""
    wanted = door.body(WhoCanBody)
    door.permit(Action.AUTHZ_EXPLAIN, Target("policy"))
    found = explain.who_can(door.node().world.current(), wanted.action, Target("*", wanted.unit))
    items = [Able(id=one.person.id, uid=one.person.uid, name=one.person.name, unit=one.person.unit, rule=one.rule) for one in found]
    return door.answer(AbleList(items=items))


@routes.post("/authz/simulate")
@door.open_to(door.PERSON)
@door.described(
    summary="What an application would be told with other grants or at another time, and whose answer changes by it",
    body=SimulateBody,
    answer=SimulateAnswer,
    errors=("not-found",),
)
def simulate_decision() -> Response:
    """Two answers to one question; nothing is changed."""
    wanted = door.body(SimulateBody)
    door.permit(Action.AUTHZ_EXPLAIN, Target("policy"))
    snapshot, now, imagined = door.node().world.current(), door.node().clock(), _imagined(wanted)
    person = snapshot.directory.get(wanted.person) if wanted.person else None
    told = simulate.simulate(snapshot, imagined, person, now) if person else None
    return door.answer(
        SimulateAnswer(
            revision=snapshot.revision,
            now=_told(told.now) if told else None,
            then=_told(told.then) if told else None,
            **_sides(simulate.impact(snapshot, imagined, now)),
        )
    )


def _imagined(wanted: SimulateBody) -> Simulation:
    return Simulation(
        application=registered(wanted.application),
        action=wanted.action,
        type=wanted.type,
        resource=wanted.resource,
        facts=wanted.properties,
        assurance=Assurance(wanted.assurance),
        at=time(wanted.at),
        add=[draft(one, wanted.application, wanted.action, wanted.type) for one in wanted.add],
        withdraw=frozenset(wanted.withdraw),
    )


def _told(verdict: Verdict) -> Told:
    return Told(decision=verdict.allowed, reason=verdict.reason, rule=verdict.grant, role=verdict.role)


def _sides(found: Impact) -> dict[str, Side]:
    return {"gaining": _side(found.gaining), "losing": _side(found.losing)}


def _side(people: Sequence[Person]) -> Side:
    first = [Whose(id=one.id, uid=one.uid, name=one.name, unit=one.unit) for one in people[:MOST_NAMED]]
    return Side(count=len(people), first=first)


def _explained(decision: Decision) -> Explained:
    miss = decision.near_miss
    return Explained(
        allowed=decision.allowed,
        reason=decision.reason,
        rule=decision.rule,
        revision=decision.revision,
        nearest=miss.rule if miss else "",
        lacked=miss.reason if miss else "",
        needed=miss.needed if miss else "",
    )
