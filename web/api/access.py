"""Identities for applications, and the policy explained to officers."""

from __future__ import annotations

from flask import Blueprint, Response

from audit.permit import Action
from authz import explain, verify
from authz.decide import Decision, Target
from core.errors import Denied
from web import door
from web.declare import Asked
from web.shapes import Able, AbleList, CertificateShown, Explained, Verified, WhoCanBody

routes = Blueprint("api_access", __name__, url_prefix="/api/v1")


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
