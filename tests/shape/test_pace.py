"""The instrument that judges seconds: it never excuses a failure on a steady machine."""

from __future__ import annotations

import os
import time

import pytest

from tests import pace


def test_what_fails_on_a_steady_machine_fails_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "LATE", 60)
    runs = []

    @pace.in_time
    def claim() -> None:
        runs.append(1)
        raise AssertionError("late")

    with pytest.raises(AssertionError, match="late"):
        claim()
    assert len(runs) == 1


@pytest.mark.parametrize(("slow_runs", "fails"), [(2, False), (pace.ATTEMPTS, True)])
def test_while_the_disk_stands_still_a_claim_gets_another_run(monkeypatch: pytest.MonkeyPatch, slow_runs: int, fails: bool) -> None:
    monkeypatch.setattr(pace, "LATE", 0.05)
    runs: list[int] = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: time.sleep(2 * pace.LATE) if len(runs) <= slow_runs else fsync(file))

    @pace.in_time
    def claim() -> None:
        runs.append(1)
        time.sleep(2 * pace.TICK)
        assert len(runs) > slow_runs

    if fails:
        with pytest.raises(AssertionError):
            claim()
    else:
        claim()
    assert len(runs) == min(slow_runs + 1, pace.ATTEMPTS)
