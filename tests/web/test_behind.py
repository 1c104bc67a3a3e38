"""The listener behind nginx: what it believes of its proxy, what it refuses, how it begins and ends."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import json
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from authz import province
from core.errors import Malformed
from tests.web.conftest import STAFF, Service
from tests.web.pki import make
from web import handover
from web.behind import QUICK_THREADS, SocketListener
from web.compose import portal

pytestmark = pytest.mark.slow

LIMIT = 1_000


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Tells what arrived; `/slow` thinks for a while, `/bug` fails."""
    if environ["PATH_INFO"] == "/bug":
        raise RuntimeError("a bug")
    if environ["PATH_INFO"] == "/slow":
        time.sleep(0.7)
    body = environ["wsgi.input"].read()
    told = {name: value for name, value in environ.items() if isinstance(value, str | bool)}
    told |= {"body": body.decode(), "peer": len(environ["yumen.peer_certificate"] or b"")}
    if refusal := environ.get("yumen.refusal"):
        told["refusal"] = refusal.facts["reason"]
    data = json.dumps(told).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(data)))])
    return [b"" if environ["REQUEST_METHOD"] == "HEAD" else data]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    found = tmp_path_factory.mktemp("s") / "web.sock"
    listener = SocketListener(found, application, threads=4, max_body_bytes=LIMIT)
    listener.start()
    yield found
    listener.stop()


@pytest.fixture(scope="module")
def own(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A socket of the whole service."""
    found = tmp_path_factory.mktemp("s") / "web.sock"
    front, limit = portal(service.node), service.node.settings.web.max_body_bytes
    listener = SocketListener(found, front, threads=4, max_body_bytes=limit, quick=front.is_quick)
    listener.start()
    yield found
    listener.stop()


def client(path: Path, **fields: str) -> httpx.Client:
    return httpx.Client(base_url="http://yumen", transport=httpx.HTTPTransport(uds=str(path)), headers=fields, trust_env=False)


def ask(path: Path, request: bytes, seconds: float = 1.0) -> bytes:
    """Everything that is answered to these bytes until the end or a silence."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(seconds)
        sock.connect(str(path))
        heard = b""
        try:
            sock.sendall(request)
            while data := sock.recv(65_536):
                heard += data
        except (TimeoutError, BrokenPipeError, ConnectionResetError):
            pass
        return heard


def told(path: Path, request: bytes) -> dict[str, Any]:
    return json.loads(ask(path, request, 0.3).partition(b"\r\n\r\n")[2])


def rfc9440(cert: x509.Certificate) -> str:
    return f":{base64.b64encode(cert.public_bytes(Encoding.DER)).decode()}:"


def escaped(cert: x509.Certificate) -> str:
    return quote(cert.public_bytes(Encoding.PEM).decode(), safe="")


CERT = make("authority").cert


@pytest.mark.parametrize("spelling", [rfc9440, escaped])
def test_the_proxy_hands_over_certificate_and_address(path: Path, spelling: Any):
    with client(path, **{"Client-Cert": spelling(CERT), "X-Real-IP": "192.0.2.7"}) as asking:
        found = asking.get("/x").json()
    assert found["peer"] == len(CERT.public_bytes(Encoding.DER))
    assert found["REMOTE_ADDR"] == "192.0.2.7"
    assert not {"HTTP_CLIENT_CERT", "HTTP_X_REAL_IP", "refusal"} & set(found)


def test_without_them_nobody_is_known(path: Path):
    with client(path) as asking:
        found = asking.get("/x").json()
    assert (found["peer"], found["REMOTE_ADDR"]) == (0, "")


DER = CERT.public_bytes(Encoding.DER)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "::",
        ":AAAA:",
        rfc9440(CERT) + ", " + rfc9440(CERT),
        rfc9440(CERT) + rfc9440(CERT),
        rfc9440(CERT)[:-1],
        rfc9440(CERT)[1:],
        rfc9440(CERT) + ";a=1",
        f":{base64.b64encode(DER + DER).decode()}:",
        f":{base64.b64encode(DER + b'0').decode()}:",
        f":{base64.b64encode(DER[:-1]).decode()}:",
        f":{base64.b64encode(DER).decode()[:-3]}:",
        f":{base64.b64encode(b'0' + bytes([0x82]) + (12_300).to_bytes(2) + bytes(12_300)).decode()}:",
        escaped(CERT) + escaped(CERT),
        escaped(CERT) + "," + escaped(CERT),
        quote(escaped(CERT)),
        CERT.public_bytes(Encoding.PEM).decode().replace("\n", " ").strip(),
        "CN=zhangsan",
    ],
)
def test_what_is_not_one_certificate_is_refused(path: Path, value: str):
    with pytest.raises(Malformed):
        handover.certificate(value)
    with client(path, **{"Client-Cert": value}) as asking:
        found = asking.get("/x").json()
    assert (found["peer"], found["refusal"]) == (0, "bad-handover")


