"""Contradictions that cannot be put right: two officers of different offices take note of one, and it keeps nothing from working.

What is accepted is exactly one contradiction, down to what events say and rows show: when either changes it is another
one, and an alarm again. Damage of the trail is one as well: of a log, from its first entry that is wrong. Nothing is kept
but the events; no fact is changed, and what was accepted is counted for ever.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sqlalchemy.orm import Session

from audit import history, rounds
from audit.event import Event, Kind
from audit.history import Told
from audit.permit import Action, Permit
from audit.record import Transaction
from audit.rounds import Damage
from core.errors import Conflict, NotFound
from ops.compare import Contradiction, alarmed

#: The rows of the policy page whose holders must both have accepted.
OFFICES = frozenset({"contradiction-accept.security", "contradiction-accept.auditor"})
#: Words and alarms that are looked through.
MOST = 2000


class Word(NamedTuple):
    """One officer's acceptance: the pseudonym, the row of the policy page that allowed it, and when."""

    by: str
    office: str
    at: dt.datetime


class Open(NamedTuple):
    """A contradiction that is there now: since which entry, and who has accepted it so far."""

    contradiction: Contradiction
    alarm: Told
    words: tuple[Word, ...]

    @property
    def settled(self) -> bool:
        """Whether enough officers have accepted it."""
        return _enough(self.words)


def target(identity: str) -> str:
    """What a permit to accept the contradiction with that id is for."""
    return f"contradiction:{identity}"


def listing(session: Session) -> list[Open]:
    """What the last turn found to contradict itself, the newest first; those that were accepted last."""
    turn = history.newest(session, Kind.RECONCILED)
    now, words = set(turn[0].details.get("contradictions", ()) if turn else ()), _words(session)
    found: dict[str, Open] = {}
    for told in history.newest(session, Kind.CONTRADICTED, MOST):
        one = alarmed(told)
        if one.id in now:
            found[one.id] = Open(one, told, words.get(one.id, ()))  # an older alarm about the same: since then
    damaged = {_contradiction(one).id for one in _damage(session)}
    for told in history.newest(session, Kind.TRAIL_DAMAGED, MOST) if damaged else ():
        one = _contradiction(Damage(told.object.removeprefix("log:"), told.details.get("first", -1), ""))
        if one.id in damaged:
            found[one.id] = Open(one, told, words.get(one.id, ()))
    return sorted(found.values(), key=lambda one: one.settled)


def damage(session: Session) -> list[Damage]:
    """What is wrong with the trail itself, as far as it was found, without what officers have accepted."""
    found = _damage(session)
    known = accepted(session) if found else frozenset[str]()
    return [one for one in found if _contradiction(one).id not in known]


def holds_issuance(session: Session) -> bool:
    """Whether nothing may be issued: the log of certificates is damaged, and officers have not accepted that."""
    return any(one.log.startswith("ca/") for one in damage(session))


def problems(session: Session) -> list[str]:
    """What readiness must tell: that the trail is damaged. Where, anybody who asks for readiness need not know."""
    told = "the trail is damaged: keep everything as it is, look at `yumen status` and call an auditor"
    return [told] if damage(session) else []


def accept(tx: Transaction, identity: str, comment: str, *, permit: Permit) -> None:
    """One officer's word that the contradiction is known, was looked into, and is to keep nothing from working.

    Raises:
        NotFound: it is not there, or no longer.
        Conflict: this office has accepted it already.
    """
    permit.must_cover(Action.CONTRADICTION_ACCEPT, target(identity))
    known = {one.contradiction.id: one for one in listing(tx.db)}
    if identity not in known:
        raise NotFound("there is no contradiction `{contradiction}`, or no longer; reload the page", contradiction=identity[:64])
    if any(permit.rule == word.office or permit.actor.id == word.by for word in known[identity].words):
        raise Conflict("your office has accepted this already; another one must as well")
    alarm = known[identity].alarm
    details = {"alarm": {"log": f"{alarm.log}/{alarm.epoch}", "idx": alarm.idx}}
    personal = {"comment": comment} if comment else {}
    tx.record(Event.under(permit, Kind.CONTRADICTION_ACCEPTED, permit.resource, details=details, personal=personal))


def accepted(session: Session) -> frozenset[str]:
    """Ids of all contradictions that officers of every office have accepted."""
    return frozenset(identity for identity, words in _words(session).items() if _enough(words))


def _damage(session: Session) -> tuple[Damage, ...]:
    last = rounds.last(session)
    return last.damage if last else ()


def _contradiction(one: Damage) -> Contradiction:
    return Contradiction("trail", (f"log:{one.log}", str(one.first)), "damaged", None, None)


def _words(session: Session) -> Mapping[str, tuple[Word, ...]]:
    found: dict[str, tuple[Word, ...]] = {}
    for told in reversed(history.newest(session, Kind.CONTRADICTION_ACCEPTED, MOST)):
        word = Word(told.body["actor"]["id"], told.body["pol"]["rule"], dt.datetime.fromtimestamp(told.t / 1_000_000, dt.UTC))
        identity = told.object.removeprefix("contradiction:")
        found[identity] = (*found.get(identity, ()), word)
    return found


def _enough(words: Iterable[Word]) -> bool:
    """Whether every office has spoken, each by another person."""
    by = {word.office: word.by for word in words}
    return by.keys() >= OFFICES and len(set(by.values())) == len(OFFICES)
