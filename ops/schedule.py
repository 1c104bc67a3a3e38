"""Backups by themselves: the leading worker makes one every `backup.period` and stores it at every target.

A target that did not take it gets another one after a pause, which grows as long as it takes none; the others wait for theirs.
"""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable

import structlog

from core.errors import Unavailable
from ops import copies, keeping
from ops.node import Node

log = structlog.get_logger()

#: It is looked this often, in seconds, whether one is due.
LOOK = 60.0
#: After a failure it is tried again no sooner than this, after the next one twice as late, at most once in a period: making one
#: costs a reading of everything.
RETRY = dt.timedelta(minutes=15)


class Stopped(Exception):
    """The process ends before the backup does."""


class Schedule:
    """When the next backup is due. Used by one thread; `stop` may be called by another one."""

    def __init__(self, node: Node, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._node, self._monotonic = node, monotonic
        self._not_before, self._failures = monotonic(), 0
        self._stop = threading.Event()

    @property
    def every_seconds(self) -> float:
        """How often `turn` should be called."""
        return min(LOOK, self._node.settings.backup.period.total_seconds())

    def stop(self) -> None:
        """Let the backup that is under way end at its next step."""
        self._stop.set()

    def turn(self) -> None:
        """Make a backup and store it, if one is due anywhere."""
        if self._monotonic() < self._not_before or not (due := self._due()):
            return
        failed = True
        try:
            kept = keeping.keep(self._node, by="schedule", places=due, tell=self._tell)
            failed = any(kept.targets.values())
            log.info("backup made", name=kept.made.name, size=kept.made.size)
        except Unavailable as error:
            log.warning("no backup could be made", reason=error.detail)
        finally:
            self._failures = self._failures + 1 if failed else 0
            pause = min(RETRY * 2 ** min(max(self._failures - 1, 0), 16), self._node.settings.backup.period)
            self._not_before = self._monotonic() + pause.total_seconds()

    def _due(self) -> list[str]:
        """Where a backup must be stored now; when one target needs it, those that would need it soon get the same."""
        period, now = self._node.settings.backup.period, self._node.clock()
        with self._node.database.reading() as session:
            newest = {target: copies.last(session, target) for target in self._node.settings.backup.targets.split()}
        ages = {target: now - copy.at if copy else period for target, copy in newest.items()}
        return [target for target, age in ages.items() if age >= period / 2] if max(ages.values(), default=dt.timedelta()) >= period else []

    def _tell(self, _: str) -> None:
        if self._stop.is_set():
            raise Stopped