def test_two_fields_of_one_name_are_refused(path: Path):
    one = rfc9440(CERT).encode()
    for first, second in ((b"Client-Cert: " + one, b"Client-Cert: " + one), (b"Client-Cert: " + one, b"client-cert: x")):
        found = told(path, b"GET /x HTTP/1.1\r\nHost: a\r\n" + first + b"\r\n" + second + b"\r\n\r\n")
        assert (found["peer"], found["refusal"]) == (0, "bad-handover")
    for twice in (b"X-Real-IP: 192.0.2.1", b"Authorization: Bearer x", b"Host: a", b"Origin: https://a"):
        found = told(path, b"GET /x HTTP/1.1\r\nHost: a\r\n" + (twice + b"\r\n") * 2 + b"\r\n")
        assert found["refusal"] in {"bad-handover", "header-field"}, twice


@pytest.mark.parametrize("address", ["localhost", "unix:", "192.0.2.1, 192.0.2.2", "192.0.2", "1", ""])
def test_an_address_that_is_none_is_refused(path: Path, address: str):
    with client(path, **{"X-Real-IP": address}) as asking:
        assert asking.get("/x").json()["refusal"] == "bad-handover"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"GET /a/../b HTTP/1.1", "path"),
        (b"GET /a/%2e%2E/b HTTP/1.1", "path"),
        (b"GET /a%2f..%2fb HTTP/1.1", "path"),
        (b"GET /a/..%5Cb HTTP/1.1", "path"),
        (b"GET /a/. HTTP/1.1", "path"),
        (b"OPTIONS * HTTP/1.1", "path"),
    ],
)
def test_an_address_with_two_meanings_is_refused(path: Path, line: bytes, reason: str):
    assert told(path, line + b"\r\nHost: a\r\n\r\n")["refusal"] == reason


def test_dots_in_names_are_no_dot_segments(path: Path):
    assert "refusal" not in told(path, b"GET /a..b/.c/...?x=/../ HTTP/1.1\r\nHost: a\r\n\r\n")


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "transfer-encoding"),
        (b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "transfer-encoding"),
        (b"GET /x HTTP/1.1\r\n\r\n", "header-field"),
        (b"GET /x HTTP/1.1\r\nHost:\r\n\r\n", "header-field"),
        (b"GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "header-field"),
        (b"GET /x HTTP/1.0\r\n\r\n", "header-field"),
    ],
)
def test_what_two_servers_could_cut_differently_is_refused(path: Path, request_: bytes, reason: str):
    assert told(path, request_)["refusal"] == reason


