"""How many values a property is asked about: in the suite as many as it can afford, in `make proof` twenty times as many."""

from __future__ import annotations

from typing import Any

from hypothesis import settings

#: What a property of the suite is asked that names no number.
USUAL = 100


def examples(few: int, **more: Any) -> settings:
    """For a property that is worth `few` values in the suite; `more` is what `hypothesis.settings` takes."""
    return settings(max_examples=few * settings.default.max_examples // USUAL, **more)
