"""Finding entries, newest first, paged by key: no single term reads the trail from end to end.

An index that goes on with the time is walked from its newest entry; what an index finds in another order is gathered
when it is little. Conditions on code, outcome and log are walked pair by pair of code and outcome, of which there are
few. What is left is looked at in windows; whoever cannot wait gets a shorter page and the key to go on from.
"""

from __future__ import annotations

import datetime as dt
import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Select, Subquery, and_, false, func, literal_column, or_, select, text, true, tuple_, union_all
from sqlalchemy.orm import Session
from sqlalchemy.sql.util import ClauseAdapter

from audit.event import BY_CODE, Kind
from audit.query import FEW, MANY, Query, Term, parse_query
from audit.tables import TrailDisclosure, TrailEvent
from core.errors import Malformed, NotFound

__all__ = ["Entry", "Page", "Query", "entry", "find", "openings", "parse_query"]

MAX_PAGE = 500
#: Candidates that are looked at in the first window, and at most in one.
_FIRST, _WIDEST = 500, 8000

_KEY = (TrailEvent.t, TrailEvent.log, TrailEvent.epoch, TrailEvent.idx)
#: What conditions are about, beside the key.
_FIELDS = tuple(getattr(TrailEvent, name) for name in ("id", "code", "outcome", "actor", "object", "cert", "scope", "request_id"))
_NEWEST = [column.desc() for column in _KEY]
_CURSOR = re.compile(r"(\d{1,17})\.(ca|access)\.(\d{1,9})\.(\d{1,18})")

#: Which codes there are, each with its outcomes: one step in the index for each, however many entries have them.
_PAIRS = text(
    "WITH RECURSIVE c (code) AS (SELECT min(code) FROM trail_event UNION ALL"
    " SELECT (SELECT min(e.code) FROM trail_event e WHERE e.code > c.code) FROM c WHERE c.code IS NOT NULL),"
    " p (code, outcome) AS (SELECT c.code, (SELECT min(e.outcome) FROM trail_event e WHERE e.code = c.code) FROM c"
    " WHERE c.code IS NOT NULL UNION ALL"
    " SELECT p.code, (SELECT min(e.outcome) FROM trail_event e WHERE e.code = p.code AND e.outcome > p.outcome) FROM p"
    " WHERE p.outcome IS NOT NULL) SELECT code, outcome FROM p WHERE outcome IS NOT NULL"
)


@dataclass(frozen=True)
class Entry:
    """One entry as it stands in the tree."""

    log: str
    epoch: int
    idx: int
    at: dt.datetime
    #: None when the code is newer than this program.
    kind: Kind | None
    body: Mapping[str, Any]
    leaf: str
    #: The exact bytes that were hashed.
    raw: bytes

    @property
    def place(self) -> str:
        """Log and epoch, as receipts name them: `ca/1`."""
        return f"{self.log}/{self.epoch}"


@dataclass(frozen=True)
class Page:
    """Entries, newest first, and the cursor of the next page (empty at the end)."""

    entries: tuple[Entry, ...]
    after: str
    #: How far back was looked when patience ended before the page was full; there may be more behind `after`.
    reached: dt.datetime | None = None


@dataclass(frozen=True)
class Way:
    """How candidates are met: by arms that together hold all of them, and what is still to be checked of each."""

    arms: Sequence[ColumnElement[bool]]
    checks: tuple[ColumnElement[bool], ...]
    #: Bounds of the time, which every arm obeys.
    bounds: tuple[ColumnElement[bool], ...]
    #: Whether an index gives each arm in the order of time; else what the arm holds is sorted.
    ordered: bool = True
    #: Whether the one arm is a stretch of an index that has the time as well.
    ranged: bool = False
    #: Whether each arm is one code with one outcome.
    paired: bool = False
    #: Whether more than the keys is asked of candidates, though nothing is to be checked.
    columns: bool = False


def find(session: Session, query: Query, after: str = "", limit: int = 50, patience: float = math.inf) -> Page:
    """A page of what `query` matches, newest first, behind the cursor `after`.

    With `patience` (seconds) the page may end early and say so in `reached`: then go on from its cursor.

    Raises:
        Malformed: the cursor is not one that a page gave.
    """
    limit, until = max(1, min(limit, MAX_PAGE)), time.monotonic() + patience
    before, way = _cursor(after), way_of(session, query)
    width = _FIRST if way.checks else limit + 1
    found: list[TrailEvent] = []
    while True:
        met = candidates(way, width, before)
        found += session.scalars(taken(_checked(met, way, limit + 1 - len(found)), TrailEvent)).all()
        if len(found) > limit:
            last = found[limit - 1]
            return Page(tuple(map(_entry, found[:limit])), _told((last.t, last.log, last.epoch, last.idx)))
        before = _end_of(session, met, width) if way.checks else None
        if before is None:
            return Page(tuple(map(_entry, found)), "")
        if time.monotonic() > until:
            return Page(tuple(map(_entry, found)), _told(before), _at(before[0]))
        width = min(width * 4, _WIDEST)


