"""Coming in and going out: password with one-time code, client certificate, recovery code; connecting an authenticator."""

from __future__ import annotations

import re

from flask import Blueprint, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from audit.permit import Action
from authz import enrol, login, sessions
from authz.decide import Target
from authz.login import Attempt
from core.errors import Error, Unauthenticated
from web import callers, door
from web.pages import forms, frame
from web.pages.problem import again

blueprint = Blueprint("entrance", __name__)

_LOCAL = re.compile(r"/(?![/\\])[^\\\x00-\x1f]*")


@blueprint.get("/login")
@door.open_to(door.ANYONE)
def login_() -> str:
    """The entrance."""
    return render_template("entrance/login.html", form=forms.Login(), next=_next(), problem="")


@blueprint.post("/login")
@door.open_to(door.ANYONE)
def by_password() -> AnyResponse:
    """Account, password and one-time code."""
    return _come_in("entrance/login.html", forms.Login())


@blueprint.get("/login/recover")
@door.open_to(door.ANYONE)
def recover() -> str:
    """The form for the day the phone is lost."""
    return render_template("entrance/recover.html", form=forms.Recover(), problem="")


@blueprint.post("/login/recover")
@door.open_to(door.ANYONE)
def by_recovery() -> AnyResponse:
    """Account, password and recovery code."""
    return _come_in("entrance/recover.html", forms.Recover())


@blueprint.post("/login/certificate")
@door.open_to(door.ANYONE)
def by_certificate() -> AnyResponse:
    """The certificate that the browser showed when it connected."""
    seen = door.visit().seen
    try:
        if seen.certificate is None:
            raise Unauthenticated("the browser showed no certificate; import yours, close the browser, open this page again and choose it")
        return _welcome(login.by_certificate(door.node().world, callers.chain(seen), seen.source, seen.request_id))
    except Error as error:
        if seen.certificate is not None:
            callers.certificate_refused(door.visit(), error)
        return again("entrance/login.html", error, form=forms.Login(formdata=None), next=_next())


@blueprint.post("/logout")
@door.open_to(door.PERSON)
def logout() -> AnyResponse:
    """Go out: the session ends everywhere."""
    caller = door.caller()
    permit = door.permit(Action.SESSION_END, Target(f"session:{caller.session}", owner=caller.actor.id))
    with door.changing() as tx:
        sessions.end(tx, caller.session, permit=permit)
    response = redirect(url_for("entrance.login_"))
    door.drop_cookie(response)
    return response


@blueprint.get("/login/enrol")
@door.open_to(door.ANYONE)
def enrol_() -> str:
    """The form for a registrar's code."""
    return render_template("entrance/enrol.html", form=forms.Enrol(), problem="")


@blueprint.post("/login/enrol")
@door.open_to(door.ANYONE)
def begin() -> AnyResponse:
    """Password and registrar's code: here is the picture to scan."""
    form = forms.Enrol()
    if not form.validate():
        return make_response(render_template("entrance/enrol.html", form=form, problem=""), 400)
    try:
        with door.visit().recorded_there():
            offer = enrol.begin(door.node().world, _attempt(form, form.code.data))
    except Error as error:
        return again("entrance/enrol.html", error, form=form)
    shown = forms.Connect(formdata=None, uid=form.uid.data, enrolment=form.code.data)
    return make_response(render_template("entrance/connect.html", form=shown, qr=frame.qr(offer.uri), secret=offer.secret, problem=""))


@blueprint.post("/login/connect")
@door.open_to(door.ANYONE)
def connect() -> AnyResponse:
    """The first code of the new authenticator: it counts, and here are the recovery codes."""
    form = forms.Connect()
    if not form.validate():
        return make_response(render_template("entrance/connect.html", form=form, qr="", problem=""), 400)
    try:
        with door.visit().recorded_there():
            codes = enrol.finish(door.node().world, _attempt(form, form.enrolment.data), form.code.data)
    except Error as error:
        return again("entrance/connect.html", error, form=form, qr="")
    return make_response(render_template("entrance/codes.html", codes=codes, onward=url_for("entrance.login_")))


@blueprint.get("/authenticator")
@door.open_to(door.PERSON)
def authenticator() -> str:
    """Another phone, for who is signed in."""
    return render_template("entrance/authenticator.html", form=forms.NewPhone(), qr="", problem="")


@blueprint.post("/authenticator")
@door.open_to(door.PERSON)
def begin_again() -> str:
    """Here is the picture to scan; the old authenticator works until the new one has shown its first code."""
    person, permit = door.caller().person, door.permit(Action.TOTP_ENROL, _myself())
    assert person is not None
    with door.changing() as tx:
        offer = enrol.begin_in_session(tx, door.node().world, person, permit=permit)
    return render_template(
        "entrance/authenticator.html", form=forms.NewPhone(formdata=None), qr=frame.qr(offer.uri), secret=offer.secret, problem=""
    )


@blueprint.post("/authenticator/connect")
@door.open_to(door.PERSON)
def connect_again() -> AnyResponse:
    """The first code of the new phone."""
    form, person, permit = forms.NewPhone(), door.caller().person, door.permit(Action.TOTP_ENROL, _myself())
    assert person is not None
    try:
        with door.changing() as tx:
            codes = enrol.finish_in_session(tx, door.node().world, person, form.code.data or "", permit=permit)
    except Error as error:
        return again("entrance/authenticator.html", error, form=form, qr="")
    return make_response(render_template("entrance/codes.html", codes=codes, onward=url_for("staff.home")))


def _come_in(template: str, form: forms.Login | forms.Recover) -> AnyResponse:
    if not form.validate():
        return make_response(render_template(template, form=form, next=_next(), problem=""), 400)
    try:
        with door.visit().recorded_there():
            return _welcome(login.by_password(door.node().world, _attempt(form, form.code.data)))
    except Error as error:
        return again(template, error, form=form, next=_next())


def _welcome(opened: sessions.Opened) -> AnyResponse:
    roles = {holding.role for holding in door.node().world.current().roles(opened.person.uuid)}
    response = redirect(_next() or url_for(frame.landing(roles)))
    door.set_cookie(response, opened.token)
    return response


def _attempt(form: forms.Login | forms.Enrol | forms.Recover | forms.Connect, code: str) -> Attempt:
    seen = door.visit().seen
    return Attempt(
        uid=form.uid.data.strip(), password=form.password.data, code=code.strip(), source=seen.source, request_id=seen.request_id
    )


def _myself() -> Target:
    person = door.caller().person
    return Target(f"person:{person.id}", person.unit, person.id) if person else Target("person:")


def _next() -> str:
    """Where the visitor wanted to go: an address of ours, or empty."""
    wanted = request.args.get("next", "")
    return wanted if _LOCAL.fullmatch(wanted) else ""
