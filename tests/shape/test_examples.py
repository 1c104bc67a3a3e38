"""The long form asks every property about more values, and about other ones, also where the suite names a number."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import settings

from tests.examples import USUAL, examples
from tests.shape.rules import ROOT


def test_the_long_form_asks_for_more_and_for_other_values() -> None:
    check, suite, proof = (settings.get_profile(name) for name in ("check", "suite", "proof"))
    before = settings.get_current_profile_name()
    try:
        settings.load_profile("suite")
        assert (examples(150).max_examples, examples(150).derandomize) == (150, True)
        settings.load_profile("proof")
        assert (examples(150).max_examples, examples(150).derandomize) == (150 * proof.max_examples // suite.max_examples, False)
    finally:
        settings.load_profile(before)
    assert 0 < check.max_examples < suite.max_examples == USUAL < proof.max_examples
    assert check.derandomize


def test_no_property_fixes_its_number_for_both_forms() -> None:
    fixed = re.compile(r"\bmax_examples\s*=")
    at = {path.name for path in (ROOT / "tests").rglob("*.py") if fixed.search(path.read_text("utf-8"))}
    assert at <= {"conftest.py", "examples.py", Path(__file__).name}, at
