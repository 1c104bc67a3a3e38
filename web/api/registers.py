"""What stands in the registers, for those who may read it: grants and keys of applications, servers and devices."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from typing import Annotated, Any

from flask import Blueprint, Response

from audit.permit import Action
from authz import registers
from web import door
from web.api.applications import registered
from web.api.requests import moment
from web.declare import Asked
from web.strict import Text

routes = Blueprint("api_registers", __name__, url_prefix="/api/v1")

_GRANTS = Annotated[str, Text(at_most=16, pattern="(?:g?[0-9]{1,15})?")]


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantShown:
    """A grant as it stands."""

    id: str
    action: str
    type: str
    role: str
    unit: str
    effect: str
    not_before: str | None
    not_after: str | None
    assurance: int
    conditions: dict[str, Any]
    made_at: str
    withdrawn_at: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantPage:
    """Grants of one application, the oldest first; `next` is given as `after` for those that follow."""

    items: list[GrantShown]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyShown:
    """An API key without its secret."""

    id: str
    made_at: str
    withdrawn_at: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyList:
    """The API keys of one application, the oldest first."""

    items: list[KeyShown]


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetShown:
    """A server, device or application that may have certificates."""

    ref: str
    name: str
    owner: str
    unit: str
    names: list[str]
    active: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetPage:
    """Assets that the caller may see, by ref; `next` is given as `after` for those that follow."""

    items: list[AssetShown]
    next: str | None


@routes.get("/applications/<application>/grants")
@door.open_to(door.PERSON)
@door.described(
    summary="Grants of an application, withdrawn ones as well",
    query={"after": Asked("`next` of the page before", _GRANTS)},
    answer=GrantPage,
    errors=("not-found",),
)
def grants(application: str) -> Response:
    """Who may, or may not, do what in it."""
    after = door.query("after").get("after", "")
    _must_read(application)
    with door.node().database.reading() as session:
        items = [_grant(row) for row in registers.grants(session, application, after)]
    return door.answer(GrantPage(items=items, next=items[-1].id if len(items) == registers.PAGE else None))


@routes.get("/applications/<application>/keys")
@door.open_to(door.PERSON)
@door.described(summary="API keys of an application, without their secrets", answer=KeyList, errors=("not-found",))
def keys(application: str) -> Response:
    """Which keys there are and were."""
    _must_read(application)
    with door.node().database.reading() as session:
        rows = registers.keys(session, application)
    return door.answer(
        KeyList(items=[KeyShown(id=row.id, made_at=moment(row.made_at), withdrawn_at=_when(row.withdrawn_at)) for row in rows])
    )


@routes.get("/assets")
@door.open_to(door.PERSON)
@door.described(
    summary="Servers, devices and applications that the caller may see", query={"after": "`next` of the page before"}, answer=AssetPage
)
def assets() -> Response:
    """One's own, and those of the units that one's roles stand above."""
    found = registers.assets(door.node().world.current(), door.caller(), door.query("after").get("after", ""))
    items = [
        AssetShown(ref=one.ref, name=one.name, owner=one.owner, unit=one.unit, names=list(one.names), active=one.active) for one in found
    ]
    return door.answer(AssetPage(items=items, next=items[-1].ref if len(items) == registers.PAGE else None))


def _must_read(application: str) -> None:
    door.permit(Action.REGISTER_READ, registers.application_target(door.node().world.current(), registered(application)))


def _grant(row: Any) -> GrantShown:
    return GrantShown(
        id=f"g{row.id}",
        action=row.action,
        type=row.type,
        role=row.role,
        unit=row.unit,
        effect=row.effect,
        not_before=_when(row.not_before),
        not_after=_when(row.not_after),
        assurance=row.assurance,
        conditions=json.loads(row.conditions),
        made_at=moment(row.made_at),
        withdrawn_at=_when(row.withdrawn_at),
    )


def _when(at: dt.datetime | None) -> str | None:
    return moment(at) if at else None
