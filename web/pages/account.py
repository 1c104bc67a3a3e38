"""One's own account: where one is signed in, what happened with the account, and what was decided about the person.

What is told comes from the trail. Reading one's own part of it takes a permit and is an event, as any reading of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext as _
from werkzeug.wrappers import Response as AnyResponse

from audit import about, search
from audit.event import Event, Kind
from audit.permit import Action
from authz import login, sessions
from authz.decide import Target
from ca import certificates, registration
from web import door
from web.pages import present, words

blueprint = Blueprint("account", __name__)

_PAGE = 25
#: How many of the newest requests and certificates are asked for.
_OBJECTS = 100

#: What a person is told of: coming and going, one-time codes, roles and blocks, requests and certificates, refusals and decisions.
TOLD = (
    *(Kind.LOGIN, Kind.LOGIN_FAILED, Kind.LOGIN_THROTTLED, Kind.LOGINS_COUNTED, Kind.SESSION_ENDED),
    *(Kind.TOTP_ENROLLED, Kind.TOTP_CODE_ISSUED, Kind.TOTP_RECOVERED),
    *(Kind.PERSON_CONFIRMED, Kind.PERSON_UNCONFIRMED, Kind.ROLE_CONFLICT, Kind.ROLE_UNCONFIRMED),
    *(Kind.ACCOUNT_BLOCKED, Kind.ACCOUNT_UNBLOCKED, Kind.REFUSAL, Kind.DECISION),
    *(Kind.REQUEST_SUBMITTED, Kind.REQUEST_APPROVED, Kind.REQUEST_REFUSED, Kind.REQUEST_RETURNED, Kind.CERT_FAILED),
    *(Kind.CERT_ISSUED, Kind.CERT_SUSPENDED, Kind.CERT_RELEASED, Kind.CERT_REVOKED),
)


@blueprint.get("/account")
@door.open_to(door.PERSON)
def account() -> str:
    """Where I am signed in, and what the trail tells about me."""
    found, after = _about_me(request.args.get("after", "")), request.args.get("after", "")
    return render_template(
        "staff/account.html",
        sessions=[] if after else [_session(one) for one in sessions.of_person(door.node().world, door.person())],
        entries=found.entries,
        next_url=url_for("account.account", after=found.after) if found.after else "",
        first_url=url_for("account.account") if after else "",
    )


@blueprint.post("/account/sessions")
@door.open_to(door.PERSON)
def end_others() -> AnyResponse:
    """End every session but this one."""
    person = door.person()
    permit = door.permit(Action.SESSION_END, Target(f"person:{person.id}", person.unit, person.id))
    with door.changing() as tx:
        sessions.end_others(tx, person, door.caller().session, permit=permit)
    flash(_("You are signed out everywhere else."), "good")
    return redirect(url_for("account.account"))


def _about_me(after: str) -> SimpleNamespace:
    """A page of the caller's part of the trail, as it is shown; that it was read is recorded."""
    person = door.person()
    me, names = f"person:{person.id}", _objects(person.id)
    permit = door.permit(Action.HISTORY_READ, Target(me, person.unit, person.id))
    with door.node().database.reading() as session:
        page = about.about(session, me, [me, login.failures_of(door.node().world, person.uid), *names], TOLD, after, _PAGE)
        opened = search.all_openings(session, page.entries)
        shown = [_entry(one, names, opened[str(one.body["id"])]) for one in page.entries]
    read = {"source": door.caller().source, "request_id": door.caller().request_id, "details": {"count": len(shown)}}
    door.node().trail.append([Event.under(permit, Kind.TRAIL_SEARCHED, me, **read)])
    return SimpleNamespace(entries=shown, after=page.after)


def _objects(me: str) -> dict[str, tuple[str, str]]:
    """The caller's requests and certificates by the names that the trail has for them: how people call them, and where they are shown."""
    with door.node().database.reading() as session:
        asked = registration.listing(session, registration.Filter(owner=me), limit=_OBJECTS)
        held = certificates.listing(session, certificates.Filter(owner=me), limit=_OBJECTS)
    requests = {one.ref: (_("Request %(number)s", number=one.id), url_for("enrolment.request", request_id=one.id)) for one in asked}
    return requests | {
        one.ref: (_("Certificate %(serial)s", serial=f"{one.serial[:8]}…"), url_for("staff.certificate", serial=one.serial)) for one in held
    }


def _session(one: sessions.Standing) -> SimpleNamespace:
    return SimpleNamespace(
        auth=words.say(words.AUTHENTICATION, one.auth), began_at=one.began_at, seen_at=one.seen_at, mine=one.id == door.caller().session
    )


def _entry(found: search.Entry, names: Mapping[str, tuple[str, str]], opened: Mapping[str, tuple[bytes, str]]) -> SimpleNamespace:
    about, url = names.get(str(found.body.get("obj", "")), (_asked(found), ""))
    return SimpleNamespace(
        at=found.at,
        kind=words.kind(found.kind, str(found.body.get("code", ""))),
        outcome=words.mark(words.OUTCOME, str(found.body.get("out", ""))),
        reason=words.say(words.REASON, str(found.body.get("rsn", ""))),
        by=_by(found.body.get("actor", {})),
        source=opened["source"][1] if "source" in opened else "",
        about=about,
        url=url,
    )


def _asked(found: search.Entry) -> str:
    """What an application asked about the person: the action and the type, in its own words."""
    told = found.body.get("d", {})
    return f"{told.get('action', '')} · {told.get('type', '')}" if found.kind is Kind.DECISION else ""


def _by(actor: Mapping[str, Any]) -> str:
    kind, name = actor.get("k", ""), str(actor.get("id", ""))
    if kind == "person":
        return str(_("you")) if name == door.person().id else present.person(name)
    if kind == "application" and (known := door.node().world.current().applications.get(name)):
        return known.name
    return {"service": str(_("Yumen")), "anonymous": str(_("somebody not signed in"))}.get(str(kind), name)
