"""Load that lasts: at four fifths of what the service can do nothing grows and nothing gets slower."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import httpx
import pyotp
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from ops.demo import make_demo
from tests.ports import free_ports
from tests.web.conftest import REGISTRAR, STAFF, csr_pem

pytestmark = [pytest.mark.alone, pytest.mark.slow]

#: Seconds of the load, and of each look at the process.
SHORT, LONG = 6.0, float(os.environ.get("YUMEN_TESTS_SOAK_SECONDS", "1800"))
CLIENTS = 6
#: Share of what was measured before that is asked for.
LOAD = 0.8
#: Share of answers that may say "not now, nothing was changed": so the trail ends its wait for a machine that stands still.
REFUSED = 0.001
#: What glibc reserves for an arena on a machine of 64 bits.
ARENA = 64 << 20


class Look(NamedTuple):
    """The process, its file and the machine at one moment."""

    memory: float
    descriptors: int
    threads: int
    log: float
    #: Seconds of processors that the process took so far.
    processor: float
    #: Seconds that a fixed piece of work of ours takes.
    machine: float


class Seen(NamedTuple):
    """Load that ended: its first and its last third."""

    a_second: float
    capacity: float
    first: Look
    last: Look
    #: Milliseconds within which 95 of 100 were answered; milliseconds of processors for one answer.
    waited: tuple[float, float]
    cost: tuple[float, float]
    refused: float = 0


@dataclass
class Site:
    """A served demonstration in a process of its own."""

    process: subprocess.Popen[bytes]
    home: Path
    told: dict[str, object]
    tokens: dict[str, str] = field(default_factory=dict)

    def client(self, cert: bool = False, uid: str = "") -> httpx.Client:
        context = ssl.create_default_context(cafile=str(self.told["ca_file"]))
        if cert:
            (oa,) = (one for one in self.told["applications"] if one["id"] == "oa")  # type: ignore[attr-defined]
            context.load_cert_chain(oa["cert"], oa["key"])
        headers = {"Authorization": f"Bearer {self.tokens[uid]}"} if uid else {}
        return httpx.Client(base_url=str(self.told["https"]), verify=context, headers=headers, trust_env=False, timeout=20)

    def login(self, uid: str) -> None:
        (account,) = (one for one in self.told["accounts"] if one["uid"] == uid)  # type: ignore[attr-defined]
        with self.client() as client:
            body = {"uid": uid, "password": account["password"], "totp": pyotp.TOTP(account["totp"]).now()}
            self.tokens[uid] = client.post("/api/v1/sessions", json=body).json()["token"]

    def look(self) -> Look:
        folder = Path(f"/proc/{self.process.pid}")
        status = dict(re.findall(r"^(\w+):\s+(\d+)", (folder / "status").read_text(), re.MULTILINE))
        log = (self.home / "yumen.db-wal").stat().st_size / 1e6
        ticks = (folder / "stat").read_text().rpartition(")")[2].split()[11:13]
        processor = sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
        return Look(int(status["VmRSS"]) / 1024, len(list((folder / "fd").iterdir())), int(status["Threads"]), log, processor, work())


def arenas(process: int) -> int:
    """How many arenas of the C library a process has beside its first: each reserves 64 MB at a multiple of them."""
    regions = re.findall(r"^(\w+)-(\w+) (\S+) \S+ 00:00 0 *$", Path(f"/proc/{process}/maps").read_text(), re.MULTILINE)
    ends = {int(start, 16): int(end, 16) for start, end, flags in regions if flags == "---p"}
    used = {int(start, 16): int(end, 16) for start, end, flags in regions if flags == "rw-p"}
    return sum(start % ARENA == 0 and ends.get(end, end) == start + ARENA for start, end in used.items())


def work() -> float:
    """Do a fixed piece of work with processor and disk, like what a decision needs; how many seconds it took."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as file:
        for _ in range(20):
            os.pwrite(file.fileno(), hashlib.sha256(bytes(200_000)).digest(), 0)
            os.fsync(file.fileno())
    return time.monotonic() - began


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    https, http = free_ports(2)
    home = tmp_path / "var"
    environ = {
        "YUMEN_HOME": str(home),
        "YUMEN_WEB_HTTPS": f"127.0.0.1:{https}",
        "YUMEN_WEB_HTTP": f"127.0.0.1:{http}",
        "YUMEN_WEB_HTTPS_URL": f"https://localhost:{https}",
        "YUMEN_WEB_HTTP_URL": f"http://127.0.0.1:{http}",
    }
    made = make_demo(home, environ, tell=lambda _: None)
    yumen = shutil.which("yumen", path=str(Path(sys.executable).parent))
    assert yumen
    log = (tmp_path / "log").open("wb")
    process = subprocess.Popen([yumen, "serve"], env=os.environ | environ, stdout=log, stderr=log)
    try:
        found = Site(process, home, json.loads(made.accounts.read_bytes()))
        with found.client() as client:
            until = time.monotonic() + 30
            while True:
                try:
                    if client.get("/readyz").status_code == 200:
                        break
                except httpx.TransportError:
                    assert time.monotonic() < until, (tmp_path / "log").read_text()
                time.sleep(0.1)
        for uid in (STAFF, REGISTRAR):
            found.login(uid)
        yield found
    finally:
        process.terminate()
        process.wait(20)
        log.close()