@pytest.mark.parametrize(
    "request_",
    [
        b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello",
        b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello",
        b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a\r\nClient-Cert: :AAAA\r\n BBBB:\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a\r\nClient-Cert : x\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a\r\nA: b\x00c\r\n\r\n",
        b"GET /x HTTP/2.0\r\nHost: a\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a\r\n" + b"".join(b"X%d: y\r\n" % number for number in range(101)) + b"\r\n",
        b"GET /x HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 600_000 + b"\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
)
def test_granian_itself_refuses_and_hangs_up(path: Path, request_: bytes):
    heard = ask(path, request_)
    assert heard.split(b" ")[1:2] in ([b"400"], [b"431"], []), heard[:200]
    assert heard.count(b"HTTP/1.1") <= 1
    assert b"200 OK" not in heard


def test_an_absolute_address_is_read_as_its_path(path: Path):
    found = told(path, b"GET http://elsewhere.example/x?y HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (found["PATH_INFO"], found["QUERY_STRING"], found["HTTP_HOST"]) == ("/x", "y", "a")


def test_no_environment_variable_passes_for_a_field(path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("HTTP_CLIENT_CERT", "HTTP_AUTHORIZATION", "yumen.peer_certificate", "REMOTE_ADDR", "YUMEN_HOME"):
        monkeypatch.setenv(name, "x")
    found = told(path, b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
    assert not {"HTTP_AUTHORIZATION", "YUMEN_HOME", "PATH"} & set(found)
    assert (found["REMOTE_ADDR"], found["peer"]) == ("", 0)
    assert set(os.environ) & set(found) == {"REMOTE_ADDR"}


def test_bodies_arrive_whole_and_large_ones_are_left(path: Path):
    with client(path) as asking:
        assert asking.post("/x", content=b"a" * LIMIT).json()["body"] == "a" * LIMIT
        found = asking.post("/x", content=b"a" * (LIMIT + 1)).json()
        assert (found["body"], found["yumen.oversize"]) == ("", True)
        assert asking.post("/x", content=b"b").json()["body"] == "b"
        assert asking.head("/x").headers["Content-Length"] != "0"


def test_a_body_that_ends_early_reaches_nobody(path: Path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        sock.sendall(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf")
        sock.shutdown(socket.SHUT_WR)
        sock.settimeout(2)
        heard = sock.recv(65_536)
    assert b"200 OK" not in heard or b'"refusal": "body"' in heard


def test_a_bug_is_answered_without_its_text(path: Path):
    with client(path) as asking:
        answer = asking.get("/bug")
        assert (answer.status_code, answer.json()["code"]) == (500, "internal")
        assert "a bug" not in answer.text
        assert asking.get("/x").status_code == 200


def test_the_socket_is_for_its_group_only(path: Path):
    assert stat.S_IMODE(path.stat().st_mode) == 0o660


def test_a_living_socket_is_not_taken_and_a_dead_one_is_replaced(tmp_path: Path):
    path = tmp_path / "web.sock"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    first, second = (SocketListener(path, application, threads=2, max_body_bytes=LIMIT) for _ in range(2))
    first.start()
    try:
        with pytest.raises(OSError, match="another process listens"):
            second.start()
        second.stop()
        with client(path) as asking:
            assert asking.get("/x").status_code == 200
    finally:
        first.stop()
    assert not path.exists()
    third = SocketListener(path, application, threads=2, max_body_bytes=LIMIT)
    third.start()
    third.stop()


def test_a_path_that_cannot_be_had_is_told(tmp_path: Path):
    (tmp_path / "file").write_text("precious")
    for path in (tmp_path / "file", tmp_path / "missing" / "web.sock", tmp_path / ("x" * 120)):
        with pytest.raises(OSError, match=r".") as error:
            SocketListener(path, application, threads=2, max_body_bytes=LIMIT).start()
        assert "Stack backtrace" not in str(error.value)
    assert (tmp_path / "file").read_text() == "precious"


def test_requests_that_were_begun_are_finished_at_the_end(tmp_path: Path):
    path = tmp_path / "web.sock"
    listener = SocketListener(path, application, threads=2, max_body_bytes=LIMIT)
    listener.start()
    idle = socket.socket(socket.AF_UNIX)
    idle.connect(str(path))
    found: list[int] = []
    asking = threading.Thread(target=lambda: found.append(client(path).get("/slow").status_code))
    asking.start()
    time.sleep(0.3)
    began = time.monotonic()
    listener.stop()
    assert time.monotonic() - began < 3
    asking.join(0.2)  # `stop` waited for the answer
    idle.close()
    assert found == [200]


# -- the whole service


def test_an_application_is_known_by_the_certificate_that_is_handed_over(service: Service, own: Path):
    cert = x509.load_pem_x509_certificate(service.application_files()[0].read_bytes())
    question = {
        "subject": {"type": "user", "id": service.node.world.current().directory.by_uid[STAFF].id},
        "action": {"name": "read"},
        "resource": {"type": "document", "id": "1"},
    }
    with client(own, **{"Client-Cert": rfc9440(cert), "X-Real-IP": "192.0.2.7"}) as asking:
        assert asking.post("/access/v1/evaluation", json=question).status_code == 200
    with client(own, **{"X-Real-IP": "192.0.2.7"}) as asking:
        assert asking.post("/access/v1/evaluation", json=question).status_code == 401


@pytest.fixture
def oa(service: Service, own: Path) -> Iterator[httpx.Client]:
    """The application `oa` behind the proxy."""
    cert = x509.load_pem_x509_certificate(service.application_files()[0].read_bytes())
    with client(own, **{"Client-Cert": rfc9440(cert), "X-Real-IP": "192.0.2.7"}) as asking:
        yield asking


def question(**more: Any) -> dict[str, Any]:
    asked = {"subject": {"type": "user", "id": STAFF}, "action": {"name": "read"}, "resource": {"type": "document", "id": "1"}}
    return asked | more


def test_many_decisions_wait_for_the_trail_without_a_thread(service: Service, own: Path, oa: httpx.Client, monkeypatch: pytest.MonkeyPatch):
    """More than there are threads of either kind: while they wait, others are answered."""
    monkeypatch.setattr("core.database.LOCK_PATIENCE", dt.timedelta(minutes=1))
    many = QUICK_THREADS + 4 + 10
    request = oa.build_request("POST", "/access/v1/evaluation", json=question())
    fields = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    whole = f"POST {request.url.path} HTTP/1.1\r\n{fields}\r\n".encode() + request.read()
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(many)]
        with service.node.database.writing():
            for sock in sockets:
                sock.settimeout(5)
                sock.connect(str(own))
                sock.sendall(whole)
            while len(service.node.trail._counters.under_way()) < many:
                time.sleep(0.001)
            assert oa.get("/healthz").status_code == 200
            assert oa.get("/.well-known/authzen-configuration").status_code == 200
        heard = [sock.recv(65_536) for sock in sockets]
    receipts = {json.loads(one.partition(b"\r\n\r\n")[2])["context"]["receipt"]["idx"] for one in heard}
    assert len(receipts) == many


@pytest.mark.embedded
def test_a_decision_that_cannot_be_recorded_is_no_answer(service: Service, oa: httpx.Client):
    lock = service.node.database.lock
    assert lock
    lock.rename(lock.with_suffix(".away"))
    lock.mkdir()  # no writer can begin
    try:
        answer = oa.post("/access/v1/evaluation", json=question())
    finally:
        lock.rmdir()
        lock.with_suffix(".away").rename(lock)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert oa.post("/access/v1/evaluation", json=question()).json()["decision"] is True


def test_what_is_wrong_with_a_question_is_recorded_behind_the_proxy_too(service: Service, oa: httpx.Client):
    for body, reason in ((b"{", "malformed"), (b'{"subject":1}', "malformed")):
        answer = oa.post("/access/v1/evaluation", content=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (400, reason)
        assert service.events(f"code:AZ1005 req:{answer.headers['x-request-id']}")


def test_a_bad_hand_over_is_counted_for_strangers_and_recorded_for_known_callers(service: Service, own: Path):
    with client(own, **{"Client-Cert": "CN=zhangsan", "X-Real-IP": "198.51.100.9"}) as asking:
        answer = asking.get("/api/v1/me")
        assert (answer.status_code, answer.json()["code"], answer.json()["reason"]) == (400, "malformed", "bad-handover")
        known = asking.get("/api/v1/me", headers={"Authorization": f"Bearer {service.token(STAFF)}"})
        assert known.status_code == 400
    service.node.noise.flush(everything=True)
    counted = [event["body"]["d"] for event in service.events("code:AZ2009")]
    assert ("bad-handover", "198.51.100.0/24") in {(found["kind"], found["network"]) for found in counted}
    assert service.events(f"code:AZ1005 req:{known.headers['x-request-id']}")


@pytest.mark.parametrize("name", ["Client-Cert-Chain", "X-Client-Cert", "X-SSL-Client-Verify", "Yumen-Subject-Cert", "Remote-User"])
def test_other_names_for_certificates_stay_refused(own: Path, name: str):
    with client(own, **{name: "x", "X-Real-IP": "192.0.2.7"}) as asking:
        answer = asking.get("/api/v1/me")
    assert (answer.status_code, answer.json()["reason"]) == (400, "forged-header")


def test_measurements_are_for_this_machine_behind_the_proxy_too(own: Path):
    def status(**fields: str) -> int:
        with client(own, **fields) as asking:
            return asking.get("/metrics").status_code

    assert status(**{"X-Real-IP": "127.0.0.1"}) == 200
    assert status(**{"X-Real-IP": "192.0.2.7"}) == 401
    assert status() == 401
    assert status(**{"X-Real-IP": "127.0.0.1", "X-Forwarded-For": "192.0.2.7"}) == 401


def test_our_own_tls_listener_goes_on_refusing_both(service: Service):
    for name, value in (("Client-Cert", rfc9440(CERT)), ("Client-Cert", escaped(CERT))):
        assert service.client().get("/api/v1/me", headers={name: value}).json()["reason"] == "forged-header"
    assert service.client().get("/metrics", headers={"X-Real-IP": "127.0.0.1"}).status_code == 401


# -- the command


CEREMONY = """
name = "province"
organisation = "江州省"
root = {id = "root", name = "Jiangzhou Root"}
[[issuing]]
id = "servers"
name = "Jiangzhou Servers"
profiles = ["server"]
"""


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a home of production whose settings name a socket."""
    folder = tmp_path_factory.mktemp("p")
    home = folder / "home"
    home.mkdir(mode=0o700)
    for name in ("web", "worker"):
        (folder / f"{name}.secret").write_text(name * 8)
        (folder / f"{name}.secret").chmod(0o600)
    keys = "".join(f'{name}_secret = "{folder}/{name}.secret"\n' for name in ("web", "worker"))
    (home / "yumen.toml").write_text(f'[web]\nhttps_url = "https://localhost"\nsocket = "{folder}/web.sock"\n[keys]\n{keys}')
    (folder / "ceremony.toml").write_text(CEREMONY)
    province.write(home / "directory.ldif", seed=7, hasher=province.QUICK)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("YUMEN_")} | {"YUMEN_HOME": str(home)}
    for command in (["init"], ["ca", "ceremony", str(folder / "ceremony.toml")]):
        done = yumen(environ, *command)
        assert done.wait(60) == 0, done.communicate()
        done.communicate()
    return environ


def yumen(environ: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "from cli.main import main; main()", *arguments, "--json"]
    return subprocess.Popen(command, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_serve_listens_on_its_socket_alone_and_ends_in_order(production: dict[str, str]):
    path = Path(production["YUMEN_HOME"]).with_name("web.sock")
    first = yumen(production | {"HTTP_AUTHORIZATION": "Bearer leaked"}, "serve")
    assert first.stdout
    ready = json.loads("".join(iter(first.stdout.readline, "}\n")) + "}")
    assert ready["portal"] == "https://localhost"
    with client(path) as asking:  # the line is said when it is true
        assert asking.get("/healthz").json() == {"status": "live"}
        assert asking.get("/readyz").status_code in {200, 503}
        assert asking.get("/api/v1/me").json()["code"] == "unauthenticated"
    assert not tcp_sockets(first.pid)
    second = yumen(production, "serve")
    said, wrong = second.communicate(timeout=60)
    assert (second.returncode, "another process listens" in said + wrong) == (1, True)
    status = yumen(production, "status")
    assert json.loads(status.communicate(timeout=60)[0])["listening"] is True
    first.terminate()
    _, log = first.communicate(timeout=20)
    assert first.returncode == 0
    assert "leaked" not in log
    assert not path.exists()


def tcp_sockets(pid: int) -> set[str]:
    """Inodes of the TCP sockets of a process."""
    inodes = {line.split()[9] for name in ("tcp", "tcp6") for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]}
    held = {link.resolve().name for link in Path(f"/proc/{pid}/fd").iterdir()}
    return {inode for inode in inodes if f"socket:[{inode}]" in held}


def test_a_demonstration_takes_no_socket(service: Service):
    settings = service.node.settings
    told = replace(settings, web=replace(settings.web, socket=Path("/run/web.sock"))).problems()
    assert [problem.partition(":")[0] for problem in told] == ["web.socket"]
