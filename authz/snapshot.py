"""Everything a decision depends on, frozen: one value that readers share without a lock.

Grants are indexed by (application, action, resource type) and then by role, so that a decision looks at those few grants
that can matter, however many there are. A role of an administrator or registrar counts only when it was confirmed for
that unit; the three administrators exclude each other, and then none of them counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType
from typing import Any, NamedTuple

from authz.people import Directory, Holding, Person
from authz.tables import ApplicationRow, AssetRow, GrantRow

#: Roles that count only when confirmed.
CONFIRMED = frozenset({"registrar", "system-admin", "security-admin", "auditor"})
#: Roles of which one person may hold at most one.
ADMINISTRATORS = frozenset({"system-admin", "security-admin", "auditor"})

#: Ends of time for grants without limits, in seconds since 1970.
ALWAYS, NEVER = 0, 1 << 53


class Freshness(IntEnum):
    """How old the last good look at directory and rows is."""

    FRESH = 0
    #: Too old for rules marked high-risk.
    AGEING = 1
    #: Too old for anything.
    STALE = 2


class Grant(NamedTuple):
    """A permit or forbid, ready to be weighed."""

    id: str
    application: str
    action: str
    type: str
    role: str
    unit: str
    effect: str
    not_before: int
    not_after: int
    assurance: int
    conditions: tuple[tuple[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Asset:
    """A server, device or application that may have certificates."""

    ref: str
    kind: str
    id: str
    name: str
    #: entryUUID of the person who answers for it, or empty.
    owner: str
    unit: str
    names: tuple[str, ...]
    active: bool


@dataclass(frozen=True, slots=True)
class Application:
    """A registered application."""

    id: str
    name: str
    unit: str
    owner: str
    active: bool
    actions: frozenset[str]
    types: frozenset[str]
    asserts: frozenset[str]
    #: Whether its proxy may ask at the gate for the people who stand before it.
    proxy: bool = False


class Known(NamedTuple):
    """A resource that its application has told us of."""

    unit: str
    properties: Mapping[str, Any]


Key = tuple[str, str, str]
Index = Mapping[Key, Mapping[str, tuple[Grant, ...]]]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is in force at `revision`. Never changed; `World.current` gives the newest."""

    revision: int
    directory: Directory
    confirmed: frozenset[tuple[str, str, str]] = frozenset()
    applications: Mapping[str, Application] = field(default_factory=dict)
    assets: Mapping[str, Asset] = field(default_factory=dict)
    permits: Index = field(default_factory=dict)
    forbids: Index = field(default_factory=dict)
    #: By application and type, then by id.
    resources: Mapping[tuple[str, str], Mapping[str, Known]] = field(default_factory=dict)
    #: `revoked` or `suspended` by issuer key hash and serial.
    standing: Mapping[tuple[str, int], str] = field(default_factory=dict)
    #: entryUUIDs of blocked accounts.
    blocked: frozenset[str] = frozenset()
    freshness: Freshness = Freshness.FRESH
    demo: bool = False
    _roles: dict[str, tuple[Holding, ...]] = field(default_factory=dict, repr=False, compare=False)

    def roles(self, person: str) -> tuple[Holding, ...]:
        """The holdings of the person with this entryUUID that count now, sorted."""
        found = self._roles.get(person)
        if found is None:
            found = self._roles[person] = tuple(sorted(self._counting(person)))
        return found

    def role_names(self, person: str) -> tuple[str, ...]:
        """The roles of the person with this entryUUID that count now, whatever their units; sorted."""
        return tuple(sorted({holding.role for holding in self.roles(person)}))

    def _counting(self, person: str) -> Iterable[Holding]:
        held = self.directory.holdings.get(person, frozenset())
        conflict = self.conflict(person)
        for holding in held:
            confirmed = holding.role not in CONFIRMED or (person, *holding) in self.confirmed
            if confirmed and holding.role not in conflict:
                yield holding

    def conflict(self, person: str) -> frozenset[str]:
        """The excluding administrator roles that the directory gives this person, when there are several."""
        held = frozenset(holding.role for holding in self.directory.holdings.get(person, ())) & ADMINISTRATORS
        return held if len(held) > 1 else frozenset()

    def unconfirmed(self, person: str) -> frozenset[Holding]:
        """Holdings that the directory gives and nobody confirmed: they have no effect."""
        held = self.directory.holdings.get(person, ())
        return frozenset(holding for holding in held if holding.role in CONFIRMED and (person, *holding) not in self.confirmed)

    def barred(self, person: Person) -> str:
        """Why this person may do nothing at all: `inactive`, `blocked`, or empty."""
        known = self.directory.people.get(person.uuid)
        if known is None or not known.active:
            return "inactive"
        return "blocked" if person.uuid in self.blocked else ""

    def above(self, unit: str) -> frozenset[str]:
        """Ids of the units whose officers may act for `unit`; none for a unit that is not known."""
        found = self.directory.units.get(unit)
        return found.above if found else frozenset()


def index(grants: Iterable[Grant]) -> Index:
    """`grants` by application, action and type, then by role; within a role in the order of their ids."""
    built: dict[Key, dict[str, list[Grant]]] = {}
    for grant in grants:
        built.setdefault((grant.application, grant.action, grant.type), {}).setdefault(grant.role, []).append(grant)
    return MappingProxyType({key: {role: tuple(held) for role, held in roles.items()} for key, roles in built.items()})


def grant_of(row: GrantRow) -> Grant:
    """The grant in a row."""
    return Grant(
        id=f"g{row.id}",
        application=row.application,
        action=row.action,
        type=row.type,
        role=row.role,
        unit=row.unit,
        effect=row.effect,
        not_before=int(row.not_before.timestamp()) if row.not_before else ALWAYS,
        not_after=int(row.not_after.timestamp()) if row.not_after else NEVER,
        assurance=row.assurance,
        conditions=tuple(sorted(json.loads(row.conditions).items())),
    )


def application_of(row: ApplicationRow) -> Application:
    """The application in a row."""
    actions, types, asserts = (frozenset(json.loads(text)) for text in (row.actions, row.types, row.asserts))
    return Application(row.id, row.name, row.unit, row.owner, row.active, actions, types, asserts, row.proxy)


def asset_of(row: AssetRow) -> Asset:
    """The asset in a row."""
    kind, _, id_ = row.ref.partition(":")
    return Asset(row.ref, kind, id_, row.name, row.owner, row.unit, tuple(json.loads(row.names)), row.active)
