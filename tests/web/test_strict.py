from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Malformed
from web import strict


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True)
class Inner:
    at: int


@dataclass(frozen=True)
class Body:
    name: Annotated[str, strict.Text(at_most=5, at_least=1, pattern="[a-z]+")]
    for_: str | None = None
    count: int = 0
    sure: bool = False
    inner: Inner | None = None
    many: list[Inner] = field(default_factory=list)
    free: dict[str, Any] = field(default_factory=dict)
    facts: Annotated[dict[str, Any], strict.Facts(at_most=2, longest=3)] = field(default_factory=dict)
    few: Annotated[list[str], strict.Items(at_most=2)] = field(default_factory=list)
    level: Annotated[int, strict.Whole(0, 2)] = 0
    colour: Colour = Colour.RED


_TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 60), 1 << 60) | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=20,
)


def test_the_words_for_a_character_are_not_the_character() -> None:
    assert strict.parse(rb'{"a":"\\u0000"}') == {"a": r"\u0000"}


@pytest.mark.parametrize(("data", "value"), [(b"2.0", 2), (b"1e3", 1000), (b"-0.0", 0), (b"2.5", 2.5), (b"1e300", 1e300)])
def test_a_whole_number_is_one_however_it_is_written(data: bytes, value: float) -> None:
    found = strict.parse(data)
    assert found == value
    assert type(found) is type(value)


@given(JSON)
def test_whatever_json_writes_is_read_back(value: Any) -> None:
    assert strict.parse(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b'{"a":1,"a":2}',
        b'{"a":{"b":1,"b":1}}',
        b'{"a":1}{"b":2}',
        b'{"a":NaN}',
        b'{"a":1e999}',
        b'{"a":"\xff"}',
        b'{"a":"\\ud800"}',
        b'{"a":"b\\u0000c"}',
        b'{"a":[{"\\u0000":1}]}',
        b'{"\\udfff":1}',
        b"\xef\xbb\xbf{}",
        b"{'a':1}",
        b"[" * 40 + b"]" * 40,
        b"[" * 100_000,
        b"1" * 5_000,
        b'{"a":01}',
    ],
)
def test_what_is_not_exactly_one_well_formed_value_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        strict.parse(data)


def test_a_good_body_becomes_its_shape() -> None:
    value = strict.parse(b'{"name":"abc","for":"x","inner":{"at":1},"many":[{"at":2}],"free":{"k":[1]},"colour":"red"}')
    assert strict.read(Body, value) == Body("abc", "x", 0, False, Inner(1), [Inner(2)], {"k": [1]}, colour=Colour.RED)


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({}, "name"),
        ({"name": 1}, "name"),
        ({"name": "abcdef"}, "name"),
        ({"name": ""}, "name"),
        ({"name": "A"}, "name"),
        ({"name": "a", "count": "1"}, "count"),
        ({"name": "a", "count": True}, "count"),
        ({"name": "a", "count": 1.0}, "count"),
        ({"name": "a", "sure": 1}, "sure"),
        ({"name": "a", "sure": "true"}, "sure"),
        ({"name": "a", "inner": {"at": "1"}}, "inner.at"),
        ({"name": "a", "many": [{"at": 1}, {}]}, "many[1].at"),
        ({"name": "a", "many": {}}, "many"),
        ({"name": "a", "free": []}, "free"),
        ({"name": "a", "colour": "blue"}, "colour"),
        ({"name": "a", "facts": {"k": [1]}}, "facts"),
        ({"name": "a", "facts": {"k": None}}, "facts"),
        ({"name": "a", "facts": {"k": 1.5}}, "facts"),
        ({"name": "a", "facts": {"k": 1 << 53}}, "facts"),
        ({"name": "a", "facts": {"k": "long"}}, "facts"),
        ({"name": "a", "facts": {"j": 1, "k": 1, "l": 1}}, "facts"),
        ({"name": "a", "few": ["a", "b", "c"]}, "few"),
        ({"name": "a", "few": ["a", 1]}, "few[1]"),
        ({"name": "a", "level": 3}, "level"),
        ({"name": "a", "level": True}, "level"),
        ({"name": "a", "other": 1}, "other"),
        ({"name": "a", "for_": "x"}, "for_"),
        ([], "the body"),
        (None, "the body"),
    ],
)
def test_another_shape_is_refused_with_its_place(value: Any, place: str) -> None:
    with pytest.raises(Malformed, match=f"^`{place}`".replace("[", r"\[").replace("]", r"\]")):
        strict.read(Body, value)


def test_the_schema_says_what_the_reader_demands() -> None:
    found = strict.object_schema(Body)
    assert found["required"] == ["name"]
    assert found["additionalProperties"] is False
    assert found["properties"]["name"] == {"type": "string", "maxLength": 5, "minLength": 1, "pattern": "^(?:[a-z]+)$"}
    assert found["properties"]["for"] == {"type": ["string", "null"], "pattern": "^[^\\u0000]*$"}
    assert found["properties"]["many"] == {"type": "array", "items": {"$ref": "#/components/schemas/Inner"}}
    assert found["properties"]["free"] == {"$ref": "#/components/schemas/JsonObject"}
    limits = {"facts": "maxProperties", "few": "maxItems", "level": "maximum"}
    assert [found["properties"][name][word] for name, word in limits.items()] == [2, 2, 2]
    assert strict.shapes_in(Body) == {Body, Inner}


def test_a_shape_is_shown_as_it_is_read() -> None:
    body = Body("abc", "x", many=[Inner(1)])
    shown = strict.plain(body)
    assert shown["for"] == "x"
    assert strict.read(Body, json.loads(json.dumps({name: value for name, value in shown.items() if value is not None}))) == body
