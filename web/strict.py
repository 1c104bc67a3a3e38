"""JSON bodies, read strictly: what is not exactly one well-formed value of the expected shape is refused.

A shape is a frozen dataclass; its fields may be `str`, `int`, `bool`, `list[…]`, `X | None`, enums, `dict[str, Any]` for a
free object, and other shapes. `Annotated[str, Text(…)]` adds limits; a member whose name is a word of Python (`for`) is
written with an underscore behind it (`for_`). The same dataclass gives the JSON schema that the
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
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from core.errors import Malformed

_Shape = TypeVar("_Shape")

#: How deep objects and lists may be nested.
MAX_DEPTH = 32


@dataclass(frozen=True, slots=True)
class Text:
    """Limits of a string: its length in characters, and a pattern that the whole of it must match."""

    at_most: int = 1_000
    at_least: int = 0
    pattern: str = ""

    def problem(self, value: str) -> str:
        """What is wrong with `value`, or nothing."""
        if not self.at_least <= len(value) <= self.at_most:
            return f"must have {self.at_least} to {self.at_most} characters"
        if self.pattern and not re.fullmatch(self.pattern, value):
            return f"must match {self.pattern}"
        return ""


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


def read(kind: type[_Shape], value: Any) -> _Shape:
    """`value` (from `parse`) as the shape `kind`.

    Raises:
        Malformed: a member is missing, unknown, or of the wrong type; the first problem is named with its place.
    """
    shaped: _Shape = _shaped(kind, value, "")
    return shaped


def schema(kind: Any) -> dict[str, Any]:  # noqa: PLR0911 - one line for each kind of type
    """The JSON schema (2020-12) of a type that `read` understands; other shapes are referred to by name."""
    kind, limits = _bare(kind)
    if _is_optional(kind):
        inner = schema(_inner(kind))
        return {"anyOf": [inner, {"type": "null"}]} if "$ref" in inner else inner | {"type": [inner["type"], "null"]}
    if get_origin(kind) is list:
        return {"type": "array", "items": schema(get_args(kind)[0])}
    if dataclasses.is_dataclass(kind):
        return {"$ref": f"#/components/schemas/{kind.__name__}"}  # type: ignore[union-attr]
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return {"type": "string", "enum": [member.value for member in kind]}
    if get_origin(kind) is dict:
        return {"type": "object"}
    if kind is Any:
        return {}
    return {"type": {str: "string", int: "integer", bool: "boolean"}[kind]} | (_limits(limits) if limits else {})


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


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise Malformed("a number is out of range")
    return value


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
        return [_shaped(get_args(kind)[0], member, f"{place}[{index}]") for index, member in enumerate(value)]
    if dataclasses.is_dataclass(kind):
        return _object(kind, value, place)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        _must(isinstance(value, str) and value in set(kind), place, f"must be one of {', '.join(kind)}")
        return kind(value)
    if get_origin(kind) is dict:
        _must(isinstance(value, dict), place, "must be an object")
        return value
    if kind is not Any:
        _must(type(value) is kind, place, {str: "must be a string", int: "must be a whole number", bool: "must be true or false"}[kind])
    if limits:
        _must(not limits.problem(value), place, limits.problem(value))
    return value


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


def _bare(kind: Any) -> tuple[Any, Text | None]:
    if get_origin(kind) is Annotated:
        inner, *notes = get_args(kind)
        return inner, next((note for note in notes if isinstance(note, Text)), None)
    return kind, None


def _is_optional(kind: Any) -> bool:
    return get_origin(kind) in {Union, types.UnionType} and type(None) in get_args(kind)


def _inner(kind: Any) -> Any:
    return next(argument for argument in get_args(kind) if argument is not type(None))


def _limits(text: Text) -> dict[str, Any]:
    found: dict[str, Any] = {"maxLength": text.at_most}
    if text.at_least:
        found["minLength"] = text.at_least
    if text.pattern:
        found["pattern"] = f"^(?:{text.pattern})$"
    return found
