"""The canonical bytes against the reference implementation of RFC 8785, and the closed catalogue against its page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from audit.event import MAX_BODY_BYTES, Kind, canonical

KEYS = st.from_regex(r"[a-z0-9_.-]{1,32}", fullmatch=True)
LEAVES = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12)


@given(st.dictionaries(KEYS, VALUES, max_size=6))
def test_bodies_are_exactly_what_the_standard_writes(body: dict[str, object]) -> None:
    assert canonical(body) == rfc8785.dumps(body)


@pytest.mark.parametrize(
    "body",
    [
        {"Upper": 1},
        {"": 1},
        {"姓名": 1},
        {"x" * 33: 1},
        {"f": 1.0},
        {"i": 2**53},
        {"i": -(2**53)},
        {"b": b""},
        {"s": {1, 2}},
        {"deep": [{"K": 1}]},
        {1: 1},
    ],
)
def test_what_lies_outside_the_profile_is_refused(body: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="outside the profile"):
        canonical(body)


def test_a_body_of_more_than_60000_bytes_is_refused() -> None:
    fits = {"x": "a" * (MAX_BODY_BYTES - 8)}
    assert len(canonical(fits)) == MAX_BODY_BYTES
    with pytest.raises(ValueError, match="longer than"):
        canonical({"x": "a" * (MAX_BODY_BYTES - 7)})


def test_the_page_lists_exactly_the_catalogue() -> None:
    page = (Path(__file__).parents[2] / "docs" / "events.md").read_text("utf-8")
    rows = re.findall(r"^\| `((?:CA|AZ)\d{4})` \| `([^`]+)` \| (.+?) \| (.+?) \|$", page, re.MULTILINE)
    assert rows == [tuple(kind.value) for kind in sorted(Kind, key=lambda kind: (kind.log != "ca", list(Kind).index(kind)))]


def test_no_code_is_used_twice() -> None:
    assert len({kind.code for kind in Kind}) == len(list(Kind))
