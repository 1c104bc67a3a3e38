"""What Yumen costs on this machine: `python -m bench`. Prints a table and writes `bench/results/<moment>.json`.

The embedded form runs on a demonstration home of its own, under `build/`, on the disk of this working copy, past HTTP and
TLS; the production form over HTTP, on a PostgreSQL and an OpenLDAP of its own. Each figure stands beside what bounds it,
measured in the same rounds. docs/performance.md says how to read it.
"""

from __future__ import annotations

import argparse
import datetime as dt
import io
import json
import os
import platform
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import cryptography
import orjson
import rfc8785
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp as reference
from rich.console import Console
from rich.table import Table

from audit.event import Event, Kind, canonical
from audit.permit import Action, Actor
from authz import authzen, decide
from authz.caller import Caller
from authz.evaluate import Question, weigh
from authz.people import Holding
from authz.snapshot import Grant, index
from bench import issuing, limits, ocsp, pages, peer, production, searching, servers
from bench.province import Size
from bench.rounds import Row, Spread, Work, by_threads, compared, in_turn, microseconds
from core.settings import load
from ops import running
from ops.demo import make_demo
from ops.node import Node, open_node
from web.compose import portal

ROOT = Path(__file__).parents[1]
#: Callers at the same time, and how long one round of them lasts.
CALLERS, SECONDS = 32, 1.0


def a_request(door: Callable[..., Any], environ: dict[str, Any], body: bytes) -> Work:
    """Call the door as its server would; anything but 200 ends the measurement."""

    def start(status: str, _fields: list[tuple[str, str]]) -> None:
        assert status.startswith("200"), status

    facts = {"REQUEST_METHOD": "POST", "REMOTE_ADDR": "127.0.0.1", "SERVER_PROTOCOL": "HTTP/1.1", "CONTENT_LENGTH": str(len(body))}
    return lambda: b"".join(door({**facts, **environ, "wsgi.input": io.BytesIO(body)}, start))


def the_question(node: Node) -> dict[str, Any]:
    """A question of the application `oa` about a person that there is."""
    snapshot = node.world.current()
    person, application = next(iter(snapshot.directory.people.values())), snapshot.applications["oa"]
    return {
        "subject": {"type": authzen.SUBJECT_TYPE, "id": person.uid},
        "action": {"name": min(application.actions)},
        "resource": {"type": min(application.types), "id": "1", "properties": {"unit": person.unit}},
    }


def chain_of(node: Node) -> list[x509.Certificate]:
    """The certificate of the application `oa` and those above it."""
    return x509.load_pem_x509_certificates((node.settings.home / "certs" / "oa.pem").read_bytes())


def evaluations(node: Node, folder: Path) -> Iterator[Row]:
    """One question over the door, answered and durably in the tree: alone, by many callers at once, and these with a commit for each."""
    environ = {
        "PATH_INFO": "/access/v1/evaluation",
        "CONTENT_TYPE": "application/json",
        "yumen.peer_certificate": chain_of(node)[0].public_bytes(Encoding.DER),
    }
    ask = a_request(portal(node), environ, orjson.dumps(the_question(node)))
    waits: list[float] = []

    def together() -> float:
        rate, mine = by_threads(ask, CALLERS, SECONDS)
        waits.extend(mine)
        return rate

    def each() -> float:
        setattr(node.trail, "append", peer.commit_each(node.trail))  # noqa: B010 - the one difference, put in by hand
        try:
            return by_threads(ask, CALLERS, SECONDS)[0]
        finally:
            delattr(node.trail, "append")

    with limits.one_commit(folder) as commit, limits.one_fsync(folder) as fsync:
        alone, bare, disk = microseconds(ask, commit, fsync, times=200)
        yield compared("evaluation, one caller", "µs", alone, "one bare commit", bare, "less is better")
        yield compared("one bare commit", "µs", bare, "one write and fdatasync", disk, "the database, without us")
        many, apart, one_each = in_turn(together, each, lambda: limits.a_second(commit, SECONDS))
    centiles = statistics.quantiles(waits, n=100)
    note = f"{CALLERS} callers; p50 {centiles[49]:.1f} ms, p99 {centiles[98]:.1f} ms; more is better"
    yield compared("evaluations, many callers", "/s", many, "the same, a commit for each", apart, note)
    yield compared("evaluations, many callers", "/s", many, "one bare commit per request", one_each, note)


