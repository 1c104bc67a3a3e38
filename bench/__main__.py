"""What Yumen costs on this machine: `python -m bench`. Prints a table and writes `bench/results/<day>.json`.

Everything is measured on a demonstration home of its own, in a temporary folder on a real disk. Where another program
does the same, it is measured in the same run, alternating with ours, so that a noisy machine is noisy for both.
"""

from __future__ import annotations

import datetime as dt
import os
import platform
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import orjson
import rfc8785
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
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
from core.settings import load
from ops.demo import make_demo
from ops.node import Node, open_node

ROUNDS = 5


class Row(NamedTuple):
    """One line of the table: what, how fast, and what it is compared with."""

    what: str
    value: float
    unit: str
    note: str = ""


def microseconds(*works: Callable[[], object], times: int) -> list[float]:
    """Median microseconds a call of each of `works`, measured in alternating rounds."""
    measured: list[list[float]] = [[] for _ in works]
    for _ in range(ROUNDS):
        for work, into in zip(works, measured, strict=True):
            began = time.perf_counter()
            for _ in range(times):
                work()
            into.append((time.perf_counter() - began) / times * 1e6)
    return [statistics.median(values) for values in measured]


def decisions(node: Node) -> Iterator[Row]:
    """The evaluator on the demonstration's snapshot: policy of Yumen itself, and grants of an application."""
    snapshot = node.world.current()
    person = next(iter(snapshot.directory.people.values()))
    caller = Caller(actor=Actor.service("operator"))
    target = decide.Target("system")
    ours = microseconds(lambda: decide.decide(snapshot, caller, Action.SYSTEM_READ, target), times=5000)[0]
    yield Row("decision, own policy", ours, "µs")
    application = snapshot.applications["oa"]
    now = node.clock()
    body = {
        "subject": {"type": "person", "id": person.id},
        "action": {"name": next(iter(application.actions))},
        "resource": {"type": next(iter(application.types)), "id": "1"},
    }
    ask = authzen.read(body)
    asking = Caller(application=application)
    with_event = microseconds(lambda: authzen.decide(snapshot, application, ask, asking, now), times=2000)[0]
    yield Row("decision for an application", with_event, "µs", "with reason and event, without recording it")


def grants() -> Iterator[Row]:
    """One question against few and against many grants: the index makes it the same work."""
    holdings = [Holding("staff", "unit")]
    asked = []
    for number in (1_000, 300_000):
        held = (
            Grant(f"g{i}", f"app{i // 10}", f"act{i % 10}", "document", "staff", "", "permit", 0, 1 << 40, 0, ()) for i in range(number)
        )
        permits, key = index(held), (f"app{number // 20}", "act3", "document")
        question = Question(key, holdings, frozenset({"unit"}), 1_790_000_000, 2, {})
        assert weigh(permits, {}, question).allowed
        asked.append(lambda permits=permits, question=question: weigh(permits, {}, question))
    few, many = microseconds(*asked, times=20_000)
    yield Row("grants weighed, 300,000 held", many, "µs", f"1,000 held: {few:.2f} µs")


def canonical_json() -> Iterator[Row]:
    """The bytes of one event, and the same by the reference package."""
    body = {"t": 1_790_000_000_000_000, "code": "AZ1001", "actor": {"kind": "person", "id": "p_" + "0" * 32}, "roles": ["staff"] * 3}
    assert canonical(body) == rfc8785.dumps(body)
    ours, theirs = microseconds(lambda: canonical(body), lambda: rfc8785.dumps(body), times=2000)
    yield Row("canonical JSON of an event", ours, "µs", f"rfc8785: {theirs:.1f} µs")


def trail(node: Node, threads: int = 16, seconds: float = 4.0) -> Iterator[Row]:
    """Events a second, and how long each waited until it was durably in the tree."""
    waits: list[float] = []
    event = Event(kind=Kind.DECISION, actor=Actor.service("bench"), object="bench", outcome="allow")
    end = time.perf_counter() + seconds

    def write() -> None:
        mine = []
        while (began := time.perf_counter()) < end:
            node.trail.append([event])
            mine.append(time.perf_counter() - began)
        waits.extend(mine)

    writers = [threading.Thread(target=write) for _ in range(threads)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    centiles = statistics.quantiles(waits, n=100)
    yield Row("events in the tree", len(waits) / seconds, "/s", f"{threads} threads, one process")
    yield Row("event, acknowledged", centiles[49] * 1e3, "ms", f"p99 {centiles[98] * 1e3:.1f} ms")


def status(node: Node) -> Iterator[Row]:
    """OCSP answers: kept ones, and ones signed for a nonce; the reference builder signs the same."""
    chain = x509.load_pem_x509_certificates((node.settings.home / "certs" / "oa.pem").read_bytes())
    leaf, issuer = chain[0], chain[1]
    builder = reference.OCSPRequestBuilder().add_certificate(leaf, issuer, hashes.SHA256())
    plain = builder.build().public_bytes(Encoding.DER)
    nonced = builder.add_extension(x509.OCSPNonce(os.urandom(16)), critical=False).build().public_bytes(Encoding.DER)
    key, now = ec.generate_private_key(ec.SECP256R1()), node.clock()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "reference")])
    own = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    responder = own.not_valid_before(now).not_valid_after(now + dt.timedelta(days=1)).sign(key, hashes.SHA256())

    def theirs() -> bytes:
        good = reference.OCSPCertStatus.GOOD
        about = reference.OCSPResponseBuilder().add_response(leaf, issuer, hashes.SHA256(), good, now, now, None, None)
        return about.responder_id(reference.OCSPResponderEncoding.HASH, responder).sign(key, hashes.SHA256()).public_bytes(Encoding.DER)

    answer = node.responder.answer("applications", plain)
    assert reference.load_der_ocsp_response(answer.der).certificate_status is reference.OCSPCertStatus.GOOD
    kept = microseconds(lambda: node.responder.answer("applications", plain), times=500)[0]
    yield Row("OCSP answer, kept", kept, "µs")
    ours, other = microseconds(lambda: node.responder.answer("applications", nonced), theirs, times=200)
    yield Row("OCSP answer, signed", ours, "µs", f"cryptography's builder, without look-up: {other:.0f} µs")


@contextmanager
def demonstration() -> Iterator[tuple[Node, float]]:
    """A home of its own, opened, and the seconds that making it took."""
    with tempfile.TemporaryDirectory(prefix="yumen-bench-") as folder:
        home = Path(folder) / "home"
        began = time.perf_counter()
        make_demo(home, {}, tell=lambda _step: None)
        took = time.perf_counter() - began
        node = open_node(load({"YUMEN_HOME": str(home)}), role="serve", with_keys=True)
        try:
            yield node, took
        finally:
            node.close()


def main() -> None:
    """Measure, print, write down."""
    with demonstration() as (node, took):
        rows = [Row("demonstration made", took, "s"), *canonical_json(), *grants(), *decisions(node), *status(node), *trail(node)]
    table = Table("what", "value", "unit", "note")
    for row in rows:
        table.add_row(row.what, f"{row.value:,.2f}", row.unit, row.note)
    Console().print(table)
    results = Path(__file__).with_name("results")
    results.mkdir(exist_ok=True)
    today = dt.datetime.now(dt.UTC)
    machine = {"at": today.isoformat(), "python": platform.python_version(), "machine": platform.machine(), "cores": os.cpu_count()}
    document = {"machine": machine, "rows": [row._asdict() for row in rows]}
    (results / f"{today:%Y-%m-%dT%H%M%S}.json").write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))


if __name__ == "__main__":
    main()
