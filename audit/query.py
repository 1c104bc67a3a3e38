"""The query language of the trail: terms over indexed fields, joined by *and*.

`actor:p_… code:CA* -out:ok since:2026-01-01` : `-` negates, a final `*` matches any rest. Personal values (`source:`,
`uid:`, `name:`, …) are found through their blind index, exactly or not at all.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, false, literal_column, not_, or_, select
from sqlalchemy.orm import InstrumentedAttribute

from audit.event import Kind
from audit.permit import ActorKind
from audit.privacy import Privacy
from audit.tables import TrailDisclosure, TrailEvent
from core.clock import microseconds
from core.errors import Malformed

#: Most terms of one query: each is a condition of the statement, and SQLite bounds how deep that may be.
MAX_TERMS = 64
#: So many matches are gathered and sorted: each looked up by itself, and read one after the other in an index.
FEW, MANY = 2_000, 50_000
#: Personal fields that a term may name.
PERSONAL = ("source", "uid", "name", "mail", "resource", "subject", "query", "title", "reason", "comment")

_COLUMNS: Mapping[str, InstrumentedAttribute[str]] = {
    "obj": TrailEvent.object,
    "req": TrailEvent.request_id,
    "scope": TrailEvent.scope,
    "id": TrailEvent.id,
}
#: Columns whose indexes hold only what is not empty.
_SPARSE = frozenset({TrailEvent.cert, TrailEvent.request_id, TrailEvent.scope})
FIELDS = ("actor", "person", "code", "out", "cert", "log", "since", "until", *_COLUMNS, *PERSONAL)
_TERM = re.compile(r'(-?)([a-z]+):(?:"([^"]*)"|([^\s"]+))')


@dataclass(frozen=True)
class Term:
    """One condition, and how an index leads to what it holds for; a negated one is only ever checked."""

    condition: ColumnElement[bool]
    #: Each the equality of an indexed column whose index goes on with the time: together all matches, newest first.
    walks: tuple[ColumnElement[bool], ...] = ()
    #: What an index finds, but not in the order of time: worth it for `most` matches, which are counted by `counted`.
    gathers: ColumnElement[bool] | None = None
    counted: Select[Any] | None = None
    most: int = 0
    #: For a serial number alone, whose issuers are to be looked up.
    serial: str = ""
    #: For what follows from code and outcome.
    pair: Callable[[str, str], bool] | None = None
    #: Whether `pair` is all there is to it.
    is_pair: bool = False
    #: From when on and until when, in microseconds, for a term that only bounds the time.
    span: tuple[int | None, int | None] | None = None


@dataclass(frozen=True)
class Query:
    """A question to the trail, as it was written and as it is asked."""

    text: str
    terms: tuple[Term, ...] = ()

    def span(self) -> tuple[int | None, int | None]:
        """From when on and until when entries can match, in microseconds; None where it does not say."""
        firsts = [term.span[0] for term in self.terms if term.span and term.span[0] is not None]
        ends = [term.span[1] for term in self.terms if term.span and term.span[1] is not None]
        return max(firsts, default=None), min(ends, default=None)


def of_kinds(kinds: Collection[Kind], since: int) -> Query:
    """Everything of `kinds` from the microsecond `since` on."""
    codes = [kind.code for kind in kinds]
    span = Term(TrailEvent.t >= since, span=(since, None))
    return Query("", (span, Term(TrailEvent.code.in_(codes), pair=lambda code, _: code in codes, is_pair=True)))


def parse_query(text: str, privacy: Privacy | None = None) -> Query:
    """Read a query; without `privacy` the personal fields cannot be searched.

    Raises:
        Malformed: a term has another form or an unknown field.
    """
    terms, at = list[Term](), 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        match = _TERM.match(text, at)
        if not match or (match.end() < len(text) and not text[match.end()].isspace()):
            raise Malformed("cannot read the query at `{rest}`; write terms such as `actor:oa` or `-out:ok`", rest=text[at : at + 40])
        if len(terms) == MAX_TERMS:
            raise Malformed("the query has more than {most} terms; leave some out", most=MAX_TERMS)
        negated, name, quoted, plain = match.groups()
        found = _term(name, plain if quoted is None else quoted, privacy)
        terms.append(_negated(found) if negated else found)
        at = match.end()
    return Query(text.strip(), tuple(terms))


def _negated(term: Term) -> Term:
    pair = term.pair
    if pair is None or not term.is_pair:
        return Term(not_(term.condition), span=term.span and (term.span[1], term.span[0]))
    return Term(not_(term.condition), pair=lambda code, outcome: not pair(code, outcome), is_pair=True)


def _term(name: str, value: str, privacy: Privacy | None) -> Term:
    if name in _COLUMNS:
        return _matches(_COLUMNS[name], value)
    if name in {"since", "until"}:
        moment = microseconds(_moment(value))
        return Term(TrailEvent.t >= moment, span=(moment, None)) if name == "since" else Term(TrailEvent.t < moment, span=(None, moment))
    if name in PERSONAL and privacy is not None:
        return _personal(name, privacy.blind(name, value))
    special = {"actor": _actor, "person": _person, "code": _code, "out": _outcome, "cert": _cert, "log": _log}
    if name not in special:
        raise Malformed("the query has no field `{name}`; fields are {fields}", name=name, fields=", ".join(FIELDS))
    return special[name](value)


def _personal(field: str, blind: bytes) -> Term:
    """Found from the openings when they are few, and looked up entry by entry when they are many."""
    table = TrailDisclosure.__table__.c
    opened = select(table.id).where(table.blind == blind)
    mine = select(table.blind).where(table.id == TrailEvent.id, table.field == field).scalar_subquery()
    return Term(mine == blind, gathers=TrailEvent.id.in_(opened), counted=opened, most=FEW)


def _matches(column: InstrumentedAttribute[str], value: str) -> Term:
    if value in {"", "*"}:
        return Term(column >= "" if value else column == "")
    prefix = value[:-1] if value.endswith("*") else None
    found = column == value if prefix is None else and_(column >= prefix, column < prefix + "\U0010ffff")
    if column in _SPARSE:  # the planner takes an index that leaves out what is empty only when the query says so literally
        found = and_(column != literal_column("''"), found)
    return Term(found, walks=(found,)) if prefix is None else _range(found)


def _range(found: ColumnElement[bool]) -> Term:
    """What begins alike stands together in an index, which alone is read."""
    return Term(found, gathers=found, counted=select(TrailEvent.t).where(found), most=MANY)


def _actor(value: str) -> Term:
    """The actor's id, alone or after its kind."""
    if value.partition(":")[0] in set(ActorKind):
        return _matches(TrailEvent.actor, value)
    each = [_matches(TrailEvent.actor, f"{kind}:{value}") for kind in ActorKind]
    found = or_(*(term.condition for term in each))
    walks = tuple(walk for term in each for walk in term.walks)
    return Term(found, walks=walks) if walks else _range(found)


