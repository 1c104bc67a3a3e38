"""Measuring side by side: what is compared runs in turn, round by round, so that a busy machine is busy for both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

#: Rounds of everything that is compared.
ROUNDS = 7

Work = Callable[[], object]


class Spread(NamedTuple):
    """The median over the rounds, and the least and the most."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of `values`."""
        return cls(statistics.median(values), min(values), max(values))


class Row(NamedTuple):
    """One line of the table: ours, what bounds it or does the same, and the ratio of the two within one round."""

    what: str
    unit: str
    ours: Spread
    against: str = ""
    limit: Spread | None = None
    #: Ours to the limit, round by round.
    ratio: Spread | None = None
    note: str = ""


def compared(what: str, unit: str, ours: Sequence[float], against: str, limit: Sequence[float], note: str = "") -> Row:
    """The row of two things that were measured in the same rounds."""
    ratios = [one / other for one, other in zip(ours, limit, strict=True)]
    return Row(what, unit, Spread.of(ours), against, Spread.of(limit), Spread.of(ratios), note)


def microseconds(*works: Work, times: int) -> list[list[float]]:
    """Microseconds a call of each of `works`, for each round; they take turns."""
    return in_turn(*((lambda work=work: _mean(work, times)) for work in works))


def in_turn(*measures: Callable[[], float]) -> list[list[float]]:
    """What each of `measures` gives, round by round."""
    found: list[list[float]] = [[] for _ in measures]
    for _ in range(ROUNDS):
        for measure, into in zip(measures, found, strict=True):
            into.append(measure())
    return found


def by_threads(work: Work, threads: int, seconds: float) -> tuple[float, list[float]]:
    """How often a second `threads` callers together did `work`, and the milliseconds of each call; raises what a caller met."""
    waits: list[float] = []
    end = time.perf_counter() + seconds

    def call() -> None:
        mine = []
        while (began := time.perf_counter()) < end:
            work()
            mine.append((time.perf_counter() - began) * 1e3)
        waits.extend(mine)

    with ThreadPoolExecutor(threads) as pool:
        for caller in [pool.submit(call) for _ in range(threads)]:
            caller.result()
    return len(waits) / seconds, waits


def _mean(work: Work, times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - began) / times * 1e6
