"""Overviews for administrators: who holds which confirmed role, and whether directory, authorities and lists are fresh."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, url_for
from flask_babel import gettext as _
from werkzeug.wrappers import Response as AnyResponse

from audit.permit import Action
from authz import confirm, decide, sessions
from authz.decide import Target
from authz.follower import accept_directory
from ca import certificates, crls
from core.errors import Malformed
from ops import reconcile
from web import door
from web.pages import forms, present

blueprint = Blueprint("offices", __name__)

_SYSTEM = Target("system")


@blueprint.get("/security")
@door.open_to(door.PERSON)
def security() -> str:
    """Who holds which role, and what waits for a confirmation."""
    door.permit(Action.SYSTEM_READ, _SYSTEM)
    snapshot = door.node().world.current()
    return render_template(
        "offices/security.html",
        alarms=present.alarms(door.node().world),
        refused=_refused(),
        log_out=forms.LogOut() if decide.decide(snapshot, door.caller(), Action.SESSION_END, Target("person:*")).allowed else None,
        holdings=present.holdings(snapshot, door.caller()),
    )


@blueprint.post("/security/confirm")
@door.open_to(door.PERSON)
def confirm_role() -> AnyResponse:
    """Let a role that the directory gives count."""
    form = forms.Confirm()
    directory = door.node().world.current().directory
    person = directory.people.get(form.person.data or "")
    if person is None or not form.validate():
        raise Malformed("the form names nobody of the directory; reload the page and try again")
    named = confirm.Named(person.uuid, form.role.data, form.unit.data)
    permit = door.permit(Action.PERSON_CONFIRM, Target(f"person:{person.id}", person.unit, person.id))
    with door.changing() as tx:
        confirm.confirm(tx, directory, named, permit=permit)
    flash(_("Confirmed. The role counts from now on."), "good")
    return redirect(url_for("offices.security"))


@blueprint.post("/security/accept")
@door.open_to(door.PERSON)
def accept() -> AnyResponse:
    """Let a directory be taken over although it drops many roles at once."""
    form = forms.Accept()
    permit = door.permit(Action.DIRECTORY_ACCEPT, Target("directory"))
    with door.changing() as tx:
        accept_directory(tx, form.digest.data or "", permit=permit)
    flash(_("Accepted. The directory as it is now counts."), "good")
    return redirect(url_for("offices.security"))


@blueprint.post("/security/sessions")
@door.open_to(door.PERSON)
def end_sessions() -> AnyResponse:
    """Log somebody out everywhere."""
    person = door.node().world.current().directory.get((forms.LogOut().uid.data or "").strip())
    permit = door.permit(Action.SESSION_END, Target(f"person:{person.id}", person.unit, person.id))
    with door.changing() as tx:
        sessions.end_all(tx, person, permit=permit)
    flash(_("%(name)s is logged out everywhere.", name=person.name), "good")
    return redirect(url_for("offices.security"))


@blueprint.get("/system")
@door.open_to(door.PERSON)
def system() -> str:
    """Whether what others rely on is fresh."""
    door.permit(Action.SYSTEM_READ, _SYSTEM)
    node = door.node()
    with node.database.reading() as session:
        rows = [(row, crls.latest(session, row.id)) for row in certificates.authorities(session)]
        compared = reconcile.last(session)
    authorities = [present.authority(row, last) for row, last in rows]
    return render_template("offices/system.html", tiles=present.tiles(node, compared), authorities=authorities)


def _refused() -> str:
    """Digest of the directory that the caller may accept, or empty."""
    caller, world = door.caller(), door.node().world
    allowed = decide.decide(world.current(), caller, Action.DIRECTORY_ACCEPT, Target("directory")).allowed
    return world.refused if allowed else ""
