"""Decisions that are only looked at: what the policy page would answer somebody, and who may do something."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from audit.permit import Action, Actor, ActorKind
from authz.caller import Caller
from authz.decide import Decision, Target, decide
from authz.people import Person
from authz.snapshot import Snapshot

#: Most persons that one answer names.
MOST = 200


class Able(NamedTuple):
    """Somebody who may, and the rule that says so."""

    person: Person
    rule: str


def explain(snapshot: Snapshot, person: Person, action: Action, target: Target) -> Decision:
    """What the policy would answer `person` on `snapshot`."""
    return decide(snapshot, _as_caller(person), action, target)


def who_can(snapshot: Snapshot, action: Action, target: Target) -> list[Able]:
    """Who may do `action` to `target`, in the order of their names, at most `MOST`."""
    return list(islice(_able(snapshot, action, target), MOST))


def _able(snapshot: Snapshot, action: Action, target: Target) -> Iterator[Able]:
    for uid in sorted(snapshot.directory.by_uid):
        person = snapshot.directory.by_uid[uid]
        decision = decide(snapshot, _as_caller(person), action, target)
        if decision.allowed:
            yield Able(person, decision.rule)


def _as_caller(person: Person) -> Caller:
    return Caller(actor=Actor(ActorKind.PERSON, person.id, "none"), person=person)
