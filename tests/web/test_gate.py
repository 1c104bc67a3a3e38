"""The gate: a real nginx asks Yumen, itself behind a real nginx, before an application sees a request."""

from __future__ import annotations

import contextlib
import fcntl
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.nginx import Nginx
from tests.ports import free_ports
from tests.web.conftest import OWNER, REGISTRAR, SECURITY, STAFF, SYSTEM, Issued, Service, csr_pem
from tests.web.doors import Door, aged, door, serving, statuses
from tests.web.pki import make
from web.compose import portal
from web.front import Front
from web.gate import GATE_ROUTES

pytestmark = [pytest.mark.slow, pytest.mark.component("nginx")]

APPLICATION = "files"


@dataclass
class Seen:
    """What the application behind the gate was sent."""

    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)


@dataclass
class Gate:
    """The application's own nginx, and the files of its users."""

    nginx: Nginx
    folder: Path
    port: int
    seen: Seen
    #: The application's own certificate, which its proxy shows.
    own: tuple[Path, Path]
    door: Door
    authority: Path

    def context(self, cert: tuple[Path, Path] | None) -> ssl.SSLContext:
        found = ssl.create_default_context(cafile=self.authority)
        if cert:
            found.load_cert_chain(*cert)
        return found

    def get(self, path: str, cert: tuple[Path, Path] | None = None, method: str = "GET", **fields: str) -> httpx.Response:
        with httpx.Client(base_url=f"https://localhost:{self.port}", verify=self.context(cert), trust_env=False) as client:
            return client.request(method, path, headers=fields)

    def raw(self, request: bytes, cert: tuple[Path, Path] | None = None) -> bytes:
        heard = b""
        with self.context(cert).wrap_socket(socket.create_connection(("127.0.0.1", self.port), 5), server_hostname="localhost") as sock:
            sock.settimeout(3)
            with contextlib.suppress(TimeoutError, ConnectionError):
                sock.sendall(request)
                while data := sock.recv(65_536):
                    heard += data
        return heard


