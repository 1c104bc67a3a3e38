"""The trail as the service itself walks it: from entry to entry, by what entries are about, or the newest of a kind.

Here entries come as their parsed bodies and in the order of the tree. Nothing is verified: that is the verifier's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

import orjson
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from audit.event import BY_CODE, Kind
from audit.query import parse_query
from audit.search import candidates, taken, way_of
from audit.tables import TrailBatch, TrailDisclosure, TrailEvent
from audit.trail import LOGS

_COLUMNS = (TrailEvent.log, TrailEvent.epoch, TrailEvent.idx, TrailEvent.t, TrailEvent.code, TrailEvent.object, TrailEvent.body)


class Told(NamedTuple):
    """One entry."""

    log: str
    epoch: int
    idx: int
    #: Microseconds of the writer's clock.
    t: int
    #: None when the code is newer than this program.
    kind: Kind | None
    object: str
    body: Mapping[str, Any]

    @property
    def place(self) -> str:
        """Such as `ca/1:17`."""
        return f"{self.log}/{self.epoch}:{self.idx}"

    @property
    def details(self) -> Mapping[str, Any]:
        """The facts of its kind."""
        found: Mapping[str, Any] = self.body.get("d", {})
        return found


def heads(session: Session) -> dict[tuple[str, int], int]:
    """The size of each log and epoch."""
    rows = session.execute(select(TrailBatch.log, TrailBatch.epoch, func.max(TrailBatch.size)).group_by(TrailBatch.log, TrailBatch.epoch))
    return {(log, epoch): size for log, epoch, size in rows}


def heads_at(session: Session, at: int) -> dict[tuple[str, int], int]:
    """The size that each log and epoch had at that moment (microseconds): by halving, since the journal is in the order of its times."""
    return {place: _size_at(session, place, size, at) for place, size in heads(session).items()}


def _size_at(session: Session, place: tuple[str, int], size: int, at: int) -> int:
    log, epoch = place
    later = select(TrailBatch.size, TrailBatch.t).where(TrailBatch.log == log, TrailBatch.epoch == epoch).order_by(TrailBatch.size).limit(1)
    low, high = 0, size
    while low < high:
        middle = (low + high) // 2
        found, t = session.execute(later.where(TrailBatch.size > middle)).one()
        low, high = (found, high) if t <= at else (low, middle)
    return low


def newest_at(session: Session) -> int:
    """When the last entry of either log was made, by its writer's clock (microseconds); 0 where there is none."""
    last = select(TrailBatch.t).order_by(TrailBatch.epoch.desc(), TrailBatch.size.desc()).limit(1)
    return max(session.scalar(last.where(TrailBatch.log == log)) or 0 for log in LOGS)


def walk(session: Session, place: tuple[str, int], first: int, end: int, kinds: Collection[Kind] = ()) -> Iterator[Told]:
    """The entries from `first` to before `end` of one log and epoch; all, or those of `kinds`."""
    log, epoch = place
    wanted = select(*_COLUMNS).where(TrailEvent.log == log, TrailEvent.epoch == epoch, TrailEvent.idx >= first, TrailEvent.idx < end)
    if kinds:
        wanted = wanted.where(TrailEvent.code.in_([kind.code for kind in kinds]))
    return map(_told, session.execute(wanted.order_by(TrailEvent.idx)))


def about(session: Session, objects: Collection[str], kinds: Collection[Kind], span: tuple[int, int] | None = None) -> list[Told]:
    """All entries of `kinds` about one of `objects`, in their order; `span` bounds their times (microseconds)."""
    wanted = select(*_COLUMNS).where(TrailEvent.object.in_(objects), TrailEvent.code.in_([kind.code for kind in kinds]))
    if span:
        wanted = wanted.where(TrailEvent.t.between(*span))
    return sorted(map(_told, session.execute(wanted)), key=lambda told: (told.log, told.epoch, told.idx))


def newest(session: Session, kind: Kind, limit: int = 1) -> list[Told]:
    """The newest entries of `kind`, the newest first."""
    found = candidates(way_of(session, parse_query(f"code:{kind.code}")), limit)
    return [_told(row) for row in session.execute(taken(found, *_COLUMNS))]


def acts(session: Session, actor: str, kind: Kind, span: tuple[int, int], limit: int) -> list[Told]:
    """The newest entries of `kind` by one actor (such as `person:p_…`) in a time (microseconds), the newest first."""
    wanted = select(*_COLUMNS).where(TrailEvent.actor == actor, TrailEvent.t.between(*span), TrailEvent.code == kind.code)
    return [_told(row) for row in session.execute(wanted.order_by(TrailEvent.t.desc(), TrailEvent.idx.desc()).limit(limit))]


def opened(session: Session, field: str, entries: Collection[Told]) -> dict[str, str]:
    """The personal values of one field, by the id of the entry's body; those that were erased are missing."""
    wanted = TrailDisclosure.id.in_([str(told.body.get("id")) for told in entries]), TrailDisclosure.field == field
    return {row.id: row.value for row in session.execute(select(TrailDisclosure.id, TrailDisclosure.value).where(*wanted))}


def settled(session: Session, writers: Collection[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """Up to which number each of `writers` (node, boot) says that everything is in the tree or void."""
    wanted = select(func.max(TrailBatch.settled))
    found = {writer: session.scalar(wanted.where(TrailBatch.node == writer[0], TrailBatch.boot == writer[1])) for writer in writers}
    return {writer: number for writer, number in found.items() if number is not None}


def _told(row: Any) -> Told:
    log, epoch, idx, t, code, about_what, raw = row
    try:
        body = orjson.loads(raw)
    except (orjson.JSONDecodeError, TypeError):
        body = {}
    return Told(log, epoch, idx, t, BY_CODE.get(code), about_what, body if isinstance(body, dict) else {})
