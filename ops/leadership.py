"""Who does the jobs. On SQLite whoever holds `leader.lock` of the home; on PostgreSQL whoever holds the lock in the database.

The lock of the database is one on the view `yumen.leadership`, which has no rows: only the worker's role may take it, it
ends with its connection, and a transaction that holds nothing else keeps no dead row of other tables from being removed.
The server ends a connection that stays silent, so a leader that was stopped or cut off makes room.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import structlog
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from core.settings import Settings
from ops import postgres
from ops.claims import Claim

#: The server takes the lock from a leader that was not heard of for this long: less than `authz.stale_limit`, for the leader
#: also follows the directory.
SILENCE_SECONDS = 5
#: Who lost the lock of the database lets others try first, for this long.
_STEP_BACK_SECONDS = 1.5

_LED = text(
    "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'relation' AND relation = 'yumen.leadership'::regclass"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND mode = 'ExclusiveLock' AND granted)"
)

log = structlog.get_logger()


class Leadership(Protocol):
    """A claim on the jobs."""

    @property
    def held(self) -> bool:
        """Whether the jobs were ours when we last looked."""

    def take(self) -> bool:
        """Take the jobs if nobody has them, or look whether they are still ours; whether they are."""

    def keep(self) -> None:
        """Say that we live, when the jobs are ours; more often than `SILENCE_SECONDS`, whatever a job takes."""

    def release(self) -> None:
        """Let somebody else have them."""


class FileLeadership(Claim):
    """The jobs of a home that has its own database."""

    def __init__(self, home: Path) -> None:
        super().__init__(home / "leader.lock")

    def keep(self) -> None:
        """Nothing to say: the lock is the kernel's."""


class DatabaseLeadership:
    """The jobs of all homes that share a database. Safe to share between threads."""

    def __init__(self, url: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._engine, self._monotonic = postgres.single(url, silence=SILENCE_SECONDS), monotonic
        self._mutex = threading.Lock()
        self._connection: Connection | None = None
        self._not_before = monotonic()

    @property
    def held(self) -> bool:
        """Whether the jobs were ours when we last looked."""
        return self._connection is not None

    def take(self) -> bool:
        """Take the jobs if nobody has them, or ask the server whether our connection still lives."""
        with self._mutex:
            if self._connection is not None:
                self._look(self._connection)
            elif self._monotonic() >= self._not_before:
                self._connection = self._locked()
            return self.held

    def keep(self) -> None:
        """Ask the server whether our connection still lives, which tells it the same of us."""
        with self._mutex:
            if self._connection is not None:
                self._look(self._connection)

    def release(self) -> None:
        """Let somebody else have them."""
        with self._mutex:
            connection, self._connection = self._connection, None
            if connection is not None:
                _close(connection)

    def _look(self, connection: Connection) -> None:
        try:
            connection.exec_driver_sql("SELECT 1")
        except DBAPIError as error:
            log.warning("the lock of the database is lost; the jobs are left to others", reason=type(error.orig).__name__)
            self._connection = None
            _close(connection)
            self._not_before = self._monotonic() + _STEP_BACK_SECONDS

    def _locked(self) -> Connection | None:
        connection = None
        try:
            connection = self._engine.connect()
            connection.exec_driver_sql("LOCK TABLE yumen.leadership IN EXCLUSIVE MODE NOWAIT")
        except DBAPIError:  # somebody leads, or the server does not answer: tried again in a moment
            if connection is not None:
                _close(connection)
            return None
        return connection


def leadership(settings: Settings) -> Leadership:
    """The claim on the jobs that this home's settings name."""
    if settings.embedded:
        return FileLeadership(settings.home)
    return DatabaseLeadership(settings.database.url)


def is_led(settings: Settings, session: Session) -> bool:
    """Whether some process has the jobs now."""
    if not settings.embedded:
        return bool(session.scalar(_LED))
    probe = FileLeadership(settings.home)
    led = not probe.take()
    probe.release()
    return led


def _close(connection: Connection) -> None:
    with suppress(DBAPIError):
        connection.close()
