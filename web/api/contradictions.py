"""Facts and events that contradict each other, for the officers who must take note of what cannot be put right."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, Response

from audit.permit import Action
from authz.decide import Target
from ops import acceptance
from ops.acceptance import Open
from web import door
from web.api.persons import done
from web.api.requests import moment
from web.shapes import Comment, Done

routes = Blueprint("api_contradictions", __name__, url_prefix="/api/v1/contradictions")


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """One officer's word: who, by which row of the policy page, when."""

    by: str
    rule: str
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ContradictionShown:
    """What events say and what the row shows (null: nothing), the entry that told of it first, and who accepted it."""

    id: str
    pair: str
    key: list[str]
    problem: str
    said: list[str] | None
    shown: list[str] | None
    log: str
    idx: int
    accepted: bool
    acceptances: list[Acceptance]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContradictionList:
    """What the last comparison found, those that are not accepted first."""

    items: list[ContradictionShown]


@routes.get("")
@door.open_to(door.PERSON)
@door.described(summary="Facts and events that contradict each other now", answer=ContradictionList)
def listing() -> Response:
    """For those who may accept them."""
    door.permit(Action.CONTRADICTION_ACCEPT, Target("contradiction:*"))
    with door.node().database.reading() as session:
        found = acceptance.listing(session)
    return door.answer(ContradictionList(items=[_shown(one) for one in found]))


@routes.post("/<contradiction>/accept")
@door.open_to(door.PERSON)
@door.described(
    summary="Take note of one that cannot be put right; it counts when a security administrator and an auditor both have",
    body=Comment,
    answer=Done,
    errors=("not-found", "conflict"),
)
def accept(contradiction: str) -> Response:
    """One officer's word; the next comparison heeds it."""
    comment = door.body(Comment).comment
    permit = door.permit(Action.CONTRADICTION_ACCEPT, Target(acceptance.target(contradiction[:64])))
    with door.changing() as tx:
        acceptance.accept(tx, contradiction[:64], comment, permit=permit)
    return done(tx)


def _shown(one: Open) -> ContradictionShown:
    what, alarm = one.contradiction, one.alarm
    return ContradictionShown(
        id=what.id,
        pair=what.pair,
        key=list(what.key),
        problem=what.problem,
        said=None if what.said is None else list(what.said),
        shown=None if what.shown is None else list(what.shown),
        log=f"{alarm.log}/{alarm.epoch}",
        idx=alarm.idx,
        accepted=one.settled,
        acceptances=[Acceptance(by=word.by, rule=word.office, at=moment(word.at)) for word in one.words],
    )
