"""Homes for trail tests: a real SQLite file or a database of a real PostgreSQL, a clock that ticks a millisecond a look, and fixed keys."""

from __future__ import annotations

import datetime as dt
import re
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import psycopg

from audit import check
from audit.checkpoint import LogKey, Publisher, keep_notes
from audit.event import Event, Kind
from audit.permit import Actor, ActorKind
from audit.rounds import Result, Rounds
from audit.tables import INSERT_ONLY
from audit.trail import LOGS, Trail, Writer, open_trail
from audit.verifier.database import Report
from audit.verifier.merkle import EMPTY_ROOT
from audit.verifier.note import Checkpoint, VerifierKey, open_checkpoint
from core.database import Database, Model, open_postgres, open_sqlite
from core.settings import Audit

START = dt.datetime(2026, 3, 1, 8, 0, tzinfo=dt.UTC)
PRIVACY = bytes(range(32))
SEEDS = {"ca": b"\x01" * 32, "access": b"\x02" * 32}
CLERK = Actor(ActorKind.PERSON, "p_" + "a" * 32, "password+totp", roles=("registrar",))


class Ticking:
    """Each look at it is a millisecond later, so that times are fixed and ordered."""

    def __init__(self, now: dt.datetime = START) -> None:
        self.now = now

    def __call__(self) -> dt.datetime:
        self.now += dt.timedelta(milliseconds=1)
        return self.now


@dataclass
class Home:
    folder: Path
    database: Database
    clock: Ticking
    trail: Trail
    publisher: Publisher
    keys: list[VerifierKey]

    @property
    def file(self) -> Path:
        return self.folder / "yumen.db"

    def save_heads(self) -> list[Checkpoint]:
        """What an officer carries away: the present heads, signed, opened with the keys from the ceremony."""
        self.publisher.publish()
        return [open_checkpoint((self.folder / "notes" / f"{log}.note").read_bytes(), self.keys) for log in LOGS]

    def check(self, heads: list[Checkpoint]) -> Report:
        """The outsider's check of the whole database."""
        return check.evidence(self.database, heads)

    def rows(self, sql: str) -> list[Any]:
        """What a stranger with every right on the database reads, or does."""
        return stranger(self.folder, sql)

    def attack(self, *statements: str) -> None:
        """What a stranger does who puts the triggers out of his way."""
        for statement in statements:
            stranger(self.folder, statement, unguarded=True)


def open_home(folder: Path, *, boot: str = "b00t", node: str = "web", settings: Audit | None = None) -> Home:
    """Open the home in `folder`, making it when it is new."""
    notes = folder / "notes"
    database = open_database(folder)
    if database.lock:
        make_tables(database)
    clock = Ticking()
    trail = open_trail(database, clock, Writer(node, boot), PRIVACY, settings or Audit(origin="yumen.test"))
    keys = {log: LogKey(SEEDS[log]) for log in LOGS}
    if not notes.exists():
        notes.mkdir()
        for log, key in keys.items():
            keep_notes(notes, log, key, Checkpoint(trail.origin(log), 0, EMPTY_ROOT))
    publisher = Publisher(trail, keys, notes)
    return Home(folder, database, clock, trail, publisher, [keys[log].verifier_key(trail.origin(log)) for log in LOGS])


def make_tables(database: Database) -> None:
    """The trail's tables; PostgreSQL has them from its template."""
    Model.metadata.create_all(database.engine, tables=[table for name, table in Model.metadata.tables.items() if name.startswith("trail_")])


def url(folder: Path, role: str) -> str:
    """Where the PostgreSQL database of `folder` is, for `role`."""
    return (folder / "postgres").read_text().format(role=role)


def go_round(verified: Rounds, portion: int = 0) -> Result:
    """The rest of the round under way, and a whole one after it: what is there now has been seen."""
    for _ in range(2):
        before = ended_at(verified)
        while ended_at(verified) == before:
            result = verified.turn(portion)
    return result


def ended_at(verified: Rounds) -> int:
    """When the last whole round ended, in microseconds; 0 before the first one has."""
    return verified._state.whole_at if verified._state else 0


def open_database(folder: Path, role: str = "yumen_worker") -> Database:
    """The database of a folder: the PostgreSQL that a file in it names, else an SQLite file."""
    return open_postgres(url(folder, role)) if (folder / "postgres").exists() else open_sqlite(folder / "yumen.db")


def _postgres(sql: str) -> str:
    """The same in PostgreSQL's words."""
    return re.sub(r"zeroblob\((\d+)\)", r"decode(repeat('00', \1), 'hex')", sql)


def stranger(folder: Path, sql: str, *, unguarded: bool = False) -> list[Any]:
    """Run `sql` with every right on the database of `folder`; `unguarded` puts the triggers out of the way first."""
    if not (folder / "postgres").exists():
        with closing(sqlite3.connect(folder / "yumen.db", isolation_level=None)) as file:
            for table, verb in product(INSERT_ONLY if unguarded else (), ("update", "delete")):
                file.execute(f"DROP TRIGGER IF EXISTS {table}_no_{verb}")
            return file.execute(sql).fetchall()
    with psycopg.connect(url(folder, "admin"), autocommit=True, options="-c search_path=yumen,audit") as server:
        if unguarded:
            server.execute("SET session_replication_role = replica")  # no trigger fires
        cursor = server.execute(_postgres(sql))
        return cursor.fetchall() if cursor.description else []


def die(home: Home) -> None:
    """End without a word, as a killed process does; the database is let go of."""
    home.trail._flusher.close()
    home.database.engine.dispose()


def close_home(home: Home) -> None:
    """Stop writing and close the file."""
    home.trail.close()
    home.database.engine.dispose()


def decision(number: int = 0, **more: object) -> Event:
    """An event of the log `access`."""
    facts = {"kind": Kind.DECISION, "actor": CLERK, "object": f"app:oa-{number}", "outcome": "allow", "details": {"n": number}}
    return Event(**(facts | more))


def issued(number: int = 0, **more: object) -> Event:
    """An event of the log `ca`."""
    facts = {
        "kind": Kind.CERT_ISSUED,
        "actor": Actor.service("issuance"),
        "object": f"cert:staff/{number:x}",
        "cert": "ab" * 32 + f":{number:x}",
    }
    return Event(**(facts | more))
