"""The rows of notices: planned once, claimed by a commit before they are sent, ended by a commit that records it.

So a notice is sent at most once, whoever leads: what was claimed and never ended may have arrived, and is given up.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Collection, Iterable, Mapping

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.orm import Session

from audit.event import Event
from audit.event import Kind as Happened
from audit.permit import Actor
from audit.record import Transaction, recording
from audit.trail import Trail
from core.database import insertion
from core.settings import Notices as Settings
from ops.notices.notice import Kind, Planned, State
from ops.tables import Notice

#: A notice that was claimed so long ago and never ended was interrupted.
INTERRUPTED = dt.timedelta(minutes=10)
#: What ended is forgotten after so long: nothing is planned again that late.
KEPT = dt.timedelta(days=180)
#: A notice that did not arrive waits this long for its second attempt, twice as long for each further one, at most the second.
FIRST_WAIT, LONGEST_WAIT = dt.timedelta(minutes=1), dt.timedelta(hours=6)
#: These are not worth telling any more after this time.
STALE: Mapping[str, dt.timedelta] = dict.fromkeys((Kind.ALARM, Kind.APPROVAL), dt.timedelta(days=1))
#: Rows that are ended in one transaction at most: each has its event.
_AT_ONCE = 200

_ITSELF = Actor.service("notices")


def plan(trail: Trail, planned: Iterable[Planned], ways: Mapping[Kind, Collection[str]]) -> None:
    """Write down what is to be told, one row for each way of its kind; what was written down before stays as it is."""
    with recording(trail) as tx:
        rows = [_row(each, way, tx.now) for each in planned for way in ways.get(each.kind, ())]
        if rows:
            tx.db.execute(insertion(tx.db)(Notice).on_conflict_do_nothing(index_elements=["key", "person", "channel"]), rows)


def _row(planned: Planned, way: str, now: dt.datetime) -> dict[str, object]:
    return {
        "key": planned.key,
        "person": planned.person,
        "channel": way,
        "kind": planned.kind.value,
        "facts": json.dumps(dict(planned.facts)),
        "state": State.WAITING.value,
        "attempts": 0,
        "problem": "",
        "made_at": now,
        "due_at": now,
        "ended_at": None,
    }


def is_due(session: Session, channel: str, now: dt.datetime) -> bool:
    """Whether something waits to be sent this way now."""
    return session.scalar(select(Notice.id).where(*_due(channel, now)).limit(1)) is not None


def claim(trail: Trail, channel: str) -> Notice | None:
    """The next notice to send this way, alarms first, which nobody else sends from now on."""
    with recording(trail) as tx:
        first = select(Notice).where(*_due(channel, tx.now)).order_by(Notice.kind != Kind.ALARM, Notice.due_at, Notice.id).limit(1)
        row = tx.db.scalar(first.with_for_update(skip_locked=True))
        if row is not None:
            row.state, row.attempts, row.due_at = State.SENDING, row.attempts + 1, tx.now + INTERRUPTED
    return row


def _due(channel: str, now: dt.datetime) -> tuple[ColumnElement[bool], ...]:
    return Notice.channel == channel, Notice.state == State.WAITING, Notice.due_at <= now


def sent(trail: Trail, row: Notice) -> None:
    """It arrived."""
    with recording(trail) as tx:
        _end(tx, tx.db.get_one(Notice, row.id, with_for_update=True), State.SENT)


def failed(trail: Trail, row: Notice, reason: str, settings: Settings, *, final: bool) -> None:
    """It certainly did not arrive: it is tried again later, or given up when that is `final` or takes too long."""
    with recording(trail) as tx:
        known = tx.db.get_one(Notice, row.id, with_for_update=True)
        known.problem = reason
        wait = min(FIRST_WAIT * 2 ** min(known.attempts - 1, 20), LONGEST_WAIT)
        if final or tx.now + wait >= known.made_at + _worth(known.kind, settings):
            _end(tx, known, State.GIVEN_UP)
        else:
            known.state, known.due_at = State.WAITING, tx.now + wait


def give_up_late(trail: Trail, settings: Settings) -> int:
    """Give up what was interrupted, and what waited too long to be worth telling; how many."""
    with recording(trail) as tx:
        interrupted = select(Notice).where(Notice.state == State.SENDING, Notice.due_at <= tx.now).limit(_AT_ONCE)
        rows = [(row, "interrupted") for row in tx.db.scalars(interrupted.with_for_update(skip_locked=True))]
        oldest = tx.now - min((*STALE.values(), settings.give_up_after))
        waiting = select(Notice).where(Notice.state == State.WAITING, Notice.made_at <= oldest).limit(_AT_ONCE)
        rows += [
            (row, row.problem or "unreachable")
            for row in tx.db.scalars(waiting.with_for_update(skip_locked=True))
            if row.made_at + _worth(row.kind, settings) <= tx.now
        ]
        for row, problem in rows:
            row.problem = problem
            _end(tx, row, State.GIVEN_UP)
    return len(rows)


def remember(trail: Trail, told: Iterable[tuple[Planned, str]]) -> None:
    """Write down what was sent, by which way, while nothing could be written."""
    with recording(trail) as tx:
        for planned, way in told:
            row = Notice(**_row(planned, way, tx.now))
            row.attempts = 1
            tx.db.add(row)
            _end(tx, row, State.SENT)


def forget(trail: Trail) -> None:
    """Remove the rows of what ended long ago."""
    with recording(trail) as tx:
        tx.db.execute(delete(Notice).where(Notice.ended_at < tx.now - KEPT))


def counts(session: Session) -> dict[str, int]:
    """How many notices there are in each state."""
    found = {row[0]: row[1] for row in session.execute(select(Notice.state, func.count()).group_by(Notice.state))}
    return {state.value: found.get(state, 0) for state in State}


def problems(session: Session, now: dt.datetime) -> list[str]:
    """What operators should know of notices, one sentence each: nothing stops working by it."""
    late = (Notice.state == State.WAITING, Notice.made_at < now - dt.timedelta(hours=1))
    lost = (Notice.state == State.GIVEN_UP, Notice.ended_at > now - dt.timedelta(days=7))
    waits = session.scalar(select(func.count()).where(*late)) or 0
    gone = session.execute(select(Notice.problem, func.count()).where(*lost).group_by(Notice.problem).order_by(Notice.problem)).all()
    found = [f"{waits} notices wait for more than an hour; read the worker's log"] if waits else []
    return found + [f"{number} notices of the last seven days were given up: {problem}" for problem, number in gone]


def last_of(session: Session, prefix: str) -> Notice | None:
    """The newest notice whose key begins so."""
    beginning = Notice.key.startswith(prefix, autoescape=True)
    return session.scalar(select(Notice).where(beginning).order_by(Notice.id.desc()).limit(1))


def _worth(kind: str, settings: Settings) -> dt.timedelta:
    return min(STALE.get(kind, settings.give_up_after), settings.give_up_after)


def _end(tx: Transaction, row: Notice, state: State) -> None:
    row.state, row.ended_at = state, tx.now
    lost = state is State.GIVEN_UP
    told = {"notice": row.kind, "way": row.channel, "about": row.key, "attempts": row.attempts}
    tx.record(
        Event(
            kind=Happened.NOTICE_GIVEN_UP if lost else Happened.NOTICE_SENT,
            actor=_ITSELF,
            object=f"person:{tx.pseudonym(row.person)}",
            outcome="fail" if lost else "ok",
            reason=row.problem if lost else "",
            details=told,
        )
    )
