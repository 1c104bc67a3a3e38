"""Applications: registered with the actions and types that they may ask about; their keys, grants, resources and assets.

A permit for `app:<id>` (or the asset's own ref) covers each change. Grants are never edited: withdrawn, and added anew.
"""

from __future__ import annotations

import datetime as dt
import hmac
import json
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, select

from audit.event import Event, Kind
from audit.permit import Action, Actor, ActorKind, Permit
from audit.record import Transaction
from authz.caller import Assurance, Caller
from authz.evaluate import comparable
from authz.evidence import Presented
from authz.login import refuse_certificate
from authz.sessions import require_fresh
from authz.snapshot import Application, application_of
from authz.tables import ApiKey, ApplicationRow, AssetRow, GrantRow, Resource, changed, in_order
from authz.world import World
from certs.names import Kind as Subject
from certs.names import host_name
from core.database import statement
from core.errors import Conflict, Malformed, NotFound, Unauthenticated

PREFIX = "yk_"

#: Most properties that an application may assert.
MAX_ASSERTS = 16
#: Most actions, and most resource types, of one application, and most names of one asset: each stands in an event.
MAX_NAMES = 200

_KEY_IN_USE = statement(
    select(ApiKey.application, ApiKey.secret).where(ApiKey.id == bindparam("id"), ApiKey.withdrawn_at.is_(None)),
)

