"""The evaluator: does any grant permit this, and does none forbid it? Pure, and as quick with a million grants as with ten.

Deny is the default and forbid wins. A forbid that cannot be judged (unit or property unknown) applies; a permit that
cannot be judged does not. A no remembers the permit that came nearest and what it lacked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from authz.people import Holding
from authz.snapshot import Grant, Index, Key, Snapshot, index

#: More grants than this for one question are not weighed: the answer is no.
BUDGET = 1_000
#: Nobody with more roles than this is weighed either.
MAX_HOLDINGS = 200
#: Longest text that a condition compares.
MAX_VALUE = 255


class Question(NamedTuple):
    """Everything a decision depends on beside the grants."""

    #: Application, action, resource type.
    key: Key
    #: The subject's holdings that count, sorted.
    holdings: Sequence[Holding]
    #: Units above the resource's, itself included; None when the resource has no unit, empty when its unit is unknown.
    above: frozenset[str] | None
    #: Seconds since 1970.
    at: int
    assurance: int
    #: Values of `subject.…`, `resource.…`, `action.…` that may be believed.
    facts: Mapping[str, Any]


class Verdict(NamedTuple):
    """The answer. `grant` decided, or came nearest; `reason` is stable."""

    allowed: bool
    reason: str
    grant: str = ""
    #: The role that decided, or would have been needed.
    role: str = ""


#: Reasons of a miss, the nearest last.
MISSES = ("out_of_scope", "not_yet_valid", "expired", "condition", "step_up")
_NO_GRANT = Verdict(allowed=False, reason="no_grant")
_TOO_MANY = Verdict(allowed=False, reason="over_budget")


def weigh(permits: Index, forbids: Index, question: Question) -> Verdict:  # noqa: PLR0911 - the hot path: one return for each answer
    """Permit or deny. The same arguments give the same verdict."""
    key, holdings, above, at, assurance, facts = question
    if len(holdings) > MAX_HOLDINGS:
        return _TOO_MANY
    forbidding = forbids.get(key)
    if forbidding is not None and (found := _forbidden(forbidding, question)):
        return found
    permitting = permits.get(key)
    if permitting is None:
        return _NO_GRANT
    nearest, distance, budget = None, -1, BUDGET
    for role, place in holdings:
        for grant in permitting.get(role, ()):
            miss = _miss(grant, place, above, at, assurance, facts)
            if miss < 0:
                return Verdict(True, "granted", grant.id, role)  # noqa: FBT003 - the hot path: keywords cost a third of it
            if miss > distance:
                nearest, distance = grant, miss
            budget -= 1
            if not budget:
                return _TOO_MANY
    if nearest is None:
        return Verdict(allowed=False, reason="wrong_role", role=min(permitting))
    return Verdict(allowed=False, reason=MISSES[distance], grant=nearest.id, role=nearest.role)


def _miss(grant: Grant, place: str, above: frozenset[str] | None, at: int, assurance: int, facts: Mapping[str, Any]) -> int:
    """Index in `MISSES` of the first thing that `grant` lacks, -1 for nothing."""
    outside = grant.unit != "" if above is None else place not in above or (grant.unit != "" and grant.unit not in above)
    if outside:
        return 0
    if at < grant.not_before:
        return 1
    if at >= grant.not_after:
        return 2
    for name, value in grant.conditions:
        if name not in facts or not same(facts[name], value):
            return 3
    return 4 if assurance < grant.assurance else -1


def _forbidden(forbidding: Mapping[str, tuple[Grant, ...]], question: Question) -> Verdict | None:
    budget = BUDGET
    for role in ("*", *(holding.role for holding in question.holdings)):
        for grant in forbidding.get(role, ()):
            if _applies(grant, question):
                return Verdict(allowed=False, reason="forbidden", grant=grant.id, role=role)
            budget -= 1
            if not budget:
                return _TOO_MANY
    return None


def _applies(grant: Grant, question: Question) -> bool:
    """Whether a forbid counts: a unit or property that is not known is taken to be the forbidden one."""
    if grant.unit and question.above and grant.unit not in question.above:
        return False
    if not grant.not_before <= question.at < grant.not_after:
        return False
    return all(name not in question.facts or same(question.facts[name], value) for name, value in grant.conditions)


def comparable(value: object) -> bool:
    """Whether conditions can compare this value: a boolean, a number that JSON keeps exact, or a text that is not too long."""
    return type(value) is bool or (type(value) is int and abs(value) < 1 << 53) or (type(value) is str and len(value) <= MAX_VALUE)


def same(left: object, right: object) -> bool:
    """Equal and of one type: `true` is not 1."""
    return type(left) is type(right) and left == right


def considered(snapshot: Snapshot, question: Question) -> list[str]:
    """Ids of the grants that `weigh` can have looked at, forbids first."""
    roles = dict.fromkeys(["*", *[holding.role for holding in question.holdings]])
    sides = (snapshot.forbids.get(question.key, {}), snapshot.permits.get(question.key, {}))
    return [grant.id for side in sides for role in roles for grant in side.get(role, ())][: 2 * BUDGET]


def inputs(question: Question, grants: Sequence[str]) -> dict[str, Any]:
    """Everything the decision depended on, as an event's details hold it: `replay` decides again from this."""
    return {
        "key": list(question.key),
        "holdings": [list(holding) for holding in question.holdings],
        "above": None if question.above is None else sorted(question.above),
        "at": question.at,
        "assurance": question.assurance,
        "facts": [[name, question.facts[name]] for name in sorted(question.facts)],
        "grants": list(grants),
    }


def replay(stored: Mapping[str, Any], grants: Mapping[str, Grant]) -> Verdict:
    """The verdict on `inputs`, decided again with the grants of those ids: rows that are never edited."""
    looked_at = [grants[name] for name in stored["grants"]]
    permits, forbids = (index(one for one in looked_at if (one.effect == "permit") is wanted) for wanted in (True, False))
    return weigh(permits, forbids, asked(stored))


def asked(stored: Mapping[str, Any]) -> Question:
    """The question of which `inputs` are stored."""
    return Question(
        key=(stored["key"][0], stored["key"][1], stored["key"][2]),
        holdings=[Holding(role, unit) for role, unit in stored["holdings"]],
        above=None if stored["above"] is None else frozenset(stored["above"]),
        at=stored["at"],
        assurance=stored["assurance"],
        facts=dict(stored["facts"]),
    )
