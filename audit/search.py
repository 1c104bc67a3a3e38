"""Finding entries: a small query language over indexed columns, newest first, paged by key.

`actor:p_… code:CA* -out:ok since:2026-01-01` : terms are joined by *and*, `-` negates, a final `*` matches any rest.
Personal values (`source:`, `uid:`, `name:`, `mail:`) are found through their blind index, exactly or not at all.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import ColumnElement, and_, false, not_, or_, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

from audit.event import BY_CODE, Kind
from audit.permit import ActorKind
from audit.privacy import Privacy
from audit.tables import TrailDisclosure, TrailEvent
from core.clock import microseconds
from core.errors import Malformed, NotFound

MAX_PAGE = 500
#: Most terms of one query: each is a condition of the statement, and SQLite bounds how deep that may be.
MAX_TERMS = 64
#: Personal fields that a term may name.
PERSONAL = ("source", "uid", "name", "mail")

_COLUMNS: Mapping[str, InstrumentedAttribute[str]] = {
    "out": TrailEvent.outcome,
    "obj": TrailEvent.object,
    "req": TrailEvent.request_id,
    "scope": TrailEvent.scope,
}
#: Columns whose indexes hold only what is not empty.
_SPARSE = frozenset({TrailEvent.cert, TrailEvent.request_id})
_FIELDS = ("actor", "code", "cert", "log", "since", "until", *_COLUMNS, *PERSONAL)
_TERM = re.compile(r'(-?)([a-z]+):(?:"([^"]*)"|([^\s"]+))')
_CURSOR = re.compile(r"(\d{1,17})\.(ca|access)\.(\d{1,9})\.(\d{1,18})")


@dataclass(frozen=True)
class Query:
    """A question to the trail, as it was written and as it is asked."""

    text: str
    conditions: tuple[ColumnElement[bool], ...] = ()


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


def parse_query(text: str, privacy: Privacy | None = None) -> Query:
    """Read a query; without `privacy` the personal fields cannot be searched.

    Raises:
        Malformed: a term has another form or an unknown field.
    """
    conditions, at = list[ColumnElement[bool]](), 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        match = _TERM.match(text, at)
        if not match or (match.end() < len(text) and not text[match.end()].isspace()):
            raise Malformed("cannot read the query at `{rest}`; write terms such as `actor:oa` or `-out:ok`", rest=text[at : at + 40])
        if len(conditions) == MAX_TERMS:
            raise Malformed("the query has more than {most} terms; leave some out", most=MAX_TERMS)
        negated, name, quoted, plain = match.groups()
        found = _condition(name, plain if quoted is None else quoted, privacy)
        conditions.append(not_(found) if negated else found)
        at = match.end()
    return Query(text.strip(), tuple(conditions))


def find(session: Session, query: Query, after: str = "", limit: int = 50) -> Page:
    """A page of what `query` matches, newest first, behind the cursor `after`.

    Raises:
        Malformed: the cursor is not one that a page gave.
    """
    limit = max(1, min(limit, MAX_PAGE))
    key = (TrailEvent.t, TrailEvent.log, TrailEvent.epoch, TrailEvent.idx)
    wanted = select(TrailEvent).where(*query.conditions).order_by(*(column.desc() for column in key)).limit(limit + 1)
    if after:
        match = _CURSOR.fullmatch(after)
        if not match:
            raise Malformed("`{after}` is not a cursor of this list; start again without it", after=after)
        wanted = wanted.where(tuple_(*key) < tuple_(int(match[1]), match[2], int(match[3]), int(match[4])))
    rows = session.scalars(wanted).all()
    last = rows[limit - 1] if len(rows) > limit else None
    return Page(tuple(_entry(row) for row in rows[:limit]), f"{last.t}.{last.log}.{last.epoch}.{last.idx}" if last else "")


def entry(session: Session, log: str, epoch: int, idx: int) -> Entry:
    """One entry by its place.

    Raises:
        NotFound: there is none.
    """
    row = session.get(TrailEvent, (log, epoch, idx)) if idx < 1 << 63 else None
    if row is None:
        raise NotFound("there is no entry `{idx}` in `{log}`", idx=idx, log=f"{log}/{epoch}")
    return _entry(row)


def openings(session: Session, found: Entry) -> dict[str, tuple[bytes, str]]:
    """Salt and value of the personal fields of `found` that were not erased."""
    rows = session.scalars(select(TrailDisclosure).where(TrailDisclosure.id == str(found.body.get("id", ""))))
    return {row.field: (row.salt, row.value) for row in rows}


def _entry(row: TrailEvent) -> Entry:
    at = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=row.t)
    raw, leaf = _bytes(row.body), _bytes(row.leaf)
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        body = {}
    return Entry(row.log, row.epoch, row.idx, at, BY_CODE.get(row.code), body if isinstance(body, dict) else {}, leaf.hex(), raw)


def _bytes(value: object) -> bytes:
    """What stands in the column, even where somebody put a text: an entry that was tampered with must stay visible."""
    return value if isinstance(value, bytes) else str(value).encode(errors="surrogateescape")


def _condition(name: str, value: str, privacy: Privacy | None) -> ColumnElement[bool]:
    if name in _COLUMNS:
        return _matches(_COLUMNS[name], value)
    if name in {"since", "until"}:
        moment = microseconds(_moment(value))
        return TrailEvent.t >= moment if name == "since" else TrailEvent.t < moment
    if name in PERSONAL and privacy is not None:
        opened = select(TrailDisclosure.id).where(TrailDisclosure.blind == privacy.blind(name, value))
        return TrailEvent.id.in_(opened)
    special = {"actor": _actor, "code": _code, "cert": _cert, "log": _log}
    if name not in special:
        raise Malformed("the query has no field `{name}`; fields are {fields}", name=name, fields=", ".join(_FIELDS))
    return special[name](value)


def _matches(column: InstrumentedAttribute[str], value: str) -> ColumnElement[bool]:
    if not value.endswith("*"):
        found = column == value
    else:
        prefix = value[:-1]
        found = and_(column >= prefix, column < prefix + "\U0010ffff")
    # The indexes of these columns leave out what is empty: the planner takes them only when the query does so too.
    return and_(column != "", found) if column in _SPARSE and value not in {"", "*"} else found


def _actor(value: str) -> ColumnElement[bool]:
    """The actor's id, alone or after its kind."""
    if value.partition(":")[0] in set(ActorKind):
        return _matches(TrailEvent.actor, value)
    return or_(*(_matches(TrailEvent.actor, f"{kind}:{value}") for kind in ActorKind))


