"""JSON bodies, read strictly: what is not exactly one well-formed value of the expected shape is refused.

A shape is a frozen dataclass; its fields may be `str`, `int`, `bool`, `list[…]`, `X | None`, enums, `dict[str, Any]` for a
free object, and other shapes. `Annotated[…, limit]` with one of the limits below narrows them; a member whose name is a
word of Python (`for`) is written with an underscore behind it (`for_`). The same dataclass gives the JSON schema that the
OpenAPI document shows, so that the two cannot drift apart.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import types
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Annotated, Any, Protocol, TypeVar, Union, get_args, get_origin, get_type_hints

from core.errors import Malformed

_Shape = TypeVar("_Shape")

#: How deep objects and lists may be nested.
MAX_DEPTH = 32


#: Largest whole number that every reader of JSON keeps exact (RFC 7493 section 2.2).
EXACT = (1 << 53) - 1

#: What any text may hold: everything but U+0000, which PostgreSQL stores in no text.
_ANY_TEXT = {"type": "string", "pattern": r"^[^\u0000]*$"}
#: Every JSON value that `parse` takes.
JSON = {
    "anyOf": [
        {"type": ["null", "boolean", "number"]},
        _ANY_TEXT,
        {"type": "array", "items": {"$ref": "#/components/schemas/Json"}},
        {"$ref": "#/components/schemas/JsonObject"},
    ]
}
#: Every JSON object that `parse` takes.
JSON_OBJECT = {"type": "object", "propertyNames": _ANY_TEXT, "additionalProperties": {"$ref": "#/components/schemas/Json"}}


class Limit(Protocol):
    """What narrows a type further."""

    def problem(self, value: Any, /) -> str:
        """What is wrong with `value`, which is of the type already, or nothing."""

    def keywords(self) -> dict[str, Any]:
        """The same in the words of JSON schema."""


@dataclass(frozen=True, slots=True)
class Text:
    """Limits of a string: its length in characters, and a pattern that the whole of it must match.

    `form` names in the document what no pattern can say, such as `pkcs10`.
    """

    at_most: int = 1_000
    at_least: int = 0
    pattern: str = ""
    form: str = ""

    def problem(self, value: str) -> str:
        """What is wrong with `value`, or nothing."""
        if not self.at_least <= len(value) <= self.at_most:
            return f"must have {self.at_least} to {self.at_most} characters"
        if self.pattern and not re.fullmatch(self.pattern, value):
            return f"must match {self.pattern}"
        return ""

    def keywords(self) -> dict[str, Any]:
        """The same in the words of JSON schema."""
        found: dict[str, Any] = {"maxLength": self.at_most}
        found |= {"minLength": self.at_least} if self.at_least else {}
        found |= {"pattern": f"^(?:{self.pattern})$"} if self.pattern else {}
        return found | ({"format": self.form} if self.form else {})


@dataclass(frozen=True, slots=True)
class Whole:
    """Limits of a whole number."""

    at_least: int
    at_most: int

    def problem(self, value: int) -> str:
        """What is wrong with `value`, or nothing."""
        return "" if self.at_least <= value <= self.at_most else f"must be from {self.at_least} to {self.at_most}"

    def keywords(self) -> dict[str, Any]:
        """The same in the words of JSON schema."""
        return {"minimum": self.at_least, "maximum": self.at_most}


@dataclass(frozen=True, slots=True)
class Items:
    """How many members a list may have."""

    at_most: int

    def problem(self, value: list[Any]) -> str:
        """What is wrong with `value`, or nothing."""
        return "" if len(value) <= self.at_most else f"must have at most {self.at_most} members"

    def keywords(self) -> dict[str, Any]:
        """The same in the words of JSON schema."""
        return {"maxItems": self.at_most}


@dataclass(frozen=True, slots=True)
class Facts:
    """A flat object: at most `at_most` members, each a boolean, an exact whole number or a text of at most `longest` characters."""

    at_most: int
    longest: int

    def problem(self, value: dict[str, Any]) -> str:
        """What is wrong with `value`, or nothing."""
        if len(value) <= self.at_most and all(map(self._plain, value.values())):
            return ""
        return f"must have at most {self.at_most} members: texts of at most {self.longest} characters, whole numbers or booleans"

    def keywords(self) -> dict[str, Any]:
        """The same in the words of JSON schema."""
        text = _ANY_TEXT | {"maxLength": self.longest}
        values = [{"type": "boolean"}, {"type": "integer", "minimum": -EXACT, "maximum": EXACT}, text]
        return {"maxProperties": self.at_most, "propertyNames": _ANY_TEXT, "additionalProperties": {"anyOf": values}}

    def _plain(self, value: object) -> bool:
        exact = type(value) is int and abs(value) <= EXACT
        return exact or type(value) is bool or (type(value) is str and len(value) <= self.longest)


def parse(data: bytes) -> Any:
    """The one JSON value in `data` (RFC 8259, and RFC 7493 section 2 about members given twice).

    Raises:
        Malformed: not UTF-8, not JSON, a member given twice, a number out of range, nested too deep, or with U+0000.
    """
    try:
        value = _DECODER.decode(data.decode("utf-8"))
        if b"\\u" in data:
            told = json.dumps(value, ensure_ascii=False)
            told.encode("utf-8")
            if r"\u0000" in told and _has_nul(value):
                raise Malformed("the request holds the character U+0000, which no text here may have")
    except UnicodeError as error:
        raise Malformed("the body is not valid UTF-8") from error
    except RecursionError as error:
        raise Malformed("the body is nested too deep") from error
    except ValueError as error:
        raise Malformed("the body is not valid JSON; check commas, quotes and braces") from error
    if data.count(b"{") + data.count(b"[") > MAX_DEPTH and _too_deep(value, MAX_DEPTH):
        raise Malformed("the body is nested too deep")
    return value


def read(kind: type[_Shape], value: Any, place: str = "") -> _Shape:
    """`value` (from `parse`) as the shape `kind`; `place` is what a complaint calls it.

    Raises:
        Malformed: a member is missing, unknown, or of the wrong type; the first problem is named with its place.
    """
    shaped: _Shape = _shaped(kind, value, place)
    return shaped


def schema(kind: Any) -> dict[str, Any]:  # noqa: PLR0911 - one line for each kind of type
    """The JSON schema (2020-12) of a type that `read` understands; other shapes are referred to by name."""
    kind, limits = _bare(kind)
    if _is_optional(kind):
        inner = schema(_inner(kind))
        return {"anyOf": [inner, {"type": "null"}]} if "$ref" in inner else inner | {"type": [inner["type"], "null"]}
    narrowed = limits.keywords() if limits else {}
    if get_origin(kind) is list:
        return {"type": "array", "items": schema(get_args(kind)[0])} | narrowed
    if dataclasses.is_dataclass(kind):
        return {"$ref": f"#/components/schemas/{kind.__name__}"}  # type: ignore[union-attr]
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return {"type": "string", "enum": [member.value for member in kind]}
    if get_origin(kind) is dict:
        return {"type": "object"} | narrowed if narrowed else {"$ref": "#/components/schemas/JsonObject"}
    if kind is Any:
        return {}
    return ({bool: {"type": "boolean"}, int: {"type": "integer"}, str: _ANY_TEXT}[kind]) | narrowed


def object_schema(kind: type) -> dict[str, Any]:
    """The JSON schema of a shape itself: its members, which of them are needed, and that there are no others."""
    members, needed = _fields(kind)
    return {
        "type": "object",
        "properties": {name: schema(hint) for name, hint in members.items()},
        "required": sorted(needed),
        "additionalProperties": False,
    }


def shapes_in(kind: Any) -> set[type]:
    """Every shape that the schema of `kind` refers to, itself included."""
    kind, _ = _bare(kind)
    if dataclasses.is_dataclass(kind):
        assert isinstance(kind, type)
        return {kind}.union(*(shapes_in(hint) for hint in _fields(kind)[0].values()))
    return set().union(*(shapes_in(argument) for argument in get_args(kind)))


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Malformed("a member is given twice in one object")
    return found


def _no_number(name: str) -> None:
    raise Malformed("`{name}` is not a JSON number", name=name)


def _finite(text: str) -> float | int:
    """A number with a point or an exponent: `2.0` is the whole number 2, as JSON schema and RFC 8785 have it."""
    value = float(text)
    if not math.isfinite(value):
        raise Malformed("a number is out of range")
    return int(value) if value.is_integer() and abs(value) <= EXACT else value


_DECODER = json.JSONDecoder(object_pairs_hook=_members, parse_constant=_no_number, parse_float=_finite)


def _has_nul(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_has_nul(member) for member in (*value, *value.values()))
    return any(map(_has_nul, value)) if isinstance(value, list) else isinstance(value, str) and "\0" in value


def _too_deep(value: Any, left: int) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    return isinstance(value, list) and (left == 0 or any(_too_deep(member, left - 1) for member in value))


def _shaped(kind: Any, value: Any, place: str) -> Any:
    kind, limits = _bare(kind)
    if _is_optional(kind):
        return None if value is None else _shaped(_inner(kind), value, place)
    if get_origin(kind) is list:
        _must(isinstance(value, list), place, "must be a list")
        _within(limits, value, place)
        return [_shaped(get_args(kind)[0], member, f"{place}[{index}]") for index, member in enumerate(value)]
    if dataclasses.is_dataclass(kind):
        return _object(kind, value, place)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        _must(isinstance(value, str) and value in set(kind), place, f"must be one of {', '.join(kind)}")
        return kind(value)
    if get_origin(kind) is dict:
        _must(isinstance(value, dict), place, "must be an object")
    elif kind is not Any:
        _must(type(value) is kind, place, {str: "must be a string", int: "must be a whole number", bool: "must be true or false"}[kind])
    _within(limits, value, place)
    return value


def _within(limits: Limit | None, value: Any, place: str) -> None:
    problem = limits.problem(value) if limits else ""
    _must(not problem, place, problem)


def _object(kind: Any, value: Any, place: str) -> Any:
    _must(isinstance(value, dict), place, "must be an object")
    members, needed = _fields(kind)
    for name in value:
        _must(name in members, f"{place}.{name}", "is not known here")
    for name in sorted(needed):
        _must(name in value, f"{place}.{name}", "is missing")
    spelt = {field.name.rstrip("_"): field.name for field in dataclasses.fields(kind)}
    return kind(**{spelt[name]: _shaped(members[name], member, f"{place}.{name}") for name, member in value.items()})


def plain(shape: Any) -> Any:
    """A shape as the value that JSON will show: the way back of `read`."""
    if dataclasses.is_dataclass(shape) and not isinstance(shape, type):
        return {field.name.rstrip("_"): plain(getattr(shape, field.name)) for field in dataclasses.fields(shape)}
    if isinstance(shape, list | tuple):
        return [plain(member) for member in shape]
    return shape


def _must(holds: object, place: str, problem: str) -> None:
    if not holds:
        raise Malformed("`{place}` {problem}", place=place.lstrip(".")[:80] or "the body", problem=problem)


@cache
def _fields(kind: type) -> tuple[dict[str, Any], frozenset[str]]:
    hints = get_type_hints(kind, include_extras=True)
    fields = dataclasses.fields(kind)
    missing = dataclasses.MISSING
    return {field.name.rstrip("_"): hints[field.name] for field in fields}, frozenset(
        field.name.rstrip("_") for field in fields if field.default is missing and field.default_factory is missing
    )


def _bare(kind: Any) -> tuple[Any, Limit | None]:
    if get_origin(kind) is Annotated:
        inner, *notes = get_args(kind)
        return inner, next((note for note in notes if hasattr(note, "keywords")), None)
    return kind, None


def _is_optional(kind: Any) -> bool:
    return get_origin(kind) in {Union, types.UnionType} and type(None) in get_args(kind)


def _inner(kind: Any) -> Any:
    return next(argument for argument in get_args(kind) if argument is not type(None))
