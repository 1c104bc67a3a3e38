"""Confirmations: the second half of an administrator's or registrar's role, beside the directory's.

Each binds person, role and unit by entryUUID. The first ceremony of a home names the first ones; later ones are
confirmed by a security administrator for somebody else. So neither who runs the directory nor who runs the machine can
crown himself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import func, select

from audit.event import Event, Kind
from audit.permit import Action, Permit
from audit.record import Transaction
from authz.people import Directory, Holding
from authz.snapshot import ADMINISTRATORS, CONFIRMED
from authz.tables import Confirmation, changed, in_order
from core.errors import Conflict, Malformed, NotFound


class Named(NamedTuple):
    """A person, a role and the unit it counts in; ids are entryUUIDs."""

    person: str
    role: str
    unit: str


def first(tx: Transaction, directory: Directory, named: Iterable[Named], *, permit: Permit) -> None:
    """Confirm the first administrators and registrars of a home, in its first ceremony.

    Raises:
        Conflict: somebody is confirmed already, or one person would hold excluding roles.
        NotFound: a role that needs no confirmation, or a unit that is not there.
    """
    if permit.action is not Action.CEREMONY_PERFORM:
        raise RuntimeError(f"permit for {permit.action} used to confirm the first administrators")
    in_order(tx.db)
    if tx.db.scalar(select(func.count()).select_from(Confirmation)):
        raise Conflict("this home has administrators already; a security administrator confirms further ones")
    for each in named:
        _add(tx, directory, each, permit)


def confirm(tx: Transaction, directory: Directory, named: Named, *, permit: Permit) -> None:
    """Let the role that the directory gives count. The permit is for `person:<pseudonym>`.

    Raises:
        Conflict: it is confirmed already, or excludes another administrator role of the same person.
        Malformed: the person is not in the directory.
        NotFound: a role that needs no confirmation, or a unit that is not there.
    """
    permit.must_cover(Action.PERSON_CONFIRM, _ref(directory, named.person))
    if permit.actor.id == _ref(directory, named.person).removeprefix("person:"):
        raise RuntimeError("the policy let a person confirm a role of their own")
    in_order(tx.db)
    _add(tx, directory, named, permit)


def withdraw(tx: Transaction, directory: Directory, named: Named, *, permit: Permit) -> None:
    """Let the role no longer count, whatever the directory says.

    Raises:
        Conflict: it is not confirmed.
    """
    permit.must_cover(Action.PERSON_CONFIRM, _ref(directory, named.person))
    in_order(tx.db)
    row = tx.db.get(Confirmation, tuple(named))
    if row is None:
        raise Conflict("the role `{role}` is not confirmed; reload the page", role=named.role)
    tx.db.delete(row)
    changed(tx.db)
    tx.record(Event.under(permit, Kind.PERSON_UNCONFIRMED, permit.resource, scope=named.unit, details={"role": named.role}))


def _add(tx: Transaction, directory: Directory, named: Named, permit: Permit) -> None:
    who = _ref(directory, named.person)
    if named.role not in CONFIRMED or named.unit not in directory.units:
        raise NotFound("`{role}` is no role that is confirmed, or its unit is not in the directory", role=named.role)
    others = set(tx.db.scalars(select(Confirmation.role).where(Confirmation.person == named.person)))
    others |= {holding.role for holding in directory.holdings.get(named.person, frozenset[Holding]())}
    if named.role in ADMINISTRATORS and (others - {named.role}) & ADMINISTRATORS:
        raise Conflict("the role `{role}` excludes another administrator role of this person; choose another person", role=named.role)
    if tx.db.get(Confirmation, tuple(named)):
        raise Conflict("the role `{role}` is confirmed already; reload the page", role=named.role)
    tx.db.add(Confirmation(person=named.person, role=named.role, unit=named.unit, at=tx.now, by=permit.actor.id))
    changed(tx.db)
    event = Event.under(permit, Kind.PERSON_CONFIRMED, who, scope=named.unit, details={"role": named.role})
    tx.record(event)


def _ref(directory: Directory, person: str) -> str:
    found = directory.people.get(person)
    if found is None:
        raise Malformed("`{person}` is not a person of the directory; name the entryUUID", person=person)
    return f"person:{found.id}"
