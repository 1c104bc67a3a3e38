"""Signing heads. What was signed last is kept in a file outside the database, durable before anything is published.

A head is signed only when it is proved to extend that note. So a database that was rolled back, thinned or rewritten
gets no new signature, and nobody can be shown two histories under one key.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select

from audit.event import Event, Kind
from audit.permit import Actor
from audit.tables import TrailCheckpoint
from audit.tiles import PublishedLog
from audit.trail import LOGS, Trail
from audit.verifier.errors import Tampered
from audit.verifier.merkle import EMPTY_ROOT, Frontier, verify_consistency
from audit.verifier.note import Checkpoint, Note, Signature, VerifierKey, open_checkpoint
from core.clock import microseconds
from core.errors import Unavailable
from core.seal import Vault, write_durably

#: Longer than this no note is written.
_LOCK_SECONDS = 2.0


class LogKey:
    """The Ed25519 key of one log; sealed as `log/<name>` in the worker's vault, and never a CA's key."""

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)

    @classmethod
    def load(cls, vault: Vault, log: str) -> LogKey:
        """The sealed key of `log`.

        Raises:
            NotFound: no key was made; run the first ceremony.
        """
        return cls(vault.get(f"log/{log}"))

    def verifier_key(self, origin: str) -> VerifierKey:
        """What watchers of the log `origin` must be given by another way."""
        return VerifierKey(origin, self._key.public_key().public_bytes_raw())

    def sign(self, head: Checkpoint) -> bytes:
        """The signed note of `head`."""
        text = head.encode()
        signature = Signature(head.origin, self.verifier_key(head.origin).key_id, self._key.sign(text.encode()))
        return Note(text, (signature,)).encode()


def create_log_keys(trail: Trail, vault: Vault, notes: Path) -> dict[str, LogKey]:
    """The keys of both logs; those that do not exist are made, with their first notes, of size 0.

    A note comes before its key is sealed: a crash in between leaves a note that no sealed key can have signed, and it is
    made again. A key that exists is taken up as it is, its note is never touched.

    Raises:
        Unavailable: the trail cannot be written.
    """
    notes.mkdir(parents=True, exist_ok=True, mode=0o700)
    return {log: LogKey.load(vault, log) if f"log/{log}" in vault.names() else _create(trail, vault, notes, log) for log in LOGS}


def _create(trail: Trail, vault: Vault, notes: Path, log: str) -> LogKey:
    seed = Ed25519PrivateKey.generate().private_bytes_raw()
    key, origin = LogKey(seed), trail.origin(log)
    keep_notes(notes, log, key, Checkpoint(origin, 0, EMPTY_ROOT))
    details = {"verifier-key": key.verifier_key(origin).encode()}
    trail.append([Event(kind=Kind.KEY_GENERATED, actor=Actor.service("operator"), object=f"key:log/{log}", details=details)])
    vault.put(f"log/{log}", seed)
    return key


def keep_notes(notes: Path, name: str, key: LogKey, head: Checkpoint) -> None:
    """Put `head`, signed, and the key that it is verified with into the folder of notes, as `name`."""
    write_durably(notes / f"{name}.note", key.sign(head), 0o644)
    write_durably(notes / f"{name}.vkey", key.verifier_key(head.origin).encode().encode() + b"\n", 0o644)


def verifier_keys(notes: Path) -> dict[str, VerifierKey]:
    """The public keys of the logs, as the folder of notes has them: to be handed out, never to be trusted by a check.

    By log (`ca`) for the present epochs, by log and epoch (`ca-1`) for closed ones.
    """
    found = [path for log in LOGS for path in (notes / f"{log}.vkey", *sorted(notes.glob(f"{log}-*.vkey")))]
    return {path.stem: VerifierKey.parse(path.read_text("ascii")) for path in found if path.exists()}


class Publisher:
    """Signs and publishes heads. One process at a time: whoever holds the leader's lock. Others may follow what it published."""

    def __init__(self, trail: Trail, keys: Mapping[str, LogKey], notes: Path) -> None:
        """Go on from the last notes in the folder `notes`. Where one is lost, an officer puts a note that he trusts in its place.

        Raises:
            Unavailable: the last note of a log is missing.
            Tampered: a note is not signed by the log's own key.
        """
        self._trail, self._keys, self._notes = trail, keys, notes
        self._opened: dict[str, tuple[bytes, Checkpoint]] = {}
        for log in keys:
            self._last(log)

    def verifier_key(self, log: str) -> str:
        """The key that watchers of `log` need, in one line."""
        return self._keys[log].verifier_key(self._trail.origin(log)).encode()

    def publish(self) -> list[bytes]:
        """Sign the head of every log that grew, and give the notes that are newly published.

        Raises:
            Tampered: a log does not extend its last signed note; nothing was signed for it.
            Unavailable: the database cannot be read or written, or the last note is gone.
        """
        published = []
        for log in self._keys:
            last = self._followed(log)
            head = self._grown(log, last)
            note = self._kept(log, head, self._keys[log].sign(head)) if head != last else self._path(log).read_bytes()
            if head.size and self._put(log, self._open(log, note), note):
                published.append(note)
        return published

    def follow(self) -> None:
        """Bring our notes up to the heads that another process published: what we sign one day must extend those.

        Raises:
            Tampered: a published head is not signed by the log's key, or does not extend our note, which stays.
            Unavailable: the last note is gone.
        """
        for log in self._keys:
            self._followed(log)

    def _followed(self, log: str) -> Checkpoint:
        """Our last note, or the newest published one when that is proved to extend it."""
        last = self._last(log)
        newest = (
            select(TrailCheckpoint.note).filter_by(log=log, epoch=self._trail.epochs[log]).order_by(TrailCheckpoint.size.desc()).limit(1)
        )
        with self._trail.database.reading() as session:
            note = (session.scalar(newest) or "").encode()
            if not note or (head := self._open(log, note)).size < last.size:
                return last
            proof = PublishedLog(session, log).consistency(last.size, head.size)
        verify_consistency(last.size, head.size, last.root, head.root, proof)
        return self._open(log, self._kept(log, head, note)) if head.size > last.size else head

    def _kept(self, log: str, head: Checkpoint, note: bytes) -> bytes:
        """What our file says once `note` about `head` was offered to it: another process of this home may have been faster."""
        path = self._path(log)
        with _alone(self._notes / "lock"):
            if self._last(log).size < head.size:
                write_durably(path, note, 0o644)
            return path.read_bytes()

    def _path(self, log: str) -> Path:
        return self._notes / f"{log}.note"

    def _last(self, log: str) -> Checkpoint:
        path = self._path(log)
        if not path.exists():
            raise Unavailable(
                "the last note of the log `{log}` is missing; put it, or one that an officer trusts, at `{path}`", log=log, path=path
            )
        return self._open(log, path.read_bytes())

    def _grown(self, log: str, last: Checkpoint) -> Checkpoint:
        """The present head, proved to extend the last signed one."""
        with self._trail.database.reading() as session:
            view = PublishedLog(session, log)
            size, root = view.head()
            if view.origin != last.origin:
                raise Tampered(f"the database calls the log `{view.origin}`, the last note `{last.origin}`")
            if size < last.size:
                raise Tampered(f"{view.name} has {size} entries, {last.size} were signed before", size, last.size - 1)
            proof = view.consistency(last.size, size)
            if size > last.size and Frontier(size, view.edge(size)).root() != root:
                raise Tampered(f"the journal of {view.name} disagrees with its entries", last.size, size - 1)
        verify_consistency(last.size, size, last.root, root, proof)
        return Checkpoint(last.origin, size, root)

    def _put(self, log: str, head: Checkpoint, note: bytes) -> bool:
        """Publish what the file holds; False when it was published already."""
        place = {"log": log, "epoch": self._trail.epochs[log], "size": head.size}
        there = select(TrailCheckpoint.size).filter_by(**place)
        with self._trail.database.reading() as session:
            if session.scalar(there) is not None:
                return False
        row = place | {"root": head.root, "note": note.decode(), "t": microseconds(self._trail.clock())}
        with self._trail.database.writing() as session:
            self._trail.ledger.put_checkpoint(session, row)
        return True

    def _open(self, log: str, note: bytes) -> Checkpoint:
        """What `note` says; the last one of each log is not verified anew."""
        known = self._opened.get(log)
        if known is None or known[0] != note:
            known = self._opened[log] = (note, open_checkpoint(note, [self._keys[log].verifier_key(self._trail.origin(log))]))
        return known[1]


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the lock file at `path`: workers of one home write the same notes, and none may put an older one over a newer.

    Raises:
        Unavailable: somebody holds it for longer than a write takes.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        _lock(descriptor, time.monotonic() + _LOCK_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, end: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise Unavailable("another process holds the notes of the logs; see which one hangs") from None
            time.sleep(0.01)
        else:
            return
