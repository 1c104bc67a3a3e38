"""What an application would be told, and whom it concerns when a grant is added or withdrawn: looked at first, then done."""

from __future__ import annotations

import datetime as dt

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext as _
from werkzeug.wrappers import Response as AnyResponse

from audit.permit import Action
from authz import applications, simulate
from authz.applications import Draft
from authz.caller import Assurance
from authz.decide import Target
from authz.simulate import Simulation
from authz.snapshot import Application
from core.clock import ZONE
from core.errors import Error, Malformed
from web import door
from web.pages import forms, granted
from web.pages.applications import allowed, permitted, readable
from web.pages.places import unit_id
from web.pages.problem import again

blueprint = Blueprint("grants", __name__, url_prefix="/applications/<application>")


@blueprint.get("/ask")
@door.open_to(door.PERSON)
def ask(application: str) -> AnyResponse | str:
    """What it would be told of a person, and with another grant; nothing is changed."""
    known = readable(application)
    door.permit(Action.AUTHZ_EXPLAIN, Target("policy"))
    form = _asking(known)
    shown = {"application": granted.application(known), "form": form, "may": allowed(known)}
    try:
        answer = _answered(known, form) if form.action.data else None
    except Error as error:
        return again("applications/ask.html", error, answer=None, **shown)
    return render_template("applications/ask.html", answer=answer, problem="", **shown)


@blueprint.post("/grants")
@door.open_to(door.PERSON)
def add_grant(application: str) -> AnyResponse:
    """Add the grant that was imagined."""
    known, permit = permitted(application, Action.GRANT_CHANGE)
    forms.must_be_whole(form := forms.Ask())
    draft = _draft(known, form)
    with door.changing() as tx:
        grant = applications.add_grant(tx, draft, permit=permit)
    flash(_("Added as %(grant)s. It counts everywhere within two seconds.", grant=grant), "good")
    return redirect(url_for("applications.show", application=known.id))


@blueprint.post("/withdraw-grant")
@door.open_to(door.PERSON)
def withdraw_grant(application: str) -> AnyResponse:
    """Let a grant no longer count."""
    known, permit = permitted(application, Action.GRANT_CHANGE)
    with door.changing() as tx:
        applications.withdraw_grant(tx, known.id, forms.Withdraw().id.data or "", permit=permit)
    flash(_("Withdrawn. It counts everywhere within two seconds."), "good")
    return redirect(url_for("applications.show", application=known.id))


def _asking(known: Application) -> forms.Ask:
    form = forms.Ask(formdata=request.args, meta={"csrf": False})
    form.action.choices = sorted(known.actions)
    form.type.choices = sorted(known.types)
    return form


def _answered(known: Application, form: forms.Ask) -> granted.Answer:
    """What is answered now and in imagination."""
    snapshot, now = door.node().world.current(), door.node().clock()
    imagined, named = _simulation(known, form), (form.person.data or "").strip()
    person = snapshot.directory.get(named) if named else None
    told = simulate.simulate(snapshot, imagined, person, now) if person else None
    touched = bool(imagined.add or imagined.withdraw)
    impact = simulate.impact(snapshot, imagined, now) if touched or not person else None
    return granted.Answer(person, told, impact)


def _simulation(known: Application, form: forms.Ask) -> Simulation:
    forms.must_be_whole(form)
    unit = unit_id(door.node().world.current().directory, form.unit.data or "")
    gone = (form.withdraw.data or "").strip()
    return Simulation(
        application=known,
        action=form.action.data,
        type=form.type.data,
        resource=(form.resource.data or "").strip() or "*",
        facts={"resource.unit": unit} if unit else {},
        assurance=Assurance(int(form.assurance.data)),
        add=[_draft(known, form)] if form.effect.data else [],
        withdraw=frozenset({gone} if gone else ()),
    )


def _draft(known: Application, form: forms.Ask) -> Draft:
    """The imagined grant; until a day means until that day has ended in the province."""
    role = (form.role.data or "").strip()
    if form.effect.data not in {"permit", "forbid"} or not role:
        raise Malformed("say which role the grant is for, and whether it lets or forbids")
    last = form.until.data
    return Draft(
        application=known.id,
        action=form.action.data or "",
        type=form.type.data or "",
        role=role,
        unit=unit_id(door.node().world.current().directory, form.scope.data or ""),
        effect=form.effect.data,
        not_after=dt.datetime.combine(last + dt.timedelta(days=1), dt.time(), ZONE) if last else None,
        assurance=Assurance(int(form.least.data or 0)),
    )
