"""A log as others read it: head, C2SP tlog-tiles, proofs and receipts, all from committed rows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Select, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from audit.tables import TrailBatch, TrailCheckpoint, TrailEpoch, TrailEvent, TrailTile
from audit.verifier import merkle
from audit.verifier.errors import Tampered
from audit.verifier.merkle import EMPTY_ROOT, TILE_WIDTH, perfect_root, split_tile
from audit.verifier.note import Checkpoint, Note
from audit.verifier.proof import Proof
from core.errors import NotFound, Unavailable

_PATH = re.compile(r"tile/(entries|[0-9]|[1-5][0-9]|6[0-3])/((?:x[0-9]{3}/)*)([0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")


class Head(NamedTuple):
    """Size and root of a log's tree."""

    size: int
    root: bytes


@dataclass(frozen=True)
class TilePath:
    """Which tile an address asks for. `level` is None for entry bundles, `width` is None for a full tile."""

    level: int | None
    n: int
    width: int | None = None

    @classmethod
    def parse(cls, path: str) -> TilePath:
        """Read `tile/<L>/<N>[.p/<W>]` or `tile/entries/<N>[.p/<W>]` (C2SP tlog-tiles).

        Raises:
            NotFound: not a tile address in its one canonical spelling.
        """
        match = _PATH.fullmatch(path)
        if match:
            n = int(match[2].replace("x", "").replace("/", "") + match[3])
            found = cls(None if match[1] == "entries" else int(match[1]), n, int(match[4]) if match[4] else None)
            if n < 1 << 55 and found.encode() == path and (found.width or 0) < TILE_WIDTH:
                return found
        raise NotFound("`{path}` is not the address of a tile; see C2SP tlog-tiles", path=path)

    def encode(self) -> str:
        """The address below the log's prefix."""
        digits = str(self.n)
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
        number = "/".join([*("x" + group for group in groups[:-1]), groups[-1]])
        partial = f".p/{self.width}" if self.width else ""
        return f"tile/{'entries' if self.level is None else self.level}/{number}{partial}"