Act = Callable[[], httpx.Response]


def acts(site: Site, stack: list[httpx.Client]) -> list[Act]:
    """What happens in a county, in its proportions: decisions most, then status and reading, now and then a certificate."""
    oa, staff, registrar, anyone = site.client(cert=True), site.client(uid=STAFF), site.client(uid=REGISTRAR), site.client()
    stack += [oa, staff, registrar, anyone]
    me = staff.get("/api/v1/me").json()
    ask = {"subject": {"type": "user", "id": me["id"]}, "action": {"name": "read"}, "resource": {"type": "document", "id": "7"}}
    key = csr_pem(ec.generate_private_key(ec.SECP256R1()))

    def decide() -> httpx.Response:
        return oa.post("/access/v1/evaluation", json=ask)

    def certificate() -> httpx.Response:
        asked = staff.post("/api/v1/requests", json={"profile": "staff-sign", "csr": key})
        return registrar.post(f"/api/v1/requests/{asked.json()['id']}/approve", json={}) if asked.status_code == 201 else asked

    reading: list[Act] = [
        lambda: anyone.get("/crl/staff/0.crl"),
        lambda: anyone.get("/ca/staff.p7c"),
        lambda: staff.get("/api/v1/me"),
        lambda: staff.get("/api/v1/certificates"),
        lambda: registrar.get("/api/v1/requests"),
        lambda: anyone.get("/login"),
    ]
    return [*[decide] * 24, *reading, decide, decide, certificate]


class Took(NamedTuple):
    """One answer: seconds since the load began and until it was there, and its status."""

    at: float
    wait: float
    status: int


