"""Applications: who answers for them, what they may ask, their keys, and how they get their first decision."""

from __future__ import annotations

from types import SimpleNamespace

from flask import Blueprint, Response, flash, redirect, render_template, request, url_for
from flask_babel import gettext as _
from werkzeug.wrappers import Response as AnyResponse

from audit.permit import Action, Permit
from authz import applications, registers
from authz.applications import Registration
from authz.decide import Target
from authz.snapshot import Application
from certs import bundles
from core.errors import Error, Malformed, NotFound
from web import door
from web.pages import forms, granted, snippets
from web.pages.places import unit_id
from web.pages.problem import again

blueprint = Blueprint("applications", __name__, url_prefix="/applications")

#: Applications of one page of the list.
_PAGE = 100
_TEXT = "text/plain; charset=utf-8"


@blueprint.get("")
@door.open_to(door.PERSON)
def listing() -> str:
    """The applications whose register the caller may read, by id or name."""
    snapshot, wanted = door.node().world.current(), request.args.get("q", "").strip().lower()
    after = request.args.get("after", "")
    found = [one for one in registers.applications(snapshot, door.caller()) if wanted in one.id or wanted in one.name.lower()]
    shown = [one for one in found if one.id > after][:_PAGE]
    more = url_for("applications.listing", q=wanted, after=shown[-1].id) if shown and shown[-1].id != found[-1].id else ""
    may_register = door.may(Action.APPLICATION_REGISTER, Target("app:new"))
    rows = [granted.application(one) for one in shown]
    return render_template("applications/list.html", applications=rows, wanted=wanted, next_url=more, may_register=may_register)


@blueprint.get("/new")
@door.open_to(door.PERSON)
def new() -> str:
    """The form that registers an application."""
    door.permit(Action.APPLICATION_REGISTER, Target("app:new"))
    return render_template("applications/new.html", form=forms.Register(), problem="")


@blueprint.post("/new")
@door.open_to(door.PERSON)
def register() -> AnyResponse:
    """Register an application."""
    form = forms.Register()
    try:
        facts = _registration(form)
        permit = door.permit(Action.APPLICATION_REGISTER, Target(f"app:{facts.id}", facts.unit))
        with door.changing() as tx:
            applications.register(tx, facts, permit=permit)
    except Error as error:
        return again("applications/new.html", error, form=form)
    flash(_("Registered. Its owner can make a key now."), "good")
    return redirect(url_for("applications.show", application=facts.id))


@blueprint.get("/<application>")
@door.open_to(door.PERSON)
def show(application: str) -> str:
    """One application with its grants and keys."""
    known, after = readable(application), request.args.get("after", "")
    with door.node().database.reading() as session:
        rows = registers.grants(session, known.id, after, in_force=True)
        keys = [row for row in registers.keys(session, known.id) if row.withdrawn_at is None]
    more = url_for("applications.show", application=known.id, after=f"g{rows[-1].id}") if len(rows) == registers.PAGE else ""
    return render_template(
        "applications/one.html",
        application=granted.application(known),
        grants=[granted.grant(row) for row in rows],
        keys=keys,
        next_url=more,
        may=allowed(known),
    )


@blueprint.get("/<application>/start")
@door.open_to(door.PERSON)
def start(application: str) -> str:
    """The first decision in ten minutes: what to type, with the application's own values."""
    return _start(readable(application), "")


@blueprint.post("/<application>/keys")
@door.open_to(door.PERSON)
def make_key(application: str) -> str:
    """Make a key; it stands on the page that says what to do with it, this once."""
    known, permit = permitted(application, Action.API_KEY_MAKE)
    with door.changing() as tx:
        key = applications.make_key(tx, door.node().world, known.id, permit=permit)
    return _start(known, key)


@blueprint.post("/<application>/withdraw-key")
@door.open_to(door.PERSON)
def withdraw_key(application: str) -> AnyResponse:
    """Let a key no longer be accepted."""
    known, permit = permitted(application, Action.API_KEY_MAKE)
    with door.changing() as tx:
        applications.withdraw_key(tx, known.id, forms.Withdraw().id.data or "", permit=permit)
    flash(_("Withdrawn. The key is not accepted any more."), "good")
    return redirect(url_for("applications.show", application=known.id))


