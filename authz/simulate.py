"""What an application would be told if its grants were others, or at another time. Pure: nothing of it is in force.

A draft is compared with what is in force by asking both the same question: for one person, and for everybody, so that
whoever approves a change has seen who gains and who loses by it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from authz import authzen
from authz.applications import Draft, check_draft, drafted
from authz.authzen import SUBJECT_TYPE, Ask
from authz.caller import Assurance
from authz.evaluate import Verdict, comparable
from authz.people import Person
from authz.snapshot import Application, Key, Snapshot, grant_of, index
from core.errors import Malformed, NotFound


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """A question to one application, and what is imagined to be otherwise."""

    application: Application
    action: str
    type: str
    resource: str = "*"
    #: Properties as the application would send them: `resource.unit`, `resource.status`, …
    facts: Mapping[str, Any] = field(default_factory=dict)
    assurance: Assurance = Assurance.NONE
    #: When the imagined answer is given; None for now.
    at: dt.datetime | None = None
    #: Grants that are added, all for this action and type, and ids of those that are withdrawn.
    add: Sequence[Draft] = ()
    withdraw: frozenset[str] = frozenset()

    @property
    def key(self) -> Key:
        """What the grants in question are found by."""
        return self.application.id, self.action, self.type


class Simulated(NamedTuple):
    """Two answers to one question."""

    now: Verdict
    then: Verdict


class Impact(NamedTuple):
    """Who gains what they have not, and who loses what they have; by uid."""

    gaining: tuple[Person, ...]
    losing: tuple[Person, ...]


def simulate(snapshot: Snapshot, wanted: Simulation, person: Person, now: dt.datetime) -> Simulated:
    """What is answered for `person` with what is in force `now`, and with what is imagined.

    Raises:
        Malformed: a drafted grant makes no sense, or a property is none that the application may tell.
        NotFound: a grant that is to be withdrawn is not in force for this question.
    """
    return _asker(snapshot, wanted, now)(person)


def impact(snapshot: Snapshot, wanted: Simulation, now: dt.datetime) -> Impact:
    """Whose answer changes, of all persons of the directory.

    Raises:
        Malformed, NotFound: as `simulate`.
    """
    ask = _asker(snapshot, wanted, now)
    people = snapshot.directory.by_uid
    told = [(people[uid], ask(people[uid])) for uid in sorted(people)]
    changed = [(person, both.then.allowed) for person, both in told if both.now.allowed != both.then.allowed]
    return Impact(tuple(person for person, gains in changed if gains), tuple(person for person, gains in changed if not gains))


def _asker(snapshot: Snapshot, wanted: Simulation, now: dt.datetime) -> Callable[[Person], Simulated]:
    if ignored := sorted(name for name, value in wanted.facts.items() if name not in wanted.application.asserts or not comparable(value)):
        raise Malformed("`{property}` is no property that the application tells, or its value cannot be compared", property=ignored[0][:80])
    for draft in wanted.add:
        check_draft(draft, wanted.application)
    imagined, then = _drafted(snapshot, wanted), wanted.at or now

    def ask(person: Person) -> Simulated:
        asked = Ask(SUBJECT_TYPE, person.uid, wanted.action, wanted.type, wanted.resource, wanted.facts, wanted.assurance)
        before = authzen.weigh(snapshot, wanted.application, asked, person, now)[0]
        return Simulated(before, authzen.weigh(imagined, wanted.application, asked, person, then)[0])

    return ask


def _drafted(snapshot: Snapshot, wanted: Simulation) -> Snapshot:
    """`snapshot` with the draft in force."""
    sides = {"permit": snapshot.permits, "forbid": snapshot.forbids}
    held = [grant for side in sides.values() for grants in side.get(wanted.key, {}).values() for grant in grants]
    if unknown := wanted.withdraw - {grant.id for grant in held}:
        raise NotFound("the application has no grant `{grant}` in force for this action and type", grant=min(unknown)[:40])
    grants = [grant for grant in held if grant.id not in wanted.withdraw]
    grants += [grant_of(drafted(draft))._replace(id=f"draft-{number}") for number, draft in enumerate(wanted.add, 1)]
    permits, forbids = (
        {key: roles for key, roles in side.items() if key != wanted.key} | dict(index(one for one in grants if one.effect == effect))
        for effect, side in sides.items()
    )
    return replace(snapshot, permits=permits, forbids=forbids)
