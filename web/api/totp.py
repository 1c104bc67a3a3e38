"""One-time codes: a registrar hands out a code, the person scans an offer and shows the first code from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from flask import Blueprint, Response

from audit.permit import Action, Permit
from authz import enrol, totp
from authz.decide import Target
from authz.login import Attempt
from authz.totp import Offer
from web import door
from web.api.requests import moment
from web.kinds import Line, Secret
from web.strict import Text

routes = Blueprint("api_totp", __name__, url_prefix="/api/v1/totp")


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeFor:
    """The person who is to enrol one-time codes."""

    person: Line


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeIssued:
    """A one-time enrolment code, to be handed over in person. It is shown once."""

    code: str
    expires_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolBody:
    """Begin to enrol one-time codes: password and the registrar's code, or a session begun by certificate with nothing."""

    uid: Line
    password: Secret
    code: Annotated[str, Text(at_most=64, at_least=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolBegun:
    """The secret for the person's generator. It counts once its first code was shown."""

    id: str
    secret: str
    uri: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolFinish:
    """The first code of the new generator, with what `EnrolBody` gave."""

    totp: Annotated[str, Text(at_most=8, pattern="[0-9]{6,8}")]
    uid: Annotated[str, Text(at_most=255)] = ""
    password: Annotated[str, Text(at_most=1_024)] = ""
    code: Annotated[str, Text(at_most=64)] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryCodes:
    """Codes for the day the generator is lost. They are shown once."""

    codes: list[str]


@routes.post("/codes")
@door.open_to(door.PERSON)
@door.described(
    summary="Hand out a code with which a person of one's scope can enrol",
    body=CodeFor,
    status=201,
    answer=CodeIssued,
    errors=("not-found",),
)
def hand_out() -> Response:
    """A code to be given to the person face to face; earlier ones end."""
    name, node = door.body(CodeFor).person, door.node()
    person = node.world.current().directory.get(name)
    permit = door.permit(Action.TOTP_CODE_ISSUE, Target(f"person:{person.id}", person.unit, person.id))
    lifetime = node.settings.authz.enrolment_code_lifetime
    with door.changing() as tx:
        code = totp.hand_out(tx, node.world.keys, person, lifetime, permit=permit)
    return door.answer(CodeIssued(code=code, expires_at=moment(tx.now + lifetime)), 201)


@routes.post("/enrolments")
@door.open_to(door.ANYONE)
@door.described(
    summary="Begin to enrol: name, password and the registrar's code; in a session begun by certificate an empty body",
    body=EnrolBody,
    or_nothing=True,
    status=201,
    answer=EnrolBegun,
    errors=("rate-limited",),
)
def begin() -> Response:
    """The secret for the person's generator; it counts once its first code was shown."""
    offer = _begin_with_password(door.body(EnrolBody)) if door.has_body() else _begin_in_session()
    return door.answer(EnrolBegun(id=offer.credential, secret=offer.secret, uri=offer.uri), 201)


@routes.post("/enrolments/confirm")
@door.open_to(door.ANYONE)
@door.described(
    summary="Finish to enrol with the first code of the new generator",
    body=EnrolFinish,
    answer=RecoveryCodes,
    errors=("rate-limited", "conflict"),
)
def finish() -> Response:
    """The recovery codes, shown once."""
    wanted = door.body(EnrolFinish)
    if wanted.uid:
        with door.visit().recorded_there():
            codes = enrol.finish(door.node().world, _attempt(wanted), wanted.totp)
    else:
        permit = _own_permit()
        with door.changing() as tx:
            codes = enrol.finish_in_session(tx, door.node().world, door.person(), wanted.totp, permit=permit)
    return door.answer(RecoveryCodes(codes=codes))


def _begin_with_password(wanted: EnrolBody) -> Offer:
    with door.visit().recorded_there():
        return enrol.begin(door.node().world, _attempt(wanted))


def _begin_in_session() -> Offer:
    permit = _own_permit()
    with door.changing() as tx:
        return enrol.begin_in_session(tx, door.node().world, door.person(), permit=permit)


def _own_permit() -> Permit:
    door.resolve()
    person = door.person()
    return door.permit(Action.TOTP_ENROL, Target(f"person:{person.id}", person.unit, person.id))


def _attempt(wanted: EnrolBody | EnrolFinish) -> Attempt:
    environ = door.visit().environ
    return Attempt(
        uid=wanted.uid, password=wanted.password, code=wanted.code, source=environ["REMOTE_ADDR"], request_id=environ["yumen.request_id"]
    )
