"""Homes for trail tests: a real SQLite file, a clock that ticks a millisecond a look, and fixed keys."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

from audit.checkpoint import LogKey, Publisher
from audit.event import Event, Kind
from audit.permit import Actor, ActorKind
from audit.trail import LOGS, Trail, Writer, open_trail
from audit.verifier.database import Report, check_database
from audit.verifier.merkle import EMPTY_ROOT
from audit.verifier.note import Checkpoint, VerifierKey, open_checkpoint
from core.database import Database, Model, open_sqlite
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
        """The outsider's check of the database file."""
        return check_database(self.file, heads)


def open_home(folder: Path, *, boot: str = "b00t", node: str = "web", settings: Audit | None = None) -> Home:
    """Open the home in `folder`, making it when it is new."""
    notes = folder / "notes"
    database = open_sqlite(folder / "yumen.db")
    Model.metadata.create_all(database.engine, tables=[table for name, table in Model.metadata.tables.items() if name.startswith("trail_")])
    clock = Ticking()
    trail = open_trail(database, clock, Writer(node, boot), PRIVACY, settings or Audit(origin="yumen.test"))
    keys = {log: LogKey(SEEDS[log]) for log in LOGS}
    if not notes.exists():
        notes.mkdir()
        for log, key in keys.items():
            (notes / f"{log}.note").write_bytes(key.sign(Checkpoint(trail.origin(log), 0, EMPTY_ROOT)))
    publisher = Publisher(trail, keys, notes)
    return Home(folder, database, clock, trail, publisher, [keys[log].verifier_key(trail.origin(log)) for log in LOGS])


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
