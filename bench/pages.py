"""For how long people wait for each page, in a home with very many certificates and a whole province in its directory.

Past HTTP and TLS: a page is asked of the door as its server would, with the cookie of somebody who is signed in. The
certificates are written straight into the tables, without the events that tell of them: these pages read rows. What one's own
page reads is the trail, and so one person has been decided about for years.
"""

from __future__ import annotations

import datetime as dt
import io
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import insert, select, text
from sqlalchemy.orm import Session

from audit.event import Event, Kind
from audit.permit import Actor
from audit.record import recording
from authz.people import Person
from authz.province import QUICK
from authz.sessions import open_session
from authz.snapshot import Freshness
from bench import province, servers
from bench.province import Size
from bench.rounds import Row, Spread
from bench.site import SEED, Site, make_site
from ca.tables import Certificate, Intent, Request
from core.database import Database, open_postgres
from core.settings import load
from ops import running
from ops.demo import make_demo
from ops.node import Node, open_node
from web.compose import portal

#: What is aimed at, in milliseconds, and how often each page is asked for.
AIM_P95, TIMES = 50.0, 100
#: Requests that wait at the desk of one county, and rows of one statement.
WAITING, BATCH = 2000, 1_000
#: Decisions of an application about the person who looks at their own page, and how many of them one batch takes.
DECIDED, AT_ONCE = 10_000, 500
#: Where the keys of the rows begin: behind those of the demonstration.
_FIRST = 1_000_000

#: Nobody compares facts with events meanwhile: these facts have none.
_QUIET = {"YUMEN_AUDIT_RECONCILE_PERIOD": "1d"}

#: Who looks at what.
PAGES = {
    "zhangsan": ("/", "/certificates/new", "/account"),
    "zhaoliu": ("/desk", "/desk/certificates", "/desk/certificates?holder=%E5%BC%A0%E4%B8%89", "/desk/codes"),
    "qianyi": ("/trail",),
    "zhengshi": ("/security", "/security?q=registrar", "/security/contradictions", "/applications", "/applications/oa"),
    "wujiu": ("/system",),
    "fenger": ("/applications/oa/start",),
}


def pages(folder: Path, certificates: int, staff: int) -> Iterator[Row]:
    """The wait for each page, beside the aim: of a demonstration on SQLite, and of a home of production where there is a PostgreSQL."""
    home = folder / "pages"
    make_demo(home, {}, tell=lambda _step: None)
    seed = int((home / "demo.seed").read_text("ascii"), 16)
    province.write(home, Size(staff=staff), seed=seed, hasher=QUICK)
    with running.embedded(load({"YUMEN_HOME": str(home), **_QUIET})) as node:
        while len(node.world.refresh().directory.people) < staff:
            time.sleep(0.1)
        _fill(node, node.database, certificates)
        yield from _waits(node, "SQLite")
    if not servers.missing():
        write = partial(province.write, size=Size(staff=staff), seed=SEED, hasher=QUICK)
        with closing(make_site(folder / "site", lambda path: write(path.parent), over_ldap=False)) as site:
            yield from _of_production(site, certificates)


def _of_production(site: Site, certificates: int) -> Iterator[Row]:
    """The same pages in a web process beside a worker."""
    site.environ = {**site.environ, **_QUIET}
    site.work()
    with closing(open_node(site.settings("yumen_web"), role="serve", with_keys=False)) as node:
        while node.world.refresh().freshness is Freshness.STALE:  # the worker begins to follow the directory
            time.sleep(0.1)
        admin = open_postgres(site.postgres.url("admin"))
        _fill(node, admin, certificates)
        admin.engine.dispose()
        with psycopg.connect(site.postgres.url("admin"), autocommit=True) as connection:
            connection.execute("ANALYZE")  # as autovacuum does a minute later
        yield from _waits(node, "PostgreSQL")


def _waits(node: Node, database: str) -> Iterator[Row]:
    _decided(node)
    door = portal(node)
    for uid, addresses in PAGES.items():
        cookie = _signed_in(node, uid)
        yield from (_measured(door, cookie, address, database) for address in addresses)