def _register(service: Service, folder: Path) -> tuple[Path, Path]:
    """The application with its grants; gives the files of its certificate."""
    owner = service.node.world.current().directory.by_uid[OWNER]
    unit = service.node.world.current().applications["oa"].unit
    body = {
        "id": APPLICATION,
        "name": "文件",
        "unit": unit,
        "owner": owner.id,
        "actions": ["get", "post"],
        "types": ["path"],
        "asserts": ["resource.prefix1", "resource.prefix2"],
        "proxy": True,
    }
    assert service.person(SYSTEM).post("/api/v1/applications", json=body).status_code == 201
    for grant in (
        {"action": "get", "role": "staff"},
        {"action": "post", "role": "staff", "conditions": {"resource.prefix1": "/drafts"}},
        {"action": "get", "role": "staff", "effect": "forbid", "conditions": {"resource.prefix2": "/archive/secret"}},
    ):
        made = service.person(SECURITY).post("/api/v1/grants", json={"application": APPLICATION, "type": "path", **grant})
        assert made.status_code == 201, made.text
    key = ec.generate_private_key(ec.SECP256R1())
    asked = service.person(OWNER).post(
        "/api/v1/requests", json={"profile": "application", "csr": csr_pem(key), "for": f"application:{APPLICATION}"}
    )
    assert asked.status_code == 201, asked.text
    assert service.person(REGISTRAR).post(f"/api/v1/requests/{asked.json()['id']}/approve", json={"comment": "seen"}).status_code == 200
    serial = service.issued(OWNER, asked.json()["id"])
    chain = service.person(OWNER).get(f"/api/v1/certificates/{serial}", headers={"Accept": "application/pem-certificate-chain"}).text
    (folder / "application.pem").write_text(chain)
    (folder / "application.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return folder / "application.pem", folder / "application.key"


@contextlib.contextmanager
def _application(port: int, seen: Seen) -> Iterator[None]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            body = json.dumps(seen.requests[-1][1]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - the name that the library looks for

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def gate(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    folder = tmp_path_factory.mktemp("g")
    here = door(service, tmp_path_factory.mktemp("gn"))
    (files := folder / "files").mkdir()
    own = _register(service, files)
    authority = make("authority")
    authority.write(files, "authority")
    make("localhost", authority).write(files, "server")
    (files / "clients.pem").write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in service.node.client_cas))
    (files / "root.pem").write_bytes(Path(service.told["ca_file"]).read_bytes())
    port, application = free_ports(2)
    site = {
        "yumen.example.cn:443": f"127.0.0.1:{here.port}",
        "yumen.example.cn": "localhost",
        "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
        "127.0.0.1:8000": f"127.0.0.1:{application}",
        "/etc/nginx/oa/": f"{files}/",
    }
    seen = Seen()
    nginx = Nginx(folder / "nginx", ("gate-example.conf",), site)
    with serving(here, portal(service.node), 100_000), _application(application, seen):
        nginx.start()
        yield Gate(nginx, folder, port, seen, own, here, files / "authority.pem")
        nginx.stop()


@pytest.fixture(scope="module")
def user(service: Service) -> Issued:
    return service.enrol(STAFF)


def asked(gate: Gate, **fields: str) -> httpx.Response:
    """The gate asked directly, as the application's proxy."""
    usual = {"X-Original-Method": "GET", "X-Original-URI": "/x"}
    with gate.door.client(gate.own) as client:
        return client.get("/gate", headers={**usual, **fields})


def cert_of(issued: Issued) -> str:
    return quote(x509.load_pem_x509_certificates(issued.pem.encode())[0].public_bytes(Encoding.PEM).decode(), safe="")


def closed(answer: httpx.Response, status: int, reason: str) -> None:
    assert (answer.status_code, answer.headers["Yumen-Reason"]) == (status, reason), answer.text


# -- through the application's nginx


def test_who_may_passes_and_the_application_is_told_who_it_is(service: Service, gate: Gate, user: Issued):
    answer = gate.get("/reports/1?x=%2F", user.files)
    assert answer.status_code == 200
    person = service.node.world.current().directory.by_uid[STAFF]
    told = answer.json()
    assert (told["yumen-subject"], told["yumen-user"], told["yumen-unit"], told["yumen-roles"]) == (person.id, STAFF, person.unit, "staff")
    log, _, index = told["yumen-decision"].rpartition("/")
    [found] = [one for one in service.events("code:AZ1001 actor:application:files") if one["idx"] == int(index)]
    assert log.startswith("access")
    assert found["body"]["out"] == "allow"
    assert gate.seen.requests[-1][0] == "/reports/1?x=%2F"


def test_without_a_certificate_nobody_is_known(service: Service, gate: Gate):
    before = len(gate.seen.requests)
    closed(gate.get("/reports/1"), 401, "no_certificate")
    assert len(gate.seen.requests) == before
    assert any(one["body"]["rsn"] == "no_certificate" for one in service.events("code:AZ1001 actor:application:files"))


def test_who_may_not_is_told_why(gate: Gate, user: Issued):
    closed(gate.get("/reports/1", user.files, "POST"), 403, "condition")
    closed(gate.get("/reports/1", user.files, "DELETE"), 403, "unregistered_action")
    closed(gate.get("/archive/secret/7", user.files), 403, "forbidden")
    assert gate.get("/drafts/1", user.files, "POST").status_code == 200
    assert gate.get("/archive/open", user.files).status_code == 200


def test_conditions_on_beginnings_count_whole_segments(gate: Gate, user: Issued):
    closed(gate.get("/drafts2/1", user.files, "POST"), 403, "condition")
    closed(gate.get("/x/../draftsx", user.files, "POST"), 403, "condition")
    assert gate.get("/archive/secretary", user.files).status_code == 200


def test_a_revoked_certificate_is_refused_within_two_seconds(service: Service, gate: Gate):
    taken = service.enrol(STAFF)
    assert gate.get("/x", taken.files).status_code == 200
    service.person(STAFF).post(f"/api/v1/certificates/{taken.serial}/revoke", json={"reason": "keyCompromise"})
    began = time.monotonic()
    while (answer := gate.get("/x", taken.files)).status_code == 200:
        assert time.monotonic() - began < 2
    closed(answer, 401, "revoked")
    found = service.events("code:AZ1001 actor:application:files")[0]
    assert (found["body"]["rsn"], found["body"]["cert"].partition(":")[2]) == ("revoked", taken.serial)


@pytest.mark.embedded
def test_an_expired_certificate_is_refused_by_the_gate_and_not_by_nginx(gate: Gate, service: Service, user: Issued, tmp_path: Path):
    closed(gate.get("/x", aged(service, user.files, tmp_path)), 401, "expired")


def test_a_strangers_certificate_names_nobody(gate: Gate, tmp_path: Path):
    closed(gate.get("/x", make("stranger").write(tmp_path, "stranger")), 401, "unknown-issuer")


def test_an_applications_certificate_is_nobodys(gate: Gate, service: Service):
    closed(gate.get("/x", service.application_files()), 401, "no_person")


def test_what_a_user_says_of_himself_is_replaced(gate: Gate, user: Issued):
    forged = {"Yumen-Subject-Cert": cert_of(user), "X-Original-URI": "/public", "X-Original-Method": "GET", "Client-Cert": cert_of(user)}
    closed(gate.get("/x", **forged), 401, "no_certificate")
    claimed = {"Yumen-Subject": "p_1", "Yumen-User": "root", "Yumen-Roles": "admin", "Yumen-Unit": "u", "Yumen-Decision": "access/1/1"}
    told = gate.get("/x", user.files, **forged, **claimed).json()
    assert told["yumen-user"] == STAFF
    assert not {"yumen-subject-cert", "client-cert"} & set(told)
    assert set(claimed.values()) & {told[name.lower()] for name in claimed} == set()


def test_a_users_cookie_and_token_reach_nobody_and_help_nobody(gate: Gate, service: Service):
    token = service.token(STAFF)
    closed(gate.get("/x", Cookie=f"__Host-yumen={token}"), 401, "no_certificate")
    closed(gate.get("/x", Authorization=f"Bearer {token}"), 401, "no_certificate")


@pytest.mark.parametrize(
    "path", ["//archive/secret/1", "/archive/%2e%2e/x", "/archive%2Fsecret", "/archive/%252e", "/a;b", "/archive/open%5c..%5csecret"]
)
def test_path_tricks_are_refused(gate: Gate, user: Issued, path: str):
    before = len(gate.seen.requests)
    heard = gate.raw(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode(), user.files)
    assert statuses(heard) == [403]
    assert b"Yumen-Reason: ambiguous-path" in heard
    assert len(gate.seen.requests) == before


def test_dot_segments_are_removed_before_anything_is_compared(gate: Gate, user: Issued):
    heard = gate.raw(b"GET /drafts/../archive/./secret/1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", user.files)
    assert statuses(heard) == [403]
    assert b"Yumen-Reason: forbidden" in heard


def test_the_applications_nginx_stays_closed_when_nobody_answers(gate: Gate, user: Issued):
    gate.door.nginx.stop()
    try:
        before = len(gate.seen.requests)
        assert gate.get("/x", user.files).status_code == 500
        assert len(gate.seen.requests) == before
    finally:
        gate.door.nginx.start()
    assert gate.get("/x", user.files).status_code == 200


# -- asked directly


def test_the_proxy_may_spell_the_certificate_in_both_ways(gate: Gate, user: Issued):
    for value in (cert_of(user), f":{''.join(user.pem.split('-----')[2].split())}:"):
        answer = asked(gate, **{"Yumen-Subject-Cert": value})
        assert (answer.status_code, answer.content, answer.headers["Yumen-User"]) == (204, b"", STAFF)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"X-Original-Method": "GET, POST"}, None),
        ({"Yumen-Subject-Cert": "CN=zhangsan"}, "bad-handover"),
        ({"Yumen-Subject-Cert": ":AAAA:, :AAAA:"}, "bad-handover"),
        ({"Yumen-Subject-Cert": ":MIIBAAAA:"}, "bad-handover"),
        ({"Cookie": "a=b; __Host-yumen=ys_x"}, "cookie"),
        ({"Client-Cert": ":AAAA:"}, "forged-header"),
        ({"Yumen-Subject": "p_1"}, "forged-header"),
        ({"X-SSL-Client-Verify": "SUCCESS"}, "forged-header"),
    ],
)
def test_what_cannot_be_read_is_no_and_on_record(service: Service, gate: Gate, fields: dict[str, str], reason: str | None):
    answer = asked(gate, **fields)
    closed(answer, 403, reason or answer.headers["Yumen-Reason"])
    assert service.events(f"code:AZ1005 req:{answer.headers['x-request-id']}")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"X-Original-URI": ""}, "ambiguous-path"),
        ({"X-Original-URI": "/public,/admin"}, "ambiguous-path"),
        ({"X-Original-URI": "/public?x,/admin"}, "ambiguous-path"),
        ({"X-Original-Method": ""}, "original-method"),
        ({"X-Original-Method": "get"}, "original-method"),
    ],
)
def test_whoever_asks_for_what_cannot_be_read_is_on_record(service: Service, gate: Gate, user: Issued, fields: dict[str, str], reason: str):
    answer = asked(gate, **{"Yumen-Subject-Cert": cert_of(user)}, **fields)
    closed(answer, 403, reason)
    [found] = service.events(f"code:AZ1001 req:{answer.headers['x-request-id']}")
    assert found["body"]["d"]["subject"] == service.node.world.current().directory.by_uid[STAFF].id


