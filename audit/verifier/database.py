"""Checks the trail inside a database file, read-only, against heads that were saved outside.

Body, leaf, searchable columns and full tiles must agree entry by entry: what disagrees is named by its index. Whoever
recomputed all of them is still convicted by the saved heads: then the range between two of them is named.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from .errors import Tampered, Unreadable
from .merkle import TILE_WIDTH, Frontier, leaf_hash, perfect_root
from .note import Checkpoint
from .numbers import Numbers, Ranges, Writer

_ENTRIES = (
    "SELECT idx, id, t, code, outcome, actor, object, cert, scope, request_id, leaf, body FROM trail_event"
    " WHERE log = ? AND epoch = ? ORDER BY idx"
)
_JOURNAL = "SELECT first, size, edge, root FROM trail_batch WHERE log = ? AND epoch = ? ORDER BY size"
_TILE = "SELECT data FROM trail_tile WHERE log = ? AND epoch = ? AND level = ? AND n = ?"
_COLUMNS = ("id", "t", "code", "outcome", "actor", "object", "cert", "scope", "request_id")


@dataclass(frozen=True)
class LogReport:
    """What was shown about one log: entries found, and up to where a trusted head covers them."""

    origin: str
    size: int
    root: bytes
    proved: int
    heads: int


@dataclass(frozen=True)
class Report:
    """All logs that have trusted heads, and the writer numbers of processes that may still be running."""

    logs: tuple[LogReport, ...]
    open_numbers: dict[Writer, Ranges]


class Connection(Protocol):
    """What the check needs of a database connection: `?` stands for each value, the answer is a cursor over the rows."""

    def execute(self, sql: str, values: Sequence[Any] = ..., /) -> Any:
        """Run one query."""


def check_database(path: Path, heads: Sequence[Checkpoint]) -> Report:
    """Check every log of the file at `path` that one of `heads` (trusted, opened before) is about, to its last entry.

    Raises:
        Unreadable: not a database with a trail, or no head was given.
        Tampered: the first thing found wrong, with its index or range.
    """
    try:
        with closing(_open(path)) as connection:
            connection.execute("BEGIN")
            return check_connection(connection, heads)
    except sqlite3.Error as error:
        raise Unreadable(f"the database cannot be read: {error}") from error


def check_connection(connection: Connection, heads: Sequence[Checkpoint]) -> Report:
    """The same through a `connection` that shows one moment of the database.

    Raises:
        Unreadable, Tampered: as for a file.
    """
    if not heads:
        raise Unreadable("a database proves nothing by itself: give at least one checkpoint that was saved outside")
    numbers = Numbers()
    logs = _logs(connection)
    if unknown := {head.origin for head in heads} - set(logs):
        raise Tampered(f"the log `{min(unknown)}` is not in the database")
    reports = []
    for origin, place in sorted(logs.items()):
        trusted = sorted((head for head in heads if head.origin == origin), key=lambda head: head.size)
        reports.append(_Walk(connection, place, trusted, numbers).report(origin))
    if gaps := numbers.missing(ended=True):
        (node, boot), ranges = min(gaps.items())
        raise Tampered(f"events {ranges[0][0]} to {ranges[0][1]} of process {node}/{boot} never reached the trail and were not voided")
    return Report(tuple(reports), numbers.missing(ended=False))


def _open(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise Unreadable(f"there is no file {path}")
    connection = sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True, isolation_level=None)
    # A text where bytes belong must be found as a forgery, not stop the reading.
    connection.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA query_only = ON")
    return connection


def _logs(connection: Connection) -> dict[str, tuple[str, int]]:
    """Trees by origin. Several rows of one origin would let an attacker choose: the origin must end in log and epoch."""
    found = {}
    for log, epoch, origin in connection.execute("SELECT log, epoch, origin FROM trail_epoch"):
        if not str(origin).endswith(f"/{log}/{epoch}") or origin in found:
            raise Tampered(f"the epoch row of `{log}/{epoch}` names the origin `{origin}`")
        found[str(origin)] = (str(log), int(epoch))
    return found


class _Walk:
    """One pass over one log, in the order of its entries."""

    def __init__(self, connection: Connection, place: tuple[str, int], heads: Sequence[Checkpoint], numbers: Numbers) -> None:
        self._connection, self._place, self._numbers = connection, place, numbers
        self._heads = list(heads)
        self._name = f"{place[0]}/{place[1]}"
        self._tree = Frontier()
        self._rows: list[list[bytes]] = [[]]
        self._proved = 0
        self._convicted: Tampered | None = None
        self._later: Tampered | None = None
        self._journal = iter(connection.execute(_JOURNAL, place))
        self._batch: Any = next(self._journal, None)
        self._journal_end = 0

    def report(self, origin: str) -> LogReport:
        """Walk to the end and tell what was shown."""
        try:
            return self._report(origin)
        except Tampered as error:
            worst = self._nearer(error)
            worst.log = self._name
            raise worst from None

    def _nearer(self, found: Tampered) -> Tampered:
        """An entry that is named inside the range that a trusted head convicts; else that range."""
        bounds = self._convicted
        if bounds is None or (found.first is not None and bounds.last is not None and found.first <= bounds.last):
            return found
        return bounds

    def _report(self, origin: str) -> LogReport:
        heads = len(self._heads)
        self._at_boundary()
        for leaf in self._leaves():
            self._tree.extend([leaf])
            self._rows[0].append(leaf)
            self._tiles(0)
            self._at_boundary()
        size = self._tree.size
        if self._heads:
            worst = max(head.size for head in self._heads)
            raise Tampered(f"{self._name} ends after {size} entries, a trusted head covers {worst}", size, worst - 1)
        if self._batch is not None:
            self._suspect(f"the journal of {self._name} tells of {self._batch[1]} entries, there are {size}", size, size)
        elif self._journal_end != size:
            self._suspect(f"the journal of {self._name} ends at {self._journal_end}, there are {size} entries", self._journal_end, size - 1)
        if found := self._convicted or self._later:
            raise found
        return LogReport(origin, size, self._tree.root(), self._proved, heads)

    def _leaves(self) -> Iterator[bytes]:
        for expected, (index, *columns, leaf, body) in enumerate(self._connection.execute(_ENTRIES, self._place)):
            if index != expected:
                raise Tampered(f"entry {expected} of {self._name} is missing", expected, max(index - 1, expected))
            if not isinstance(body, bytes) or not isinstance(leaf, bytes):
                raise Tampered(f"entry {index} of {self._name} has no body or no leaf", index)
            if leaf_hash(body) != leaf:
                raise Tampered(f"body and leaf of entry {index} of {self._name} disagree", index)
            told = _columns(body)
            wrong = [name for name, stored, meant in zip(_COLUMNS, columns, told[0], strict=True) if stored != meant]
            if wrong:
                raise Tampered(f"the column `{wrong[0]}` of entry {index} of {self._name} differs from its body", index)
            self._numbers.note(told[1])
            yield leaf

    def _tiles(self, level: int) -> None:
        """Compare a tile that is full now with the stored one, and go up."""
        row = self._rows[level]
        if len(row) < TILE_WIDTH:
            return
        span = TILE_WIDTH**level
        n = self._tree.size // (span * TILE_WIDTH) - 1
        stored = self._connection.execute(_TILE, (*self._place, level, n)).fetchone()
        meant = b"".join(row)
        if stored is None or stored[0] != meant:
            offset = _first_difference(stored[0] if stored else None, row)
            first = (n * TILE_WIDTH + offset) * span
            what = "entry" if level == 0 else "the entries from"
            raise Tampered(f"{what} {first} of {self._name} and its tile {level}/{n} disagree", first, first + span - 1)
        if len(self._rows) == level + 1:
            self._rows.append([])
        self._rows[level + 1].append(perfect_root(row))
        row.clear()
        self._tiles(level + 1)

    def _at_boundary(self) -> None:
        """Compare with every trusted head and journal row of exactly this size."""
        size = self._tree.size
        while self._heads and self._heads[0].size == size:
            root = self._tree.root()
            if self._heads.pop(0).root != root:
                message = f"{self._name} was changed between the trusted heads of {self._proved} and {size} entries"
                self._convicted = self._convicted or Tampered(message, self._proved, max(size - 1, 0))
            self._proved = size
        if self._batch is not None and self._batch[1] <= size:
            first, told, edge, root = self._batch
            if (first, told, edge, root) != (self._journal_end, size, self._tree.encode(), self._tree.root()):
                self._suspect(f"the journal row of {self._name} at {told} entries disagrees with the entries", self._journal_end, size - 1)
            self._journal_end = told
            self._batch = next(self._journal, None)

    def _suspect(self, message: str, first: int, last: int) -> None:
        """Keep the first contradiction of the journal: entries or heads may still name the place better."""
        self._later = self._later or Tampered(message, first, max(first, last))


def _columns(body: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What the searchable columns must hold for `body`, and the body read."""
    try:
        told = json.loads(body)
        actor = f"{told['actor']['k']}:{told['actor']['id']}"
        fixed = (told["id"], told["t"], told["code"], told["out"], actor, told["obj"])
        return (*fixed, told.get("cert", ""), told.get("scope", ""), told.get("req", "")), told
    except (ValueError, KeyError, TypeError):
        return (None,) * len(_COLUMNS), {}


def _first_difference(stored: object, row: Sequence[bytes]) -> int:
    if not isinstance(stored, bytes):
        return 0
    return next((at for at, digest in enumerate(row) if stored[at * 32 : at * 32 + 32] != digest), 0)
