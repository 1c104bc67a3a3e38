"""Checks the trail inside a database file, read-only, against heads that were saved outside.

Body, leaf, searchable columns and full tiles must agree entry by entry: what disagrees is named by its index. Whoever
recomputed all of them is still convicted by the saved heads: then the range between two of them is named.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from .errors import Tampered, Unreadable
from .merkle import TILE_WIDTH, Frontier, leaf_hash, node_hash, perfect_root, split_tile
from .note import Checkpoint
from .numbers import Numbers, Ranges, Writer

_ENTRIES = (
    "SELECT idx, id, t, code, outcome, actor, object, cert, scope, request_id, leaf, body FROM trail_event"
    " WHERE log = ? AND epoch = ? AND idx >= ? ORDER BY idx LIMIT ?"
)
_JOURNAL = "SELECT first, size, edge, root FROM trail_batch WHERE log = ? AND epoch = ? AND size > ? AND size <= ? ORDER BY size"
_BEYOND = "SELECT size FROM trail_batch WHERE log = ? AND epoch = ? AND size > ? ORDER BY size LIMIT 1"
_TILE = "SELECT data FROM trail_tile WHERE log = ? AND epoch = ? AND level = ? AND n = ?"
_LEAVES = "SELECT leaf FROM trail_event WHERE log = ? AND epoch = ? AND idx >= ? AND idx < ? ORDER BY idx"
_LOWER = "SELECT data FROM trail_tile WHERE log = ? AND epoch = ? AND level = ? AND n >= ? AND n < ? ORDER BY n"
#: Entries that are read at once.
_PORTION = 2000
#: Before every number of a row: whoever writes below 0 must be seen as well.
_FIRST = -(1 << 63)
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
    with frozen(path) as connection:
        return check_connection(connection, heads)


@contextmanager
def frozen(path: Path) -> Iterator[Connection]:
    """A connection that shows one moment of the database file at `path`, and can change nothing.

    Raises:
        Unreadable: not a database, or not one that can be read.
    """
    try:
        with closing(_open(path)) as connection:
            connection.execute("BEGIN")
            yield connection
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
    logs = trees(connection)
    if unknown := {head.origin for head in heads} - set(logs):
        raise Tampered(f"the log `{min(unknown)}` is not in the database")
    reports = []
    for origin, place in sorted(logs.items()):
        trusted = sorted((head for head in heads if head.origin == origin), key=lambda head: head.size)
        walk = Walk(place, trusted, numbers=numbers)
        while walk.on(connection, _PORTION):
            pass
        walk.end(connection)
        reports.append(LogReport(origin, walk.tree.size, walk.tree.root(), walk.proved, len(trusted)))
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


def trees(connection: Connection) -> dict[str, tuple[str, int]]:
    """Log and epoch of each tree by its origin. Several rows of one origin would let an attacker choose: it must end in log and epoch.

    Raises:
        Tampered: a row names another origin.
    """
    found = {}
    for log, epoch, origin in connection.execute("SELECT log, epoch, origin FROM trail_epoch"):
        if not str(origin).endswith(f"/{log}/{epoch}") or origin in found or not isinstance(epoch, int):
            raise Tampered(f"the epoch row of `{log}/{epoch}` names the origin `{origin}`")
        found[str(origin)] = (str(log), int(epoch))
    return found


class Walk:
    """One pass over one log, in the order of its entries: from the first one, or from where an earlier walk stopped.

    `tree` and `journal` are all that must be kept to go on: which journal rows were seen, and the right edge, which knows of
    every entry behind it.
    """

    def __init__(
        self,
        place: tuple[str, int],
        heads: Sequence[Checkpoint],
        *,
        tree: Frontier | None = None,
        journal: int = 0,
        numbers: Numbers | None = None,
    ) -> None:
        """`heads` are trusted, in the order of their sizes, none of them smaller than `tree`."""
        self.tree, self.journal, self.proved = tree or Frontier(), journal, 0
        self.name = f"{place[0]}/{place[1]}"
        self._place, self._heads, self._numbers = place, list(heads), numbers
        self._batches: Iterator[Any] = iter(())
        self._batch: Any = None
        self._convicted: Tampered | None = None
        self._later: Tampered | None = None

    def on(self, connection: Connection, most: int) -> int:
        """Go on over the next entries, `most` at most; gives how many there were, 0 at the end.

        Raises:
            Tampered: an entry or a tile is wrong. What is wrong with a range alone is told by `end`.
        """
        size = self.tree.size
        rows = connection.execute(_ENTRIES, (*self._place, size or _FIRST, most)).fetchall()
        self._batches = iter(connection.execute(_JOURNAL, (*self._place, size or _FIRST, size + len(rows))).fetchall())
        self._batch = next(self._batches, None)
        self._at_boundary()
        try:
            for row in rows:
                leaf = self._leaf(*row)
                self._tiles(connection, leaf)
                self.tree.extend([leaf])
                self._at_boundary()
        except Tampered as error:
            raise self._told(self._nearer(error)) from None
        return len(rows)

    def end(self, connection: Connection | None) -> None:
        """Tell that the walk is at its end, where the log ends as `connection` shows it; without one, the log may go on.

        Raises:
            Tampered: the log ends before a trusted head, or heads or journal differ from the entries.
        """
        size = self.tree.size
        if self._heads:
            worst = max(head.size for head in self._heads)
            found = Tampered(f"{self.name} ends after {size} entries, a trusted head covers {worst}", size, worst - 1)
            raise self._told(self._nearer(found))
        beyond = connection and connection.execute(_BEYOND, (*self._place, size)).fetchone()
        if beyond:
            self._suspect(f"the journal of {self.name} tells of {beyond[0]} entries, there are {size}", size, size)
        elif self.journal != size:
            self._suspect(f"the journal of {self.name} ends at {self.journal}, there are {size} entries", self.journal, size - 1)
        if range_ := self._convicted or self._later:
            raise self._told(range_)

    def _told(self, found: Tampered) -> Tampered:
        found.log = self.name
        return found

    def _nearer(self, found: Tampered) -> Tampered:
        """An entry that is named inside the range that a trusted head convicts; else that range."""
        bounds = self._convicted
        if bounds is None or (found.first is not None and bounds.last is not None and found.first <= bounds.last):
            return found
        return bounds

    def _leaf(self, index: Any, *row: Any) -> bytes:
        """The leaf hash of the next entry, whose row must fit its body."""
        expected, (*columns, leaf, body) = self.tree.size, row
        if index != expected:
            last = index - 1 if isinstance(index, int) else expected
            raise Tampered(f"entry {expected} of {self.name} is missing", expected, max(last, expected))
        if not isinstance(body, bytes) or not isinstance(leaf, bytes):
            raise Tampered(f"entry {index} of {self.name} has no body or no leaf", index)
        if leaf_hash(body) != leaf:
            raise Tampered(f"body and leaf of entry {index} of {self.name} disagree", index)
        meant, told = _columns(body)
        wrong = [name for name, stored, due in zip(_COLUMNS, columns, meant, strict=True) if stored != due]
        if wrong:
            raise Tampered(f"the column `{wrong[0]}` of entry {index} of {self.name} differs from its body", index)
        if self._numbers is not None:
            self._numbers.note(told)
        return leaf

    def _tiles(self, connection: Connection, leaf: bytes) -> None:
        """Compare the tiles that `leaf` fills with the stored ones: the edge left of it has what their roots are made of."""
        height, lefts = TILE_WIDTH.bit_length() - 1, reversed(self.tree.edge)
        digest, level = leaf, 0
        n, rest = divmod(self.tree.size + 1, TILE_WIDTH)
        while not rest:
            for left in islice(lefts, height):
                digest = node_hash(left, digest)
            self._compare(connection, level, n - 1, digest)
            level += 1
            n, rest = divmod(n, TILE_WIDTH)

    def _compare(self, connection: Connection, level: int, n: int, root: bytes) -> None:
        row = connection.execute(_TILE, (*self._place, level, n)).fetchone()
        stored = row[0] if row else None
        if isinstance(stored, bytes) and len(stored) == 32 * TILE_WIDTH and perfect_root(split_tile(stored)) == root:
            return
        span = TILE_WIDTH**level
        first = (n * TILE_WIDTH + _first_difference(stored, self._hashes(connection, level, n))) * span
        what = "entry" if level == 0 else "the entries from"
        raise Tampered(f"{what} {first} of {self.name} and its tile {level}/{n} disagree", first, first + span - 1)

    def _hashes(self, connection: Connection, level: int, n: int) -> list[bytes]:
        """What a tile must hold, by what lies below it and was compared before."""
        span = (n * TILE_WIDTH, (n + 1) * TILE_WIDTH)
        if level == 0:
            return [leaf for (leaf,) in connection.execute(_LEAVES, (*self._place, *span))]
        return [perfect_root(split_tile(tile)) for (tile,) in connection.execute(_LOWER, (*self._place, level - 1, *span))]

    def _at_boundary(self) -> None:
        """Compare with every trusted head and journal row of exactly this size."""
        size = self.tree.size
        while self._heads and self._heads[0].size == size:
            root = self.tree.root()
            if self._heads.pop(0).root != root:
                message = f"{self.name} was changed between the trusted heads of {self.proved} and {size} entries"
                self._convicted = self._convicted or Tampered(message, self.proved, max(size - 1, 0))
            self.proved = size
        if self._batch is not None and self._batch[1] <= size:
            first, told, edge, root = self._batch
            if (first, told, edge, root) != (self.journal, size, self.tree.encode(), self.tree.root()):
                self._suspect(f"the journal row of {self.name} at {told} entries disagrees with the entries", self.journal, size - 1)
            self.journal = told
            self._batch = next(self._batches, None)

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
