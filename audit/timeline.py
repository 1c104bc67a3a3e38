"""How many entries match, stretch by stretch of time: what a page draws above its list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, func, select, true, union_all
from sqlalchemy.orm import Session
from sqlalchemy.sql.util import ClauseAdapter

from audit.query import Query
from audit.search import Way, by_pairs, candidates, way_of
from audit.tables import TrailEvent
from audit.tiles import PublishedLog
from audit.trail import LOGS
from core.clock import ZONE

#: Bars that are drawn at most.
BARS = 32
#: Entries of each log that are counted by an index alone, and candidates that must be looked at one by one.
COUNTED, LOOKED_AT = 200_000, 10_000
#: What counts as a no.
REFUSED = ("deny", "fail", "error")

_SECOND = 1_000_000
#: Days begin at the province's midnight.
_AHEAD = int(ZONE.utcoffset(None).total_seconds()) * _SECOND
#: Stretches that people think in, in seconds; longer ones are whole multiples of thirty days.
_STEPS = (*(1, 5, 15, 30, 60, 300, 900, 1800, 3600), *(7200, 14_400, 21_600, 43_200, 86_400, 172_800, 604_800, 2_592_000))


class Bar(NamedTuple):
    """One stretch: its first microsecond, how many entries match, and how many of them say no."""

    t: int
    number: int
    refused: int


@dataclass(frozen=True)
class Timeline:
    """Bars of equal length without gaps, the oldest first."""

    #: Microseconds of each stretch.
    step: int
    bars: tuple[Bar, ...]
    #: From which microsecond on everything was counted; None when that is all there is.
    counted_from: int | None = None

    @property
    def count(self) -> int:
        """All that match."""
        return sum(bar.number for bar in self.bars)


def timeline(session: Session, query: Query, now: int) -> Timeline:
    """The bars of what `query` matches, up to `now` (microseconds) where it does not say itself until when."""
    way = way_of(session, query)
    if not way.checks and not way.paired and len(way.arms) == 1 and not query.terms:
        way = by_pairs(session, query)
    since, until = query.span()
    since, until = max(since or 0, _oldest(session, way)), now + 1 if until is None else until
    limit = _horizon(session) if way.paired and not way.checks else _last_of(session, _within(way, since, until))
    counted_from = limit if limit is not None and limit > since else None
    since = since if counted_from is None else counted_from
    step = _step(max(until - since, 1))
    first = (since + _AHEAD) // step * step - _AHEAD
    found: dict[int, list[int]] = {}
    for at, outcome, count in session.execute(_counts(_within(way, since, until), first, step)):
        told = found.setdefault(at, [0, 0])
        told[0] += count
        told[1] += count if outcome in REFUSED else 0
    return Timeline(step, _bars(found, first, step, until), counted_from)


def _bars(found: Mapping[int, list[int]], first: int, step: int, until: int) -> tuple[Bar, ...]:
    return tuple(Bar(first + at * step, *found.get(at, (0, 0))) for at in range(max(0, -((first - until) // step))))


def _step(span: int) -> int:
    """The shortest stretch of which so few cover `span`, wherever it begins."""
    for seconds in _STEPS:
        if span // (seconds * _SECOND) + 2 <= BARS:
            return seconds * _SECOND
    longest = _STEPS[-1] * _SECOND
    return -(-span // (longest * (BARS - 2))) * longest


def _within(way: Way, since: int, until: int) -> Way:
    return replace(way, bounds=(*way.bounds, TrailEvent.t >= since, TrailEvent.t < until))


def _counts(way: Way, first: int, step: int) -> Select[Any]:
    """Rows of stretch, outcome and count."""
    if way.paired and not way.checks:
        arms = [_grouped(TrailEvent.t, TrailEvent.outcome, first, step).where(arm, *way.bounds) for arm in way.arms]
        together = union_all(*(select(arm.subquery()) for arm in arms or [_nothing(first, step)])).subquery()
        return select(*together.c)
    met = candidates(replace(way, columns=True), LOOKED_AT)
    there = ClauseAdapter(met)
    return _grouped(met.c.t, met.c.outcome, first, step).where(*(there.traverse(check) for check in way.checks))


def _nothing(first: int, step: int) -> Select[Any]:
    return _grouped(TrailEvent.t, TrailEvent.outcome, first, step).where(TrailEvent.t < 0)


def _grouped(t: ColumnElement[int] | Any, outcome: ColumnElement[str] | Any, first: int, step: int) -> Select[Any]:
    at = ((t - first) // step).label("at")
    return select(at, outcome.label("outcome"), func.count().label("count")).group_by(at, outcome)


def _oldest(session: Session, way: Way) -> int:
    """The first microsecond that may match."""
    arms = way.arms if way.ordered and way.arms else [true()]
    firsts = union_all(*(select(func.min(TrailEvent.t).label("t")).where(arm) for arm in arms)).subquery()
    return session.scalar(select(func.min(firsts.c.t))) or 0


def _last_of(session: Session, way: Way) -> int | None:
    """The microsecond behind which candidates are too many to look at."""
    met = candidates(replace(way, checks=()), LOOKED_AT)
    return session.scalar(select(met.c.t).order_by(met.c.t.desc()).offset(LOOKED_AT - 1).limit(1))


def _horizon(session: Session) -> int | None:
    """From when on at most `COUNTED` entries of each log have come."""
    found = []
    for log in LOGS:
        view = PublishedLog(session, log)
        place = (TrailEvent.log == log, TrailEvent.epoch == view.epoch, TrailEvent.idx == view.head().size - COUNTED)
        found.append(session.scalar(select(TrailEvent.t).where(*place)))
    return max((t for t in found if t is not None), default=None)
