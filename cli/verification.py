"""`yumen audit verify`: a service by its address, or a bundle, checkpoint or database. Nothing is believed unproved.

Of a service, in this order: its head must be signed by the trusted key; it must extend the saved head; every hash tile
and every entry must lead to it. The keys come from outside: never from the service that is being checked.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from audit.tiles import TilePath
from audit.verifier import merkle
from audit.verifier.__main__ import read_keys
from audit.verifier.bundle import check_bundle
from audit.verifier.database import Report as Evidence
from audit.verifier.database import check_database
from audit.verifier.errors import Tampered, Unreadable
from audit.verifier.note import Checkpoint, VerifierKey, open_checkpoint
from audit.verifier.trail import TrustedTrail
from cli.client import session
from cli.client.api import Api
from core.errors import Malformed

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is to be verified and what is trusted."""

    source: str
    trust: tuple[Path, ...]
    log: str
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """What came out. `facts` names the log, the trusted size, and the first bad index or the range when it is bad."""

    good: bool
    facts: dict[str, Any] = field(default_factory=dict)


def verify(question: Question, tell: Tell) -> Report:
    """Answer `question`.

    Raises:
        Malformed: no trusted key, or something that cannot be read.
        Error: the service refused.
    """
    try:
        keys = [key for text in question.keys for key in read_keys(text)]
        if not keys:
            raise Malformed("no trusted key; give --key with a key that did not come from what is checked, see docs/cli.md")
        if question.source.startswith("https://"):
            return Report(good=True, facts=_service(question, keys, tell))
        if question.source.startswith("postgresql://"):
            return Report(good=True, facts=_server(question, keys))
        return Report(good=True, facts=_file(question, keys))
    except Tampered as error:
        place = {} if error.first is None else {"first": error.first, "last": error.last}
        return Report(good=False, facts={"verified": False, "contradiction": str(error), **place})
    except (Unreadable, OSError) as error:
        raise Malformed("cannot be verified: {reason}", reason=error) from error


def _server(question: Question, keys: list[VerifierKey]) -> dict[str, Any]:
    """A database of PostgreSQL, read as a role that can do no more than read the trail."""
    from audit.check import evidence
    from core.database import open_postgres

    notes = [open_checkpoint(note.read_bytes(), keys) for note in question.trust]
    database = open_postgres(question.source)
    try:
        return _told(evidence(database, notes))
    except SQLAlchemyError as error:
        raise Unreadable(f"the database does not answer, or does not let this role read the trail: {type(error).__name__}") from error
    finally:
        database.engine.dispose()


def _told(report: Evidence) -> dict[str, Any]:
    return {"verified": True, "logs": [{"origin": log.origin, "entries": log.size, "proved": log.proved} for log in report.logs]}


def _file(question: Question, keys: list[VerifierKey]) -> dict[str, Any]:
    path = Path(question.source)
    notes = [open_checkpoint(note.read_bytes(), keys) for note in question.trust]
    with path.open("rb") as file:
        start = file.read(16)
    if start.startswith(b"SQLite format 3\0"):
        return _told(check_database(path, notes))
    if start.startswith(b"PK"):
        bundle = check_bundle(path.read_bytes(), keys)
        heads = {log: {"size": head.size, "root": head.root.hex()} for log, head in bundle.heads.items()}
        return {"verified": True, "query": bundle.query, "events": dict(bundle.events), "heads": heads}
    head = open_checkpoint(path.read_bytes(), keys)
    return {"verified": True, "origin": head.origin, "size": head.size, "root": head.root.hex()}


def _service(question: Question, keys: list[VerifierKey], tell: Tell) -> dict[str, Any]:
    kept = session.load(session.session_file(os.environ))
    if kept.server.url != question.source.rstrip("/"):
        raise Malformed("you are logged in at `{url}`; run `yumen login --url {source}` first", url=kept.server.url, source=question.source)
    with Api(kept.server) as api:
        tiles = _Tiles(api, question.log)
        head = open_checkpoint(tiles.checkpoint(), keys)
        tiles.size = head.size
        trusted = _advance(question, keys, head, tiles)
        known = TrustedTrail(head)
        known.check(tiles.entries(tell))
    return {"verified": True, "origin": head.origin, "size": head.size, "root": head.root.hex(), "trusted_before": trusted}


def _advance(question: Question, keys: list[VerifierKey], head: Checkpoint, tiles: _Tiles) -> int:
    """Link each saved note of this log to the head; the size of the largest."""
    sizes = [0]
    for path in question.trust:
        saved = open_checkpoint(path.read_bytes(), keys)
        if saved.origin == head.origin:
            if saved.size > head.size:
                raise Tampered(f"the log has {head.size} entries, but {saved.size} were there before", head.size, saved.size - 1)
            TrustedTrail(saved).advance(head, merkle.consistency(tiles.node, saved.size, head.size))
            sizes.append(saved.size)
    return max(sizes)


class _Tiles:
    """The published tiles of one log, fetched when needed and kept."""

    def __init__(self, api: Api, log: str) -> None:
        self._api, self._prefix = api, f"/log/{log}/"
        self._kept: dict[tuple[int, int], list[bytes]] = {}
        self.size = 0

    def checkpoint(self) -> bytes:
        """The signed head."""
        return self._fetch("checkpoint")

    def node(self, level: int, index: int) -> bytes:
        """Root of the perfect subtree over the leaves `[index << level, (index + 1) << level)`."""
        tile_level, height = divmod(level, 8)
        first = index << height
        hashes = self._hashes(tile_level, first // merkle.TILE_WIDTH)
        at = first % merkle.TILE_WIDTH
        return merkle.perfect_root(hashes[at : at + (1 << height)])

    def entries(self, tell: Tell) -> Iterator[bytes]:
        """Every entry in order, each compared with its leaf in the hash tiles.

        Raises:
            Tampered: an entry is not what its leaf says.
        """
        for n in range(-(-self.size // merkle.TILE_WIDTH)):
            leaves = self._hashes(0, n)
            bodies = _split(self._fetch(TilePath(None, n, self._width(0, n)).encode()))
            for at, leaf in enumerate(leaves):
                index = n * merkle.TILE_WIDTH + at
                if at >= len(bodies) or merkle.leaf_hash(bodies[at]) != leaf:
                    raise Tampered(f"entry {index} is not what its leaf says", index)
                yield bodies[at]
            tell(f"{min(self.size, (n + 1) * merkle.TILE_WIDTH)} of {self.size}")

    def _hashes(self, level: int, n: int) -> list[bytes]:
        if (level, n) not in self._kept:
            data = self._fetch(TilePath(level, n, self._width(level, n)).encode())
            self._kept[level, n] = merkle.split_tile(data)
        return self._kept[level, n]

    def _width(self, level: int, n: int) -> int | None:
        """How wide the tile is in the tree of the head; None when it is full."""
        width = min(merkle.TILE_WIDTH, (self.size >> 8 * level) - n * merkle.TILE_WIDTH)
        return None if width == merkle.TILE_WIDTH else width

    def _fetch(self, path: str) -> bytes:
        return self._api.send("GET", self._prefix + path, accept="*/*").content


def _split(bundle: bytes) -> list[bytes]:
    bodies, at = [], 0
    while at < len(bundle):
        end = at + 2 + int.from_bytes(bundle[at : at + 2], "big")
        if end > len(bundle):
            raise Unreadable("an entry bundle ends in the middle of an entry")
        bodies.append(bundle[at + 2 : end])
        at = end
    return bodies
