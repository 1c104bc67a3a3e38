"""Backups by themselves: the leading worker makes one every `backup.period` and stores it at every target."""

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
#: After a failure it is tried again no sooner than this: making one costs a reading of everything.
RETRY = dt.timedelta(minutes=15)


class Stopped(Exception):
    """The process ends before the backup does."""


class Schedule:
    """When the next backup is due. Used by one thread; `stop` may be called by another one."""

    def __init__(self, node: Node, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._node, self._monotonic = node, monotonic
        self._not_before = monotonic()
        self._stop = threading.Event()

    @property
    def every_seconds(self) -> float:
        """How often `turn` should be called."""
        return min(LOOK, self._node.settings.backup.period.total_seconds())

    def stop(self) -> None:
        """Let the backup that is under way end at its next step."""
        self._stop.set()

    def turn(self) -> None:
        """Make and store a backup, if one is due."""
        if not self._node.settings.backup.targets or self._monotonic() < self._not_before or not self._due():
            return
        try:
            kept = keeping.keep(self._node, by="schedule", tell=self._tell)
            log.info("backup made", name=kept.made.name, size=kept.made.size)
        except Unavailable as error:
            log.warning("no backup could be made", reason=error.detail)
        finally:
            self._not_before = self._monotonic() + min(RETRY, self._node.settings.backup.period).total_seconds()

    def _due(self) -> bool:
        with self._node.database.reading() as session:
            newest = copies.last(session)
        return newest is None or self._node.clock() - newest.at >= self._node.settings.backup.period

    def _tell(self, _: str) -> None:
        if self._stop.is_set():
            raise Stopped
