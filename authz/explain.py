"""Decisions that are only looked at: what the policy page would answer, who may do something, what an application would be told now."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from audit.event import Kind
from audit.permit import Action, Actor, ActorKind
from audit.search import Entry
from authz import evaluate
from authz.caller import Caller
from authz.decide import Decision, Target, decide
from authz.evaluate import Verdict
from authz.people import Person
from authz.snapshot import Snapshot
from core.errors import Conflict

#: Most persons that one answer names.
MOST = 200


class Able(NamedTuple):
    """Somebody who may, and the rule that says so."""

    person: Person
    rule: str


class Replayed(NamedTuple):
    """A recorded answer, and the one that the same inputs get with the grants in force now."""

    recorded: Verdict
    #: Of the snapshot that gave the recorded answer.
    revision: int
    now: Verdict

    @property
    def same(self) -> bool:
        """Whether both say the same, for the same reason and by the same grant."""
        return self.recorded == self.now


def replay(snapshot: Snapshot, entry: Entry) -> Replayed:
    """Weigh the inputs of the decision in `entry` (roles, units, properties and time as they were) against the grants of `snapshot`.

    Raises:
        Conflict: the entry is no decision, it was answered before any grant was looked at, or its inputs cannot be read.
    """
    place = {"log": entry.place, "idx": entry.idx}
    if entry.kind is not Kind.DECISION:
        raise Conflict("the entry `{idx}` of `{log}` is no decision for an application; search for `code:AZ1001`", **place)
    try:
        body = entry.body
        reason, stored = body["rsn"], body.get("d", {}).get("inputs")
        if stored is None:
            raise Conflict("no grant was looked at for the decision `{idx}` of `{log}` (`{reason}`)", **place, reason=reason)
        now = evaluate.weigh(snapshot.permits, snapshot.forbids, evaluate.asked(stored))
        recorded = now._replace(allowed=body["out"] == "allow", reason=reason, grant=body["pol"]["rule"], role="")
        return Replayed(recorded, body["pol"]["rev"], now._replace(role=""))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise Conflict("the inputs of the decision `{idx}` of `{log}` cannot be read; verify the trail", **place) from error


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
