"""The error tree: codes that are stable, details that may be shown."""

from __future__ import annotations

import pytest

from core import errors
from core.errors import Conflict, Error, RateLimited


def kinds(kind: type[Error] = Error) -> list[type[Error]]:
    return [kind, *(found for child in kind.__subclasses__() for found in kinds(child))]


def test_codes_are_unique_and_fit_into_an_address() -> None:
    codes = [kind.code for kind in kinds() if kind.__module__ == errors.__name__]
    assert len(set(codes)) == len(codes)
    assert all(code.replace("-", "").isalpha() and code == code.lower() for code in codes)


def test_facts_fill_the_template_and_stay_apart() -> None:
    error = Conflict("request `{request}` is already {state}", request="7", state="issued")
    assert (error.detail, error.template, error.facts) == (
        "request `7` is already issued",
        "request `{request}` is already {state}",
        {"request": "7", "state": "issued"},
    )
    assert str(error) == error.detail


def test_braces_in_a_fact_are_text() -> None:
    assert Conflict("name `{name}`", name="{0.__class__}").detail == "name `{0.__class__}`"


def test_text_without_facts_is_taken_as_it_is() -> None:
    assert Conflict("write `{}`").detail == "write `{}`"


def test_rate_limit_says_when_to_come_back() -> None:
    assert RateLimited("wait", retry_after_seconds=7).retry_after_seconds == 7


def test_missing_fact_is_a_bug() -> None:
    with pytest.raises(KeyError):
        Conflict("request `{request}`", number=7)


def test_every_error_of_the_module_is_in_the_tree() -> None:
    classes = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert set(classes) <= set(kinds())
