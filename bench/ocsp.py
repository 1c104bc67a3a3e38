"""OCSP over plain HTTP beside other responders that tell the same: each on one core, asked on a new connection every time.

`openssl ocsp` answers from our certificates with our responder's key, `cfssl ocspserve` and nginx give what we signed before.
`openssl ocsp` listens on every address of the machine while it is measured: it can be told a port and nothing else.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path

from bench import responders
from bench.clients import drive_anew
from bench.cost import of_one, spent
from bench.responders import AUTHORITY, Data, Server, got, posted, program, started
from bench.rounds import Row, Spread, compared, in_turn
from core.settings import load
from ops.demo import make_demo
from ops.node import open_node

ROOT = Path(__file__).parents[1]
#: Clients at one time, and seconds of one round.
CLIENTS, SECONDS = 8, 1.0
#: What gives the others that are measured where they are installed, by program.
PACKAGES = {"openssl": "openssl", "cfssl": "golang-cfssl", "nginx": "nginx-light"}

KEPT, SIGNED, THEIRS = "OCSP over HTTP, kept", "OCSP over HTTP, signed for a nonce", "openssl ocsp, with a nonce"
_OPENSSL = "openssl ocsp"


def over_http(folder: Path) -> Iterator[Row]:
    """Answers that are kept, and such that are signed for a nonce, beside every responder that is installed."""
    home = folder / "home"
    make_demo(home, {}, tell=lambda _step: None)
    with closing(open_node(load({"YUMEN_HOME": str(home)}), role="operator", with_keys=True)) as node:
        data = responders.write(node, folder / "ocsp")
    with ExitStack() as stack:
        asked = _Asked(_servers(stack, home, data))
        with _other_core():
            rates = dict(zip(asked.requests, in_turn(*map(asked.rate, asked.requests)), strict=True))
    note = f"{CLIENTS} clients, a new connection for each question, one core for each server; more is better"
    for name in rates.keys() - {KEPT, SIGNED, THEIRS}:
        yield compared(KEPT, "/s", rates[KEPT], name, rates[name], note)
    if THEIRS in rates:
        yield compared(SIGNED, "/s", rates[SIGNED], THEIRS, rates[THEIRS], note)
    else:
        yield Row(SIGNED, "/s", Spread.of(rates[SIGNED]), note=note)
    for name, costs in asked.costs.items():
        yield Row(f"processor time of one answer, {name}", "µs", Spread.of(costs), note="of the server alone")


def lacking() -> list[str]:
    """The packages of programs that would be measured as well and are not installed."""
    return [package for name, package in PACKAGES.items() if not program(name)]


def _servers(stack: ExitStack, home: Path, data: Data) -> dict[str, tuple[Server, list[bytes]]]:
    """Every responder that can be had, with what it is asked, by the name of its row."""
    start = partial(started, stack, data.folder)
    kept, signed = (posted(f"/ocsp/{AUTHORITY}", questions) for questions in (data.plain, data.nonced))
    plain, nonced, files = posted("/", data.plain), posted("/", data.nonced), got(len(data.plain))
    ours = start("yumen", partial(_yumen, home), kept[0])
    found = {KEPT: (ours, kept), SIGNED: (ours, signed)}
    if program("openssl"):
        theirs = start("openssl", responders.openssl, plain[0])
        found |= {_OPENSSL: (theirs, plain), THEIRS: (theirs, nonced)}
    if program("cfssl"):
        found["cfssl ocspserve"] = start("cfssl", responders.cfssl, plain[0]), plain
    if program("nginx"):
        found["nginx, files"] = start("nginx", partial(responders.nginx, data.folder), files[0]), files
    return found


def _yumen(home: Path, port: int) -> list[object]:
    """The command of a home's service: its other address is one of the system's choice."""
    addresses = ["YUMEN_WEB_HTTPS=127.0.0.1:0", f"YUMEN_WEB_HTTP=127.0.0.1:{port}"]
    return ["env", f"--chdir={ROOT}", f"YUMEN_HOME={home}", *addresses, sys.executable, "-m", "cli.main", "serve"]


class _Asked:
    """What the servers are asked, and what an answer costs each in microseconds, by round."""

    def __init__(self, servers: Mapping[str, tuple[Server, Sequence[bytes]]]) -> None:
        self.requests = servers
        self.costs: dict[str, list[float]] = {name: [] for name in servers}

    def rate(self, name: str) -> Callable[[], float]:
        """Answers a second."""
        server, requests = self.requests[name]

        def measure() -> float:
            before = spent([server.process], os.getpid())
            found = drive_anew(server.port, requests, CLIENTS, SECONDS)
            self.costs[name].append(of_one(before, spent([server.process], os.getpid()), len(found.waits)).web)
            return found.rate

        return measure


@contextmanager
def _other_core() -> Iterator[None]:
    """Let the servers alone on theirs, where there is another."""
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(mine)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, mine)
