"""The trail on PostgreSQL: written by functions of the database, because no role of the service may write its tables.

`append` takes the sequencing lock, first places what other transactions enqueued, hashes in the server and adds one
journal row for each process. A transaction of facts only enqueues, so that it holds no lock; the next `append`, whoever
makes it, places its events. What the function answers is computed again here before it is committed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from audit.append import Batch, Receipt, Rows
from audit.body import Entry, Writer
from audit.verifier import database as verifier
from audit.verifier.merkle import Frontier
from core.database import Database

#: What a commit is refused with that changed facts and enqueued no event.
_UNRECORDED = "YU001"

_ARRAYS = ", ".join(f"%s::{kind}[]" for kind in ("text", "bigint", *["text"] * 7, "bytea"))
_DISCLOSE = "SELECT audit.disclose(%s::text[], %s::text[], %s::bytea[], %s::text[], %s::bytea[])"
_APPEND = f"SELECT first, first_edge, size, root FROM ({_DISCLOSE}) d, audit.append(%s, %s, %s, %s, %s, %s, %s, {_ARRAYS})"  # noqa: S608
_ENQUEUE = f"{_DISCLOSE}, audit.enqueue(%s, %s, %s, %s::text[], %s::bigint[], {_ARRAYS})"
_OPEN = "SELECT present, is_new FROM audit.open_epoch(%s, %s, %s)"
_FIND = "SELECT id, log || '/' || epoch, idx, encode(leaf, 'hex') FROM audit.trail_event WHERE id = ANY(%s)"
_PUT = "SELECT audit.put_checkpoint(%s, %s, %s, %s, %s, %s)"


class Missequenced(RuntimeError):
    """The database answered with a tree that is not the one our entries make: never caught, nothing is acknowledged."""


class PostgresLedger:
    """How the trail is kept in PostgreSQL."""

    #: Facts commit with their events enqueued; the tree takes them in afterwards, before the answer.
    enqueues = True

    def place(self, cursor: Any, batch: Batch) -> list[Receipt]:
        """Write the entries behind the present head, after what waits; they count once the transaction has committed.

        Raises:
            Missequenced: index, size or root is not what the entries make.
        """
        entries, writer = batch.entries, batch.writer
        highest = max((entry.counter for entry in entries), default=0)
        account = (batch.log, batch.epoch, batch.at, writer.node, writer.boot, highest, batch.settled)
        cursor.execute(_APPEND, (*_openings(entries), *account, *_arrays(entries)))
        first, edge, size, root = cursor.fetchone()
        tree = Frontier(first, edge)
        tree.extend([entry.leaf for entry in entries])
        if (tree.size, tree.root()) != (size, root):
            raise Missequenced(f"{batch.log}/{batch.epoch} at {first}: the database tells of another tree")
        name = f"{batch.log}/{batch.epoch}"
        return [Receipt(name, first + offset, entry.leaf.hex()) for offset, entry in enumerate(entries)]

    def enqueue(self, session: Session, entries: Sequence[Entry], writer: Writer, settled: int) -> None:
        """Let `entries` commit with the facts of `session`; the next `place` of anybody puts them into the tree."""
        logs, counters = _texts([entry.log for entry in entries]), _numbers([entry.counter for entry in entries])
        account = (writer.node, writer.boot, settled, logs, counters)
        _driver(session).cursor().execute(_ENQUEUE, (*_openings(entries), *account, *_arrays(entries)))

    def find(self, cursor: Any, entries: Iterable[Entry]) -> dict[int, Receipt]:
        """Where those of `entries` stand that are in the tree, by counter."""
        counters = {entry.columns[0]: entry for entry in entries}
        found: dict[int, Receipt] = {}
        for identity, log, idx, leaf in cursor.execute(_FIND, (list(counters),)).fetchall():
            entry = counters[identity]
            if leaf != entry.leaf.hex():
                raise Missequenced(f"{log} at {idx}: the database holds another entry under our id")
            found[entry.counter] = Receipt(log, idx, leaf)
        return found

    def open_epoch(self, cursor: Any, log: str, origin: str, at: int) -> tuple[int, bool]:
        """The present epoch of `log`, and whether nothing is in it yet; else what dead processes enqueued is placed."""
        epoch, is_new = cursor.execute(_OPEN, (log, f"{origin}/1", at)).fetchone()
        return epoch, is_new

    def rows(self, cursor: Any) -> Rows:
        """Runs a query with `?` for each value and gives its rows."""
        return lambda sql, values: cursor.execute(sql.replace("?", "%s"), values).fetchall()

    def put_checkpoint(self, session: Session, row: dict[str, Any]) -> None:
        """Store a published head; the worker's role alone may."""
        _driver(session).cursor().execute(_PUT, [row[name] for name in ("log", "epoch", "size", "root", "note", "t")])

    def rows_changed(self, session: Session) -> int:
        """Not told by the driver: a trigger refuses the commit instead."""
        return 0

    def is_unrecorded(self, error: BaseException) -> bool:
        """Whether `error` is the refusal of facts without an event."""
        return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", "") == _UNRECORDED

    def waiting_since(self, database: Database) -> int | None:
        """When the oldest event that is enqueued was made, in microseconds of its writer's clock; None when none is."""
        with database.looking() as cursor:
            oldest: int | None = cursor.execute("SELECT min(t) FROM audit.trail_pending", {}).fetchone()[0]
        return oldest

    @contextmanager
    def frozen(self, database: Database) -> Iterator[verifier.Connection]:
        """One snapshot of the database, which may be read for as long as it takes."""
        with database.engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            yield _Frozen(connection.connection.driver_connection)


class _Frozen:
    """A connection as the verifier asks it."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver

    def execute(self, sql: str, values: Sequence[Any] = ()) -> Any:
        """A cursor over the rows of a query with `?` for each value."""
        return self._driver.execute(sql.replace("?", "%s"), values)


def _openings(entries: Sequence[Entry]) -> list[str]:
    rows = [(entry.columns[0], *opening) for entry in entries for opening in entry.openings]
    identities, fields, salts, values, blinds = [[row[at] for row in rows] for at in range(5)]
    return [_texts(identities), _texts(fields), _octets(salts), _texts(values), _octets(blinds)]


def _arrays(entries: Sequence[Entry]) -> list[str]:
    identities, moments, *texts = [[entry.columns[at] for entry in entries] for at in range(9)]
    return [_texts(identities), _numbers(moments), *map(_texts, texts), _octets([entry.body for entry in entries])]


def _texts(values: Sequence[Any]) -> str:
    """`values` as PostgreSQL writes an array: the driver's own way takes a third of the time of a batch.

    Raises:
        ValueError: a value holds NUL, which no text of PostgreSQL can.
    """
    if not values:
        return "{}"
    whole = "\0".join(values)
    if whole.count("\0") >= len(values):
        raise ValueError("a text holds NUL")
    return '{"' + whole.replace("\\", "\\\\").replace('"', '\\"').replace("\0", '","') + '"}'


def _numbers(values: Sequence[Any]) -> str:
    return "{" + ",".join(map(str, values)) + "}"


def _octets(values: Sequence[Any]) -> str:
    return "{" + ",".join(f'"\\\\x{value.hex()}"' for value in values) + "}"


def _driver(session: Session) -> Any:
    return session.connection().connection.driver_connection