def test_outsiders_cannot_fill_the_trail_through_an_applications_gate(service: Service, gate: Gate, user: Issued):
    before = len(service.events("code:AZ1001 actor:application:files"))
    for number in range(12):
        closed(
            asked(gate, **{"X-Original-URI": "/a//b"} if number % 2 else {}),
            403 if number % 2 else 401,
            ["no_certificate", "ambiguous-path"][number % 2],
        )
    for _ in range(12):
        closed(asked(gate, Cookie="__Host-yumen=ys_x"), 403, "cookie")
    assert len([one for one in service.events("code:AZ1005") if one["body"]["rsn"] == "cookie"]) <= 13  # with that of an earlier test
    assert len(service.events("code:AZ1001 actor:application:files")) - before <= 11  # a minute may turn meanwhile
    assert asked(gate, **{"Yumen-Subject-Cert": cert_of(user)}).status_code == 204


@pytest.fixture(autouse=True)
def _a_new_minute(service: Service) -> None:
    """Refusals of earlier tests do not count here."""
    service.node.world.tally._seen.clear()


def test_two_fields_of_one_name_are_refused(gate: Gate, user: Issued):
    one = cert_of(user).encode()
    usual = b"GET /gate HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Original-Method: GET\r\nX-Original-URI: /a\r\n"
    for twice in (b"X-Original-URI: /b\r\n", b"X-Original-Method: POST\r\n", b"Yumen-Subject-Cert: " + one + b"\r\n"):
        heard = gate.door.raw(usual + b"Yumen-Subject-Cert: " + one + b"\r\n" + twice + b"\r\n", cert=gate.own, seconds=3)
        assert statuses(heard) == [403], twice


