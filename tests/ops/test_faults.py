"""The one process on a disk and with a clock that fail: what must answer does, what must refuse says so, and it mends itself."""

from __future__ import annotations

import datetime as dt
import errno
import json
import os
import re
import shutil
import signal
import sqlite3
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pyotp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.ocsp import OCSPRequestBuilder, OCSPResponseStatus, load_der_ocsp_response

from cli.story.ending import question
from core.settings import load
from tests.ops.conftest import addresses
from tests.shape.rules import ROOT

pytestmark = [pytest.mark.journey, pytest.mark.component("gcc"), pytest.mark.timeout(120)]

#: Everything works again this soon after the fault is gone.
MENDED_SECONDS = 10.0
DAY = 86_400
OFF, TLS, OCSP = (
    "yumen_clock_off_seconds",
    *(f'yumen_internal_certificate_expires_seconds{{name="{name}"}}' for name in ("TLS", "staff OCSP")),
)


@dataclass
class Faulty:
    """A running demonstration whose disk and clock are the test's."""

    home: Path
    switch: Path
    told: dict[str, Any]
    seconds: int = 0
    #: What it said when it had just begun.
    woke: list[str] = field(default_factory=list)

    def fault(self, line: str = "") -> None:
        """Say what fails from now on; the clock stays moved."""
        scratch = self.switch.with_suffix(".new")
        scratch.write_text(f"{line}\nclock {self.seconds}\n")
        scratch.replace(self.switch)

    @contextmanager
    def disk(self, number: int, *, gone: bool = False) -> Iterator[None]:
        """Whatever is written to the home, or read from it as well, fails with this number."""
        self.fault(f"{'gone' if gone else 'disk'} {number} {self.home}")
        try:
            yield
        finally:
            self.fault()

    def step(self, seconds: int) -> None:
        """Move the clock."""
        self.seconds += seconds
        self.fault()

    @property
    def now(self) -> dt.datetime:
        return dt.datetime.now(dt.UTC) + dt.timedelta(seconds=self.seconds)

    def client(self, application: str = "", **headers: str) -> httpx.Client:
        context = ssl.create_default_context(cafile=self.told["ca_file"])
        if self.seconds:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # the caller's clock is not the service's
        if application:
            each = next(each for each in self.told["applications"] if each["id"] == application)
            context.load_cert_chain(each["cert"], each["key"])
        return httpx.Client(base_url=self.told["https"], verify=context, trust_env=False, timeout=10, headers=headers)

    def decides(self) -> bool:
        """Whether an application gets its yes."""
        with self.client("oa") as oa:
            answer = oa.post("/access/v1/evaluation", json=question("zhaoliu", "read", "plan-2026"))
        return answer.status_code == 200 and answer.json()["decision"]

    def log_in(self, uid: str, steps: int = 0) -> httpx.Response:
        account = next(each for each in self.told["accounts"] if each["uid"] == uid)
        code = pyotp.TOTP(account["totp"]).at(self.now + dt.timedelta(seconds=30 * steps))
        with self.client() as api:
            return api.post("/api/v1/sessions", json={"uid": uid, "password": account["password"], "totp": code})

    def sign_in_page(self, uid: str, language: str) -> str:
        """What somebody reads who signs in with a browser."""
        with self.client(**{"Accept-Language": language}) as browser:
            answer = self.type_in(browser, uid)
        assert answer.status_code == 503, answer.text
        return answer.text

    def type_in(self, browser: httpx.Client, uid: str) -> httpx.Response:
        account = next(each for each in self.told["accounts"] if each["uid"] == uid)
        token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', browser.get("/login").text)
        typed = {"uid": uid, "password": account["password"], "code": pyotp.TOTP(account["totp"]).at(self.now)}
        origin = {"Origin": self.told["https"], "Referer": f"{self.told['https']}/login"}
        return browser.post("/login", data={"csrf_token": token[1] if token else "", **typed}, headers=origin)

    def reasons(self) -> list[str]:
        with self.client() as client:
            return client.get("/readyz").json().get("reasons", [])

    def note(self, reasons: list[str]) -> list[str]:
        self.woke += reasons
        return reasons

    def metric(self, name: str) -> float:
        with self.client() as client:
            lines = client.get("/metrics").text.splitlines()
        return float(next(line.rpartition(" ")[2] for line in lines if line.startswith(f"{name} ")))

    def ocsp(self) -> str:
        """What is said of an application's certificate: its status, or why there is none."""
        leaf = x509.load_pem_x509_certificates(Path(self.told["applications"][0]["cert"]).read_bytes())[0]
        with httpx.Client(base_url=self.told["http"], trust_env=False, timeout=5) as anybody:
            issuer = x509.load_der_x509_certificate(anybody.get("/ca/applications.cer").content)
            asked = OCSPRequestBuilder().add_certificate(leaf, issuer, SHA256()).build().public_bytes(Encoding.DER)
            answer = anybody.post("/ocsp/applications", content=asked, headers={"Content-Type": "application/ocsp-request"})
        said = load_der_ocsp_response(answer.content)
        good = said.response_status is OCSPResponseStatus.SUCCESSFUL
        return (said.certificate_status if good else said.response_status).name

    def system_page(self, uid: str) -> str:
        """What somebody reads who signs in with a browser and looks at the system page."""
        with self.client(**{"Accept-Language": "en"}) as browser:
            self.type_in(browser, uid)
            return browser.get("/system").text

    def shown(self) -> x509.Certificate:
        """The certificate of the listener, as whoever connects is shown it."""
        host, port = urlsplit(self.told["https"]).hostname, urlsplit(self.told["https"]).port
        return x509.load_pem_x509_certificate(ssl.get_server_certificate((host, port)).encode())

    def recorded(self, code: str) -> list[str]:
        """Why, as the events of this kind tell it."""
        with closing(sqlite3.connect(f"file:{self.home}/yumen.db?mode=ro", uri=True)) as rows:
            bodies = rows.execute("SELECT body FROM trail_event WHERE code = ? ORDER BY t", (code,)).fetchall()
        return [json.loads(body)["d"]["why"] for (body,) in bodies]

    def status_is_served(self) -> None:
        with httpx.Client(base_url=self.told["http"], trust_env=False, timeout=5) as anybody:
            assert anybody.get("/crl/staff/0.crl").status_code == 200
            assert anybody.get("/ca/staff.cer").status_code == 200


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("faulty") / "faulty.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", str(made), str(Path(__file__).with_name("faulty.c")), "-ldl"], check=True)
    return made


