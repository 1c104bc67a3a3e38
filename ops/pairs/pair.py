"""A pair: one thing that rows and events both say, and how it is read out of either.

A pair reads the same *claim* (a key and a value) out of rows and out of events. The last event about a key must say what
the row shows; a value of None says that there is no row. The first member of a key is what the events are about, so that
they can be found. Values hold enough of a row that a changed row is as visible as a deleted one.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, false, or_, true
from sqlalchemy.orm import InstrumentedAttribute

from audit.event import Kind
from audit.history import Told
from ops.pairs.people import People

Key = tuple[str, ...]
Value = tuple[str, ...] | None
Claim = tuple[Key, Value]
#: Which rows are about some keys.
Having = Callable[[Collection[Key], People], ColumnElement[bool]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One thing that rows and events both say."""

    #: What alarms call it.
    name: str
    table: str
    kinds: frozenset[Kind]
    #: Kinds that are told of a key at most once.
    once: frozenset[Kind]
    #: What an event claims; None when it is about something else.
    said: Callable[[Told], Claim | None]
    #: The rows; `shown` reads one of them, `walk` is the order of the table, `having` finds the rows of some keys.
    rows: Any
    shown: Callable[[Any, People], Claim]
    walk: tuple[InstrumentedAttribute[Any], ...]
    having: Having
    #: When a row came about, where its object has so many events that only those around that time are looked at first.
    at: Callable[[Any], dt.datetime] | None = None


def refs(authority: Any, serial: Any) -> Having:
    """The rows of certificates that keys name as `cert:<authority>/<serial>`."""
    return lambda keys, _: among(authority, serial, [_halves(key[0], "cert:", "/") for key in keys])


def among(left: Any, right: Any, wanted: Iterable[tuple[Any, Any]]) -> ColumnElement[bool]:
    """The rows whose two columns are one of `wanted`, said so that an index over both is used: few differ on the left."""
    sides: dict[Any, list[Any]] = {}
    for one, other in wanted:
        sides.setdefault(one, []).append(other)
    return or_(false(), *(and_(left == one, right.in_(others)) for one, others in sides.items()))


def _halves(ref: str, prefix: str, separator: str) -> tuple[str, str]:
    left, _, right = ref.removeprefix(prefix).partition(separator)
    return left, right


def numbers(column: Any, member: int, prefix: str) -> Having:
    """The rows whose number stands in a member of the key, behind `prefix`."""
    return lambda keys, _: column.in_([number(key[member].removeprefix(prefix)) for key in keys])


def number(text: str) -> int:
    """The number that `text` writes; -1 when it writes none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1


def texts(column: Any, member: int, prefix: str) -> Having:
    """The rows whose name stands in a member of the key, behind `prefix`."""
    return lambda keys, _: column.in_([key[member].removeprefix(prefix) for key in keys])


def persons(column: Any) -> Having:
    """The rows of persons that keys name by pseudonym; all rows when the directory does not know one of them."""

    def having(keys: Collection[Key], people: People) -> ColumnElement[bool]:
        found = people.uuids({key[0].removeprefix("person:") for key in keys})
        return true() if found is None else column.in_(found)

    return having


def fixed(words: Mapping[Kind, Value]) -> Callable[[Told], Claim | None]:
    """The event's own object is the key, its kind says the value."""
    return lambda told: ((told.object,), words[told.kind]) if told.kind else None


def detail(name: str, words: Mapping[Kind, Value]) -> Callable[[Told], Claim | None]:
    """The same for one of several things of the event's object, which the detail `name` names."""
    return lambda told: ((told.object, str(told.details.get(name))), words[told.kind]) if told.kind else None


def sha256(data: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()


def moment(text: object) -> str:
    """A time as rows keep it: UTC, whole seconds."""
    return dt.datetime.fromisoformat(str(text)).astimezone(dt.UTC).replace(microsecond=0).isoformat() if text else ""
