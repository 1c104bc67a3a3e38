"""The registrar's desk: who waits, one request beside what the directory says, and what a registrar may do about it."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, flash, make_response, redirect, render_template, request, url_for
from flask_babel import gettext as _
from werkzeug.wrappers import Response as AnyResponse

from audit.permit import Action
from authz import decide, totp
from authz.decide import Target
from ca import certificates, desk, registration
from core.errors import NotFound
from web import door
from web.pages import desk_rows, forms, present, staff

blueprint = Blueprint("desk", __name__, url_prefix="/desk")

_PAGE = 50


@blueprint.get("")
@door.open_to(door.PERSON)
def queue() -> str:
    """Who has waited longest stands first."""
    wanted, after = request.args.get("q", "").strip(), door.number(request.args.get("after"), "after")
    with door.node().database.reading() as session:
        waiting = desk.waiting(session, _queue(wanted), after=after)
        length = desk.length(session, _queue(wanted))
        known = desk.known(session, waiting, door.node().clock())
    return render_template(
        "desk/queue.html",
        requests=[desk_rows.waiting(one, known) for one in waiting],
        length=desk_rows.length(length),
        wanted=wanted,
        first_url=url_for("desk.queue", q=wanted or None) if after else "",
        next_url=url_for("desk.queue", q=wanted or None, after=waiting[-1].id) if len(waiting) == desk.PAGE else "",
    )


@blueprint.get("/requests/<int(max=999999999999):request_id>")
@door.open_to(door.PERSON)
def one(request_id: int) -> str:
    """One request with the directory's facts beside it."""
    found = _request(request_id)
    door.permit(Action.REQUEST_READ, Target(*registration.target(found)))
    return _shown(found, forms.Decide(formdata=None))


@blueprint.post("/requests/<int(max=999999999999):request_id>/approve")
@door.open_to(door.PERSON)
def approve(request_id: int) -> AnyResponse:
    """Say yes, and go on with the next one."""
    found, form = _request(request_id), forms.Decide()
    permit = door.permit(Action.REQUEST_APPROVE, Target(*registration.target(found)))
    if not form.validate():
        return make_response(_shown(found, form), 400)
    if not _spoke(found, "approve"):
        with door.changing() as tx:
            registration.approve(tx, request_id, permit=permit, comment=form.comment.data or "")
    flash(_("Approved: %(name)s. The certificate will be there in a few seconds.", name=found.common_name), "good")
    return _onward(request_id)


@blueprint.post("/requests/<int(max=999999999999):request_id>/refuse")
@door.open_to(door.PERSON)
def refuse(request_id: int) -> AnyResponse:
    """Say no, with a word why, and go on with the next one."""
    found, form = _request(request_id), forms.Refuse()
    permit = door.permit(Action.REQUEST_REFUSE, Target(*registration.target(found)))
    if not form.validate():
        return make_response(_shown(found, form), 400)
    if not _spoke(found, "refuse"):
        with door.changing() as tx:
            registration.refuse(tx, request_id, permit=permit, comment=form.comment.data)
    flash(_("Refused: %(name)s. The person reads your comment.", name=found.common_name), "good")
    return _onward(request_id)


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
    found = staff.find(serial)
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
    staff.end(staff.find(serial))
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
    return door.may(action, Target(*registration.target(found)))


def _queue(wanted: str = "") -> desk.Queue:
    """Who waits for this registrar; `wanted` is part of a name, an account, or the number of a request."""
    officer = door.caller().actor.id
    units = _units(Action.REQUEST_APPROVE)
    if wanted.isascii() and wanted.isdigit() and len(wanted) <= 12:
        return desk.Queue(units=units, officer=officer, number=int(wanted))
    person = door.node().world.current().directory.by_uid.get(wanted)
    return desk.Queue(units=units, officer=officer, name=wanted, subject=f"person:{person.id}" if person else "")


def _onward(request_id: int) -> AnyResponse:
    """To whoever has waited longest behind this request, or back to the queue."""
    with door.node().database.reading() as session:
        behind = desk.waiting(session, _queue(), after=request_id, limit=1)
    return redirect(url_for("desk.one", request_id=behind[0].id) if behind else url_for("desk.queue"))


def _spoke(found: Any, word: str) -> bool:
    """Whether this registrar has said just this already: pressing twice is no mistake that needs to be told."""
    return any((one.approver, one.word) == (door.caller().actor.id, word) for one in found.approvals)


def _shown(found: Any, form: forms.Decide) -> str:
    """The one screen of a request: what was asked, what the directory says, what else there is, and the decision."""
    open_ = found.state == "submitted" and _may(Action.REQUEST_APPROVE, found) and not _spoke(found, "approve")
    with door.node().database.reading() as session:
        known = desk.beside(session, found)
        behind = desk.waiting(session, _queue(), after=found.id, limit=1) if open_ else []
    return render_template(
        "desk/request.html",
        request=present.request(found),
        comparison=present.comparison(found),
        subject=desk_rows.subject(found),
        hints=desk_rows.hints(found, known),
        certificates=[present.certificate(one) for one in known.certificates],
        before=[present.request(one) for one in known.requests],
        form=form if open_ else None,
        next_url=url_for("desk.one", request_id=behind[0].id) if behind else "",
    )


def _request(request_id: int) -> Any:
    with door.node().database.reading() as session:
        return registration.get(session, request_id)


def _person(uid: str) -> Any:
    person = door.node().world.current().directory.by_uid.get(uid)
    if person is None:
        raise NotFound("nobody in the directory has the account `{uid}`; check the spelling", uid=uid)
    return person
