"""Searching a large trail, on SQLite and on PostgreSQL: every kind of question beside the same entries read by their places.

The trail is written by its own code, so that rows, indexes and openings are what they are. Its last third holds decisions
alone: what is asked for is often far back.
"""

from __future__ import annotations

import datetime as dt
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine

import migrations
from audit.event import Event, Kind
from audit.permit import Actor, ActorKind
from audit.search import find, parse_query
from audit.trail import Trail, Writer, open_trail
from bench import servers
from bench.rounds import ROUNDS, Row, Spread, compared
from core.database import Database, open_postgres, open_sqlite
from core.settings import Audit
from migrations import rights

#: What is aimed at, in milliseconds, and the entries of a page.
AIM_P95, PAGE = 200.0, 50
#: How long a page looks before it says how far it came, in seconds: as the pages and the API do.
PATIENCE = 0.1

_BATCH, _PEOPLE, _APPLICATIONS, _UNITS = 250, 20_000, 40, 1400
_ISSUER = "ab" * 32
_BEGINNING = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


class _Clock:
    """Half a minute at each look: a million events are a year."""

    def __init__(self) -> None:
        self.now = _BEGINNING

    def __call__(self) -> dt.datetime:
        self.now += dt.timedelta(seconds=30)
        return self.now


def _person(number: int) -> str:
    return f"p_{number:032x}"


def _decision(draw: random.Random) -> Event:
    application = f"app-{min(int(draw.expovariate(0.3)), _APPLICATIONS - 1)}"
    person, refused = _person(draw.randrange(_PEOPLE)), draw.random() < 0.06
    return Event(
        kind=Kind.DECISION,
        actor=Actor(ActorKind.APPLICATION, application, "cert"),
        object=f"person:{person}",
        outcome="deny" if refused else "allow",
        reason="no_grant" if refused else "allowed",
        rule=f"g{draw.randrange(5000)}",
        revision=7,
        source=f"10.0.0.{min(int(draw.expovariate(0.5)), 250)}",
        request_id=f"{draw.getrandbits(128):032x}",
        details={"action": "read", "type": "document", "subject": person, "inputs": ["staff", "unit", 2, "x" * 200]},
        personal={"resource": f"document-{draw.randrange(100_000)}"},
    )


def _other(draw: random.Random, number: int) -> Event:
    """Whatever else happens: logins, requests and their certificates, refusals, heartbeats."""
    person = _person(draw.randrange(_PEOPLE))
    actor, scope = Actor(ActorKind.PERSON, person, "password+totp", roles=("staff",)), f"unit-{draw.randrange(_UNITS)}"
    request, cert = f"request:{number // 40}", f"{_ISSUER}:{number:x}"
    service = Actor.service("issuance")
    told: dict[str, Any] = {"request_id": f"{draw.getrandbits(128):032x}", "source": f"10.1.{draw.randrange(250)}.{draw.randrange(250)}"}
    kinds: list[Event] = [
        Event(kind=Kind.LOGIN, actor=actor, object=f"session:{number:x}", scope=scope, **told),
        Event(
            kind=Kind.LOGIN_FAILED, actor=Actor(ActorKind.ANONYMOUS, "", "none"), object="login", outcome="fail", reason="bad-code", **told
        ),
        Event(kind=Kind.REFUSAL, actor=actor, object=request, outcome="deny", reason="out-of-scope", scope=scope, **told),
        Event(kind=Kind.WRITER_HEARTBEAT, actor=Actor.service("trail"), object="node:web"),
        Event(kind=Kind.REQUEST_SUBMITTED, actor=actor, object=request, scope=scope, personal={"name": person}, **told),
        Event(kind=Kind.REQUEST_APPROVED, actor=actor, object=request, scope=scope, **told),
        Event(kind=Kind.CERT_INTENDED, actor=service, object=request, cert=cert),
        Event(kind=Kind.CERT_ISSUED, actor=service, object=f"cert:staff/{number:x}", cert=cert, scope=scope),
        Event(kind=Kind.CERT_REVOKED, actor=actor, object=f"cert:staff/{number:x}", cert=cert, scope=scope, **told),
    ]
    return draw.choice(kinds) if number % 100_000 else Event(kind=Kind.CERT_FAILED, actor=service, object=request, outcome="error")


def fill(trail: Trail, number: int) -> None:
    """Write `number` events, always the same."""
    draw = random.Random(7)
    for first in range(0, number, _BATCH):
        many = [
            _decision(draw) if at >= 2 * number // 3 or (at and draw.random() < 0.85) else _other(draw, at)
            for at in range(first, min(first + _BATCH, number))
        ]
        trail.append(many)