def _person(value: str) -> Term:
    """What a person did, and what was done to or decided about them."""
    who = f"person:{value}"
    did, met = TrailEvent.actor == who, and_(TrailEvent.object == who, TrailEvent.actor != who)
    return Term(or_(did, TrailEvent.object == who), walks=(did, met))


def _code(value: str) -> Term:
    """A code such as `CA1004` or `AZ*`, or a name such as `cert.issued`."""
    named = [kind.code for kind in Kind if kind.value.name == value]
    condition = TrailEvent.code.in_(named) if named else _matches(TrailEvent.code, value).condition
    if named:
        return Term(condition, pair=lambda code, _: code in named, is_pair=True)
    return Term(condition, pair=lambda code, _: _is(code, value), is_pair=True)


def _outcome(value: str) -> Term:
    return Term(_matches(TrailEvent.outcome, value).condition, pair=lambda _, outcome: _is(outcome, value), is_pair=True)


def _is(stored: str, value: str) -> bool:
    return stored.startswith(value[:-1]) if value.endswith("*") else stored == value


def _cert(value: str) -> Term:
    """The issuer's key hash with the serial, or the serial alone (hex)."""
    value = value.lower()
    if ":" in value or value.endswith("*") or not value:
        return _matches(TrailEvent.cert, value)
    return Term(TrailEvent.cert.endswith(":" + value, autoescape=True), serial=value)


def _log(value: str) -> Term:
    """The log, alone or with the epoch; which log an entry stands in follows from its code."""
    log, _, epoch = value.partition("/")
    named = TrailEvent.log == log

    def belongs(code: str, _outcome: str) -> bool:
        return ("ca" if code.startswith("CA") else "access") == log

    if not epoch:
        return Term(named, pair=belongs, is_pair=True)
    if not (epoch.isascii() and epoch.isdigit() and len(epoch) < 10):
        return Term(false(), pair=lambda _code, _outcome: False, is_pair=True)
    return Term(and_(named, TrailEvent.epoch == int(epoch)), pair=belongs)


def _moment(value: str) -> dt.datetime:
    try:
        moment = dt.datetime.fromisoformat(value)
    except ValueError as error:
        raise Malformed("`{value}` is not a time; write `2026-01-31` or `2026-01-31T08:00:00Z`", value=value) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
