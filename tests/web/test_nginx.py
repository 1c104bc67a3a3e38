"""nginx with our own files in front of two instances: what it hands over, what it refuses, what nobody gets past it."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import re
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from tests.web.conftest import OTHER_STAFF, STAFF, Service
from tests.web.doors import Door, aged, door, serving, statuses
from tests.web.pki import Holder, make
from web.compose import portal

pytestmark = [pytest.mark.slow, pytest.mark.component("nginx")]


@pytest.fixture(scope="module")
def own(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """nginx in front of the whole service."""
    here = door(service, tmp_path_factory.mktemp("n"))
    with serving(here, portal(service.node), service.node.settings.web.max_body_bytes) as found:
        yield found


@pytest.fixture(scope="module")
def toy(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """nginx in front of an application that writes down what arrives."""
    here = door(service, tmp_path_factory.mktemp("t"))

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        body = environ["wsgi.input"].read().decode()
        here.arrived.append((environ["REQUEST_METHOD"], environ["PATH_INFO"], body))
        told = {name: value for name, value in environ.items() if isinstance(value, str)}
        told["refusal"] = getattr(environ.get("yumen.refusal"), "facts", {}).get("reason", "")
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(told | {"body": body, "peer": len(environ["yumen.peer_certificate"] or b"")}).encode()]

    with serving(here, application, 100_000) as found:
        yield found


def question(service: Service) -> dict[str, Any]:
    person = service.node.world.current().directory.by_uid[STAFF]
    return {"subject": {"type": "user", "id": person.id}, "action": {"name": "read"}, "resource": {"type": "document", "id": "7"}}


# -- what is handed over


def test_an_application_is_known_by_its_certificate_and_recorded_with_its_address(service: Service, own: Door):
    with own.client(service.application_files()) as asking:
        for _ in range(3):
            assert asking.post("/access/v1/evaluation", json=question(service)).json()["decision"] is True
        answer = asking.get("/api/v1/me")
        assert answer.json()["auth"] == "cert"
    assert own.nginx.log("yumen.log").count("/access/v1/evaluation") == 3


def test_a_session_begun_by_certificate_is_good_over_that_certificate_only(service: Service, own: Door):
    taken = service.enrol(STAFF)
    with own.client(taken.files) as asking, own.client() as bare:
        token = asking.post("/api/v1/sessions").json()["token"]
        fields = {"Authorization": f"Bearer {token}"}
        assert asking.get("/api/v1/me", headers=fields).status_code == 200
        assert bare.get("/api/v1/me", headers=fields).status_code == 401
        service.person(STAFF).post(f"/api/v1/certificates/{taken.serial}/revoke", json={"reason": "keyCompromise"})
        began = time.monotonic()
        answer = asking.post("/api/v1/sessions")
        assert (answer.status_code, answer.json()["reason"]) == (401, "revoked")
        assert time.monotonic() - began < 2
    assert service.events(f"code:AZ2008 req:{answer.headers['x-request-id']}")


@pytest.mark.embedded
def test_an_expired_certificate_gets_a_readable_recorded_refusal(service: Service, own: Door, tmp_path: Path):
    files = aged(service, service.application_files(), tmp_path)
    with own.client(files) as asking:
        answer = asking.post("/access/v1/evaluation?x=1", json=question(service))
    assert (answer.status_code, answer.json()["code"], answer.json()["reason"]) == (401, "unauthenticated", "expired")
    assert service.events(f"code:AZ2008 req:{answer.headers['x-request-id']}")


@pytest.mark.embedded
def test_the_named_location_keeps_method_address_and_body(service: Service, toy: Door, tmp_path: Path):
    files = aged(service, service.application_files(), tmp_path)
    with toy.client(files) as asking:
        found = asking.post("/a%2Fb//c?x=%2F", content=b"whole").json()
    assert (found["REQUEST_METHOD"], found["PATH_INFO"], found["QUERY_STRING"], found["body"]) == ("POST", "/a/b//c", "x=%2F", "whole")
    assert found["peer"] == len(x509.load_pem_x509_certificate(files[0].read_bytes()).public_bytes(Encoding.DER))


def test_a_strangers_certificate_is_refused_and_counted_also_when_it_is_over(service: Service, own: Door, tmp_path: Path):
    for number, days in enumerate((30, -1)):
        files = make("stranger").write(tmp_path, f"s{number}") if days > 0 else make("x", make("s"), days=days).write(tmp_path, "over")
        with own.client(files) as asking:
            answer = asking.post("/api/v1/sessions")
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
        assert service.events(f"req:{answer.headers['x-request-id']}") == []


@pytest.mark.parametrize("size", [9_000, 30_000])
def test_a_monstrous_certificate_is_refused_and_harms_nobody(own: Door, tmp_path: Path, size: int):
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "monster")]), dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(subject_name=name, issuer_name=name, public_key=key.public_key(), serial_number=7)
    builder = builder.not_valid_before(now - dt.timedelta(1)).not_valid_after(now + dt.timedelta(1))
    builder = builder.add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), bytes(size)), critical=False)
    cert = builder.sign(key, hashes.SHA256())
    with own.client(Holder(cert, key).write(tmp_path, "monster")) as asking:
        assert asking.get("/api/v1/me").status_code in {400, 401, 431}
    with own.client() as asking:
        assert asking.get("/healthz").status_code == 200


def test_a_resumed_connection_still_shows_its_certificate(service: Service, toy: Door):
    context = toy.context(service.application_files())
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    session, peers = None, []
    for _ in range(2):
        bare = socket.create_connection(("127.0.0.1", toy.port), 5)
        with context.wrap_socket(bare, server_hostname="localhost", session=session) as sock:
            sock.sendall(b"GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            heard = b"".join(iter(lambda sock=sock: sock.recv(65_536), b""))
            peers.append((sock.session_reused, json.loads(heard.partition(b"\r\n\r\n")[2])["peer"] > 0))
            session = sock.session
    assert peers == [(False, True), (True, True)]


def test_clients_are_asked_for_certificates_of_our_authorities(service: Service, own: Door):
    said = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{own.port}", "-CAfile", own.ca_file, "-verify_return_error"],
        input=b"",
        capture_output=True,
        check=False,
    ).stdout.decode()
    asked = said.partition("Acceptable client certificate CA names")[2].partition("Requested Signature")[0]
    names = [one.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value for one in service.node.client_cas]
    assert len(names) > 1
    assert [name for name in names if str(name) not in asked] == []


def test_old_tls_is_refused(own: Door):
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_cipher_list(b"ALL:@SECLEVEL=0")
    context.set_max_proto_version(SSL.TLS1_1_VERSION)
    with socket.create_connection(("127.0.0.1", own.port)) as bare:
        connection = SSL.Connection(context, bare)
        connection.set_connect_state()
        with pytest.raises(SSL.Error):
            connection.do_handshake()


def test_people_log_in_on_the_page(service: Service, own: Door):
    with own.client() as browser:
        token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', browser.get("/login").text)
        assert token
        told = service.credentials(OTHER_STAFF)
        form = {"csrf_token": token[1], "uid": told["uid"], "password": told["password"], "code": told["totp"]}
        refused = browser.post("/login", data=form, headers={"Referer": "https://elsewhere.example/login"})
        assert refused.status_code == 400
        answer = browser.post("/login", data=form, headers={"Referer": f"https://localhost:{own.port}/login"})
        assert (answer.status_code, answer.headers["Location"]) == (302, "/")
        assert browser.get("/").status_code == 200


# -- forged fields


@pytest.mark.parametrize("with_own", [False, True])
def test_a_certificate_field_from_a_client_is_refused_and_noted(service: Service, own: Door, with_own: bool):
    files = service.application_files()
    value = f":{Path(files[0]).read_text().split('-----')[2].replace(chr(10), '')}:"
    with own.client(files if with_own else None) as asking:
        answer = asking.get("/api/v1/me", headers={"Client-Cert": value})
        assert (answer.status_code, answer.json()["reason"]) == (400, "forged-header")
        assert bool(service.events(f"code:AZ1005 req:{answer.headers['x-request-id']}")) is with_own
        for name in ("Client-Cert-Chain", "X-Client-Cert", "X-SSL-Client-Cert", "Yumen-Subject-Cert", "X-Forwarded-Tls-Client-Cert"):
            assert asking.get("/api/v1/me", headers={name: value}).json()["reason"] == "forged-header"


def test_doubled_folded_and_underscored_fields_name_nobody(toy: Door, own: Door):
    ask = b"GET /api/v1/me HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%s\r\n"
    assert statuses(own.raw(ask % b"Client-Cert: :AAAA:\r\nClient-Cert: :BBBB:\r\n")) == [400]
    for fields in (
        b"Client_Cert: :AAAA:\r\n",
        b"X: a\r\n Client-Cert: :AAAA:\r\n",
        b"X: a\r\n\tb\r\n",
        b"client_cert: x\r\nX_REAL_IP: 192.0.2.1\r\n",
    ):
        heard = toy.raw(ask % fields)
        if statuses(heard) == [200]:
            found = json.loads(heard.partition(b"\r\n\r\n")[2])
            assert (found["peer"], found["REMOTE_ADDR"]) == (0, "127.0.0.1"), fields
            assert not {"HTTP_CLIENT_CERT", "HTTP_CLAIMED_CLIENT_CERT"} & set(found)
        else:
            assert statuses(heard) == [400], fields


def test_the_address_is_nginxs_word(toy: Door):
    with toy.client() as asking:
        found = asking.get("/x", headers={"X-Real-IP": "192.0.2.7", "Host": "other"}).json()
    assert (found["REMOTE_ADDR"], found["HTTP_HOST"]) == ("127.0.0.1", "other")
    assert "HTTP_X_REAL_IP" not in found


def test_measurements_are_for_this_machine(own: Door):
    for port in own.measured:
        told = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False)
        assert (told.status_code, "yumen_requests_total" in told.text) == (200, True)
        assert httpx.get(f"http://127.0.0.1:{port}/api/v1/me", trust_env=False).status_code == 404
    with own.client() as asking:
        assert asking.get("/metrics").status_code == 200
        assert asking.get("/metrics", headers={"X-Forwarded-For": "192.0.2.1"}).status_code == 401


# -- addresses


@pytest.mark.parametrize("path", ["/api/v1/me/../../../x", "/x/%2e%2e/api/v1/me", "/x%2f..%2fapi/v1/me", "/%2e/api/v1/me", "/x/..%5cme"])
def test_dot_segments_are_refused_however_written(own: Door, path: str):
    heard = own.raw(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert statuses(heard) == [400]
    assert b"problem+json" in heard


@pytest.mark.parametrize("path", ["//api/v1/me", "/api//v1/me", "/api/v1/me/", "/%61pi/v1//me", "/api/v1/me%252e", "/API/v1/me"])
def test_no_other_spelling_is_the_same_address(own: Door, path: str):
    heard = own.raw(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert statuses(heard)[0] in {302, 303, 308, 400, 401, 404}
    assert b'"uid"' not in heard


def test_addresses_go_on_as_they_came(toy: Door):
    with toy.client() as asking:
        for sent, path in (("/a%2Fb", "/a/b"), ("/a//b", "/a//b"), ("/a%252e", "/a%2e"), ("/%E7%8E%89", "/玉".encode().decode("latin-1"))):
            assert asking.get(sent).json()["PATH_INFO"] == path


# -- the plain door


def test_over_plain_http_there_is_status_and_nothing_else(service: Service, own: Door):
    with own.plain(Authorization=f"Bearer {service.token(STAFF)}") as asking:
        assert asking.get("/crl/staff/0.crl").status_code == 200
        assert asking.get("/ca/staff.cer").status_code == 200
        for path in ("/", "/api/v1/me", "/login", "/metrics", "/healthz", "/gate", "/access/v1/evaluation", "/log/ca/checkpoint"):
            assert asking.get(path).status_code == 404, path
    for path in ("/ocsp/../api/v1/me", "/ocsp/%2e%2e/api/v1/me", "//ocsp/../api/v1/me"):
        assert statuses(own.raw(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode(), plain=True)) == [404]
    for path in ("/api/v1/me/%2e%2e/%2e%2e/%2e%2e/ocsp/x", "/log/ca/../../ocsp/x"):
        assert statuses(own.raw(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode(), plain=True)) == [400]


def test_plain_http_carries_no_credentials(toy: Door):
    with toy.plain(Authorization="Bearer ys_x", Cookie="__Host-yumen=x") as asking:
        found = asking.get("/ocsp/x").json()
    assert not {"HTTP_AUTHORIZATION", "HTTP_COOKIE"} & set(found)


def test_openssl_asks_for_status_over_http_1_0(service: Service, own: Door, tmp_path: Path):
    taken = service.enrol(STAFF)
    issuer = tmp_path / "issuer.pem"
    issuer.write_bytes(x509.load_pem_x509_certificates(taken.pem.encode())[1].public_bytes(Encoding.PEM))
    url = x509.load_pem_x509_certificates(taken.pem.encode())[0].extensions.get_extension_for_class(x509.AuthorityInformationAccess)
    path = next(one.access_location.value for one in url.value if one.access_method == x509.OID_OCSP).split("/", 3)[3]
    command = ["openssl", "ocsp", "-issuer", str(issuer), "-cert", str(taken.files[0]), "-CAfile", own.ca_file]
    said = subprocess.run([*command, "-url", f"http://127.0.0.1:{own.plain_port}/{path}"], capture_output=True, text=True, check=False)
    assert ": good" in said.stdout, said.stdout + said.stderr


def test_kept_status_answers_follow_their_own_dates(service: Service, tmp_path: Path):
    more = {
        "#proxy_cache_path /var/cache/nginx/yumen": f"proxy_cache_path {tmp_path}/kept",
        "#include yumen/cache.conf": "include yumen/cache.conf",
    }
    here = door(service, tmp_path, **more)
    with serving(here, portal(service.node), 10_000), here.plain() as asking:
        assert [asking.get("/crl/staff/0.crl").headers["X-Cache"] for _ in range(3)] == ["MISS", "HIT", "HIT"]
        assert {asking.post("/ocsp/staff", content=b"x").headers.get("X-Cache") for _ in range(2)} <= {None, "BYPASS"}


# -- two servers in a row


@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length: 6\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding: chunked, chunked",
        b"Transfer-Encoding:\x0bchunked",
        b"Content-Length: 6\r\nContent-Length: 0",
        b"Content-Length: 6, 6",
        b"Content-Length: +6",
        b"Content-Length: 0x6",
        b"Content-Length: 99999999999999999999",
        b"Content-Length: -1",
    ],
)
def test_no_second_request_hides_in_a_body(toy: Door, fields: bytes):
    toy.arrived.clear()
    heard = toy.raw(
        b"POST /first HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n\r\n0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: a\r\n\r\n", seconds=0.5
    )
    assert statuses(heard)[:1] in ([400], [413], [411], [501], []), heard[:200]
    assert "/hidden" not in {path for _, path, _ in toy.arrived}


def test_a_chunked_body_arrives_with_a_length_and_what_follows_is_the_next_request(toy: Door):
    toy.arrived.clear()
    body = b"3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nTrailer: x\r\n\r\n"
    heard = toy.raw(b"POST /one HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + body + b"GET /two HTTP/1.1\r\nHost: a\r\n\r\n")
    assert statuses(heard) == [200, 200]
    assert toy.arrived == [("POST", "/one", "abcdefg"), ("GET", "/two", "")]


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /x HTTP/1.1\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET /x%00 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 17_000 + b"\r\n\r\n",
        b"GET /" + b"y" * 17_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /x HTTP/3.0\r\nHost: a\r\n\r\n",
        b"G\x00T /x HTTP/1.1\r\nHost: a\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
)
def test_what_nginx_refuses_it_refuses_in_our_form(toy: Door, request_: bytes):
    toy.arrived.clear()
    heard = toy.raw(request_, seconds=0.5)
    assert statuses(heard)[0] in {400, 414, 505}
    assert b"problem+json" in heard
    assert toy.arrived == []


def test_an_absolute_address_changes_neither_host_nor_place(toy: Door):
    heard = toy.raw(b"GET http://evil.example/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    found = json.loads(heard.partition(b"\r\n\r\n")[2])
    assert (found["PATH_INFO"], found["HTTP_HOST"]) == ("/x", "localhost")


def test_many_header_fields_are_refused(toy: Door):
    fields = b"".join(b"X%d: y\r\n" % number for number in range(120))
    assert statuses(toy.raw(b"GET /x HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n", seconds=0.5)) == [431]


def test_plain_http_on_the_tls_port_is_answered_and_goes_nowhere(toy: Door):
    toy.arrived.clear()
    with socket.create_connection(("127.0.0.1", toy.port)) as sock:
        sock.sendall(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
        sock.settimeout(2)
        assert statuses(sock.recv(4096)) == [400]
    assert toy.arrived == []


# -- bodies, limits, ends


def test_large_bodies_are_refused_by_yumen_first_and_by_nginx_last(service: Service, own: Door):
    with own.client(service.application_files()) as asking:
        answer = asking.post("/access/v1/evaluation", content=b" " * (service.node.settings.web.max_body_bytes + 1))
        assert (answer.status_code, answer.json()["code"]) == (413, "too-large")
        assert service.events(f"code:AZ1005 req:{answer.headers['x-request-id']}")
        assert asking.get("/api/v1/me").status_code == 200
        answer = asking.post("/access/v1/evaluation", content=b" " * 1_100_000)
        assert (answer.status_code, answer.json()["code"]) == (413, "too-large")


@pytest.mark.alone
def test_slow_bodies_hold_no_thread(toy: Door):
    slow = []
    for _ in range(20):
        sock = toy.context().wrap_socket(socket.create_connection(("127.0.0.1", toy.port)), server_hostname="localhost")
        sock.sendall(b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf")
        slow.append(sock)
    try:
        began = time.monotonic()
        with toy.client() as asking:
            assert asking.get("/x").status_code == 200
        assert time.monotonic() - began < 1
    finally:
        for sock in slow:
            sock.close()


def test_a_get_finds_the_other_instance_and_a_post_is_never_sent_twice(service: Service, tmp_path: Path):
    here = door(service, tmp_path)
    seen: list[bytes] = []

    def die(listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = listening.accept()
                seen.append(sock.recv(65_536)[:4])
                sock.close()

    listening = []
    for number in (1, 2):
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(tmp_path / f"web-{number}.sock"))
        sock.listen()
        threading.Thread(target=die, args=(sock,), daemon=True).start()
        listening.append(sock)
    here.nginx.start()
    try:
        with here.client() as asking:
            answer = asking.post("/x", content=b"act")
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
            assert seen == [b"POST"]
            time.sleep(3.1)  # until nginx asks both again: whole seconds
            seen.clear()
            assert asking.get("/x").status_code == 503
            assert seen == [b"GET ", b"GET "]
    finally:
        here.nginx.stop()
        for sock in listening:
            sock.shutdown(socket.SHUT_RDWR)
            sock.close()


@pytest.mark.alone
def test_instances_restart_one_after_the_other_and_nobody_notices(toy: Door):
    answers: list[tuple[str, int]] = []
    ended = threading.Event()

    def ask(method: str) -> None:
        with toy.client() as asking:
            while not ended.is_set():
                answers.append((method, asking.request(method, "/x", content=b"act").status_code))

    asking = [threading.Thread(target=ask, args=(method,)) for method in ("GET", "POST", "POST", "POST")]
    for thread in asking:
        thread.start()
    assert toy.instance
    for number in (1, 2):
        time.sleep(0.3)
        toy.instances[number].stop()
        time.sleep(0.3)
        toy.instances[number] = toy.instance(number)
        time.sleep(3.1)  # until nginx asks it again
    ended.set()
    for thread in asking:
        thread.join()
    assert set(answers) == {("GET", 200), ("POST", 200)}


def test_no_query_is_logged(own: Door):
    with own.client() as asking:
        asking.get("/api/v1/events", params={"q": "name:zhangsan"})
    assert "zhangsan" not in own.nginx.log("yumen.log")