class PublishedLog:
    """One log and epoch read through `session`. Keeps what it read: make one per piece of work."""

    def __init__(self, session: Session, log: str, epoch: int | None = None) -> None:
        """`epoch` None means the present one.

        Raises:
            NotFound: there is no such log or epoch.
        """
        wanted = select(TrailEpoch.epoch, TrailEpoch.origin).where(TrailEpoch.log == log).order_by(TrailEpoch.epoch.desc()).limit(1)
        row = session.execute(wanted if epoch is None else wanted.where(TrailEpoch.epoch == epoch)).first()
        if row is None:
            raise NotFound("there is no log `{log}` with that epoch", log=log if epoch is None else f"{log}/{epoch}")
        self.log, self.epoch, self.origin = log, row.epoch, row.origin
        self._session = session
        self._cache: dict[tuple[int, int], list[bytes]] = {}
        self._nodes: dict[tuple[int, int], bytes] = {}
        self._note = b""

    @property
    def name(self) -> str:
        """Log and epoch, such as `ca/1`."""
        return f"{self.log}/{self.epoch}"

    def head(self) -> Head:
        """The present size and root."""
        mine = (TrailBatch.log == self.log, TrailBatch.epoch == self.epoch)
        row = self._session.execute(select(TrailBatch.size, TrailBatch.root).where(*mine).order_by(TrailBatch.size.desc()).limit(1)).first()
        return Head(row.size, row.root) if row else Head(0, EMPTY_ROOT)

    def node(self, level: int, index: int) -> bytes:
        """Root of the perfect subtree over the leaves `[index << level, (index + 1) << level)`."""
        if (level, index) not in self._nodes:
            self._nodes[level, index] = self._root(level, index)
        return self._nodes[level, index]

    def _root(self, level: int, index: int) -> bytes:
        tile_level, height = divmod(level, 8)
        first = index << height
        hashes = self._hashes(tile_level, first // TILE_WIDTH)
        offset = first % TILE_WIDTH
        if len(hashes) < offset + (1 << height):
            raise Tampered(f"{self.name} misses entries from {(first + len(hashes) - offset) << 8 * tile_level} on")
        return perfect_root(hashes[offset : offset + (1 << height)])

    def tile(self, level: int, n: int, width: int | None = None) -> bytes:
        """A tile's bytes: full, or its first `width` hashes.

        Raises:
            NotFound: the log is not that large.
        """
        hashes = self._hashes(level, n)
        wanted = TILE_WIDTH if width is None else width
        if len(hashes) < wanted:
            raise NotFound("the log has no tile `{tile}` of that width yet", tile=TilePath(level, n, width).encode())
        return b"".join(hashes[:wanted])

    def entries(self, n: int, width: int | None = None) -> bytes:
        """An entry bundle: each body after its length in two bytes.

        Raises:
            NotFound: the log is not that large.
        """
        wanted = TILE_WIDTH if width is None else width
        bodies = self._session.scalars(self._rows(TrailEvent.body, n * TILE_WIDTH, n * TILE_WIDTH + wanted)).all()
        if len(bodies) < wanted:
            raise NotFound("the log has no tile `{tile}` of that width yet", tile=TilePath(None, n, width).encode())
        return b"".join(len(body).to_bytes(2, "big") + body for body in bodies)

    def leaves(self, first: int, end: int) -> list[bytes]:
        """The leaf hashes `[first, end)`."""
        return list(self._session.scalars(self._rows(TrailEvent.leaf, first, end)))

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """Inclusion proof of entry `index` in the tree of `size` entries."""
        return merkle.inclusion(self.node, index, size)

    def consistency(self, old: int, new: int) -> list[bytes]:
        """Consistency proof between two sizes."""
        return merkle.consistency(self.node, old, new)

    def edge(self, size: int) -> bytes:
        """The right edge of the tree of `size` entries: one hash per one-bit, largest subtree first."""
        parts, first = [], 0
        for level in range(size.bit_length() - 1, -1, -1):
            if size >> level & 1:
                parts.append(self.node(level, first >> level))
                first += 1 << level
        return b"".join(parts)

    def checkpoint(self) -> bytes:
        """The newest published note, when it was first asked for here.

        Raises:
            Unavailable: none was published yet.
        """
        if not self._note:
            mine = (TrailCheckpoint.log == self.log, TrailCheckpoint.epoch == self.epoch)
            note = self._session.scalar(select(TrailCheckpoint.note).where(*mine).order_by(TrailCheckpoint.size.desc()).limit(1))
            if note is None:
                raise Unavailable("no checkpoint of `{log}` was signed yet; try again in a second", log=self.name)
            self._note = note.encode()
        return self._note

    def signed_at(self) -> int | None:
        """When the newest published note was kept, in microseconds since 1970; None while there is none."""
        mine = (TrailCheckpoint.log == self.log, TrailCheckpoint.epoch == self.epoch)
        return self._session.scalar(select(TrailCheckpoint.t).where(*mine).order_by(TrailCheckpoint.size.desc()).limit(1))

    def signed(self) -> int:
        """How many entries the newest published note covers."""
        mine = (TrailCheckpoint.log == self.log, TrailCheckpoint.epoch == self.epoch)
        return self._session.scalar(select(func.max(TrailCheckpoint.size)).where(*mine)) or 0

    def receipt(self, index: int) -> Proof:
        """The offline proof (tlog-proof) of entry `index` under the newest checkpoint.

        Raises:
            NotFound: there is no such entry.
            Unavailable: no signed checkpoint covers it yet.
        """
        note = self.checkpoint()
        size = Checkpoint.parse(Note.parse(note).text).size
        if not 0 <= index < size:
            if not self.leaves(index, index + 1):
                raise NotFound("there is no entry `{index}` in `{log}`", index=index, log=self.name)
            raise Unavailable(
                "no signed checkpoint covers entry `{index}` of `{log}` yet; try again in a second", index=index, log=self.name
            )
        return Proof(index, tuple(self.inclusion(index, size)), note)

    def _rows(self, column: InstrumentedAttribute[bytes], first: int, end: int) -> Select[bytes]:
        place = (TrailEvent.log == self.log, TrailEvent.epoch == self.epoch)
        return select(column).where(*place, TrailEvent.idx >= first, TrailEvent.idx < end).order_by(TrailEvent.idx)

    def _hashes(self, level: int, n: int) -> list[bytes]:
        """The hashes of tile `n` on `level`, as many as there are."""
        if (level, n) not in self._cache:
            self._cache[level, n] = self._read(level, n)
        return self._cache[level, n]

    def _read(self, level: int, n: int) -> list[bytes]:
        full = self._session.get(TrailTile, (self.log, self.epoch, level, n))
        if full is not None:
            return split_tile(full.data)
        first = n * TILE_WIDTH
        if level == 0:
            return self.leaves(first, first + TILE_WIDTH)
        below = select(TrailTile.data).where(TrailTile.log == self.log, TrailTile.epoch == self.epoch, TrailTile.level == level - 1)
        tiles = self._session.scalars(below.where(TrailTile.n >= first, TrailTile.n < first + TILE_WIDTH).order_by(TrailTile.n))
        return [perfect_root(split_tile(data)) for data in tiles]
