"""What one answer costs in processor time, and who spends it: the figures that a busy machine disturbs least."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_TICK = os.sysconf("SC_CLK_TCK")


class Spent(NamedTuple):
    """Seconds of processor time, or microseconds of one answer."""

    #: The measuring process, and the programs that it started and has waited for.
    client: float
    #: The web processes.
    web: float
    #: PostgreSQL with all its processes, also those that worked for others meanwhile.
    database: float

    @property
    def total(self) -> float:
        """All of them."""
        return sum(self)


def spent(web: Sequence[int], database: int) -> Spent:
    """What was spent so far; `web` and `database` are process ids."""
    waited_for = resource.getrusage(resource.RUSAGE_CHILDREN)
    client = time.process_time() + waited_for.ru_utime + waited_for.ru_stime
    return Spent(client, sum(map(_of, web)), sum(map(_of, (database, *_children(database)))))


def of_one(before: Spent, after: Spent, answers: int) -> Spent:
    """Microseconds of each of so many answers that were given in between."""
    return Spent(*((late - early) * 1e6 / max(answers, 1) for early, late in zip(before, after, strict=True)))


def _of(process: int) -> float:
    """Seconds of a process and of its children that have ended; proc(5), fields 14 to 17."""
    with suppress(FileNotFoundError, ProcessLookupError):
        told = Path(f"/proc/{process}/stat").read_text("utf-8", "replace")
        return sum(map(int, told.rpartition(")")[2].split()[11:15])) / _TICK
    return 0.0  # it has just ended: its parent has it


def _children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text("ascii").split()]
