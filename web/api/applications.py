"""Applications, their keys and grants, and the assets that may have certificates."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

from flask import Blueprint, Response

from audit.permit import Action, Permit
from authz import applications, registers
from authz.applications import Draft, Registration
from authz.caller import Assurance
from authz.decide import Target
from authz.snapshot import Application
from core.errors import Malformed, NotFound
from web import door
from web.api.persons import done
from web.kinds import Conditions, Effect, Level, Line, Moment, Name, Unit, Word
from web.shapes import (
    ApiKeyMade,
    ApplicationAnswer,
    ApplicationBody,
    ApplicationList,
    AssetBody,
    Done,
    GrantAnswer,
    GrantBody,
)

routes = Blueprint("api_applications", __name__, url_prefix="/api/v1")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyBody:
    """Whether an application's proxy may ask at the gate for the people who stand before it."""

    proxy: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveBody:
    """Whether an application is let in."""

    active: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftBody:
    """A grant that is only imagined, for the action and type of the question."""

    role: Name
    unit: Unit = ""
    effect: Effect = "permit"
    not_before: Moment | None = None
    not_after: Moment | None = None
    assurance: Level = 0
    conditions: Conditions = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceBody:
    """What an application decides about: whose it is and what is known of it. Callers may not say otherwise."""

    type: Word
    id: Line
    unit: Unit = ""
    properties: Conditions = field(default_factory=dict)


@routes.get("/applications")
@door.open_to(door.PERSON)
@door.described(summary="The registered applications", answer=ApplicationList)
def listing() -> Response:
    """Every registered application."""
    known = door.node().world.current().applications
    return door.answer(ApplicationList(items=[_shown(known[name]) for name in sorted(known)]))


@routes.post("/applications")
@door.open_to(door.PERSON)
@door.described(summary="Register an application", body=ApplicationBody, status=201, answer=Done, errors=("conflict", "not-found"))
def register() -> Response:
    """Register an application, and as an asset of its own."""
    wanted = door.body(ApplicationBody)
    owner = door.node().world.current().directory.get(wanted.owner)
    permit = door.permit(Action.APPLICATION_REGISTER, Target(f"app:{wanted.id}", wanted.unit, owner.id))
    facts = Registration(
        id=wanted.id,
        name=wanted.name,
        unit=wanted.unit,
        owner=owner.uuid,
        actions=wanted.actions,
        types=wanted.types,
        asserts=wanted.asserts,
        proxy=wanted.proxy,
    )
    with door.changing() as tx:
        applications.register(tx, facts, permit=permit)
    return done(tx, 201)


@routes.put("/applications/<application>/proxy")
@door.open_to(door.PERSON)
@door.described(summary="Let an application's proxy ask at the gate, or no longer", body=ProxyBody, answer=Done, errors=("not-found",))
def set_proxy(application: str) -> Response:
    """Register the application's proxy, or withdraw that."""
    wanted, permit = door.body(ProxyBody), _permit(application, Action.APPLICATION_REGISTER)
    with door.changing() as tx:
        applications.set_proxy(tx, application, proxy=wanted.proxy, permit=permit)
    return done(tx)


@routes.put("/applications/<application>/active")
@door.open_to(door.PERSON)
@door.described(summary="Switch an application off, or on again", body=ActiveBody, answer=Done, errors=("not-found", "conflict"))
def switch(application: str) -> Response:
    """Let nothing in that calls in its name, or let it in again."""
    wanted, permit = door.body(ActiveBody), _permit(application, Action.APPLICATION_SWITCH)
    with door.changing() as tx:
        applications.switch(tx, application, active=wanted.active, permit=permit)
    return done(tx)


@routes.post("/applications/<application>/keys")
@door.open_to(door.PERSON)
@door.described(summary="Make an API key; it is shown once", status=201, answer=ApiKeyMade, errors=("not-found",))
def make_key(application: str) -> Response:
    """A new key for an application that cannot use a certificate."""
    permit = _permit(application, Action.API_KEY_MAKE)
    with door.changing() as tx:
        key = applications.make_key(tx, door.node().world, application, permit=permit)
    return door.answer(ApiKeyMade(id=key.split("_")[1], key=key), 201)


@routes.delete("/applications/<application>/keys/<key_id>")
@door.open_to(door.PERSON)
@door.described(summary="Withdraw an API key", answer=Done, errors=("not-found",))
def withdraw_key(application: str, key_id: str) -> Response:
    """Let a key no longer be accepted."""
    permit = _permit(application, Action.API_KEY_MAKE)
    with door.changing() as tx:
        applications.withdraw_key(tx, application, key_id, permit=permit)
    return done(tx)