@contextmanager
def running(made: Path, folder: Path, library: Path, seconds: int = 0) -> Iterator[Faulty]:
    """`yumen serve` in a copy of the demonstration, its clock moved from the beginning."""
    home = folder / "var"
    shutil.copytree(made, home)
    shutil.copy(made.with_name("var.secret"), folder / "var.secret")
    own = addresses()
    told = json.loads((home / "demo.json").read_bytes())
    settings = load({"YUMEN_HOME": str(home)})
    own["YUMEN_WEB_HTTP_URL"] = settings.web.http_url  # as certificates and lists have it, wherever the service listens now
    told |= {"https": own["YUMEN_WEB_HTTPS_URL"], "http": f"http://{own['YUMEN_WEB_HTTP']}"}
    faulty = Faulty(home, folder / "fault", told, seconds)
    faulty.fault()
    environ = {**os.environ, **own, "YUMEN_HOME": str(home), "LD_PRELOAD": str(library), "FAULT": str(faulty.switch)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "cli.main", "serve"], cwd=ROOT, env=environ, stdout=log, stderr=log)
        try:
            if seconds:
                soon(lambda: faulty.note(faulty.reasons()), 30, "it does not start, or finds nothing wrong")
            soon(lambda: faulty.metric("yumen_database_up") == 1, 30, "it does not start")
            yield faulty
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)
    assert process.returncode == 0, (folder / "log").read_text()[-3000:]


@pytest.fixture(scope="module")
def faulty(made: Path, tmp_path_factory: pytest.TempPathFactory, library: Path) -> Iterator[Faulty]:
    """It begins on a machine whose clock was set back while all was off; then somebody puts it right."""
    with running(made, tmp_path_factory.mktemp("faulty"), library, -DAY) as found:
        found.woke += [found.ocsp(), str(round(found.metric(OFF) / DAY))]
        found.step(DAY)
        soon(lambda: not found.reasons(), 30, "it does not get ready")
        yield found