#: What officers ask. Each is asked for its first page and for the next one.
QUESTIONS = (
    *("", "log:ca", "log:access/1", "code:CA1004", "code:cert.revoked", "code:AZ9*", "out:deny", "out:error", "-out:allow", "-code:AZ1*"),
    *(f"actor:person:{_person(11)}", "actor:app-0", "actor:app-30", f"obj:person:{_person(11)}", "obj:request:400", "obj:request:*"),
    *("scope:unit-11", "scope:unit-1*", f"cert:{2000:x}", f"cert:{_ISSUER}:{4000:x}", "source:10.0.0.0", "source:10.1.7.7"),
    *(f"name:{_person(11)}", "resource:document-7", "req:00", "req:0*", f"id:{'00' * 16}", "since:2026-03-01 until:2026-03-02"),
    *("actor:app-0 out:deny", "actor:app-0 out:error", f"actor:app-1 obj:person:{_person(11)}", "code:AZ1001 out:deny source:10.0.0.0"),
    *("log:ca since:2026-02-01 until:2026-02-02", "-actor:app-0 -actor:app-1 code:AZ1001", "out:allow obj:request:*"),
)


def _asked(database: Database, trail: Trail) -> tuple[list[float], list[float]]:
    """Milliseconds of each question, and of reading the entries that it found by their places alone."""
    ours, bare = [], []
    for question in QUESTIONS:
        after = ""
        for _ in range(2):
            began = time.perf_counter()
            with database.reading() as session:
                page = find(session, parse_query(question, trail.privacy), after, PAGE, PATIENCE)
            ours.append((time.perf_counter() - began) * 1e3)
            after = page.after
            bare.append(_read(database, [(one.log, one.epoch, one.idx) for one in page.entries]))
    return ours, bare


def _read(database: Database, places: Sequence[tuple[str, int, int]]) -> float:
    mark = "?" if database.lock else "%s"
    sql = f"SELECT body FROM trail_event WHERE log = {mark} AND epoch = {mark} AND idx = {mark}"
    began = time.perf_counter()
    driver = database.engine.raw_connection()
    try:
        cursor = driver.cursor()
        for place in places:
            cursor.execute(sql, place).fetchall()
    finally:
        driver.close()
    return (time.perf_counter() - began) * 1e3


@contextmanager
def _sqlite(folder: Path) -> Iterator[Database]:
    database = open_sqlite(folder / "trail.db")
    migrations.upgrade(database.engine)
    yield database
    database.engine.dispose()


@contextmanager
def _postgres() -> Iterator[Database]:
    server = servers.Postgres()
    try:
        admin = create_engine(server.url("admin").replace("postgresql:", "postgresql+psycopg:"))
        rights.prepare(admin)
        database = open_postgres(server.url("yumen_worker"))
        yield database
        database.engine.dispose()
        admin.dispose()
    finally:
        server.close()


def searches(folder: Path, number: int) -> Iterator[Row]:
    """Every question on a trail of `number` events, on both databases in turn, round by round."""
    with _sqlite(folder) as file, _postgres() as server:
        homes: list[tuple[str, Database, Trail]] = []
        for name, database in (("SQLite", file), ("PostgreSQL", server)):
            trail = open_trail(database, _Clock(), Writer("bench", "b00t"), bytes(range(32)), Audit(origin="yumen.bench"))
            fill(trail, number)
            homes.append((name, database, trail))
        yield from _told(homes, number)
        for _name, _database, trail in homes:
            trail.close()


def _told(homes: Sequence[tuple[str, Database, Trail]], number: int) -> Iterator[Row]:
    found: dict[str, list[tuple[list[float], list[float]]]] = {name: [] for name, *_ in homes}
    for _round in range(ROUNDS):
        for name, database, trail in homes:
            found[name].append(_asked(database, trail))
    note = f"{number:,} events, {len(QUESTIONS)} questions, two pages of {PAGE} each; less is better"
    for name, rounds in found.items():
        p95 = [statistics.quantiles(ours, n=20)[18] for ours, _ in rounds]
        yield compared(f"trail search on {name}, p95", "ms", p95, "the aim", [AIM_P95] * len(p95), note)
        means, bare = [statistics.mean(ours) for ours, _ in rounds], [statistics.mean(read) for _, read in rounds]
        yield compared(f"trail search on {name}, mean", "ms", means, "the entries found, read by their places", bare, "less is better")
        slowest = max(range(len(rounds[0][0])), key=lambda at: statistics.median(ours[at] for ours, _ in rounds))
        worst = [ours[slowest] for ours, _ in rounds]
        yield Row(f"trail search on {name}, slowest question", "ms", Spread.of(worst), note=f"`{QUESTIONS[slowest // 2]}`")


def details(database: Database, trail: Trail) -> list[tuple[str, Any]]:
    """Milliseconds of each question, the slowest first: for whoever tunes it."""
    ours, _ = _asked(database, trail)
    return sorted(zip((question for question in QUESTIONS for _ in range(2)), ours, strict=True), key=lambda told: -told[1])
