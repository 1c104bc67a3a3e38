"""What the demonstration registers: two applications with grants and resources, and the servers that may have certificates.

Every function looks first at what is there, so that all of it can be run again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select

from audit.permit import Action, Permit
from audit.record import recording
from authz import applications
from authz.applications import Draft, Registration
from authz.decide import Target, service_permit
from authz.tables import ApplicationRow, AssetRow, GrantRow
from ops.node import Node


@dataclass(frozen=True, slots=True)
class Wanted:
    """An application of the demonstration: what it may ask about, and which role may do what."""

    id: str
    name: str
    types: tuple[str, ...]
    #: Action, type, role.
    grants: tuple[tuple[str, str, str], ...]
    #: Resources told beforehand: type, id, and whose they are (`county` or `province`).
    resources: tuple[tuple[str, str, str], ...]


APPLICATIONS = (
    Wanted(
        "oa",
        "办公系统",
        ("document",),
        (
            ("read", "document", "staff"),
            ("submit", "document", "staff"),
            ("read", "document", "registrar"),
            ("approve", "document", "registrar"),
            ("read", "document", "auditor"),
        ),
        (("document", "plan-2026", "county"), ("document", "budget-2026", "province")),
    ),
    Wanted(
        "hr",
        "人事系统",
        ("record",),
        (("read", "record", "staff"), ("change", "record", "registrar"), ("read", "record", "auditor")),
        (("record", "roster", "county"),),
    ),
)

#: A server of the county, whose owner is the first staff account: ref, name, host names.
COUNTY_SERVER = ("server:files", "清河县文件服务器", ("files.qinghe.example",))


@dataclass(frozen=True, slots=True)
class Places:
    """entryUUIDs of the units of the demonstration that things belong to."""

    province: str
    county: str


def register_application(node: Node, wanted: Wanted, places: Places, *, owner: str) -> None:
    """Register the application with its grants and resources; what is there stays."""
    unit = places.county  # whose registrars are there to approve its next certificate
    permit = _permit(node, Action.APPLICATION_REGISTER, f"app:{wanted.id}", unit)
    registration = Registration(
        id=wanted.id,
        name=wanted.name,
        unit=unit,
        owner=owner,
        actions=sorted({action for action, _, _ in wanted.grants}),
        types=wanted.types,
    )
    grants = _permit(node, Action.GRANT_CHANGE, f"app:{wanted.id}", unit)
    with recording(node.trail) as tx:
        if tx.db.get(ApplicationRow, wanted.id) is None:
            applications.register(tx, registration, permit=permit)
        known = {(row.action, row.type, row.role) for row in tx.db.scalars(select(GrantRow).where(GrantRow.application == wanted.id))}
        for action, type_, role in wanted.grants:
            if (action, type_, role) not in known:
                applications.add_grant(tx, Draft(application=wanted.id, action=action, type=type_, role=role), permit=grants)
        for type_, id_, whose in wanted.resources:
            applications.put_resource(tx, wanted.id, {"type": type_, "id": id_, "unit": getattr(places, whose)}, permit=grants)
    node.world.refresh()


def register_asset(node: Node, ref: str, name: str, names: Sequence[str], *, unit: str, owner: str = "") -> None:
    """Register a server, unless it is registered."""
    permit = _permit(node, Action.ASSET_REGISTER, ref, unit)
    with node.database.reading() as session:
        known = session.get(AssetRow, ref) is not None
    if not known:
        with recording(node.trail) as tx:
            facts = {"name": name, "unit": unit, "owner": owner, "names": list(names)}
            applications.register_asset(tx, ref, facts, permit=permit)
    node.world.refresh()


def make_api_key(node: Node, application: str) -> str:
    """A new API key; the ones before it stay good until their owner withdraws them."""
    permit = _permit(node, Action.API_KEY_MAKE, f"app:{application}", "")
    with recording(node.trail) as tx:
        return applications.make_key(tx, node.world, application, permit=permit)


def _permit(node: Node, action: Action, ref: str, unit: str) -> Permit:
    return service_permit(node.world, node.trail, "demo", action, Target(ref, unit=unit))