def _code(value: str) -> ColumnElement[bool]:
    """A code such as `CA1004` or `AZ*`, or a name such as `cert.issued`."""
    named = [kind.code for kind in Kind if kind.value.name == value]
    return TrailEvent.code.in_(named) if named else _matches(TrailEvent.code, value)


def _cert(value: str) -> ColumnElement[bool]:
    """The issuer's key hash with the serial, or the serial alone (hex)."""
    value = value.lower()
    if ":" in value or value.endswith("*"):
        return _matches(TrailEvent.cert, value)
    ends = TrailEvent.cert.endswith(":" + value, autoescape=True)
    # Looked for in the index of certificates alone, which is small: the trail itself would be read from end to end.
    return and_(TrailEvent.cert != "", TrailEvent.cert.in_(select(TrailEvent.cert).where(TrailEvent.cert != "", ends).distinct()))


def _log(value: str) -> ColumnElement[bool]:
    log, _, epoch = value.partition("/")
    # An expression, so that the planner walks the newest events by time instead of sorting the whole log.
    named = TrailEvent.log.concat("") == log
    if not epoch:
        return named
    return and_(named, TrailEvent.epoch == int(epoch)) if epoch.isascii() and epoch.isdigit() and len(epoch) < 10 else false()


def _moment(value: str) -> dt.datetime:
    try:
        moment = dt.datetime.fromisoformat(value)
    except ValueError as error:
        raise Malformed("`{value}` is not a time; write `2026-01-31` or `2026-01-31T08:00:00Z`", value=value) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
