"""Who holds the roles that must be confirmed, as the directory and the confirmations give them, and where the two disagree."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from operator import attrgetter
from typing import NamedTuple

from authz.people import Holding, Person
from authz.snapshot import CONFIRMED, Snapshot

_role = attrgetter("role")


class Agreement(StrEnum):
    """What directory and confirmation together make of a role. Only the last one counts."""

    #: The directory gives it, nobody confirmed it.
    UNCONFIRMED = "unconfirmed"
    #: Confirmed, but the directory gives the person several administrators' roles: none of them counts.
    EXCLUDED = "excluded"
    #: Confirmed once, and no longer in the directory: it would count again at once if it came back.
    GONE = "gone"
    COUNTS = "counts"


class Held(NamedTuple):
    """A person's role in one unit. `person` is None for somebody whom the directory no longer knows."""

    agreement: Agreement
    holding: Holding
    uuid: str
    person: Person | None


def held(snapshot: Snapshot) -> list[Held]:
    """Every such role, those on which the two disagree first."""
    order = list(Agreement)
    return sorted(_held(snapshot), key=lambda one: (order.index(one.agreement), one.holding, one.person.uid if one.person else one.uuid))


def _held(snapshot: Snapshot) -> Iterator[Held]:
    people, given = snapshot.directory.people, set[tuple[str, str, str]]()
    for uuid, holdings in snapshot.directory.holdings.items():
        if CONFIRMED.isdisjoint(map(_role, holdings)):
            continue  # nearly everybody
        excluded = snapshot.conflict(uuid)
        for holding in holdings:
            if holding.role in CONFIRMED:
                given.add((uuid, *holding))
                yield Held(_agreement(snapshot, uuid, holding, excluded), holding, uuid, people.get(uuid))
    for uuid, role, unit in snapshot.confirmed - given:
        yield Held(Agreement.GONE, Holding(role, unit), uuid, people.get(uuid))


def _agreement(snapshot: Snapshot, uuid: str, holding: Holding, excluded: frozenset[str]) -> Agreement:
    if (uuid, *holding) not in snapshot.confirmed:
        return Agreement.UNCONFIRMED
    return Agreement.EXCLUDED if holding.role in excluded else Agreement.COUNTS