def events(node: Node, folder: Path) -> Iterator[Row]:
    """Events by themselves, acknowledged when they are in the tree."""
    event = Event(kind=Kind.DECISION, actor=Actor.service("bench"), object="bench", outcome="allow")

    with limits.one_commit(folder) as commit:
        together = lambda: by_threads(lambda: node.trail.append([event]), CALLERS, SECONDS)[0]  # noqa: E731 - one line, used once
        many, one_each = in_turn(together, lambda: limits.a_second(commit, SECONDS))
    yield compared("events into the tree", "/s", many, "one commit per event", one_each, f"{CALLERS} threads; more is better")


def status(node: Node) -> Iterator[Row]:
    """OCSP over the door: a kept answer, and one signed for a nonce, beside the signature alone."""
    leaf, issuer = chain_of(node)[:2]
    builder = reference.OCSPRequestBuilder().add_certificate(leaf, issuer, hashes.SHA256())
    plain = builder.build().public_bytes(Encoding.DER)
    nonced = builder.add_extension(x509.OCSPNonce(os.urandom(16)), critical=False).build().public_bytes(Encoding.DER)
    door = portal(node)
    environ = {"PATH_INFO": "/ocsp/applications", "CONTENT_TYPE": "application/ocsp-request"}
    answer = reference.load_der_ocsp_response(node.responder.answer("applications", plain).der)
    assert answer.certificate_status is reference.OCSPCertStatus.GOOD
    kept, signed, naked = microseconds(a_request(door, environ, plain), a_request(door, environ, nonced), limits.one_signature(), times=500)
    yield compared("OCSP answer, signed for a nonce", "µs", signed, "naked P-256 signature", naked, "less is better")
    yield compared("OCSP answer, kept", "µs", kept, "naked P-256 signature", naked, "less is better")


def decisions(node: Node) -> Iterator[Row]:
    """The evaluator on the demonstration's snapshot, without recording: nothing waits for a disk here."""
    snapshot, now = node.world.current(), node.clock()
    caller, target = Caller(actor=Actor.service("operator")), decide.Target("system")
    application = snapshot.applications["oa"]
    ask, asking = authzen.read(the_question(node)), Caller(application=application)
    ours, theirs = microseconds(
        lambda: decide.decide(snapshot, caller, Action.SYSTEM_READ, target),
        lambda: authzen.decide(snapshot, application, ask, asking, now),
        times=2000,
    )
    yield Row("decision, own policy", "µs", Spread.of(ours))
    yield Row("decision for an application", "µs", Spread.of(theirs), note="with its reason and event, not recorded")


def grants() -> Iterator[Row]:
    """One question against few and against many grants: the index makes it the same work."""
    holdings = [Holding("staff", "unit")]
    asked: list[Work] = []
    for number in (1_000, 300_000):
        held = (
            Grant(f"g{i}", f"app{i // 10}", f"act{i % 10}", "document", "staff", "", "permit", 0, 1 << 40, 0, ()) for i in range(number)
        )
        permits, key = index(held), (f"app{number // 20}", "act3", "document")
        question = Question(key, holdings, frozenset({"unit"}), 1_790_000_000, 2, {})
        assert weigh(permits, {}, question).allowed
        asked.append(partial(weigh, permits, {}, question))
    few, many = microseconds(*asked, times=20_000)
    yield compared("300,000 grants weighed", "µs", many, "1,000 grants weighed", few, "should stay near 1")


def canonical_json() -> Iterator[Row]:
    """The bytes of one event, and the same by the reference package."""
    body: dict[str, Any] = {
        "t": 1_790_000_000_000_000,
        "code": "AZ1001",
        "actor": {"kind": "person", "id": "p_" + "0" * 32},
        "roles": ["staff"] * 3,
    }
    assert canonical(body) == rfc8785.dumps(body)
    ours, theirs = microseconds(lambda: canonical(body), lambda: rfc8785.dumps(body), times=2000)
    yield compared("canonical JSON of an event", "µs", ours, "the package rfc8785", theirs, "less is better")


def starting(home: Path) -> Iterator[Row]:
    """What a start needs: loading the code of `yumen serve`, and opening a home that is there."""

    def load_all() -> float:
        return _seconds(lambda: subprocess.run([sys.executable, "-c", "import ops.running, web.server"], cwd=ROOT, check=True))

    def bare() -> float:
        return _seconds(lambda: subprocess.run([sys.executable, "-c", "import flask, sqlalchemy.orm, cryptography.x509"], check=True))

    def opened() -> float:
        return _seconds(lambda: open_node(load({"YUMEN_HOME": str(home)}), role="serve", with_keys=True).close())

    ours, theirs, opening = in_turn(load_all, bare, opened)
    yield compared("loading the code to serve", "s", ours, "Flask, SQLAlchemy, cryptography", theirs, "less is better")
    yield Row("opening and closing a home", "s", Spread.of(opening), note="keys unsealed, trail opened, directory read")