@routes.post("/grants")
@door.open_to(door.PERSON)
@door.described(summary="Add a grant", body=GrantBody, status=201, answer=GrantAnswer, errors=("not-found", "conflict"))
def add_grant() -> Response:
    """Let a role do something in an application, or forbid it."""
    wanted = door.body(GrantBody)
    permit = _permit(wanted.application, Action.GRANT_CHANGE)
    with door.changing() as tx:
        grant = applications.add_grant(tx, draft(wanted, wanted.application, wanted.action, wanted.type), permit=permit)
    return door.answer(GrantAnswer(id=grant), 201)


@routes.delete("/applications/<application>/grants/<grant>")
@door.open_to(door.PERSON)
@door.described(summary="Withdraw a grant", answer=Done, errors=("not-found",))
def withdraw_grant(application: str, grant: str) -> Response:
    """Let a grant no longer count."""
    permit = _permit(application, Action.GRANT_CHANGE)
    with door.changing() as tx:
        applications.withdraw_grant(tx, application, grant, permit=permit)
    return done(tx)


@routes.post("/applications/<application>/resources")
@door.open_to(door.PERSON)
@door.described(summary="Tell of a resource, or tell anew: its unit and properties", body=ResourceBody, answer=Done, errors=("not-found",))
def put_resource(application: str) -> Response:
    """Let the resource's unit and properties be what is told here, whatever a caller says."""
    wanted = door.body(ResourceBody)
    permit = _permit(application, Action.GRANT_CHANGE)
    facts = {"type": wanted.type, "id": wanted.id, "unit": wanted.unit, "properties": wanted.properties}
    with door.changing() as tx:
        applications.put_resource(tx, application, facts, permit=permit)
    return done(tx)


@routes.post("/assets")
@door.open_to(door.PERSON)
@door.described(
    summary="Register a server or device that may have certificates",
    body=AssetBody,
    status=201,
    answer=Done,
    errors=("conflict", "not-found"),
)
def register_asset() -> Response:
    """Register an asset with its owner, unit and approved names."""
    wanted = door.body(AssetBody)
    owner = door.node().world.current().directory.get(wanted.owner)
    permit = door.permit(Action.ASSET_REGISTER, Target(wanted.ref, wanted.unit, owner.id))
    facts = {"name": wanted.name, "owner": owner.uuid, "unit": wanted.unit, "names": wanted.names}
    with door.changing() as tx:
        applications.register_asset(tx, wanted.ref, facts, permit=permit)
    return done(tx, 201)


@routes.delete("/assets/<ref>")
@door.open_to(door.PERSON)
@door.described(summary="Withdraw a server or device: it gets no further certificate", answer=Done, errors=("not-found",))
def withdraw_asset(ref: str) -> Response:
    """Let an asset have no further certificate, and its names be registered elsewhere."""
    snapshot = door.node().world.current()
    known = snapshot.assets.get(ref)
    if known is None:
        raise NotFound("`{ref}` is no server or device in use; reload the page", ref=ref)
    owner = snapshot.directory.people.get(known.owner)
    permit = door.permit(Action.ASSET_REGISTER, Target(ref, known.unit, owner.id if owner else ""))
    with door.changing() as tx:
        applications.withdraw_asset(tx, ref, permit=permit)
    return done(tx)


def registered(application: str) -> Application:
    """The application of that id.

    Raises:
        NotFound: there is none.
    """
    known = door.node().world.current().applications.get(application)
    if known is None:
        raise NotFound("there is no application `{application}`", application=application)
    return known


def _permit(application: str, action: Action) -> Permit:
    return door.permit(action, registers.application_target(door.node().world.current(), registered(application)))


def draft(wanted: GrantBody | DraftBody, application: str, action: str, kind: str) -> Draft:
    """The grant that a body describes.

    Raises:
        Malformed: a time or the assurance is none.
    """
    return Draft(
        application=application,
        action=action,
        type=kind,
        role=wanted.role,
        unit=wanted.unit,
        effect=wanted.effect,
        not_before=time(wanted.not_before),
        not_after=time(wanted.not_after),
        assurance=Assurance(wanted.assurance),
        conditions=wanted.conditions,
    )


def time(text: str | None) -> dt.datetime | None:
    """The moment in `text`, if there is one.

    Raises:
        Malformed: it is no time.
    """
    try:
        return dt.datetime.fromisoformat(text) if text else None
    except ValueError as error:
        raise Malformed("`{text}` is not a time; write `2026-01-31T08:00:00Z`", text=text) from error


def _shown(known: Application) -> ApplicationAnswer:
    return ApplicationAnswer(
        id=known.id,
        name=known.name,
        unit=known.unit,
        owner=known.owner,
        active=known.active,
        actions=sorted(known.actions),
        types=sorted(known.types),
        proxy=known.proxy,
    )