def test_a_session_is_refused_whoever_hands_it_over(service: Service, gate: Gate, user: Issued):
    token = service.token(STAFF)
    answer = asked(gate, Authorization=f"Bearer {token}")
    closed(answer, 403, "session")
    assert service.events(f"code:AZ1005 req:{answer.headers['x-request-id']}")
    with gate.door.client() as stranger, gate.door.client(user.files) as person:
        usual = {"X-Original-Method": "GET", "X-Original-URI": "/x", "Yumen-Subject-Cert": cert_of(user)}
        closed(stranger.get("/gate", headers=usual | {"Authorization": f"Bearer {token}"}), 403, "proxy-not-accepted")
        closed(stranger.get("/gate", headers=usual), 403, "proxy-not-accepted")
        closed(person.get("/gate", headers=usual), 403, "proxy-not-accepted")


def test_only_a_registered_proxy_is_listened_to(service: Service, gate: Gate, user: Issued):
    with gate.door.client(service.application_files()) as other:
        fields = {"X-Original-Method": "GET", "X-Original-URI": "/x", "Yumen-Subject-Cert": cert_of(user)}
        answer = other.get("/gate", headers=fields)
    closed(answer, 403, "not-a-proxy")
    assert service.events(f"code:AZ1005 req:{answer.headers['x-request-id']}")