def machine(folder: Path) -> dict[str, Any]:
    """Where this was measured."""
    mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text("utf-8").splitlines()]
    under = [(len(point), kind) for point, kind in mounts if folder.is_relative_to(point)]
    model = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines() if "model name" in line]
    return {
        "at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "processor": next(iter(model), platform.machine()),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "system": platform.release(),
        "disk": max(under)[1] if under else "?",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "postgresql": servers.version(),
        "cryptography": cryptography.__version__,
    }


def show(rows: list[Row], about: dict[str, Any]) -> None:
    """The table, with the machine below it."""
    table = Table("what", "unit", "median", "min–max", "against", "median", "ratio", "min–max", "note")
    for row in rows:
        limit, ratio = (_number(row.limit.median) if row.limit else ""), (_number(row.ratio.median) if row.ratio else "")
        ours, between = _number(row.ours.median), _between(row.ratio)
        table.add_row(row.what, row.unit, ours, _between(row.ours), row.against, limit, ratio, between, row.note)
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(table)
    console.print(", ".join(f"{name} {value}" for name, value in about.items()))


def embedded(folder: Path) -> Iterator[Row]:
    """Everything in one process on SQLite."""
    make_demo(folder / "home", {}, tell=lambda _step: None)
    yield from (*starting(folder / "home"), *canonical_json(), *grants())
    with _opened(folder / "home") as node:
        yield from (*decisions(node), *status(node), *evaluations(node, folder), *events(node, folder))


#: What can be measured, by name.
PARTS = ("embedded", "ocsp", "issuance", "pages", "decisions", "changes", "searches")


def main() -> None:
    """Measure, print, write down."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.partition("\n\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (all)", default=[])
    parser.add_argument("--staff", type=int, default=Size().staff, help="people in the directory of a province (%(default)s)")
    parser.add_argument("--events", type=int, default=1_000_000, help="events of the trail that is searched (%(default)s)")
    parser.add_argument("--certificates", type=int, default=100_000, help="certificates of the home with pages (%(default)s)")
    parser.add_argument("--changes", type=int, default=20, help="changes in the directory (%(default)s)")
    parser.add_argument("--flush", type=float, default=0.0, metavar="MS", help="make each flush of the database's disk slower (decisions)")
    told = parser.parse_args()
    if unknown := set(told.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    wanted = [part for part in PARTS if part in (told.parts or PARTS)]
    if lacking := servers.missing():
        print(f"missing: {', '.join(lacking)}; the production form is left out. Debian: apt-get install postgresql slapd ldap-utils")
        wanted = [part for part in wanted if part not in {"decisions", "changes", "searches"}]
    if "ocsp" in wanted and (lacking := ocsp.lacking()):
        print(f"missing: {', '.join(lacking)}; OCSP is measured without. Debian: apt-get install {' '.join(lacking)}")
    (ROOT / "build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=ROOT / "build") as name:
        folder = Path(name)
        about, size = machine(folder) | {"flush_ms": told.flush}, Size(staff=told.staff)
        measures: dict[str, Callable[[], Iterator[Row]]] = {
            "embedded": lambda: embedded(folder),
            "ocsp": lambda: ocsp.over_http(folder),
            "issuance": lambda: issuing.issuance(folder),
            "pages": lambda: pages.pages(folder, told.certificates, told.staff),
            "decisions": lambda: production.decisions(folder, size, told.flush),
            "changes": lambda: production.changes(folder, size, told.changes),
            "searches": lambda: searching.searches(folder, told.events),
        }
        rows: list[Row] = []
        try:
            for part in wanted:
                rows += measures[part]()
        finally:  # whatever was measured is told, also when a later part fails
            show(rows, about)
            keep(rows, about)


def keep(rows: list[Row], about: dict[str, Any]) -> None:
    """Write down what was measured."""
    results = Path(__file__).with_name("results")
    results.mkdir(exist_ok=True)
    document = {"machine": about, "rows": [_told(row) for row in rows]}
    (results / f"{about['at'].replace(':', '')[:17]}.json").write_text(json.dumps(document, ensure_ascii=False, indent=2), "utf-8")


@contextmanager
def _opened(home: Path) -> Iterator[Node]:
    with running.embedded(load({"YUMEN_HOME": str(home)})) as node:  # with its worker, which follows the directory
        time.sleep(0.5)  # the first poll of the status thread
        yield node


def _seconds(work: Work) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _between(spread: Spread | None) -> str:
    return f"{_number(spread.least)}–{_number(spread.most)}" if spread else ""


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _told(row: Row) -> dict[str, Any]:
    return {name: value._asdict() if isinstance(value, Spread) else value for name, value in row._asdict().items()}


if __name__ == "__main__":
    main()
