"""Which of the two ledgers a database has, and what both have in common."""

from __future__ import annotations

import datetime as dt
import sqlite3

from sqlalchemy.exc import DatabaseError, IntegrityError

from audit.append import Ledger, SqliteLedger
from audit.postgres import PostgresLedger
from core.clock import microseconds
from core.database import Database
from core.errors import Unavailable


def waiting_seconds(database: Database, now: dt.datetime) -> float:
    """For how long the oldest committed event waits for its place; 0 when none does.

    Raises:
        Unavailable: the database cannot be read.
    """
    since = ledger_of(database).waiting_since(database)
    return max(0.0, (microseconds(now) - since) / 1_000_000) if since is not None else 0.0


def ledger_of(database: Database) -> Ledger:
    """How the trail is kept in this database."""
    return PostgresLedger() if database.engine.dialect.name == "postgresql" else SqliteLedger()


def is_storage_failure(error: BaseException) -> bool:
    """Whether `error` says that the database, the disk or the lock did not do its part."""
    if isinstance(error, IntegrityError | sqlite3.IntegrityError):
        return False
    return isinstance(error, sqlite3.Error | DatabaseError | OSError | Unavailable)