def test_a_registration_can_be_withdrawn(service: Service, gate: Gate, user: Issued):
    def register(*, proxy: bool) -> int:
        return service.person(SYSTEM).put(f"/api/v1/applications/{APPLICATION}/proxy", json={"proxy": proxy}).status_code

    def shown() -> bool:
        items = service.person(STAFF).get("/api/v1/applications").json()["items"]
        return next(one["proxy"] for one in items if one["id"] == APPLICATION)

    assert service.person(OWNER).put(f"/api/v1/applications/{APPLICATION}/proxy", json={"proxy": False}).status_code == 403
    assert (register(proxy=False), shown()) == (200, False)
    closed(gate.get("/x", user.files), 403, "not-a-proxy")
    assert (register(proxy=True), shown()) == (200, True)
    assert gate.get("/x", user.files).status_code == 200
    assert [one["body"]["d"] for one in service.events("code:CA4013 obj:app:files")] == [{"proxy": True}, {"proxy": False}]


def test_an_api_key_of_the_application_will_do(service: Service, gate: Gate, user: Issued):
    key = service.person(OWNER).post(f"/api/v1/applications/{APPLICATION}/keys").json()["key"]
    with gate.door.client(Authorization=f"Bearer {key}") as proxy:
        fields = {"X-Original-Method": "HEAD", "X-Original-URI": "/x", "Yumen-Subject-Cert": cert_of(user)}
        assert proxy.get("/gate", headers=fields).status_code == 204
        assert proxy.head("/gate", headers=fields).status_code == 204
        closed(proxy.get("/gate", headers=fields | {"Authorization": "Bearer yk_0123456789abcdef_x"}), 403, "proxy-not-accepted")


def test_nothing_but_204_401_and_403_ever(gate: Gate):
    with gate.door.client(gate.own) as proxy:
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH", "FOO"):
            closed(proxy.request(method, "/gate"), 403, "method")
        closed(proxy.post("/gate", content=b"x" * 200_000), 403, "too-large")
        closed(proxy.get("/gate?x=1"), 403, "ambiguous-path")


def test_a_failure_inside_is_a_no(service: Service):
    """Here the node is really broken: it has lost its world."""
    broken = Front(replace(service.node, world=None), GATE_ROUTES)
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/gate", "yumen.peer_certificate": None, "wsgi.input": None}
    environ |= {"HTTP_AUTHORIZATION": "Bearer yk_0123456789abcdef_x"}
    said: list[Any] = []
    assert broken(environ, lambda *told: said.extend(told))
    assert (said[0], dict(said[1])["Yumen-Reason"]) == ("403 Forbidden", "proxy-not-accepted")


@pytest.mark.embedded
def test_while_nothing_can_be_recorded_the_answer_is_no(service: Service, gate: Gate, user: Issued):
    lock = service.node.database.lock
    assert lock
    with lock.open("r+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # as a writer that hangs
        closed(asked(gate, **{"Yumen-Subject-Cert": cert_of(user)}), 403, "unavailable")
        closed(asked(gate), 403, "unavailable")
    assert asked(gate, **{"Yumen-Subject-Cert": cert_of(user)}).status_code == 204


def test_our_own_tls_listener_has_the_same_gate(service: Service, gate: Gate, user: Issued):
    fields = {"X-Original-Method": "GET", "X-Original-URI": "/x", "Yumen-Subject-Cert": cert_of(user)}
    with contextlib.nullcontext(service.client(cert=gate.own)) as proxy:
        assert proxy.get("/gate", headers=fields).status_code == 204
        closed(proxy.get("/gate", headers={**fields, "X-Original-URI": "/a//b"}), 403, "ambiguous-path")
        assert proxy.get("/api/v1/me", headers=fields).json()["reason"] == "forged-header"


def test_the_published_document_knows_the_gate(service: Service):
    told = service.client().get("/api/v1/openapi.json").json()["paths"]["/gate"]["get"]
    assert set(told["responses"]) == {"204", "401", "403"}
    assert {one["name"] for one in told["parameters"]} == {"Yumen-Subject-Cert", "X-Original-Method", "X-Original-URI"}