def _measured(door: Callable[..., Any], cookie: str, address: str, database: str) -> Row:
    path, _, query = address.partition("?")
    fields = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "QUERY_STRING": query, "REMOTE_ADDR": "127.0.0.1", "SERVER_PROTOCOL": "HTTP/1.1"}
    fields |= {"SERVER_NAME": "localhost", "SERVER_PORT": "8443", "wsgi.url_scheme": "https", "HTTP_COOKIE": f"__Host-yumen={cookie}"}

    def start(status: str, _fields: list[tuple[str, str]]) -> None:
        assert status.startswith("200"), (address, status)

    waits = []
    for _ in range(TIMES):
        began = time.perf_counter()
        b"".join(door({**fields, "wsgi.input": io.BytesIO(b"")}, start))
        waits.append(1000 * (time.perf_counter() - began))
    p95, median = statistics.quantiles(waits, n=20)[18], statistics.median(waits)
    spread, aim = Spread(p95, min(waits), max(waits)), Spread.of([AIM_P95])
    return Row(f"page {address}, {database}, p95", "ms", spread, "the aim", aim, Spread.of([p95 / AIM_P95]), f"median {median:.1f} ms")


def _fill(node: Node, database: Database, number: int) -> None:
    """So many certificates of people of the whole province, issued one after the other, and requests that wait in the demo's county."""
    directory = node.world.current().directory
    people = sorted(directory.people.values(), key=lambda one: one.uuid)
    with node.database.reading() as session:
        certificate = dict(session.execute(select(Certificate.__table__).limit(1)).mappings().one())
        intent = dict(session.execute(select(Intent.__table__).limit(1)).mappings().one())
    county, now = directory.by_uid["zhangsan"].unit, node.clock()
    for first in range(0, number + WAITING, BATCH):
        span = range(first, min(first + BATCH, number + WAITING))
        requests = [_request(n, people[n % len(people)], now, county if n >= number else "") for n in span]
        issued = [request for request in requests if request["state"] == "issued"]
        with database.writing() as session:
            _let_in(session)
            session.execute(insert(Request.__table__), requests)
            if issued:
                session.execute(insert(Intent.__table__), [intent | _intent(request) for request in issued])
                session.execute(insert(Certificate.__table__), [certificate | _certificate(request, now) for request in issued])


def _let_in(session: Session) -> None:
    """Rows without events are refused by triggers of PostgreSQL, and these have none."""
    if session.connection().dialect.name == "postgresql":
        session.execute(text("SET LOCAL session_replication_role = replica"))


def _decided(node: Node) -> None:
    """What an application asked about one person, again and again."""
    about = f"person:{node.world.current().directory.by_uid['zhangsan'].id}"
    one = Event(
        kind=Kind.DECISION, actor=Actor.service("bench"), object=about, outcome="allow", details={"action": "read", "type": "document"}
    )
    for _ in range(0, DECIDED, AT_ONCE):
        node.trail.append([one] * AT_ONCE)


def _request(n: int, person: Person, now: dt.datetime, waits_in: str) -> dict[str, Any]:
    at = now - dt.timedelta(minutes=10 * (n % 100_000))
    return {
        "id": _FIRST + n,
        "profile": "staff-sign",
        "state": "submitted" if waits_in else "issued",
        "subject": f"person:{person.id}",
        "requester": person.id,
        "owner": person.id,
        "unit": waits_in or person.unit,
        "common_name": person.name,
        "facts": "{}",
        "spki": b"",
        "spki_sha256": f"{n:064x}",
        "submitted_at": at,
        "decided_at": None if waits_in else at,
    }


def _intent(request: dict[str, Any]) -> dict[str, Any]:
    key = request["id"]
    return {"id": key, "authority": "staff", "serial": f"{key:032x}", "request_id": key, "tbs_sha256": request["spki_sha256"]}


def _certificate(request: dict[str, Any], now: dt.datetime) -> dict[str, Any]:
    same = {name: request[name] for name in ("profile", "subject", "owner", "unit", "common_name", "spki_sha256")}
    at = request["submitted_at"]
    times = {"not_before": at, "issued_at": at, "not_after": now + dt.timedelta(days=300)}
    return {
        **same,
        **times,
        "intent_id": request["id"],
        "authority": "staff",
        "serial": f"{request['id']:032x}",
        "request_id": request["id"],
    }


def _signed_in(node: Node, uid: str) -> str:
    """The token of a session of this person."""
    person = node.world.current().directory.by_uid[uid]
    with recording(node.trail) as tx:
        opened = open_session(tx, node.world, person, "password+totp")
        tx.record(Event(kind=Kind.LOGIN, actor=Actor.service("bench"), object=f"session:{opened.session}"))
    return opened.token