def load(site: Site, seconds: float, pace: float = 0.0) -> list[Took]:
    """Let `CLIENTS` clients act for so long, `pace` times a second all together, or as often as they can."""
    took: list[Took] = []
    failed: list[str] = []
    began = time.monotonic()

    def one(number: int) -> None:
        stack: list[httpx.Client] = []
        try:
            mine, done = acts(site, stack), 0
            while (now := time.monotonic()) - began < seconds and not failed:
                due = began + (done * CLIENTS + number) / pace if pace else now
                if due > now:
                    time.sleep(due - now)
                start = time.monotonic()
                answer = mine[done % len(mine)]()
                took.append(Took(start - began, time.monotonic() - start, answer.status_code))
                done += 1
                if answer.status_code not in {200, 201, 409, 503}:  # 409: this key's certificate is there already, or its request waits
                    failed.append(f"{answer.request.url} {answer.status_code} {answer.text}")
        finally:
            for client in stack:
                client.close()

    threads = [threading.Thread(target=one, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    return took


def soak(site: Site, seconds: float) -> Seen:
    """Load the service and look at it all the time; what was seen in the first and in the last third."""
    warm = max(3.0, seconds / 20)
    capacity = len(load(site, warm)) / warm
    looks: list[Look] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(seconds / 60):
            looks.append(site.look())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        took = load(site, seconds, capacity * LOAD)
    finally:
        ended.set()
        watcher.join()
    third = len(looks) // 3
    parts = looks[:third], looks[-third:]
    first, last = (Look(*(statistics.median(column) for column in zip(*part, strict=True))) for part in parts)
    early, late = (sorted(one.wait for one in took if low <= one.at / seconds < high) for low, high in ((0.0, 1 / 3), (2 / 3, 1.0)))
    waited = early[int(len(early) * 0.95)] * 1e3, late[int(len(late) * 0.95)] * 1e3
    cost = [(part[-1].processor - part[0].processor) / len(waits) * 1e3 for part, waits in zip(parts, (early, late), strict=True)]
    refused = sum(one.status == 503 for one in took) / len(took)
    return Seen(len(took) / seconds, capacity, first, last, waited, (cost[0], cost[1]), refused)


def flat(seen: Seen, *, descriptors: int) -> None:
    """Nothing grew, but for `descriptors`: connections to the database are opened as they are needed first.

    Who waits, waits for the machine too: answers may take longer by as much as a fixed piece of work took longer meanwhile.
    """
    first, last = seen.first, seen.last
    assert last.memory < first.memory * 1.1 + 20, seen
    assert last.descriptors <= first.descriptors + descriptors, seen
    assert last.threads <= first.threads + 2, seen
    assert last.log < max(first.log * 1.5, 64), seen
    assert seen.refused <= REFUSED, seen
    assert seen.cost[1] < seen.cost[0] * 1.5, seen
    assert seen.waited[1] < (seen.waited[0] * 2 + 50) * max(1.0, last.machine / first.machine), seen


QUIET = Look(memory=200, descriptors=57, threads=57, log=6, processor=9, machine=0.1)


@pytest.mark.parametrize(
    ("last", "waited", "cost", "refused"),
    [
        pytest.param({"memory": 245}, 30, 2, 0, id="memory"),
        pytest.param({"descriptors": 66}, 30, 2, 0, id="descriptors"),
        pytest.param({"threads": 60}, 30, 2, 0, id="threads"),
        pytest.param({"log": 65}, 30, 2, 0, id="log"),
        pytest.param({}, 30, 3.1, 0, id="cost"),
        pytest.param({}, 30, 2, 0.002, id="refused"),
        pytest.param({}, 120, 2, 0, id="waits"),
        pytest.param({"machine": 0.2}, 230, 2, 0, id="waits on a busy machine"),
    ],
)
def test_what_grows_is_seen(last: dict[str, float], waited: float, cost: float, refused: float) -> None:
    seen = Seen(400, 500, QUIET, QUIET._replace(**last), (30, waited), (2, cost), refused)
    with pytest.raises(AssertionError):
        flat(seen, descriptors=8)
    flat(seen._replace(last=QUIET._replace(machine=0.3), waited=(30, 230), cost=(2, 2), refused=0.001), descriptors=8)


def test_under_load_nothing_grows(site: Site) -> None:
    flat(soak(site, SHORT), descriptors=60)
    assert arenas(site.process.pid) <= 1  # what one thread gave back serves the others


@pytest.mark.proof
@pytest.mark.timeout(7200)
def test_under_half_an_hour_of_load_nothing_grows(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    seen = soak(site, LONG)
    with capsys.disabled():
        print("\n", seen)
    flat(seen, descriptors=8)
