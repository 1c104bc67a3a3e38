"""What bounds us: the disk, the database with nothing around it, and the signature alone."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from bench.rounds import Work

#: Bytes of one event as it is stored, about.
EVENT = os.urandom(1024)


@contextmanager
def one_fsync(folder: Path) -> Iterator[Work]:
    """Append one event to a file and wait for the disk."""
    descriptor = os.open(folder / "fsync", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def work() -> None:
        os.write(descriptor, EVENT)
        os.fdatasync(descriptor)

    try:
        yield work
    finally:
        os.close(descriptor)


@contextmanager
def one_commit(folder: Path) -> Iterator[Work]:
    """Insert one event into a table and commit, with the same durability as ours: what a commit per request would cost."""
    with closing(sqlite3.connect(folder / "commit.db", isolation_level=None)) as db:
        for pragma in ("journal_mode=WAL", "synchronous=FULL"):
            db.execute(f"PRAGMA {pragma}")
        db.execute("CREATE TABLE IF NOT EXISTS event (idx INTEGER PRIMARY KEY, body BLOB NOT NULL)")

        def work() -> None:
            db.execute("BEGIN IMMEDIATE")
            db.execute("INSERT INTO event (body) VALUES (?)", (EVENT,))
            db.execute("COMMIT")

        yield work


def one_signature() -> Work:
    """Sign the bytes of an OCSP answer with P-256, and nothing else."""
    key, algorithm, tbs = ec.generate_private_key(ec.SECP256R1()), ec.ECDSA(hashes.SHA256()), os.urandom(200)
    return lambda: key.sign(tbs, algorithm)


def a_second(work: Work, seconds: float) -> float:
    """How often a second one caller does `work`."""
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        work()
        count += 1
    return count / (time.perf_counter() - began)
