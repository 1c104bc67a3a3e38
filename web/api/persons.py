"""Persons as officers deal with them: confirm a role, take that back, block and unblock; accept a large directory change."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, Response

from audit.permit import Action, Permit
from audit.record import Transaction
from authz import confirm, follower, roles, sessions, standing
from authz.confirm import Named
from authz.decide import Target
from authz.people import Person
from web import door
from web.declare import Asked
from web.kinds import Digits
from web.shapes import Blocking, DirectoryDigest, Done, RoleBody

routes = Blueprint("api_persons", __name__, url_prefix="/api/v1")

#: Roles of one page.
PAGE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleStanding:
    """A role that must be confirmed: whose, in which unit, and what directory and confirmation together make of it."""

    person: str
    uid: str
    role: str
    unit: str
    agreement: roles.Agreement


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleList:
    """Those on which directory and confirmations disagree first; give `next` as `after` for the next page."""

    items: list[RoleStanding]
    next: str | None


_CHANGED = {"answer": Done, "errors": ("not-found", "conflict")}


@routes.get("/roles")
@door.open_to(door.PERSON)
@door.described(
    summary="Who holds the roles that must be confirmed, and where directory and confirmations disagree",
    query={"after": Asked("`next` of the page before", Digits)},
    answer=RoleList,
)
def listing() -> Response:
    """For administrators."""
    after = door.number(door.query("after").get("after"), "after") or 0
    door.permit(Action.SYSTEM_READ, Target("system"))
    found = roles.held(door.node().world.current())
    items = [_standing(one) for one in found[after : after + PAGE]]
    return door.answer(RoleList(items=items, next=str(after + PAGE) if len(found) > after + PAGE else None))


@routes.post("/persons/<name>/confirmations")
@door.open_to(door.PERSON)
@door.described(summary="Confirm an administrator's or registrar's role", body=RoleBody, **_CHANGED)
def confirm_role(name: str) -> Response:
    """Let the role that the directory gives count."""
    named, permit = _named(name, door.body(RoleBody), Action.PERSON_CONFIRM)
    with door.changing() as tx:
        confirm.confirm(tx, door.node().world.current().directory, named, permit=permit)
    return done(tx)


@routes.post("/persons/<name>/confirmations/withdraw")
@door.open_to(door.PERSON)
@door.described(summary="Let a confirmed role no longer count", body=RoleBody, **_CHANGED)
def withdraw_role(name: str) -> Response:
    """Take a confirmation back."""
    named, permit = _named(name, door.body(RoleBody), Action.PERSON_CONFIRM)
    with door.changing() as tx:
        confirm.withdraw(tx, door.node().world.current().directory, named, permit=permit)
    return done(tx)


@routes.post("/persons/<name>/block")
@door.open_to(door.PERSON)
@door.described(summary="Let a person do nothing until unblocked", body=Blocking, **_CHANGED)
def block(name: str) -> Response:
    """Block an account."""
    reason, person = door.body(Blocking).reason, _person(name)
    permit = _permit(person, Action.ACCOUNT_BLOCK)
    with door.changing() as tx:
        standing.block(tx, person.uuid, person.id, reason, permit=permit)
    return done(tx)


@routes.post("/persons/<name>/unblock")
@door.open_to(door.PERSON)
@door.described(summary="End a block", **_CHANGED)
def unblock(name: str) -> Response:
    """End a block."""
    person = _person(name)
    permit = _permit(person, Action.ACCOUNT_BLOCK)
    with door.changing() as tx:
        standing.unblock(tx, person.uuid, person.id, permit=permit)
    return done(tx)


@routes.delete("/persons/<name>/sessions")
@door.open_to(door.PERSON)
@door.described(summary="Log a person out everywhere", **_CHANGED)
def end_sessions(name: str) -> Response:
    """End every session of a person: one's own, or as a security administrator anybody's."""
    person = _person(name)
    permit = _permit(person, Action.SESSION_END)
    with door.changing() as tx:
        sessions.end_all(tx, person, permit=permit)
    return done(tx)


@routes.post("/directory/accept")
@door.open_to(door.PERSON)
@door.described(summary="Accept a directory change that drops many roles", body=DirectoryDigest, **_CHANGED)
def accept_directory() -> Response:
    """Let the refused directory be taken over."""
    digest = door.body(DirectoryDigest).digest
    permit = door.permit(Action.DIRECTORY_ACCEPT, Target("directory"))
    with door.changing() as tx:
        follower.accept_directory(tx, digest, permit=permit)
    return done(tx)


def done(tx: Transaction, status: int = 200) -> Response:
    """The places of the act's events in the trail."""
    return door.answer(Done(receipts=[f"{receipt.log}/{receipt.idx}" for receipt in tx.receipts]), status)


def _named(name: str, wanted: RoleBody, action: Action) -> tuple[Named, Permit]:
    person = _person(name)
    return Named(person.uuid, wanted.role, wanted.unit), _permit(person, action)


def _standing(one: roles.Held) -> RoleStanding:
    person = one.person
    uid = person.uid if person else ""
    return RoleStanding(person=one.uuid, uid=uid, role=one.holding.role, unit=one.holding.unit, agreement=one.agreement)


def _permit(person: Person, action: Action) -> Permit:
    return door.permit(action, Target(f"person:{person.id}", person.unit, person.id))


def _person(name: str) -> Person:
    return door.node().world.current().directory.get(name)