_ID = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
_KEY_ID = re.compile(r"[0-9a-f]{16}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")
_PROPERTY = re.compile(r"(?:subject|resource|action)\.[A-Za-z_][A-Za-z0-9_-]{0,63}")
#: What a grant's row takes from its draft as it stands there.
_SAID = ("application", "action", "type", "role", "unit", "effect", "not_before", "not_after")
_ASSET = re.compile(r"(?:server|device):[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """What is said of an application when it is registered."""

    id: str
    name: str
    #: entryUUIDs of the unit it serves and of the person who answers for it.
    unit: str
    owner: str
    actions: Sequence[str]
    types: Sequence[str]
    #: Properties whose values we take from it: `resource.unit`, `resource.status`, `action.soft`, …
    asserts: Sequence[str] = ("resource.unit",)
    #: Whether its proxy may ask at the gate for the people who stand before it.
    proxy: bool = False

    def check(self) -> None:
        """Refuse names that are none, and more of them than an event holds.

        Raises:
            Malformed: says which.
        """
        named = ((_ID, [self.id]), (_NAME, [*self.actions, *self.types]), (_PROPERTY, self.asserts))
        if wrong := [f"`{name}`" for pattern, names in named for name in names if not pattern.fullmatch(name)]:
            raise Malformed("the registration holds {names}; use letters, digits, dots and dashes", names=", ".join(wrong))
        if max(len(self.actions), len(self.types)) > MAX_NAMES or len(self.asserts) > MAX_ASSERTS:
            raise Malformed(
                "an application has at most {names} actions, as many types, and {properties} properties; register fewer",
                names=MAX_NAMES,
                properties=MAX_ASSERTS,
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A grant to be: `role` may (or, with `forbid`, may not) do `action` to resources of `type`."""

    application: str
    action: str
    type: str
    role: str
    #: Unit for whose resources it counts, by place or line; empty for all.
    unit: str = ""
    effect: str = "permit"
    not_before: dt.datetime | None = None
    not_after: dt.datetime | None = None
    assurance: Assurance = Assurance.NONE
    conditions: Mapping[str, str | int | bool] | None = None


def register(tx: Transaction, registration: Registration, *, permit: Permit) -> None:
    """Register an application, and as an asset of its own, so that it can have a certificate.

    Raises:
        Malformed: as `Registration.check`.
        Conflict: the id is taken.
    """
    permit.must_cover(Action.APPLICATION_REGISTER, f"app:{registration.id}")
    in_order(tx.db)
    registration.check()
    if tx.db.get(ApplicationRow, registration.id):
        raise Conflict("the application `{application}` is registered already; choose another id", application=registration.id)
    lists = (json.dumps(sorted(set(names))) for names in (registration.actions, registration.types, registration.asserts))
    actions, types, asserts = lists
    facts = {"name": registration.name, "unit": registration.unit, "owner": registration.owner, "made_at": tx.now}
    row = ApplicationRow(id=registration.id, active=True, actions=actions, types=types, asserts=asserts, proxy=registration.proxy, **facts)
    tx.db.add(row)
    tx.db.add(AssetRow(ref=f"application:{registration.id}", names="[]", active=True, **facts))
    changed(tx.db)
    details = {"actions": sorted(registration.actions), "types": sorted(registration.types), "proxy": registration.proxy}
    tx.record(Event.under(permit, Kind.APPLICATION_REGISTERED, permit.resource, scope=registration.unit, details=details))


def set_proxy(tx: Transaction, application: str, *, proxy: bool, permit: Permit) -> None:
    """Let the application's proxy ask at the gate, or no longer.

    Raises:
        NotFound: there is no such application.
    """
    permit.must_cover(Action.APPLICATION_REGISTER, f"app:{application}")
    in_order(tx.db)
    row = _get(tx, application)
    row.proxy = proxy
    changed(tx.db)
    tx.record(Event.under(permit, Kind.PROXY_CHANGED, permit.resource, scope=row.unit, details={"proxy": proxy}))


def switch(tx: Transaction, application: str, *, active: bool, permit: Permit) -> None:
    """Switch an application off, or on again. Off, nothing that calls in its name is let in, and it gets no certificate.

    Raises:
        NotFound: there is no such application.
        Conflict: it is as it should be already.
    """
    permit.must_cover(Action.APPLICATION_SWITCH, f"app:{application}")
    in_order(tx.db)
    row = tx.db.get(ApplicationRow, application)
    if row is None:
        raise NotFound("there is no application `{application}`", application=application)
    if row.active is active:
        raise Conflict("the application `{application}` was switched already; reload the page", application=application)
    row.active = tx.db.get_one(AssetRow, f"application:{application}").active = active
    changed(tx.db)
    tx.record(Event.under(permit, Kind.APPLICATION_SWITCHED, permit.resource, scope=row.unit, details={"active": active}))


def make_key(tx: Transaction, world: World, application: str, *, permit: Permit) -> str:
    """A new API key, `yk_<id>_<secret>`: shown once."""
    permit.must_cover(Action.API_KEY_MAKE, f"app:{application}")
    in_order(tx.db)
    _get(tx, application)
    identity, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    tx.db.add(ApiKey(id=identity, application=application, secret=world.keys.api(secret), made_at=tx.now, withdrawn_at=None))
    tx.record(Event.under(permit, Kind.API_KEY_MADE, permit.resource, details={"key": identity}))
    return f"{PREFIX}{identity}_{secret}"


def withdraw_key(tx: Transaction, application: str, identity: str, *, permit: Permit) -> None:
    """Let an API key no longer be accepted, from the next request on.

    Raises:
        NotFound: the application has no such key in use.
    """
    permit.must_cover(Action.API_KEY_MAKE, f"app:{application}")
    in_order(tx.db)
    row = tx.db.get(ApiKey, identity)
    if row is None or row.application != application or row.withdrawn_at:
        # What was named may be the key itself, so it is not repeated.
        raise NotFound("the application has no key with this id in use; name a key by its id, never by itself")
    row.withdrawn_at = tx.now
    tx.record(Event.under(permit, Kind.API_KEY_WITHDRAWN, permit.resource, details={"key": identity}))


def check_draft(draft: Draft, application: Application) -> None:
    """Refuse what could not be a grant of `application`.

    Raises:
        Malformed: the application does not know the action, type or property, or the grant contradicts itself.
    """
    if draft.action not in application.actions or draft.type not in application.types:
        raise Malformed(
            "the application has not registered the action `{action}` or the type `{type}`; choose among those that it has",
            action=draft.action,
            type=draft.type,
        )
    conditions = draft.conditions or {}
    if not all(map(comparable, conditions.values())) or not conditions.keys() <= application.asserts:
        raise Malformed(
            "a condition names a property that the application has not registered, or its value is no text, number or boolean; correct it"
        )
    if draft.effect not in {"permit", "forbid"} or (draft.not_before and draft.not_after and draft.not_before >= draft.not_after):
        raise Malformed("the grant's effect is neither permit nor forbid, or its time is over before it begins")


def drafted(draft: Draft) -> GrantRow:
    """The row that a draft would be, without id and times of its own."""
    said = {name: getattr(draft, name) for name in _SAID}
    conditions = json.dumps(dict(draft.conditions or {}), sort_keys=True)
    return GrantRow(**said, assurance=int(draft.assurance), conditions=conditions)


def add_grant(tx: Transaction, draft: Draft, *, permit: Permit) -> str:
    """Add a grant; gives its id. One that says the same as another in force is refused: withdrawing one would leave the other.

    Raises:
        Malformed: as `check_draft`.
        NotFound: there is no such application.
        Conflict: the application has just this grant.
    """
    permit.must_cover(Action.GRANT_CHANGE, f"app:{draft.application}")
    in_order(tx.db)
    row = _get(tx, draft.application)
    check_draft(draft, application_of(row))
    made = drafted(draft)
    alike = (getattr(GrantRow, name) == getattr(made, name) for name in (*_SAID, "assurance", "conditions"))
    if twin := tx.db.scalar(select(GrantRow.id).where(GrantRow.withdrawn_at.is_(None), *alike).limit(1)):
        raise Conflict("the application has just this grant already: `{grant}`", grant=f"g{twin}")
    made.made_at = tx.now
    tx.db.add(made)
    tx.db.flush()
    changed(tx.db)
    told = ("action", "type", "role", "effect")
    details = {"grant": f"g{made.id}", "assurance": made.assurance, "conditions": made.conditions} | {
        name: getattr(draft, name) for name in told
    }
    details |= {name.replace("_", "-"): at.isoformat() for name in ("not_before", "not_after") if (at := getattr(draft, name))}
    tx.record(Event.under(permit, Kind.GRANT_ADDED, permit.resource, scope=draft.unit, details=details))
    return f"g{made.id}"


def withdraw_grant(tx: Transaction, application: str, grant: str, *, permit: Permit) -> None:
    """Let a grant no longer count.

    Raises:
        NotFound: the application has no such grant in force.
    """
    permit.must_cover(Action.GRANT_CHANGE, f"app:{application}")
    in_order(tx.db)
    digits = grant.removeprefix("g")
    row = tx.db.get(GrantRow, int(digits)) if digits.isascii() and digits.isdigit() and len(digits) < 16 else None
    if row is None or row.application != application or row.withdrawn_at:
        raise NotFound("the application has no grant `{grant}` in force; reload the page", grant=grant)
    row.withdrawn_at = tx.now
    changed(tx.db)
    tx.record(Event.under(permit, Kind.GRANT_WITHDRAWN, permit.resource, scope=row.unit, details={"grant": grant}))


def put_resource(tx: Transaction, application: str, resource: Mapping[str, Any], *, permit: Permit) -> None:
    """Tell of a resource (`type`, `id`, `unit`, `properties`): what is told here, callers may not overrule."""
    permit.must_cover(Action.GRANT_CHANGE, f"app:{application}")
    in_order(tx.db)
    _get(tx, application)
    if len(resource.get("properties", {})) > MAX_ASSERTS or not all(map(comparable, resource.get("properties", {}).values())):
        raise Malformed("properties must be texts, numbers or booleans, at most {limit} of them", limit=MAX_ASSERTS)
    key = {"application": application, "type": resource["type"], "id": resource["id"]}
    properties = json.dumps(resource.get("properties", {}), sort_keys=True)
    row = Resource(**key, unit=resource.get("unit", ""), properties=properties)
    tx.db.merge(row)
    changed(tx.db)
    tx.record(Event.under(permit, Kind.APPLICATION_CHANGED, permit.resource, details=told_of(row, tx.keyed)))


def told_of(row: Resource, keyed: Callable[[str, str], str]) -> dict[str, str]:
    """What an event says of a resource: its type, and keyed hashes of which one it is and of what is known about it."""
    which, facts = json.dumps([row.type, row.id]), json.dumps([row.unit, row.properties])
    return {"type": row.type, "resource": keyed("resource", which), "facts": keyed("resource", facts)}


def register_asset(tx: Transaction, ref: str, facts: Mapping[str, Any], *, permit: Permit) -> None:
    """Register a server or device (`name`, `owner`, `unit`, `names`) so that certificates can be asked for it.

    Raises:
        Malformed: the ref or a name is not one; applications are registered as such.
        Conflict: it, or one of its names, is registered already.
    """
    permit.must_cover(Action.ASSET_REGISTER, ref)
    in_order(tx.db)
    names = list(facts.get("names", ()))
    if not _ASSET.fullmatch(ref) or not all(map(_is_host, names)) or len(names) > MAX_NAMES:
        raise Malformed("`{ref}` or one of its names is not allowed; write `server:name` and plain host names or addresses", ref=ref)
    if tx.db.get(AssetRow, ref):
        raise Conflict("`{ref}` is registered already; choose another name", ref=ref)
    _names_must_be_free(tx, names)
    row = AssetRow(ref=ref, name=facts["name"], owner=facts.get("owner", ""), unit=facts["unit"], names=json.dumps(names), made_at=tx.now)
    row.active = True
    tx.db.add(row)
    changed(tx.db)
    tx.record(Event.under(permit, Kind.ASSET_REGISTERED, ref, scope=row.unit, details={"names": names}))


def withdraw_asset(tx: Transaction, ref: str, *, permit: Permit) -> None:
    """Let a server or device have no further certificate, and its names be registered elsewhere; what it has stays until revoked.

    Raises:
        NotFound: there is none in use.
    """
    permit.must_cover(Action.ASSET_REGISTER, ref)
    in_order(tx.db)
    row = tx.db.get(AssetRow, ref) if _ASSET.fullmatch(ref) else None
    if row is None or not row.active:
        raise NotFound("`{ref}` is no server or device in use; reload the page", ref=ref)
    row.active = False
    changed(tx.db)
    tx.record(Event.under(permit, Kind.ASSET_CHANGED, ref, scope=row.unit, details={"active": False}))


def by_key(world: World, key: str, source: str = "", request_id: str = "") -> Caller:
    """The application that an API key belongs to.

    Raises:
        Unauthenticated: the key is not in use.
        Unavailable: the directory is stale, or the database cannot be read.
    """
    identity, _, secret = key.removeprefix(PREFIX).partition("_")
    with world.database.looking() as cursor:
        row = cursor.execute(_KEY_IN_USE, {"id": identity}).fetchone() if _KEY_ID.fullmatch(identity) else None
    owner, kept = row or ("", bytes(32))
    good = hmac.compare_digest(world.keys.api(secret), kept) and row is not None
    application = require_fresh(world).applications.get(owner)
    if not good or application is None or not application.active:
        raise Unauthenticated("the API key is not in use; make a new one", reason="unknown-key")
    actor = Actor(ActorKind.APPLICATION, application.id, "api-key")
    return Caller(actor=actor, application=application, source=source, request_id=request_id)


def by_certificate(world: World, shown: Presented, source: str = "", request_id: str = "") -> Caller:
    """The application whose certificate `shown` is, and whose key the connection has proved.

    Raises:
        Unauthenticated: the certificate is not accepted, or names no active application; the fact `reason` says why.
        Unavailable: the directory is stale, or the refusal cannot be recorded.
    """
    snapshot = require_fresh(world)
    mine = shown.identity is not None and shown.identity.kind is Subject.APPLICATION
    application = snapshot.applications.get(shown.identity.id) if mine and shown.identity else None
    if shown.reasons or application is None or not application.active:
        reason = shown.reasons[0] if shown.reasons else "no-application" if application is None else "inactive"
        refuse_certificate(world, shown, reason, source, request_id)
    actor = Actor(ActorKind.APPLICATION, application.id, "cert", f"{shown.certificate.serial:x}")
    return Caller(actor=actor, application=application, certificate=shown.certificate, source=source, request_id=request_id)


def _names_must_be_free(tx: Transaction, names: Sequence[str]) -> None:
    """One name, one asset: nobody gets a certificate for another unit's host by registering it once more."""
    for name in names:
        if tx.db.scalar(select(AssetRow.ref).where(AssetRow.active, AssetRow.names.contains(json.dumps(name))).limit(1)) is not None:
            raise Conflict("the name `{name}` belongs to another asset; withdraw it there first", name=name)


def _get(tx: Transaction, application: str) -> ApplicationRow:
    row = tx.db.get(ApplicationRow, application)
    if row is None or not row.active:
        raise NotFound("there is no application `{application}`", application=application)
    return row


def _is_host(name: object) -> bool:
    """Whether a certificate can say this host name or address; in one spelling only, since names are compared as text."""
    try:
        return type(name) is str and "%" not in name and str(host_name(name).value) == name
    except Malformed:
        return False
