"""Placing entries: index, leaf, tree root, rows and journal row, written through one raw cursor in one transaction.

The caller holds the write lock and commits. Two writers can never place different entries at one index: the primary
keys of journal and event refuse the second.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from sqlalchemy import insert
from sqlalchemy.orm import Session

from audit.body import Entry, Writer
from audit.tables import TrailCheckpoint
from audit.verifier.database import Connection, frozen
from audit.verifier.merkle import TILE_WIDTH, Frontier, perfect_root, split_tile
from core.database import Database

_HEAD = "SELECT size, edge FROM trail_batch WHERE log = ? AND epoch = ? ORDER BY size DESC LIMIT 1"
_EVENT = (
    "INSERT INTO trail_event (log, epoch, idx, id, t, code, outcome, actor, object, cert, scope, request_id, leaf, body)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_BATCH = (
    "INSERT INTO trail_batch (log, epoch, size, first, edge, root, t, node, boot, counter, settled)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_OPENING = "INSERT INTO trail_disclosure (id, field, salt, value, blind) VALUES (?, ?, ?, ?, ?)"
_TILE = "INSERT INTO trail_tile (log, epoch, level, n, data) VALUES (?, ?, ?, ?, ?)"
_LEAVES = "SELECT leaf FROM trail_event WHERE log = ? AND epoch = ? AND idx >= ? AND idx < ? ORDER BY idx"
_LOWER = "SELECT data FROM trail_tile WHERE log = ? AND epoch = ? AND level = ? AND n >= ? AND n < ? ORDER BY n"

#: Runs a query with `?` for each value and gives its rows.
Rows = Callable[[str, Sequence[Any]], list[Any]]


class Receipt(NamedTuple):
    """Where an event stands: the log with its epoch (`ca/1`), its index from 0, its leaf hash in hex."""

    log: str
    idx: int
    leaf: str


class Batch(NamedTuple):
    """What one commit places in one log, and the writer's own account of itself at this moment."""

    log: str
    epoch: int
    at: int
    writer: Writer
    #: Every counter of this writer up to here is in the tree or voided once this commits.
    settled: int
    entries: Sequence[Entry]


class Ledger(Protocol):
    """What the trail needs of a database. One small file for each: this one for SQLite, `audit.postgres`."""

    @property
    def enqueues(self) -> bool:
        """Whether facts commit first and their events are placed by the next `place`."""

    def place(self, cursor: Any, batch: Batch) -> list[Receipt]:
        """Write the entries behind the present head; they count once the caller's transaction has committed."""

    def enqueue(self, session: Session, entries: Sequence[Entry], writer: Writer, settled: int) -> None:
        """Let `entries` commit with the facts of `session`."""

    def find(self, cursor: Any, entries: Iterable[Entry]) -> dict[int, Receipt]:
        """Where those of `entries` stand that are in the tree, by counter."""

    def open_epoch(self, cursor: Any, log: str, origin: str, at: int) -> tuple[int, bool]:
        """The present epoch of `log`, the first being named `origin` and its number; and whether nothing is in it yet."""

    def rows(self, cursor: Any) -> Rows:
        """Runs a query with `?` for each value and gives its rows."""

    def put_checkpoint(self, session: Session, row: dict[str, Any]) -> None:
        """Store a published head."""

    def rows_changed(self, session: Session) -> int:
        """How many rows the connection of `session` has changed so far, if its driver tells."""

    def is_unrecorded(self, error: BaseException) -> bool:
        """Whether `error` is the database's own refusal of facts without an event."""

    def waiting_since(self, database: Database) -> int | None:
        """When the oldest event that is committed and has no place was made, in microseconds."""

    def frozen(self, database: Database) -> AbstractContextManager[Connection]:
        """One moment of the database, as the verifier reads it."""


