"""What staff see: their certificates, and the three screens to a new one. The key is made in the browser, never here."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, abort, flash, jsonify, redirect, render_template, url_for
from flask_babel import gettext as _
from werkzeug.wrappers import Response as AnyResponse

from audit.permit import Action
from authz.decide import Target
from ca import certificates, registration, revocation, subjects
from certs import bundles, csr
from web import door
from web.pages import forms, present

blueprint = Blueprint("staff", __name__)

#: What a person asks for here.
PROFILE = "staff-sign"

_UNFINISHED = ("submitted", "approved", "issuing", "refused", "returned", "failed")


@blueprint.get("/")
@door.open_to(door.PERSON)
def home() -> str:
    """My certificates, and what is on its way."""
    me = door.caller().actor.id
    with door.node().database.reading() as session:
        held = certificates.listing(session, certificates.Filter(owner=me), limit=50)
        asked = registration.listing(session, registration.Filter(person=me, states=_UNFINISHED), limit=10)
        return render_template("staff/home.html", certificates=present.passes(held), requests=[present.request(one) for one in asked])


@blueprint.get("/certificates/new")
@door.open_to(door.PERSON)
def offer() -> str:
    """Screen one: what the certificate will say."""
    return render_template("staff/offer.html", facts=present.offered(_my_facts(), PROFILE))


@blueprint.get("/certificates/new/key")
@door.open_to(door.PERSON)
def key() -> str:
    """Screen two: a password, and the browser makes the key."""
    return render_template("staff/key.html", form=forms.Submit(), problem="")


@blueprint.post("/requests")
@door.open_to(door.PERSON)
def submit() -> AnyResponse:
    """Take in the request that the browser made."""
    form = forms.Submit()
    facts = _my_facts()
    asked = csr.parse((form.csr.data or "").encode())
    permit = door.permit(Action.REQUEST_SUBMIT, Target(facts.ref, facts.unit, facts.owner))
    with door.changing() as tx:
        request = registration.submit(tx, permit=permit, draft=registration.Draft(profile=PROFILE, csr=asked, facts=facts))
    return redirect(url_for("staff.request", request_id=request.id))


@blueprint.get("/requests/<int(max=999999999999):request_id>")
@door.open_to(door.PERSON)
def request(request_id: int) -> str:
    """Screen three: waiting, then the download."""
    found = _readable(request_id)
    ready = present.certificate(found.certificate) if found.certificate else None
    return render_template("staff/request.html", request=present.request(found), certificate=ready)


@blueprint.get("/requests/<int(max=999999999999):request_id>/state")
@door.open_to(door.PERSON)
def state(request_id: int) -> Response:
    """The state alone, for the waiting page."""
    return jsonify(state=_readable(request_id).state)


@blueprint.get("/certificates/<serial>")
@door.open_to(door.PERSON)
def certificate(serial: str) -> str:
    """One certificate, and how to end it."""
    found = _certificate(serial)
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
    found = _certificate(serial)
    door.permit(Action.CERT_READ, Target(*certificates.target(found)))
    with door.node().database.reading() as session:
        text = bundles.pem(certificates.chain(session, found))
    download = {"Content-Disposition": f'attachment; filename="yumen-{found.serial[:8]}.pem"'}
    return Response(text, mimetype="application/pem-certificate-chain", headers=download)


@blueprint.post("/certificates/<serial>/revoke")
@door.open_to(door.PERSON)
def revoke(serial: str) -> AnyResponse:
    """End it for good."""
    end(_certificate(serial))
    flash(_("The certificate is revoked. Nothing accepts it any more."), "good")
    return redirect(url_for("staff.certificate", serial=serial))


def end(found: Any) -> None:
    """Revoke `found` for the reason in the form; used by the desk as well."""
    form = forms.Revoke()
    if not form.validate():
        abort(400)
    permit = door.permit(Action.CERT_REVOKE, Target(*certificates.target(found)))
    with door.changing() as tx:
        revocation.revoke(tx, found.authority, found.serial, form.reason.data, permit=permit)


def _my_facts() -> subjects.Facts:
    return subjects.facts(door.node().world.current(), f"person:{door.caller().actor.id}")


def _readable(request_id: int) -> Any:
    with door.node().database.reading() as session:
        found = registration.get(session, request_id)
    door.permit(Action.REQUEST_READ, Target(*registration.target(found)))
    return found


def _certificate(serial: str) -> Any:
    with door.node().database.reading() as session:
        return certificates.get(session, serial)