def way_of(session: Session, query: Query) -> Way:
    """The shortest way to the matches of `query`, by what the indexes tell of how many there are."""
    bounds = tuple(term.condition for term in query.terms if term.span)
    ways = [_way(query, bounds, [term], arms) for term in query.terms if (arms := _walks(session, term)) is not None]
    if any(term.pair for term in query.terms):
        ways.append(by_pairs(session, query))
    gathering = [(term.gathers, term.counted, term) for term in query.terms if term.gathers is not None and term.counted is not None]
    if len(ways) == 1 and not gathering:
        return ways[0]
    counted = [(_many(session, [select(TrailEvent.t).where(arm, *bounds) for arm in way.arms], FEW), way) for way in ways]
    for gathered, all_of_them, term in gathering:
        if (many := _many(session, [all_of_them], term.most)) <= term.most:
            counted.append((many, replace(_way(query, bounds, [term], [gathered]), ordered=False, ranged=term.most == MANY)))
    if counted:
        return min(counted, key=lambda told: told[0])[1]
    return _way(query, bounds, [], [true()])


def by_pairs(session: Session, query: Query) -> Way:
    """The way by those codes and outcomes that `query` allows."""
    paired = [term for term in query.terms if term.pair]
    pairs = [pair for pair in session.execute(_PAIRS) if all(term.pair(*pair) for term in paired if term.pair)]
    arms = [and_(TrailEvent.code == code, TrailEvent.outcome == outcome) for code, outcome in pairs]
    bounds = tuple(term.condition for term in query.terms if term.span)
    return replace(_way(query, bounds, [term for term in paired if term.is_pair], arms), paired=True)


def candidates(way: Way, width: int, before: tuple[Any, ...] | None = None) -> Subquery:
    """The newest `width` candidates behind the key `before`: their keys, and what is to be checked of them.

    They are limited by themselves, so that the planner cannot begin with what is only to be checked.
    """
    columns = (*_KEY, *_FIELDS) if way.checks or way.columns else _KEY
    # The order of a sum is in no index: what is to be gathered is not walked by time.
    newest = _NEWEST if way.ordered else [(TrailEvent.t + 0).desc(), *_NEWEST[1:]]
    behind = [] if before is None else [_behind(before)]
    arms = [
        select(*columns).where(arm, *way.bounds, *behind, *_late(way, arm, width, before)).order_by(*newest).limit(width)
        for arm in way.arms or [false()]
    ]
    if len(arms) == 1:
        return arms[0].subquery()
    together = union_all(*(select(arm.subquery()) for arm in arms)).subquery()
    return select(together).order_by(*_newest(together)).limit(width).subquery()


def taken(found: Subquery, *columns: Any) -> Select[Any]:
    """`columns` of the entries whose keys are `found`, the newest first."""
    same = and_(TrailEvent.log == found.c.log, TrailEvent.epoch == found.c.epoch, TrailEvent.idx == found.c.idx)
    return select(*columns).join(found, same).order_by(*_NEWEST)


def entry(session: Session, log: str, epoch: int, idx: int) -> Entry:
    """One entry by its place.

    Raises:
        NotFound: there is none.
    """
    row = session.get(TrailEvent, (log, epoch, idx)) if idx < 1 << 63 else None
    if row is None:
        raise NotFound("there is no entry `{idx}` in `{log}`", idx=idx, log=f"{log}/{epoch}")
    return _entry(row)


def entries(session: Session, places: Sequence[tuple[str, int, int]]) -> tuple[Entry, ...]:
    """The entries at these places (log, epoch, index), in their order: one question for all of one epoch."""
    wanted: dict[tuple[str, int], list[int]] = {}
    for log, epoch, idx in places:
        wanted.setdefault((log, epoch), []).append(idx)
    found: dict[tuple[str, int, int], Entry] = {}
    for (log, epoch), numbers in wanted.items():
        of_it = and_(TrailEvent.log == log, TrailEvent.epoch == epoch, TrailEvent.idx.in_(numbers))
        found |= {(row.log, row.epoch, row.idx): _entry(row) for row in session.scalars(select(TrailEvent).where(of_it))}
    return tuple(found[place] for place in places)


def openings(session: Session, found: Entry) -> dict[str, tuple[bytes, str]]:
    """Salt and value of the personal fields of `found` that were not erased."""
    return all_openings(session, [found])[_id(found)]


