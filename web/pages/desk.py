"""The registrar's desk: who waits, one request beside what the directory says, and what a registrar may do about it."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext as _
from werkzeug.wrappers import Response as AnyResponse

from audit.permit import Action
from authz import decide, totp
from authz.decide import Target
from ca import certificates, registration
from core.errors import Malformed, NotFound
from web import door
from web.pages import forms, present, staff

blueprint = Blueprint("desk", __name__, url_prefix="/desk")

_PAGE = 50


@blueprint.get("")
@door.open_to(door.PERSON)
def queue() -> str:
    """Who has waited longest stands first."""
    after, units = door.number(request.args.get("after"), "after"), _units(Action.REQUEST_APPROVE)
    with door.node().database.reading() as session:
        waiting = registration.queue(session, units, after=after)
    later = url_for("desk.queue", after=waiting[-1].id) if len(waiting) == registration.PAGE else ""
    return render_template("desk/queue.html", requests=[present.request(one) for one in waiting], next_url=later)


@blueprint.get("/requests/<int(max=999999999999):request_id>")
@door.open_to(door.PERSON)
def one(request_id: int) -> str:
    """One request with the directory's facts beside it."""
    found = _request(request_id)
    door.permit(Action.REQUEST_READ, Target(*registration.target(found)))
    return render_template(
        "desk/request.html",
        request=present.request(found),
        comparison=present.comparison(found),
        form=forms.Decide() if _may(Action.REQUEST_APPROVE, found) and found.state == "submitted" else None,
    )


@blueprint.post("/requests/<int(max=999999999999):request_id>/approve")
@door.open_to(door.PERSON)
def approve(request_id: int) -> AnyResponse:
    """Say yes."""
    found, comment = _request(request_id), _comment()
    permit = door.permit(Action.REQUEST_APPROVE, Target(*registration.target(found)))
    with door.changing() as tx:
        registration.approve(tx, request_id, permit=permit, comment=comment)
    flash(_("Approved. The certificate will be there in a few seconds."), "good")
    return redirect(url_for("desk.queue"))


@blueprint.post("/requests/<int(max=999999999999):request_id>/refuse")
@door.open_to(door.PERSON)
def refuse(request_id: int) -> AnyResponse:
    """Say no, with a word why."""
    found, comment = _request(request_id), _comment()
    if not comment.strip():
        raise Malformed("a refusal needs a comment; say what the person should do next")
    permit = door.permit(Action.REQUEST_REFUSE, Target(*registration.target(found)))
    with door.changing() as tx:
        registration.refuse(tx, request_id, permit=permit, comment=comment)
    flash(_("Refused. The person reads your comment."), "good")
    return redirect(url_for("desk.queue"))


@blueprint.get("/certificates")
@door.open_to(door.PERSON)
def list_certificates() -> str:
    """Certificates of the registrar's units, by name or serial."""
    wanted, before = request.args.get("holder", "").strip(), door.number(request.args.get("before"), "before")
    units = _units(Action.CERT_REVOKE)
    with door.node().database.reading() as session:
        named = certificates.Filter(units=units, name=wanted or None)
        found = certificates.listing(session, named, before=before, limit=_PAGE)
        exact = certificates.find(session, wanted) if wanted and not found else None
    found += [exact] if exact and exact.unit in units else []
    older = url_for("desk.list_certificates", holder=wanted, before=found[-1].intent_id) if len(found) == _PAGE else ""
    shown = [present.certificate(one) for one in found]
    return render_template("desk/certificates.html", certificates=shown, wanted=wanted, next_url=older)


@blueprint.get("/certificates/<serial>")
@door.open_to(door.PERSON)
def certificate(serial: str) -> str:
    """One certificate, and how to revoke it."""
    found = _certificate(serial)
    door.permit(Action.CERT_READ, Target(*certificates.target(found)))
    return render_template(
        "staff/certificate.html",
        certificate=present.certificate(found),
        mine=False,
        form=forms.Revoke() if present.can_end(found) else None,
        revoke_url=url_for("desk.revoke", serial=serial),
        back=url_for("desk.list_certificates"),
        back_label=_("Certificates of my units"),
    )


@blueprint.post("/certificates/<serial>/revoke")
@door.open_to(door.PERSON)
def revoke(serial: str) -> AnyResponse:
    """End it for good."""
    staff.end(_certificate(serial))
    flash(_("The certificate is revoked. Nothing accepts it any more."), "good")
    return redirect(url_for("desk.certificate", serial=serial))


@blueprint.get("/codes")
@door.open_to(door.PERSON)
def codes() -> str:
    """The form that asks for whom an enrolment code is needed."""
    _units(Action.TOTP_CODE_ISSUE)
    return render_template("desk/codes.html", form=forms.HandOut(), handed=None)


@blueprint.post("/codes")
@door.open_to(door.PERSON)
def hand_out() -> str:
    """Make a code for one person of the registrar's units, shown this once."""
    form = forms.HandOut()
    person = _person((form.uid.data or "").strip())
    permit = door.permit(Action.TOTP_CODE_ISSUE, Target(f"person:{person.id}", person.unit, person.id))
    lifetime = door.node().settings.authz.enrolment_code_lifetime
    with door.changing() as tx:
        code = totp.hand_out(tx, door.node().world.keys, person, lifetime, permit=permit)
    return render_template("desk/codes.html", form=forms.HandOut(formdata=None), handed=present.handed(person, code))


def _units(action: Action) -> frozenset[str]:
    """The units of this registrar; who has none is refused, and the refusal recorded."""
    units = decide.reach(door.node().world.current(), door.caller(), action)
    if not units:
        door.permit(action, Target("desk"))
    return units


def _may(action: Action, found: Any) -> bool:
    target = Target(*registration.target(found))
    return decide.decide(door.node().world.current(), door.caller(), action, target).allowed


def _comment() -> str:
    form = forms.Decide()
    if not form.validate():
        raise Malformed("the comment is too long; shorten it to 500 characters")
    return str(form.comment.data or "")


def _request(request_id: int) -> Any:
    with door.node().database.reading() as session:
        return registration.get(session, request_id)


def _certificate(serial: str) -> Any:
    with door.node().database.reading() as session:
        return certificates.get(session, serial)


def _person(uid: str) -> Any:
    person = door.node().world.current().directory.by_uid.get(uid)
    if person is None:
        raise NotFound("nobody in the directory has the account `{uid}`; check the spelling", uid=uid)
    return person
