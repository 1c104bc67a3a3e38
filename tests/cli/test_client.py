from __future__ import annotations

import datetime as dt
import http.server
import json
import ssl
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cli.client import enroll, keys, session
from cli.client.api import Api, Server
from core.errors import CodeUsed, Conflict, Denied, Malformed, Unauthenticated, Unavailable

NOW = dt.datetime.now(dt.UTC)
PASSWORD = "twelve letters"


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class Authority:
    """A root and what it issues: small, but real bytes."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = name("root")
        self.cert = self._build(self.name, self.key.public_key(), ca=True, purpose=None)

    def issue(
        self, public_key: ec.EllipticCurvePublicKey, purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH
    ) -> x509.Certificate:
        return self._build(name("localhost"), public_key, ca=False, purpose=purpose)

    def pem(self) -> bytes:
        return self.cert.public_bytes(Encoding.PEM)

    def _build(self, subject: x509.Name, public_key, *, ca: bool, purpose) -> x509.Certificate:
        usage = dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only"), False
        )
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - dt.timedelta(hours=1))
            .not_valid_after(NOW + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(digital_signature=not ca, key_cert_sign=ca, crl_sign=ca, **usage), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        if purpose:
            builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        return builder.sign(self.key, SHA256())


class Service(http.server.BaseHTTPRequestHandler):
    """Answers as told and keeps every byte that it was sent."""

    answers: dict[str, tuple[int, dict[str, str], bytes]]
    heard: list[bytes]

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.heard.append(f"{self.requestline}\n{self.headers}".encode() + body)
        status, headers, content = self.answers[f"{self.command} {self.path}"]
        self.send_response(status)
        for key, value in {"Content-Type": "application/json", "Content-Length": str(len(content)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_DELETE = _answer  # noqa: N815 - the library's names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def server(authority: Authority, tmp_path: Path) -> Iterator[http.server.HTTPServer]:
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = authority.issue(key.public_key(), ExtendedKeyUsageOID.SERVER_AUTH)
    (tmp_path / "server.pem").write_bytes(
        leaf.public_bytes(Encoding.PEM) + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    (tmp_path / "root.pem").write_bytes(authority.pem())
    handler = type("Handler", (Service,), {"answers": {}, "heard": []})
    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    listening.socket = context.wrap_socket(listening.socket, server_side=True)
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    yield listening
    listening.shutdown()
    listening.server_close()
    thread.join()


@pytest.fixture
def api(server, tmp_path) -> Iterator[Api]:
    with Api(Server(url=f"https://localhost:{server.server_port}", ca_file=tmp_path / "root.pem", token="ys_x")) as opened:
        yield opened


def says(server, request: str, status: int, value: object, **headers: str) -> None:
    server.RequestHandlerClass.answers[request] = (status, headers, value if isinstance(value, bytes) else json.dumps(value).encode())


def test_another_authority_is_not_believed(server, tmp_path):
    (tmp_path / "other.pem").write_bytes(Authority().pem())
    other = Server(url=f"https://localhost:{server.server_port}", ca_file=tmp_path / "other.pem", token="ys_x")
    with Api(other) as api, pytest.raises(Unavailable, match="certificate verify failed"):
        api.get("/readyz")
    assert server.RequestHandlerClass.heard == []


def test_another_host_name_is_not_believed(server, tmp_path):
    other = Server(url=f"https://127.0.0.1:{server.server_port}", ca_file=tmp_path / "root.pem", token="ys_x")
    with Api(other) as api, pytest.raises(Unavailable, match="IP address mismatch"):
        api.get("/readyz")


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [("denied", 403, Denied), ("conflict", 409, Conflict), ("unauthenticated", 401, Unauthenticated), ("malformed", 400, Malformed)],
)
def test_problem_documents_become_the_error_they_name(server, api, code, status, expected):
    says(server, "GET /x", status, {"code": code, "detail": "why {braces}", "reason": "own-request"})
    with pytest.raises(expected, match=r"why \{braces\}") as caught:
        api.get("/x")
    assert caught.value.facts == {"code": code, "reason": "own-request"}


def test_a_used_code_says_how_long_to_wait(server, api):
    says(server, "POST /x", 429, {"code": "code-used", "detail": "used"}, **{"Retry-After": "17"})
    with pytest.raises(CodeUsed) as caught:
        api.post("/x", {})
    assert caught.value.retry_after_seconds == 17


def test_an_answer_that_is_no_problem_document_is_an_error_all_the_same(server, api):
    says(server, "GET /x", 502, b"<html>")
    with pytest.raises(Unavailable, match="502"):
        api.get("/x")


def test_redirects_are_not_followed(server, api):
    says(server, "GET /x", 302, b"", Location="https://elsewhere.example/")
    with pytest.raises(Exception, match="302"):
        api.get("/x")
    assert len(server.RequestHandlerClass.heard) == 1


def test_a_session_is_kept_private_and_comes_back(tmp_path):
    kept = session.Session(
        server=Server(url="https://localhost:1", ca_file=tmp_path / "r.pem", token="ys_1"), uid="a", expires_at="2026-01-01T00:00:00Z"
    )
    path = tmp_path / "new" / "session.json"
    session.save(kept, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert session.load(path) == kept


@pytest.mark.parametrize("content", [b"", b"[]", b'{"url": 1}', b"\xff"])
def test_a_damaged_session_means_login_again(tmp_path, content):
    (tmp_path / "s").write_bytes(content)
    with pytest.raises(Unauthenticated, match="yumen login"):
        session.load(tmp_path / "s")


def test_the_request_names_nobody():
    request = x509.load_pem_x509_csr(keys.request_pem(keys.new_key()).encode())
    assert request.is_signature_valid
    assert list(request.subject) == []
    assert list(request.extensions) == []


def enrolling(server, authority, api, out: Path) -> enroll.Waiting:
    says(server, "POST /api/v1/requests", 201, {"id": 7, "state": "submitted"})
    waiting = enroll.begin(api, out, PASSWORD, profile="staff-sign")
    leaf = authority.issue(waiting.key.public_key())
    says(server, "GET /api/v1/requests/7", 200, {"state": "issued", "serial": "1f"})
    says(server, "GET /api/v1/certificates/1f", 200, leaf.public_bytes(Encoding.PEM))
    return waiting


def test_enrolment_ends_in_a_pkcs12_and_the_key_was_never_sent(server, authority, api, tmp_path):
    out = tmp_path / "me.p12"
    waiting = enrolling(server, authority, api, out)
    serial = enroll.wait(api, waiting, until=time.monotonic() + 5, tell=lambda _: None)
    assert serial == "1f"
    chain = enroll.collect(api, waiting, serial, root_pem=authority.pem(), now=NOW)
    enroll.finish(waiting, chain, out, PASSWORD)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert not enroll.waiting_file(out).exists()
    key, leaf, _ = pkcs12.load_key_and_certificates(out.read_bytes(), PASSWORD.encode())
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert leaf is not None
    assert key.public_key() == leaf.public_key()
    sent = b"".join(server.RequestHandlerClass.heard)
    number = key.private_numbers().private_value
    assert b"PRIVATE KEY" not in sent
    assert number.to_bytes(32, "big") not in sent
    assert PASSWORD.encode() not in sent


def test_an_enrolment_is_taken_up_again_with_its_key(server, authority, api, tmp_path):
    first = enrolling(server, authority, api, tmp_path / "me.p12")
    again = enroll.begin(api, tmp_path / "me.p12", PASSWORD, profile="staff-sign")
    assert (again.request, again.key.private_numbers()) == (first.request, first.key.private_numbers())
    assert sum(b"POST /api/v1/requests" in each for each in server.RequestHandlerClass.heard) == 1


def test_a_request_that_never_arrived_is_sent_again_with_the_same_key(server, authority, api, tmp_path):
    says(server, "POST /api/v1/requests", 503, {"code": "unavailable", "detail": "later"})
    with pytest.raises(Unavailable):
        enroll.begin(api, tmp_path / "me.p12", PASSWORD, profile="staff-sign")
    kept = json.loads(enroll.waiting_file(tmp_path / "me.p12").read_bytes())
    waiting = enrolling(server, authority, api, tmp_path / "me.p12")
    assert keys.unlock_key(kept["key"], PASSWORD).private_numbers() == waiting.key.private_numbers()


def test_the_waiting_key_is_encrypted_and_private(server, authority, api, tmp_path):
    path = enrolling(server, authority, api, tmp_path / "me.p12").path
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "ENCRYPTED PRIVATE KEY" in json.loads(path.read_bytes())["key"]
    with pytest.raises(Malformed, match="the password that you chose"):
        enroll.begin(api, tmp_path / "me.p12", "another password", profile="staff-sign")


def test_a_certificate_for_another_key_is_refused(server, authority, api, tmp_path):
    waiting = enrolling(server, authority, api, tmp_path / "me.p12")
    other = authority.issue(ec.generate_private_key(ec.SECP256R1()).public_key())
    says(server, "GET /api/v1/certificates/1f", 200, other.public_bytes(Encoding.PEM))
    with pytest.raises(Malformed, match="other-key"):
        enroll.collect(api, waiting, "1f", root_pem=authority.pem(), now=NOW)


def test_a_certificate_of_another_authority_is_refused(server, authority, api, tmp_path):
    waiting = enrolling(server, authority, api, tmp_path / "me.p12")
    stranger = Authority().issue(waiting.key.public_key())
    says(server, "GET /api/v1/certificates/1f", 200, stranger.public_bytes(Encoding.PEM))
    with pytest.raises(Malformed, match=r"bad-signature|unknown-issuer"):
        enroll.collect(api, waiting, "1f", root_pem=authority.pem(), now=NOW)


def test_a_refused_request_ends_the_waiting(server, authority, api, tmp_path):
    waiting = enrolling(server, authority, api, tmp_path / "me.p12")
    says(server, "GET /api/v1/requests/7", 200, {"state": "refused", "serial": None})
    with pytest.raises(Denied, match="ask your registrar why"):
        enroll.wait(api, waiting, until=time.monotonic() + 5, tell=lambda _: None)


def test_a_file_that_may_hold_the_only_key_is_never_overwritten(tmp_path):
    (tmp_path / "me.p12").write_bytes(b"x")
    with pytest.raises(Conflict, match="choose another"):
        enroll.require_free(tmp_path / "me.p12")