def all_openings(session: Session, found: Sequence[Entry]) -> dict[str, dict[str, tuple[bytes, str]]]:
    """The same for each of `found`, by the id of its event: one question for all."""
    told: dict[str, dict[str, tuple[bytes, str]]] = {_id(one): {} for one in found}
    for row in session.scalars(select(TrailDisclosure).where(TrailDisclosure.id.in_(told))):
        told[row.id][row.field] = (row.salt, row.value)
    return told


def _id(found: Entry) -> str:
    return str(found.body.get("id", ""))


def _late(way: Way, arm: ColumnElement[bool], width: int, before: tuple[Any, ...] | None) -> list[ColumnElement[bool]]:
    """Bounds a stretch of an index to its newest `width` rows, which the index alone tells: only those are looked up."""
    if not way.ranged:
        return []
    earlier = [] if before is None else [TrailEvent.t < before[0]]
    newest = select(TrailEvent.t).where(arm, *way.bounds, *earlier).order_by((TrailEvent.t + 0).desc()).limit(width).subquery()
    least = select(func.min(newest.c.t)).scalar_subquery()
    return [TrailEvent.t >= func.coalesce(least, 0 if before is None else before[0])]


def _way(query: Query, bounds: tuple[ColumnElement[bool], ...], met: list[Term], arms: Sequence[ColumnElement[bool]]) -> Way:
    checks = tuple(term.condition for term in query.terms if not term.span and all(term is not one for one in met))
    return Way(arms, checks, bounds)


def _walks(session: Session, term: Term) -> Sequence[ColumnElement[bool]] | None:
    if not term.serial:
        return term.walks or None
    return [and_(TrailEvent.cert != literal_column("''"), TrailEvent.cert == f"{issuer}:{term.serial}") for issuer in _issuers(session)]


def _issuers(session: Session) -> list[str]:
    """The key hashes of all issuers that entries name: one step in the index for each."""
    found, last = list[str](), ""
    named = select(TrailEvent.cert).where(TrailEvent.cert != literal_column("''")).order_by(TrailEvent.cert).limit(1)
    while cert := session.scalar(named.where(TrailEvent.cert > last)):
        found.append(cert.partition(":")[0])
        last = found[-1] + ";"  # the character behind the colon
    return found


def _many(session: Session, arms: Sequence[Select[Any]], most: int) -> int:
    """How many rows `arms` have, counted no further than to see that they are more than `most`."""
    if not arms:
        return 0
    met = union_all(*(select(arm.limit(most + 1).subquery()) for arm in arms)).limit(most + 1).subquery()
    return session.scalar(select(func.count()).select_from(met)) or 0


def _checked(met: Subquery, way: Way, limit: int) -> Subquery:
    """The newest `limit` of the candidates `met` that hold what is to be checked."""
    there = ClauseAdapter(met)
    keys = [met.c[column.key] for column in _KEY]
    return select(*keys).where(*(there.traverse(check) for check in way.checks)).order_by(*_newest(met)).limit(limit).subquery()


def _end_of(session: Session, met: Subquery, width: int) -> tuple[Any, ...] | None:
    """The key of the last of `width` candidates; None when there were fewer."""
    keys = select(*(met.c[column.key] for column in _KEY)).order_by(*_newest(met))
    last = session.execute(keys.offset(width - 1).limit(1)).first()
    return None if last is None else tuple(last)


def _newest(met: Subquery) -> list[ColumnElement[Any]]:
    return [met.c[column.key].desc() for column in _KEY]


def _behind(key: tuple[Any, ...]) -> ColumnElement[bool]:
    """What comes after `key` in a list that goes back in time; the first part bounds the index."""
    t, *place = key
    return and_(TrailEvent.t <= t, or_(TrailEvent.t < t, tuple_(*_KEY[1:]) < tuple_(*place)))


def _cursor(after: str) -> tuple[Any, ...] | None:
    if not after:
        return None
    match = _CURSOR.fullmatch(after)
    if not match:
        raise Malformed("`{after}` is not a cursor of this list; start again without it", after=after)
    return int(match[1]), match[2], int(match[3]), int(match[4])


def _told(key: Sequence[Any]) -> str:
    return ".".join(map(str, key))


def _at(t: int) -> dt.datetime:
    return dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=t)


def _entry(row: TrailEvent) -> Entry:
    raw, leaf = _bytes(row.body), _bytes(row.leaf)
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        body = {}
    return Entry(row.log, row.epoch, row.idx, _at(row.t), BY_CODE.get(row.code), body if isinstance(body, dict) else {}, leaf.hex(), raw)


def _bytes(value: object) -> bytes:
    """What stands in the column, even where somebody put a text: an entry that was tampered with must stay visible."""
    return value if isinstance(value, bytes) else str(value).encode(errors="surrogateescape")
