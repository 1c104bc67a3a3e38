"""From what a request shows to who is calling. The judgement is `authz`'s; here the credentials are laid side by side.

Programs show a bearer token, a certificate, or both when both name the same caller. A person's certificate alone opens a
session and does nothing else; an application's acts directly. Pages look at the login page's cookie and at nothing else.
"""

from __future__ import annotations

from hashlib import sha256

from cryptography import x509

from authz import applications, login, sessions
from authz.caller import Caller
from authz.evidence import Presented as Shown
from certs.names import Identity, Kind
from core.errors import Error, Malformed, Unauthenticated
from web.credentials import Presented, presented, require_json, require_same_origin
from web.visit import Visit


def of_program(visit: Visit) -> Caller:
    """Who calls an address for programs; nobody when nothing was shown.

    Raises:
        Unauthenticated: what was shown is not accepted.
        Malformed: two credentials name two callers, or another site's page may have sent this.
    """
    visit.looked = True
    seen = visit.seen = presented(visit.environ)
    if seen.bearer:
        caller = _by_bearer(visit, seen)
        if seen.certificate and (other := _identity(visit, seen)) and not _is(other, caller):
            raise Malformed("token and client certificate name different callers; show one of them", reason="two-callers")
        return caller
    if not seen.certificate:
        return Caller(source=seen.source, request_id=seen.request_id)
    return _by_certificate(visit, seen)


def of_page(visit: Visit, *, quietly: bool) -> Caller:
    """Who looks at a page, by cookie alone; with `quietly` an ended session makes a stranger instead of a refusal.

    Raises:
        Unauthenticated: the session is not known or has ended.
    """
    visit.looked = True
    seen = visit.seen = presented({**visit.environ, "HTTP_AUTHORIZATION": None})
    try:
        if seen.cookie:
            return sessions.caller(visit.node.world, seen.cookie, _digest(seen), seen.source, seen.request_id)
    except Unauthenticated:
        if not quietly:
            raise
    return Caller(source=seen.source, request_id=seen.request_id)


def chain(seen: Presented) -> list[x509.Certificate]:
    """The certificate that the TLS connection proved, as a chain; the authorities above it are our own.

    Raises:
        Unauthenticated: there is none, or it cannot be read.
    """
    if not seen.certificate:
        raise Unauthenticated("connect with a client certificate")
    try:
        return [x509.load_der_x509_certificate(seen.certificate)]
    except (ValueError, x509.InvalidVersion) as error:
        raise Unauthenticated("the client certificate cannot be read", reason="malformed") from error


def require_nobody_else(visit: Visit, uid: str) -> None:
    """Check that whatever the connection shows beside name and password names the same person.

    Raises:
        Malformed: the certificate or the token names somebody else.
    """
    seen = presented(visit.environ)
    person = visit.node.world.current().directory.by_uid.get(uid)
    claimed = Caller(person=person)
    other = _identity(visit, seen) if seen.certificate else None
    held = _by_bearer(visit, seen) if seen.bearer else None
    if (other and not _is(other, claimed)) or (held and (person is None or held.person is None or held.person.uuid != person.uuid)):
        raise Malformed("the name and the certificate or token of the connection name different callers; show one", reason="two-callers")


def certificate_refused(visit: Visit, error: Error) -> None:
    """Note that `authz.login` has recorded the refusal of a certificate, unless it was a stranger's: those are counted."""
    visit.recorded = error.facts.get("reason") not in login.STRANGERS


def _by_bearer(visit: Visit, seen: Presented) -> Caller:
    if seen.bearer.startswith("ys_"):
        return sessions.caller(visit.node.world, seen.bearer, _digest(seen), seen.source, seen.request_id)
    return applications.by_key(visit.node.world, seen.bearer, seen.source, seen.request_id)


def _by_certificate(visit: Visit, seen: Presented) -> Caller:
    world, shown = visit.node.world, _shown(visit, seen)
    if not shown.reasons and shown.identity and shown.identity.kind is Kind.PERSON:
        raise Unauthenticated(
            "a person's certificate opens a session and nothing else; call POST /api/v1/sessions first", reason="session-needed"
        )
    try:
        caller = applications.by_certificate(world, shown, seen.source, seen.request_id)
    except Unauthenticated as error:
        certificate_refused(visit, error)
        raise
    visit.caller = caller  # known from here on: what is wrong with the request is recorded under its name
    require_same_origin(seen, visit.node.settings.web.https_url)
    require_json(seen)
    return caller


def _shown(visit: Visit, seen: Presented) -> Shown:
    world = visit.node.world
    try:
        return world.verifier.present_der([seen.certificate or b""], world.trust(), world.current(), world.clock())
    except Malformed as error:
        raise Unauthenticated("the client certificate cannot be read", reason="malformed") from error


def _identity(visit: Visit, seen: Presented) -> Identity | None:
    """Whom a certificate names that may be believed; a bad one beside a good token names nobody."""
    try:
        shown = _shown(visit, seen)
    except Error:
        return None
    return None if shown.reasons else shown.identity


def _is(identity: Identity, caller: Caller) -> bool:
    if identity.kind is Kind.PERSON:
        return caller.person is not None and caller.person.uuid == identity.id
    return caller.application is not None and identity.kind is Kind.APPLICATION and caller.application.id == identity.id


def _digest(seen: Presented) -> str:
    """SHA-256 of the connection's certificate, hex; empty for none."""
    return sha256(seen.certificate).hexdigest() if seen.certificate else ""
