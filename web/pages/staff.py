"""What staff see of their certificates: the list, one with its life, the end of one, the end of all when a device is lost."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, abort, flash, redirect, render_template, url_for
from flask_babel import gettext as _
from werkzeug.wrappers import Response as AnyResponse

from audit.permit import Action
from authz import sessions
from authz.decide import Target
from ca import certificates, registration, revocation
from ca.states import Standing
from certs import bundles
from web import door
from web.pages import forms, present

blueprint = Blueprint("staff", __name__)

_UNFINISHED = (*registration.UNDER_WAY, "refused", "returned", "failed")


@blueprint.get("/")
@door.open_to(door.PERSON)
def home() -> str:
    """My certificates, and what is on its way."""
    me = door.caller().actor.id
    with door.node().database.reading() as session:
        held = certificates.listing(session, certificates.Filter(owner=me), limit=50)
        asked = registration.listing(session, registration.Filter(owner=me, states=_UNFINISHED), limit=10)
        return render_template("staff/home.html", certificates=present.passes(held), requests=[present.request(one) for one in asked])


@blueprint.get("/certificates/<serial>")
@door.open_to(door.PERSON)
def certificate(serial: str) -> str:
    """One certificate, and how to end it."""
    found = find(serial)
    door.permit(Action.CERT_READ, Target(*certificates.target(found)))
    return render_template(
        "staff/certificate.html",
        certificate=present.certificate(found),
        mine=found.owner == door.caller().actor.id,
        form=forms.Revoke() if present.can_end(found) else None,
        revoke_url=url_for("staff.revoke", serial=serial),
        back=url_for("staff.home"),
        back_label=_("My certificates"),
    )


@blueprint.get("/certificates/<serial>/chain.pem")
@door.open_to(door.PERSON)
def chain(serial: str) -> Response:
    """The certificate and those above it, leaf first, without the root."""
    found = find(serial)
    door.permit(Action.CERT_READ, Target(*certificates.target(found)))
    with door.node().database.reading() as session:
        text = bundles.pem(certificates.chain(session, found))
    download = {"Content-Disposition": f'attachment; filename="yumen-{found.serial[:8]}.pem"'}
    return Response(text, mimetype="application/pem-certificate-chain", headers=download)


@blueprint.post("/certificates/<serial>/revoke")
@door.open_to(door.PERSON)
def revoke(serial: str) -> AnyResponse:
    """End it for good."""
    end(find(serial))
    return redirect(url_for("staff.certificate", serial=serial))


@blueprint.get("/lost")
@door.open_to(door.PERSON)
def lost() -> str:
    """What to do when a phone or computer is lost: what will end, before anything does."""
    waiting = registration.Filter(owner=door.caller().actor.id, states=("submitted",))
    with door.node().database.reading() as session:
        asked = registration.listing(session, waiting, limit=10)
        return render_template(
            "staff/lost.html", certificates=present.passes(_mine_still_good()), requests=list(map(present.request, asked))
        )


@blueprint.post("/lost")
@door.open_to(door.PERSON)
def end_everything() -> AnyResponse:
    """End every certificate of one's own and every other session, in one stroke."""
    caller, person = door.caller(), door.person()
    ending = [(one, door.permit(Action.CERT_REVOKE, Target(*certificates.target(one)))) for one in _mine_still_good()]
    out = door.permit(Action.SESSION_END, Target(f"person:{person.id}", person.unit, person.id))
    with door.changing() as tx:
        for one, permit in ending:
            revocation.revoke(tx, one.authority, one.serial, "keyCompromise", permit=permit)
        sessions.end_others(tx, person, caller.session, permit=out)
    flash(_("Done. None of your certificates counts any more, and everywhere else you are signed out."), "good")
    return redirect(url_for("staff.home"))


def end(found: Any) -> None:
    """Revoke `found` for the reason in the form, unless that is done already; used by the desk as well."""
    form = forms.Revoke()
    if not form.validate():
        abort(400)
    permit = door.permit(Action.CERT_REVOKE, Target(*certificates.target(found)))
    if found.standing is not Standing.REVOKED:
        with door.changing() as tx:
            revocation.revoke(tx, found.authority, found.serial, form.reason.data, permit=permit)
    flash(_("The certificate is revoked. Nothing accepts it any more."), "good")


def find(serial: str) -> Any:
    """The certificate of this serial; whether the caller may see it is asked for by the view."""
    with door.node().database.reading() as session:
        return certificates.get(session, serial)


def _mine_still_good() -> list[Any]:
    """The caller's own certificates that something still accepts; not those of the servers that the caller answers for."""
    me = door.caller().actor.id
    mine = certificates.Filter(owner=me, subject=f"person:{me}", unexpired_at=door.node().clock())
    with door.node().database.reading() as session:
        return [one for one in certificates.listing(session, mine) if one.standing is not Standing.REVOKED]
