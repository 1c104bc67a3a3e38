"""Measuring side by side: what fails is never counted as slow."""

from __future__ import annotations

import pytest

from bench.rounds import by_threads


def test_what_one_of_many_callers_meets_ends_the_measurement():
    calls = iter([None] * 50)

    def work():
        if next(calls, "over") == "over":
            raise RuntimeError("503")

    with pytest.raises(RuntimeError, match="503"):
        by_threads(work, 4, 0.2)


def test_every_call_is_counted_once():
    made = []
    rate, waits = by_threads(lambda: made.append(1), 4, 0.1)
    assert len(made) == len(waits) == pytest.approx(rate * 0.1)