class SqliteLedger:
    """How the trail is kept in SQLite: facts and the places of their events are one commit, so nothing is ever enqueued."""

    enqueues = False

    def place(self, cursor: sqlite3.Cursor, batch: Batch) -> list[Receipt]:
        """As `audit.append.place`."""
        return place(cursor, batch)

    def enqueue(self, session: Session, entries: Sequence[Entry], writer: Writer, settled: int) -> None:
        """Never called."""
        raise AssertionError("events are placed with their facts")

    def find(self, cursor: sqlite3.Cursor, entries: Iterable[Entry]) -> dict[int, Receipt]:
        """Nothing is ever between a commit and the tree."""
        return {}

    def open_epoch(self, cursor: sqlite3.Cursor, log: str, origin: str, at: int) -> tuple[int, bool]:
        """The present epoch of `log`, and whether nothing is in it yet; the first is opened when there is none."""
        (epoch,) = cursor.execute("SELECT max(epoch) FROM trail_epoch WHERE log = ?", (log,)).fetchone()
        if epoch is None:
            cursor.execute("INSERT INTO trail_epoch (log, epoch, origin, t) VALUES (?, 1, ?, ?)", (log, f"{origin}/1", at))
            return 1, True
        return epoch, cursor.execute(_HEAD, (log, epoch)).fetchone() is None

    def rows(self, cursor: sqlite3.Cursor) -> Rows:
        """SQLite's own way to write values."""
        return lambda sql, values: cursor.execute(sql, values).fetchall()

    def put_checkpoint(self, session: Session, row: dict[str, Any]) -> None:
        """Store a published head."""
        session.execute(insert(TrailCheckpoint).values(row))

    def rows_changed(self, session: Session) -> int:
        """How many rows the connection of `session` has changed since it was opened."""
        return driver(session).total_changes

    def is_unrecorded(self, error: BaseException) -> bool:
        """SQLite has no such refusal."""
        return False

    def waiting_since(self, database: Database) -> int | None:
        """Nothing is ever between a commit and the tree."""
        return None

    def frozen(self, database: Database) -> AbstractContextManager[Connection]:
        """The file, through a connection of its own."""
        return frozen(Path(database.engine.url.database or ""))


def driver(session: Session) -> sqlite3.Connection:
    """The driver's connection under `session`."""
    connection = session.connection().connection.driver_connection
    assert isinstance(connection, sqlite3.Connection)
    return connection


def place(cursor: sqlite3.Cursor, batch: Batch) -> list[Receipt]:
    """Write the entries behind the present head; they count once the caller's transaction has committed."""
    log, epoch = batch.log, batch.epoch
    head = cursor.execute(_HEAD, (log, epoch)).fetchone()
    tree = Frontier(*head) if head else Frontier()
    first = tree.size
    tree.extend([entry.leaf for entry in batch.entries])
    rows = [(log, epoch, first + offset, *entry.columns, entry.leaf, entry.body) for offset, entry in enumerate(batch.entries)]
    cursor.executemany(_EVENT, rows)
    openings = [(entry.columns[0], *opening) for entry in batch.entries for opening in entry.openings]
    if openings:
        cursor.executemany(_OPENING, openings)
    highest = max(entry.counter for entry in batch.entries)
    writer = batch.writer
    head = (log, epoch, tree.size, first, tree.encode(), tree.root(), batch.at, writer.node, writer.boot, highest, batch.settled)
    cursor.execute(_BATCH, head)
    for n in range(first // TILE_WIDTH, tree.size // TILE_WIDTH):
        _complete(cursor, log, epoch, n)
    name = f"{log}/{epoch}"
    return [Receipt(name, first + offset, entry.leaf.hex()) for offset, entry in enumerate(batch.entries)]


def _complete(cursor: sqlite3.Cursor, log: str, epoch: int, n: int) -> None:
    """Store the full level-0 tile `n`, and every tile above that became full with it."""
    span = (n * TILE_WIDTH, (n + 1) * TILE_WIDTH)
    hashes = [row[0] for row in cursor.execute(_LEAVES, (log, epoch, *span))]
    cursor.execute(_TILE, (log, epoch, 0, n, b"".join(hashes)))
    level = 0
    while n % TILE_WIDTH == TILE_WIDTH - 1:
        n //= TILE_WIDTH
        level += 1
        below = cursor.execute(_LOWER, (log, epoch, level - 1, n * TILE_WIDTH, (n + 1) * TILE_WIDTH))
        data = b"".join(perfect_root(split_tile(row[0])) for row in below)
        cursor.execute(_TILE, (log, epoch, level, n, data))