@pytest.fixture(autouse=True)
def whole(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each test ends with everything in order."""
    yield
    if "faulty" in request.fixturenames:
        found = request.getfixturevalue("faulty")
        soon(lambda: not found.reasons() and found.decides(), MENDED_SECONDS, "it stays broken")


def soon(probe: Callable[[], object], patience: float, what: str) -> None:
    until, last = time.monotonic() + patience, None
    while time.monotonic() < until:
        try:
            if probe():
                return
            last = None
        except (httpx.HTTPError, OSError, StopIteration) as error:
            last = error
        time.sleep(0.1)
    raise AssertionError(f"{what} ({last!r})")


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC], ids=["read-only", "full"])
def test_a_disk_that_takes_nothing_is_a_no_that_is_said_everywhere(faulty: Faulty, number: int):
    with faulty.disk(number):
        assert not faulty.decides()
        refused = faulty.log_in("zhangsan")
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        soon(lambda: [reason for reason in faulty.reasons() if "the trail cannot be written" in reason], 5, "readiness says nothing")
        assert faulty.metric("yumen_trail_closed") == 1
        faulty.status_is_served()
        assert "审计记录暂时无法写入" in faulty.sign_in_page("lisi", "zh")
        assert "the trail cannot be written now" in faulty.sign_in_page("lisi", "en").lower()
        with ThreadPoolExecutor(16) as crowd:  # more connections to the database than there were
            list(crowd.map(lambda _: faulty.reasons(), range(64)))
    soon(faulty.decides, MENDED_SECONDS, "it does not recover")
    assert all(faulty.decides() for _ in range(40)), "it recovered in part"
    assert faulty.metric("yumen_trail_closed") == 0


def test_a_database_that_is_gone_is_a_no_and_comes_back(faulty: Faulty):
    with faulty.disk(errno.EIO, gone=True):
        soon(lambda: not faulty.decides(), 5, "it decides without a database")
        soon(faulty.reasons, 5, "readiness says nothing")
        assert faulty.log_in("lisi", 1).status_code == 503
    soon(faulty.decides, MENDED_SECONDS, "it does not recover")


def test_a_clock_that_was_set_back_while_all_was_off_is_told_by_the_trail(faulty: Faulty):
    assert [said for said in faulty.woke if said.startswith("this machine's clock was set back by 8")], faulty.woke
    assert faulty.woke[-2:] == ["TRY_LATER", "-1"]
    assert faulty.ocsp() == "GOOD"


def test_a_clock_that_is_stepped_by_an_hour_and_back_ends_what_bears_its_time_and_nothing_else(faulty: Faulty):
    opened = faulty.log_in("wangwu")
    assert opened.status_code == 201
    faulty.step(3600)
    soon(lambda: faulty.metric(OFF) != 0, 5, "nobody sees it")
    assert [reason for reason in faulty.reasons() if reason.startswith("this machine's clock was set forward by 3600 s")]
    assert faulty.ocsp() == "TRY_LATER"
    assert "Not believed" in faulty.system_page("wujiu")
    assert faulty.decides()
    faulty.status_is_served()
    with faulty.client(authorization=f"Bearer {opened.json()['token']}") as wangwu:
        assert wangwu.get("/api/v1/certificates").status_code == 401  # left alone for half an hour, as far as it can know
    later = faulty.log_in("zhouba")
    assert later.status_code == 201, later.text
    with faulty.disk(errno.EROFS):
        faulty.step(-3600)
        soon(lambda: faulty.ocsp() == "GOOD", 5, "the clock that was put right is not believed")
    soon(faulty.decides, MENDED_SECONDS, "it does not recover")
    faulty.status_is_served()
    with faulty.client(authorization=f"Bearer {later.json()['token']}") as zhouba:
        assert zhouba.get("/api/v1/certificates").status_code == 200
    soon(lambda: not faulty.reasons(), MENDED_SECONDS, "it does not get ready again")
    assert faulty.metric(OFF) == 0
    soon(lambda: faulty.recorded("CA5041") == ["put-right"] * 2, 5, "what became of the clock is not in the trail")


@pytest.mark.proof
def test_a_home_that_wakes_up_after_four_hundred_days_mends_itself(made: Path, tmp_path: Path, library: Path):
    """Its lists, responders and listener are over; nobody does anything about it."""
    with running(made, tmp_path, library, 400 * DAY) as late:
        soon(lambda: late.note(late.reasons()) == [], 30, "it does not mend itself")
        assert [reason for reason in late.woke if "TLS certificate is over" in reason], late.woke
        assert late.metric(TLS) > 300 * DAY
        soon(lambda: late.shown().not_valid_after_utc > late.now, 10, "the listener goes on showing what is over")
        assert late.metric(OCSP) > DAY
        assert late.ocsp() == "GOOD"
        late.status_is_served()
        assert late.metric(OFF) == 0  # while it was off time may have passed
        assert late.log_in("zhangsan").status_code == 201
        with late.client("oa") as oa:  # its own certificate ended as well, and that is its owner's to renew
            answer = oa.post("/access/v1/evaluation", json=question("zhaoliu", "read", "plan-2026"))
        assert (answer.status_code, answer.json()["reason"]) == (401, "expired")
