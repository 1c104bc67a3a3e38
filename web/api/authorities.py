"""The certificate authorities, as everybody who logged in may see them."""

from __future__ import annotations

from cryptography import x509
from flask import Blueprint, Response

from audit.permit import Action
from authz.decide import Target
from ca import authorities, certificates
from ca.tables import Authority
from certs import bundles
from core.errors import NotFound
from web import door
from web.api.persons import done
from web.api.requests import moment
from web.shapes import AuthorityAnswer, AuthorityList, Done

routes = Blueprint("api_authorities", __name__, url_prefix="/api/v1/cas")


@routes.get("")
@door.open_to(door.PERSON, door.APPLICATION)
@door.described(summary="The certificate authorities, root first", answer=AuthorityList)
def listing() -> Response:
    """Every authority that has its certificate."""
    return door.answer(AuthorityList(items=_all()))


@routes.get("/<authority>")
@door.open_to(door.PERSON, door.APPLICATION)
@door.described(summary="One certificate authority", answer=AuthorityAnswer, errors=("not-found",))
def show(authority: str) -> Response:
    """One authority."""
    for found in _all():
        if found.id == authority:
            return door.answer(found)
    raise NotFound("there is no authority `{authority}`", authority=authority)


@routes.post("/<authority>/resume")
@door.open_to(door.PERSON)
@door.described(summary="Clear a stopped authority to sign again", answer=Done, errors=("not-found", "conflict"))
def resume(authority: str) -> Response:
    """A security administrator's word; the worker lets it sign within a second."""
    with door.node().database.reading() as session:
        authorities.get(session, authority)
    permit = door.permit(Action.AUTHORITY_RESUME, Target(f"ca:{authority}"))
    with door.changing() as tx:
        authorities.clear(tx, authority, permit=permit)
    return done(tx)


def _all() -> list[AuthorityAnswer]:
    with door.node().database.reading() as session:
        return [_shown(row) for row in certificates.authorities(session)]


def _shown(row: Authority) -> AuthorityAnswer:
    assert row.cert is not None
    certificate = x509.load_der_x509_certificate(row.cert)
    return AuthorityAnswer(
        id=row.id,
        name=row.name,
        parent=row.parent,
        profiles=row.profiles.split(),
        serial=f"{certificate.serial_number:x}",
        not_after=moment(certificate.not_valid_after_utc),
        pem=bundles.pem([certificate]).decode(),
    )
