"""How many values a property is asked about: a number in the suite, a quarter of it in `make check`, twenty times it in `make proof`."""

from __future__ import annotations

from typing import Any

from hypothesis import settings

#: What a property of the suite is asked that names no number.
USUAL = 100


def examples(few: int, **more: Any) -> settings:
    """For a property that is worth `few` values in the suite; `more` is what `hypothesis.settings` takes."""
    return settings(max_examples=few * settings.default.max_examples // USUAL, **more)
