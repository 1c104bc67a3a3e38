"""The three screens to a certificate, and the one to its renewal. The key is made in the browser, never here."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, flash, jsonify, redirect, render_template, url_for
from flask_babel import gettext as _
from werkzeug.wrappers import Response as AnyResponse

from audit.permit import Action
from authz.decide import Target
from ca import registration, subjects
from ca.registration import Draft
from certs import csr
from web import door
from web.pages import forms, present, staff

blueprint = Blueprint("enrolment", __name__)

#: What a person asks for here.
PROFILE = "staff-sign"


@blueprint.get("/certificates/new")
@door.open_to(door.PERSON)
def offer() -> str:
    """Screen one: what the certificate will say."""
    waiting = registration.Filter(owner=door.caller().actor.id, profile=PROFILE, states=registration.UNDER_WAY)
    with door.node().database.reading() as session:
        asked = [present.request(one) for one in registration.listing(session, waiting, limit=1)]
    return render_template("staff/offer.html", facts=present.offered(_my_facts(), PROFILE), waiting=asked)


@blueprint.get("/certificates/new/key")
@door.open_to(door.PERSON)
def key() -> str:
    """Screen two: a password, and the browser makes the key."""
    return render_template("staff/key.html", action=url_for("enrolment.submit"), renews=None)


@blueprint.post("/requests")
@door.open_to(door.PERSON)
def submit() -> AnyResponse:
    """Take in the request that the browser made; the same one sent twice is shown, not taken in again."""
    facts = _my_facts()
    asked, known = _asked(facts)
    permit = door.permit(Action.REQUEST_SUBMIT, Target(facts.ref, facts.unit, facts.owner))
    if known is None:
        with door.changing() as tx:
            known = registration.submit(tx, permit=permit, draft=Draft(profile=PROFILE, csr=asked, facts=facts)).id
    return redirect(url_for("enrolment.request", request_id=known))


@blueprint.get("/certificates/<serial>/renew")
@door.open_to(door.PERSON)
def renewal(serial: str) -> AnyResponse | str:
    """The only screen of a renewal: what is renewed, a password, and the browser makes the key."""
    held = staff.find(serial)
    facts = _facts(held.subject)
    door.permit(Action.REQUEST_RENEW, Target(facts.ref, facts.unit, facts.owner))
    if not registration.is_renewable(held, door.node().clock()):
        flash(_("This certificate cannot be renewed now. You can ask for a new one."), "warn")
        return redirect(url_for("staff.certificate", serial=serial))
    return render_template("staff/key.html", action=url_for("enrolment.renew", serial=serial), renews=present.renewal(held))


@blueprint.post("/certificates/<serial>/renew")
@door.open_to(door.PERSON)
def renew(serial: str) -> AnyResponse:
    """Take in the new key of a renewal."""
    held = staff.find(serial)
    facts = _facts(held.subject)
    asked, known = _asked(facts)
    permit = door.permit(Action.REQUEST_RENEW, Target(facts.ref, facts.unit, facts.owner))
    if known is None:
        with door.changing() as tx:
            draft = Draft(profile=held.profile, csr=asked, facts=facts)
            known = registration.renew_own(tx, permit=permit, draft=draft, previous=held.ref).id
    return redirect(url_for("enrolment.request", request_id=known))


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


def _asked(facts: subjects.Facts) -> tuple[csr.Csr, int | None]:
    """The request in the form, and the number under which it was taken in already."""
    asked = csr.parse((forms.Submit().csr.data or "").encode())
    with door.node().database.reading() as session:
        same = registration.find_same(session, facts.ref, asked.spki_sha256)
    return asked, same.id if same else None


def _my_facts() -> subjects.Facts:
    return _facts(f"person:{door.caller().actor.id}")


def _facts(ref: str) -> subjects.Facts:
    return subjects.facts(door.node().world.current(), ref)


def _readable(request_id: int) -> Any:
    with door.node().database.reading() as session:
        found = registration.get(session, request_id)
    door.permit(Action.REQUEST_READ, Target(*registration.target(found)))
    return found
