"""Reading what stands in the registers: grants and keys of applications, and the assets that somebody may see."""

from __future__ import annotations

from itertools import islice

from sqlalchemy import select
from sqlalchemy.orm import Session

from audit.permit import Action
from authz.caller import Caller
from authz.decide import Target, decide
from authz.snapshot import Application, Asset, Snapshot
from authz.tables import ApiKey, GrantRow
from core.errors import Malformed

#: Rows of one page.
PAGE = 100


def grants(session: Session, application: str, after: str, *, in_force: bool = False) -> list[GrantRow]:
    """Grants of an application, the oldest first, withdrawn ones as well unless `in_force`; give the last one's id for the next page.

    Raises:
        Malformed: `after` is no id of a grant.
    """
    digits = after.removeprefix("g") or "0"
    if not (digits.isascii() and digits.isdigit() and len(digits) < 16):
        raise Malformed("`{grant}` is no id of a grant", grant=after[:40])
    query = select(GrantRow).where(GrantRow.application == application, GrantRow.id > int(digits))
    if in_force:
        query = query.where(GrantRow.withdrawn_at.is_(None))
    return list(session.scalars(query.order_by(GrantRow.id).limit(PAGE)))


def keys(session: Session, application: str) -> list[ApiKey]:
    """Keys of an application, withdrawn ones as well, the oldest first."""
    return list(session.scalars(select(ApiKey).where(ApiKey.application == application).order_by(ApiKey.made_at, ApiKey.id)))


def assets(snapshot: Snapshot, caller: Caller, after: str) -> list[Asset]:
    """Assets that the caller may see, by ref: one's own, and those of the units that one's roles stand above."""
    later = (snapshot.assets[ref] for ref in sorted(snapshot.assets) if ref > after)
    return list(islice((one for one in later if decide(snapshot, caller, Action.REGISTER_READ, target(snapshot, one)).allowed), PAGE))


def applications(snapshot: Snapshot, caller: Caller) -> list[Application]:
    """Applications whose grants and keys the caller may see, by id."""
    known = (snapshot.applications[name] for name in sorted(snapshot.applications))
    return [one for one in known if decide(snapshot, caller, Action.REGISTER_READ, application_target(snapshot, one)).allowed]


def target(snapshot: Snapshot, asset: Asset) -> Target:
    """What a decision about `asset` is about."""
    return Target(asset.ref, asset.unit, _owner(snapshot, asset.owner))


def application_target(snapshot: Snapshot, application: Application) -> Target:
    """What a decision about `application` is about."""
    return Target(f"app:{application.id}", application.unit, _owner(snapshot, application.owner))


def _owner(snapshot: Snapshot, person: str) -> str:
    found = snapshot.directory.people.get(person)
    return found.id if found else ""
