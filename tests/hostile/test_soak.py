"""Load that lasts: at four fifths of what the service can do nothing grows and nothing gets slower."""

from __future__ import annotations

import json
import os
import re
import shutil
import ssl
import statistics
import subprocess
import sys
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


class Look(NamedTuple):
    """The process and its file at one moment."""

    memory: float
    descriptors: int
    threads: int
    log: float


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
        log = self.home / "yumen.db-wal"
        return Look(int(status["VmRSS"]) / 1024, len(list((folder / "fd").iterdir())), int(status["Threads"]), log.stat().st_size / 1e6)


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


def load(site: Site, seconds: float, pace: float = 0.0) -> list[tuple[float, float]]:
    """Let `CLIENTS` clients act for so long, `pace` times a second all together, or as often as they can; when and how long each took."""
    took: list[tuple[float, float]] = []
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
                took.append((start - began, time.monotonic() - start))
                done += 1
                if answer.status_code not in {200, 201, 409}:  # 409: this key's certificate is there already, or its request waits
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


def soak(site: Site, seconds: float) -> dict[str, object]:
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
    first, last = (Look(*(statistics.median(column) for column in zip(*part, strict=True))) for part in (looks[:third], looks[-third:]))
    early, late = (sorted(wait for at, wait in took if low <= at / seconds < high) for low, high in ((0.05, 0.35), (0.65, 1.0)))
    slow = [part[int(len(part) * 0.95)] * 1e3 for part in (early, late)]
    return {"a second": len(took) / seconds, "capacity": capacity, "first": first, "last": last, "p95 ms": slow}


def flat(seen: dict[str, object], *, descriptors: int) -> None:
    """Nothing grew, but for `descriptors`: connections to the database are opened as they are needed first."""
    first, last, slow = seen["first"], seen["last"], seen["p95 ms"]
    assert isinstance(first, Look)
    assert isinstance(last, Look)
    assert isinstance(slow, list)
    assert last.memory < first.memory * 1.1 + 20, seen
    assert last.descriptors <= first.descriptors + descriptors, seen
    assert last.threads <= first.threads + 2, seen
    assert last.log < max(first.log * 1.5, 64), seen
    assert slow[1] < slow[0] * 2 + 50, seen


def test_under_load_nothing_grows(site: Site) -> None:
    flat(soak(site, SHORT), descriptors=60)


@pytest.mark.proof
@pytest.mark.timeout(7200)
def test_under_half_an_hour_of_load_nothing_grows(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    seen = soak(site, LONG)
    with capsys.disabled():
        print("\n", seen)
    flat(seen, descriptors=8)
