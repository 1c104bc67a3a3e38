"""Certificates that were issued: list, show, revoke, suspend, release."""

from __future__ import annotations

from flask import Blueprint, Response, request

from audit.permit import Action, Permit
from authz import decide
from authz.decide import Target
from ca import certificates, revocation
from ca.certificates import Filter
from ca.states import Standing
from ca.tables import Certificate
from certs import bundles
from web import door
from web.api.requests import moment
from web.declare import Asked
from web.kinds import Digits, Yes
from web.shapes import CertificateAnswer, CertificateList, Reason, Release, Suspension

routes = Blueprint("api_certificates", __name__, url_prefix="/api/v1/certificates")

PAGE = 50
CHAIN = "application/pem-certificate-chain"
_AUTHORITY = {"authority": "id of the authority, where several have issued this serial"}


@routes.get("")
@door.open_to(door.PERSON, door.APPLICATION)
@door.described(
    summary="Certificates that the caller may see, newest first",
    query={
        "subject": "`person:…`, `server:…`, `application:…`",
        "profile": "only this profile",
        "standing": Asked("where it stands, its dates aside", Standing),
        "name": "part of the common name",
        "mine": Asked("`1`: only the caller's own", Yes),
        "after": Asked("`next` of the page before", Digits),
    },
    answer=CertificateList,
)
def listing() -> Response:
    """The caller's own certificates, and those of the units for which the caller may read them."""
    asked = door.query("subject", "profile", "standing", "name", "mine", "after")
    caller, before = door.caller(), door.number(asked.pop("after", None), "after")
    units = decide.reach(door.node().world.current(), caller, Action.CERT_READ) if "mine" not in asked else frozenset()
    asked.pop("mine", None)
    mine = {"subject": f"application:{caller.actor.id}"} if caller.application else {"owner": caller.actor.id}
    chosen = Filter(units=units, **asked) if units else Filter(**(asked | mine))  # type: ignore[arg-type]
    with door.node().database.reading() as session:
        found = certificates.listing(session, chosen, before=before, limit=PAGE)
    after = str(found[-1].intent_id) if len(found) == PAGE else None
    return door.answer(CertificateList(items=[shown(one) for one in found], next=after))


@routes.get("/<serial>")
@door.open_to(door.PERSON, door.APPLICATION)
@door.described(
    summary="One certificate; ask for application/pem-certificate-chain to get it with its issuers, leaf first",
    query=_AUTHORITY,
    answer=CertificateAnswer,
    gives=CHAIN,
    errors=("not-found", "conflict"),
)
def show(serial: str) -> Response:
    """One certificate as JSON, or its chain as PEM."""
    found = _find(serial)
    door.permit(Action.CERT_READ, Target(*certificates.target(found)))
    if request.accept_mimetypes.best_match(["application/json", CHAIN]) != CHAIN:
        return door.answer(shown(found))
    with door.node().database.reading() as session:
        return Response(bundles.pem(certificates.chain(session, found)), mimetype=CHAIN)


@routes.post("/<serial>/revoke")
@door.open_to(door.PERSON)
@door.described(summary="Revoke for good", query=_AUTHORITY, body=Reason, answer=CertificateAnswer, errors=("not-found", "conflict"))
def revoke(serial: str) -> Response:
    """Revoke for good."""
    reason = door.body(Reason).reason
    found, permit = _permitted(serial, Action.CERT_REVOKE)
    with door.changing() as tx:
        told = shown(revocation.revoke(tx, found.authority, found.serial, reason, permit=permit))
    return door.answer(told)


@routes.post("/<serial>/suspend")
@door.open_to(door.PERSON)
@door.described(
    summary="Put on hold until released", query=_AUTHORITY, body=Suspension, answer=CertificateAnswer, errors=("not-found", "conflict")
)
def suspend(serial: str) -> Response:
    """Put on hold."""
    door.body(Suspension)
    found, permit = _permitted(serial, Action.CERT_SUSPEND)
    with door.changing() as tx:
        told = shown(revocation.suspend(tx, found.authority, found.serial, permit=permit))
    return door.answer(told)


@routes.post("/<serial>/release")
@door.open_to(door.PERSON)
@door.described(summary="End a suspension", query=_AUTHORITY, body=Release, answer=CertificateAnswer, errors=("not-found", "conflict"))
def release(serial: str) -> Response:
    """End a suspension."""
    door.body(Release)
    found, permit = _permitted(serial, Action.CERT_RELEASE)
    with door.changing() as tx:
        told = shown(revocation.release(tx, found.authority, found.serial, permit=permit))
    return door.answer(told)


def shown(found: Certificate) -> CertificateAnswer:
    """A certificate as the API shows it."""
    return CertificateAnswer(
        serial=found.serial,
        authority=found.authority,
        profile=found.profile,
        subject=found.subject,
        name=found.common_name,
        unit=found.unit,
        standing=str(found.standing),
        reason=found.revocation.reason if found.revocation and str(found.standing) != "valid" else "",
        not_before=moment(found.not_before),
        not_after=moment(found.not_after),
        request=found.request_id,
        pem=bundles.pem([bundles.certificate(found.der)]).decode(),
    )


def _find(serial: str) -> Certificate:
    with door.node().database.reading() as session:
        return certificates.get(session, serial, door.query("authority").get("authority"))


def _permitted(serial: str, action: Action) -> tuple[Certificate, Permit]:
    found = _find(serial)
    return found, door.permit(action, Target(*certificates.target(found)))