@blueprint.get("/<application>/nginx.conf")
@door.open_to(door.PERSON)
def nginx(application: str) -> Response:
    """What the application's nginx needs to ask the gate, as one file."""
    return Response(snippets.nginx(readable(application)), content_type=_TEXT)


@blueprint.get("/<application>/root.pem")
@door.open_to(door.PERSON)
def root(application: str) -> Response:
    """The root that proves to the application that it talks to Yumen."""
    readable(application)
    return Response(bundles.pem(sorted(door.node().world.trust().roots, key=str)), content_type=_TEXT)


@blueprint.get("/<application>/clients.pem")
@door.open_to(door.PERSON)
def clients(application: str) -> Response:
    """The authorities whose certificates users show, for the application's nginx."""
    readable(application)
    return Response(bundles.pem(door.node().client_cas), content_type=_TEXT)


@blueprint.post("/<application>/active")
@door.open_to(door.PERSON)
def switch(application: str) -> AnyResponse:
    """Switch an application off, or on again."""
    known, permit = permitted(application, Action.APPLICATION_SWITCH)
    with door.changing() as tx:
        applications.switch(tx, known.id, active=_wanted(), permit=permit)
    flash(_("Done. It counts everywhere within two seconds."), "good")
    return redirect(url_for("applications.show", application=known.id))


@blueprint.post("/<application>/proxy")
@door.open_to(door.PERSON)
def proxy(application: str) -> AnyResponse:
    """Register the application's proxy at the gate, or withdraw that."""
    known, permit = permitted(application, Action.APPLICATION_REGISTER)
    with door.changing() as tx:
        applications.set_proxy(tx, known.id, proxy=_wanted(), permit=permit)
    flash(_("Done. It counts everywhere within two seconds."), "good")
    return redirect(url_for("applications.show", application=known.id))


def readable(application: str) -> Application:
    """The application, when the caller may read what is registered of it.

    Raises:
        NotFound, Denied: there is none, or the caller may not.
    """
    return permitted(application, Action.REGISTER_READ)[0]


def permitted(application: str, action: Action) -> tuple[Application, Permit]:
    """The application, and the caller's permit for `action` on it.

    Raises:
        NotFound, Denied: as `readable`.
    """
    snapshot = door.node().world.current()
    known = snapshot.applications.get(application)
    if known is None:
        raise NotFound("there is no application `{application}`", application=application[:64])
    return known, door.permit(action, registers.application_target(snapshot, known))


def allowed(known: Application) -> SimpleNamespace:
    """What the caller may do to it."""
    target = registers.application_target(door.node().world.current(), known)
    return SimpleNamespace(
        key=known.active and door.may(Action.API_KEY_MAKE, target),
        grant=known.active and door.may(Action.GRANT_CHANGE, target),
        switch=door.may(Action.APPLICATION_SWITCH, target),
        proxy=known.active and door.may(Action.APPLICATION_REGISTER, target),
        ask=door.may(Action.AUTHZ_EXPLAIN, Target("policy")),
    )


def _wanted() -> bool:
    """What a switch is to be: on or off."""
    wanted = forms.Switch().active.data
    if wanted not in {"on", "off"}:
        raise Malformed("the form says neither on nor off; reload the page and try again")
    return bool(wanted == "on")


def _start(known: Application, key: str) -> str:
    asked = snippets.first(door.node().world.current(), known, door.person(), door.node().clock())
    return render_template(
        "applications/start.html",
        application=granted.application(known),
        key=key,
        asked=asked,
        answer=granted.verdict(asked.verdict) if asked else None,
        export=snippets.export(key),
        curl=snippets.curl(asked) if asked else "",
        key_file=snippets.key_file(known),
        nginx=snippets.nginx(known),
        may=allowed(known),
    )


def _registration(form: forms.Register) -> Registration:
    forms.must_be_whole(form)
    directory = door.node().world.current().directory
    actions, types, asserts = ((field.data or "").split() for field in (form.actions, form.types, form.asserts))
    return Registration(
        id=form.id.data.strip(),
        name=form.name.data.strip(),
        unit=unit_id(directory, form.unit.data),
        owner=directory.get(form.owner.data.strip()).uuid,
        actions=actions,
        types=types,
        asserts=asserts,
        proxy=form.proxy.data,
    )
