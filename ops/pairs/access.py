"""What rows and events say of people and applications: confirmations, logins, one-time codes, keys, grants, assets."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from sqlalchemy import select

from audit.event import Kind
from audit.history import Told
from authz import tables as authz
from authz.applications import told_of
from ops.pairs.pair import Claim, Pair, among, detail, fixed, moment, numbers, persons, texts
from ops.pairs.people import People

# Applications


def _names(names: Any) -> str:
    return json.dumps(sorted(set(map(str, names or ()))))


def _grant(told: Told) -> Claim:
    details = told.details
    words = [str(details.get(name)) for name in ("action", "type", "role", "effect", "assurance", "conditions")]
    words += [str(told.body.get("scope", "")), moment(details.get("not-before")), moment(details.get("not-after"))]
    return (told.object, str(details.get("grant"))), tuple(words)


def _grant_row(row: Any, _: People) -> Claim:
    application, grant, action, kind, role, effect, assurance, conditions, unit, before, after = row[:11]
    times = (before.isoformat() if before else "", after.isoformat() if after else "")
    return (f"app:{application}", f"g{grant}"), (action, kind, role, effect, str(assurance), conditions, unit, *times)


def _switched(told: Told) -> Claim:
    return (told.object,), ("on" if told.details.get("active", True) else "off",)


def _resource(row: Any, people: People) -> Claim:
    told = told_of(authz.Resource(application=row[0], type=row[1], id=row[2], unit=row[3], properties=row[4]), people.keyed)
    return (f"app:{row[0]}", told["type"], told["resource"]), (told["facts"],)


_G, _A = authz.GrantRow, authz.ApplicationRow

_APPLICATIONS = (
    Pair(
        name="application",
        table="authz_application",
        kinds=frozenset({Kind.APPLICATION_REGISTERED}),
        once=frozenset({Kind.APPLICATION_REGISTERED}),
        said=lambda told: (
            (told.object,),
            (str(told.body.get("scope", "")), _names(told.details.get("actions")), _names(told.details.get("types"))),
        ),
        rows=select(_A.id, _A.unit, _A.actions, _A.types),
        shown=lambda row, _: ((f"app:{row[0]}",), (row[1], row[2], row[3])),
        walk=(_A.id,),
        having=texts(_A.id, 0, "app:"),
    ),
    Pair(
        name="application in use",
        table="authz_application",
        kinds=frozenset({Kind.APPLICATION_REGISTERED, Kind.APPLICATION_SWITCHED}),
        once=frozenset({Kind.APPLICATION_REGISTERED}),
        said=_switched,
        rows=select(_A.id, _A.active),
        shown=lambda row, _: ((f"app:{row[0]}",), ("on" if row[1] else "off",)),
        walk=(_A.id,),
        having=texts(_A.id, 0, "app:"),
    ),
    Pair(
        name="proxy",
        table="authz_application",
        kinds=frozenset({Kind.APPLICATION_REGISTERED, Kind.PROXY_CHANGED}),
        once=frozenset({Kind.APPLICATION_REGISTERED}),
        said=lambda told: ((told.object,), ("may ask" if told.details.get("proxy") else "may not ask",)),
        rows=select(_A.id, _A.proxy),
        shown=lambda row, _: ((f"app:{row[0]}",), ("may ask" if row[1] else "may not ask",)),
        walk=(_A.id,),
        having=texts(_A.id, 0, "app:"),
    ),
    Pair(
        name="API key",
        table="authz_api_key",
        kinds=frozenset({Kind.API_KEY_MADE, Kind.API_KEY_WITHDRAWN}),
        once=frozenset({Kind.API_KEY_MADE, Kind.API_KEY_WITHDRAWN}),
        said=detail("key", {Kind.API_KEY_MADE: ("in use",), Kind.API_KEY_WITHDRAWN: ("withdrawn",)}),
        rows=select(authz.ApiKey.application, authz.ApiKey.id, authz.ApiKey.withdrawn_at),
        shown=lambda row, _: ((f"app:{row[0]}", row[1]), ("withdrawn" if row[2] else "in use",)),
        walk=(authz.ApiKey.id,),
        having=texts(authz.ApiKey.id, 1, ""),
    ),
    Pair(
        name="grant",
        table="authz_grant",
        kinds=frozenset({Kind.GRANT_ADDED}),
        once=frozenset({Kind.GRANT_ADDED}),
        said=_grant,
        rows=select(
            *(_G.application, _G.id, _G.action, _G.type, _G.role, _G.effect, _G.assurance, _G.conditions),
            *(_G.unit, _G.not_before, _G.not_after),
        ),
        shown=_grant_row,
        walk=(_G.id,),
        having=numbers(_G.id, 1, "g"),
    ),
    Pair(
        name="grant in force",
        table="authz_grant",
        kinds=frozenset({Kind.GRANT_ADDED, Kind.GRANT_WITHDRAWN}),
        once=frozenset({Kind.GRANT_WITHDRAWN}),
        said=detail("grant", {Kind.GRANT_ADDED: ("in force",), Kind.GRANT_WITHDRAWN: ("withdrawn",)}),
        rows=select(_G.application, _G.id, _G.withdrawn_at),
        shown=lambda row, _: ((f"app:{row[0]}", f"g{row[1]}"), ("withdrawn" if row[2] else "in force",)),
        walk=(_G.id,),
        having=numbers(_G.id, 1, "g"),
    ),
    Pair(
        name="resource",
        table="authz_resource",
        kinds=frozenset({Kind.APPLICATION_CHANGED}),
        once=frozenset(),
        said=lambda told: (
            (told.object, str(told.details.get("type")), str(told.details.get("resource"))),
            (str(told.details.get("facts")),),
        ),
        rows=select(
            *(authz.Resource.application, authz.Resource.type, authz.Resource.id, authz.Resource.unit, authz.Resource.properties),
        ),
        shown=_resource,
        walk=(authz.Resource.application, authz.Resource.type, authz.Resource.id),
        having=lambda keys, _: among(
            authz.Resource.application, authz.Resource.type, {(key[0].removeprefix("app:"), key[1]) for key in keys}
        ),
    ),
)

# Assets

_ASSETS = (
    Pair(
        name="asset",
        table="authz_asset",
        kinds=frozenset({Kind.ASSET_REGISTERED}),
        once=frozenset({Kind.ASSET_REGISTERED}),
        said=lambda told: ((told.object,), (str(told.body.get("scope", "")), json.dumps(told.details.get("names")))),
        rows=select(authz.AssetRow.ref, authz.AssetRow.unit, authz.AssetRow.names),
        shown=lambda row, _: ((row[0],), None if row[0].startswith("application:") else (row[1], row[2])),
        walk=(authz.AssetRow.ref,),
        having=texts(authz.AssetRow.ref, 0, ""),
    ),
    Pair(
        name="asset in use",
        table="authz_asset",
        kinds=frozenset({Kind.ASSET_REGISTERED, Kind.ASSET_CHANGED}),
        once=frozenset(),
        said=fixed({Kind.ASSET_REGISTERED: ("in use",), Kind.ASSET_CHANGED: ("withdrawn",)}),
        rows=select(authz.AssetRow.ref, authz.AssetRow.active),
        shown=lambda row, _: ((row[0],), None if row[0].startswith("application:") else ("in use" if row[1] else "withdrawn",)),
        walk=(authz.AssetRow.ref,),
        having=texts(authz.AssetRow.ref, 0, ""),
    ),
    Pair(
        name="application as an asset",
        table="authz_asset",
        kinds=frozenset({Kind.APPLICATION_REGISTERED}),
        once=frozenset({Kind.APPLICATION_REGISTERED}),
        said=lambda told: ((told.object,), (str(told.body.get("scope", "")), "[]")),
        rows=select(authz.AssetRow.ref, authz.AssetRow.unit, authz.AssetRow.names),
        shown=lambda row, _: (
            (row[0].replace("application:", "app:", 1),),
            (row[1], row[2]) if row[0].startswith("application:") else None,
        ),
        walk=(authz.AssetRow.ref,),
        having=lambda keys, _: authz.AssetRow.ref.in_([key[0].replace("app:", "application:", 1) for key in keys]),
    ),
    Pair(
        name="application's asset in use",
        table="authz_asset",
        kinds=frozenset({Kind.APPLICATION_REGISTERED, Kind.APPLICATION_SWITCHED}),
        once=frozenset({Kind.APPLICATION_REGISTERED}),
        said=_switched,
        rows=select(authz.AssetRow.ref, authz.AssetRow.active),
        shown=lambda row, _: (
            (row[0].replace("application:", "app:", 1),),
            ("on" if row[1] else "off",) if row[0].startswith("application:") else None,
        ),
        walk=(authz.AssetRow.ref,),
        having=lambda keys, _: authz.AssetRow.ref.in_([key[0].replace("app:", "application:", 1) for key in keys]),
    ),
)

# People


def _confirmation(told: Told) -> Claim:
    key = (told.object, str(told.details.get("role")), str(told.body.get("scope", "")))
    return key, ("confirmed",) if told.kind is Kind.PERSON_CONFIRMED else None


def _person(row: Any, people: People) -> str:
    return f"person:{people.pseudonym(row[0])}"


def _login(told: Told) -> Claim:
    actor = told.body["actor"]
    return (told.object,), (actor["id"], actor["auth"], actor.get("ser", ""))


def _taken_into_use(told: Told) -> Claim | None:
    return ((told.object,), (str(told.details.get("totp")),)) if told.body.get("rsn") != "pending" else None


_C, _S, _T, _E = authz.Confirmation, authz.SessionRow, authz.OneTime, authz.EnrolmentCode

_PEOPLE = (
    Pair(
        name="confirmation",
        table="authz_confirmation",
        kinds=frozenset({Kind.PERSON_CONFIRMED, Kind.PERSON_UNCONFIRMED}),
        once=frozenset(),
        said=_confirmation,
        rows=select(_C.person, _C.role, _C.unit),
        shown=lambda row, people: ((_person(row, people), row[1], row[2]), ("confirmed",)),
        walk=(_C.person, _C.role, _C.unit),
        having=persons(_C.person),
    ),
    Pair(
        name="block",
        table="authz_account",
        kinds=frozenset({Kind.ACCOUNT_BLOCKED, Kind.ACCOUNT_UNBLOCKED}),
        once=frozenset(),
        said=fixed({Kind.ACCOUNT_BLOCKED: ("blocked",), Kind.ACCOUNT_UNBLOCKED: None}),
        rows=select(authz.Account.person),
        shown=lambda row, people: ((_person(row, people),), ("blocked",)),
        walk=(authz.Account.person,),
        having=persons(authz.Account.person),
    ),
    Pair(
        name="session",
        table="authz_session",
        kinds=frozenset({Kind.LOGIN}),
        once=frozenset({Kind.LOGIN}),
        said=_login,
        rows=select(_S.id, _S.person, _S.auth, _S.serial),
        shown=lambda row, people: ((f"session:{row[0]}",), (people.pseudonym(row[1]), row[2], row[3])),
        walk=(_S.id,),
        having=texts(_S.id, 0, "session:"),
    ),
    Pair(
        name="end of a session",
        table="authz_session",
        kinds=frozenset({Kind.LOGIN, Kind.SESSION_ENDED}),
        once=frozenset({Kind.SESSION_ENDED}),
        said=fixed({Kind.LOGIN: ("open",), Kind.SESSION_ENDED: ("ended",)}),
        rows=select(_S.id, _S.ended_at),
        shown=lambda row, _: ((f"session:{row[0]}",), ("ended" if row[1] else "open",)),
        walk=(_S.id,),
        having=texts(_S.id, 0, "session:"),
    ),
    Pair(
        name="generator of one-time codes in use",
        table="authz_totp",
        kinds=frozenset({Kind.TOTP_ENROLLED}),
        once=frozenset(),
        said=_taken_into_use,
        rows=select(_T.person, _T.id, _T.state),
        shown=lambda row, people: ((_person(row, people),), (row[1],) if row[2] == "active" else None),
        walk=(_T.id,),
        having=persons(_T.person),
    ),
    Pair(
        name="used recovery code",
        table="authz_recovery",
        kinds=frozenset({Kind.TOTP_RECOVERED}),
        once=frozenset({Kind.TOTP_RECOVERED}),
        said=detail("code", {Kind.TOTP_RECOVERED: ("used",)}),
        rows=select(_T.person, authz.RecoveryCode.id, authz.RecoveryCode.used_at).join_from(
            authz.RecoveryCode, _T, _T.id == authz.RecoveryCode.totp
        ),
        shown=lambda row, people: ((_person(row, people), str(row[1])), ("used",) if row[2] else None),
        walk=(authz.RecoveryCode.id,),
        having=numbers(authz.RecoveryCode.id, 1, ""),
    ),
    Pair(
        name="enrolment code",
        table="authz_enrolment",
        kinds=frozenset({Kind.TOTP_CODE_ISSUED}),
        once=frozenset({Kind.TOTP_CODE_ISSUED}),
        said=detail("code", {Kind.TOTP_CODE_ISSUED: ("handed out",)}),
        rows=select(_E.person, _E.id),
        shown=lambda row, people: ((_person(row, people), str(row[1])), ("handed out",)),
        walk=(_E.id,),
        having=numbers(_E.id, 1, ""),
    ),
)

# The directory


def _in_force(told: Told) -> Claim:
    return (told.object,), (str(told.details.get("digest")),)


def _refused(told: Told) -> Claim:
    return (told.object,), (str(told.details.get("digest")),) if told.kind is Kind.DIRECTORY_REFUSED else None


def _accepted(told: Told) -> Claim:
    return (told.object,), (str(told.details.get("digest")),) if told.kind is Kind.DIRECTORY_ACCEPTED else None


def _directory(name: str, column: Any, said: Callable[[Told], Claim], *kinds: Kind) -> Pair:
    return Pair(
        name=name,
        table="authz_directory",
        kinds=frozenset(kinds),
        once=frozenset(),
        said=said,
        rows=select(column),
        shown=lambda row, _: (("directory",), (row[0],) if row[0] else None),
        walk=(authz.DirectoryState.id,),
        having=lambda _keys, _people: authz.DirectoryState.id == 1,
    )


_D, _CHANGED = authz.DirectoryState, Kind.DIRECTORY_CHANGED
_DIRECTORY = (
    _directory("directory in force", _D.digest, _in_force, _CHANGED),
    _directory("refused directory", _D.refused, _refused, _CHANGED, Kind.DIRECTORY_REFUSED),
    _directory("accepted directory", _D.accepted, _accepted, _CHANGED, Kind.DIRECTORY_REFUSED, Kind.DIRECTORY_ACCEPTED),
)

PAIRS = (*_APPLICATIONS, *_ASSETS, *_PEOPLE, *_DIRECTORY)
