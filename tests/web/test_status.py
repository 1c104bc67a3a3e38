"""What relying parties see: OCSP, CRLs and certificates, over plain HTTP, as openssl reads them."""

from __future__ import annotations

import base64
import io
import random
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from tests.web.conftest import STAFF, Issued, Service
from web import ready
from web.compose import portal
from web.front import fresh_id

pytestmark = pytest.mark.slow

GOOD, REVOKED, UNKNOWN = ocsp.OCSPCertStatus.GOOD, ocsp.OCSPCertStatus.REVOKED, ocsp.OCSPCertStatus.UNKNOWN


@pytest.fixture(scope="module")
def plain(service: Service) -> Iterator[httpx.Client]:
    """A client of the plain listener."""
    with httpx.Client(base_url=service.node.settings.web.http_url, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def held(service: Service) -> Issued:
    return service.enrol(STAFF)


def question(held: Issued, algorithm: hashes.HashAlgorithm | None = None, *, nonce: bytes = b"") -> bytes:
    leaf, issuer = x509.load_pem_x509_certificates(held.pem.encode())[:2]
    builder = ocsp.OCSPRequestBuilder().add_certificate(leaf, issuer, algorithm or hashes.SHA256())
    if nonce:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.build().public_bytes(Encoding.DER)


def asked(plain: httpx.Client, der: bytes, authority: str = "staff") -> ocsp.OCSPResponse:
    answer = plain.post(f"/ocsp/{authority}", content=der, headers={"Content-Type": "application/ocsp-request"})
    assert answer.headers["content-type"] == "application/ocsp-response"
    return ocsp.load_der_ocsp_response(answer.content)


def test_get_and_post_say_the_same_and_proxies_may_keep_it(plain: httpx.Client, held: Issued) -> None:
    der = question(held)
    posted = plain.post("/ocsp/staff", content=der)
    for text in (quote(base64.b64encode(der).decode(), safe=""), base64.b64encode(der).decode()):
        got = plain.get(f"/ocsp/staff/{text}")
        assert ocsp.load_der_ocsp_response(got.content).certificate_status is GOOD
        assert got.headers["cache-control"].startswith("max-age=")
        assert "expires" in got.headers
    assert posted.content == got.content


def test_a_question_with_a_nonce_is_answered_with_it_and_not_kept(plain: httpx.Client, held: Issued) -> None:
    answer = plain.post("/ocsp/staff", content=question(held, nonce=b"n" * 32))
    assert answer.headers["cache-control"] == "no-store"
    assert ocsp.load_der_ocsp_response(answer.content).extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == b"n" * 32


@pytest.mark.parametrize("der", [b"", b"nonsense", b"\x30\x80", b"0" * 4_000])
def test_what_is_no_question_is_malformed(plain: httpx.Client, der: bytes) -> None:
    assert asked(plain, der).response_status is ocsp.OCSPResponseStatus.MALFORMED_REQUEST
    got = plain.get(f"/ocsp/staff/{base64.b64encode(der).decode() or 'AA'}")
    assert ocsp.load_der_ocsp_response(got.content).response_status is ocsp.OCSPResponseStatus.MALFORMED_REQUEST


def test_base64_that_is_none_is_malformed(plain: httpx.Client) -> None:
    for text in ("%FF%FE", "not*base64", "AAA", "%0D%0ASet-Cookie%3A%20a%3Db", "MA==%0A"):
        got = plain.get(f"/ocsp/staff/{text}")
        assert ocsp.load_der_ocsp_response(got.content).response_status is ocsp.OCSPResponseStatus.MALFORMED_REQUEST


def request(der: bytes, *more: str, path: str = "/ocsp/staff", host: str = "Host: a") -> bytes:
    """A question as it goes over the wire."""
    head = "\r\n".join([f"POST {path} HTTP/1.1", host, f"Content-Length: {len(der)}", *more])
    return f"{head}\r\n\r\n".encode() + der


def heard(plain: httpx.Client, data: bytes) -> tuple[list[str], bytes]:
    """The head of the answer, sorted and without what differs every time, and its body."""
    with socket.create_connection((plain.base_url.host, plain.base_url.port or 0), 5) as sock:
        sock.sendall(data)
        answer = b"".join(iter(lambda: sock.recv(65_536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *fields = head.decode().split("\r\n")
    return [
        status,
        *sorted(field for field in fields if not field.startswith(("X-Request-ID", "Date", "Expires", "Cache-Control: max-age"))),
    ], body


def test_an_answer_at_hand_is_the_one_that_comes_the_long_way(service: Service, plain: httpx.Client, held: Issued) -> None:
    at_once, der = ready.ocsp(service.node), question(held)
    asked(plain, der)
    close, long_way = "Connection: close", "X-Request-ID: the-long-way"
    assert at_once(request(der, close))
    assert at_once(request(der, close, long_way)) is None
    assert heard(plain, request(der, close)) == heard(plain, request(der, close, long_way))
    for garbage in (b"", b"nonsense"):
        assert heard(plain, request(garbage, close)) == heard(plain, request(garbage, close, long_way))
    fields = [set(plain.post("/ocsp/staff", content=der, headers=more).headers) for more in ({}, {"X-Request-ID": "the-long-way"})]
    assert fields[0] == fields[1]


def test_what_is_at_hand_is_told_on_a_connection_that_stays(service: Service, plain: httpx.Client, held: Issued) -> None:
    der = question(held)
    asked(plain, der)
    before = service.node.responder.answered["kept"]
    whole, _ = heard(plain, request(der) * 3 + request(der, "Connection: close"))
    assert whole[0] == "HTTP/1.1 200 OK"
    assert service.node.responder.answered["kept"] == before + 4


def test_behind_a_proxy_only_a_question_for_the_database_takes_a_thread(service: Service, held: Issued) -> None:
    front, aside = portal(service.node), list[Any]()

    def ask(der: bytes, status: list[str]) -> bytes:
        environ = {"REQUEST_METHOD": "POST", "PATH_INFO": "/ocsp/staff", "CONTENT_LENGTH": str(len(der)), "wsgi.input": io.BytesIO(der)}
        assert front.is_quick(environ)
        return b"".join(front({**environ, "yumen.later": SimpleNamespace(finish_aside=aside.append)}, lambda *told: status.append(told[0])))

    answered: list[str] = []
    service.node.responder._kept.clear()
    assert ask(question(held), answered) == b""
    assert not answered
    (made,) = aside
    assert ocsp.load_der_ocsp_response(b"".join(made())).certificate_status is GOOD
    for der in (question(held), question(held, nonce=b"n"), b"nonsense"):
        assert ask(der, answered)
    assert answered == ["200 OK"] * 4
    assert len(aside) == 1


def test_only_the_plainest_requests_are_answered_before_they_are_looked_at(service: Service, plain: httpx.Client, held: Issued) -> None:
    at_once, der = ready.ocsp(service.node), question(held)
    asked(plain, der)
    text = base64.b64encode(der).decode()
    for path in (f"/ocsp/staff/{text}", f"/ocsp/staff/{quote(text, safe='')}"):
        assert at_once(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        for other in (
            f"HEAD {path} HTTP/1.1",
            f"GET {path} HTTP/1.0",
            f"GET {path}?a HTTP/1.1",
            f"GET {path}%00 HTTP/1.1",
            f"GET  {path} HTTP/1.1",
        ):
            assert at_once(f"{other}\r\nHost: a\r\n\r\n".encode()) is None
    assert at_once(request(der, "Content-Type: application/ocsp-request", "User-Agent: a", "Accept: */*"))
    for field in (
        "Client-Cert: a",
        "Authorization: Bearer ys_a",
        "Cookie: a=b",
        "Expect: 100-continue",
        "Transfer-Encoding: chunked",
        "Via: a",
    ):
        assert at_once(request(der, field)) is None
    for field in (
        "Accept : a",
        "Accept:\ta\0",
        "accept",
        " Accept: a",
        "Host: b",
        "Content-Length: 1",
        "Connection: upgrade",
        "A_b: c",
        "Accept: \x7f",
    ):
        assert at_once(request(der, field)) is None
    assert at_once(request(der, host="Host:")) is None
    assert at_once(request(der, host="Accept: a")) is None
    assert at_once(request(b"0" * 5_000)) is None
    assert at_once(request(der) + b"more") is None
    assert at_once(request(der)[:-1]) is None
    assert at_once(b"") is None


def test_a_right_serial_under_the_wrong_authority_is_never_good(plain: httpx.Client, held: Issued) -> None:
    for authority in ("servers", "applications", "nobody"):
        assert asked(plain, question(held), authority).response_status is ocsp.OCSPResponseStatus.UNAUTHORIZED


def test_a_serial_that_was_never_issued_is_unknown(plain: httpx.Client, held: Issued) -> None:
    real = ocsp.load_der_ocsp_request(question(held))
    builder = ocsp.OCSPRequestBuilder().add_certificate_by_hash(
        real.issuer_name_hash, real.issuer_key_hash, real.serial_number + 1, real.hash_algorithm
    )
    assert asked(plain, builder.build().public_bytes(Encoding.DER)).certificate_status is UNKNOWN


def test_a_large_question_is_refused(plain: httpx.Client) -> None:
    answer = plain.post("/ocsp/staff", content=b"0" * 5_000)
    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")
    assert plain.post("/ocsp/staff", content=b"0" * 20_000).status_code == 413


def test_a_revocation_is_told_within_two_seconds_under_every_hash_and_on_the_list(service: Service, plain: httpx.Client) -> None:
    taken = service.enrol(STAFF)
    algorithms = (hashes.SHA1(), hashes.SHA256())
    assert all(asked(plain, question(taken, one)).certificate_status is GOOD for one in algorithms)
    service.person(STAFF).post(f"/api/v1/certificates/{taken.serial}/revoke", json={"reason": "superseded"})
    until = time.monotonic() + 2
    while not all(asked(plain, question(taken, one)).certificate_status is REVOKED for one in algorithms):
        assert time.monotonic() < until
        time.sleep(0.02)
    until = time.monotonic() + 60
    while True:
        listed = x509.load_der_x509_crl(plain.get("/crl/staff/0.crl").content)
        if listed.get_revoked_certificate_by_serial_number(int(taken.serial, 16)):
            break
        assert time.monotonic() < until
        time.sleep(0.1)


def test_files_have_their_media_types(plain: httpx.Client) -> None:
    for path, media in (
        ("/crl/staff/0.crl", "application/pkix-crl"),
        ("/ca/staff.cer", "application/pkix-cert"),
        ("/ca/staff.p7c", "application/pkcs7-mime; smime-type=certs-only"),
    ):
        answer = plain.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (200, media)
        assert "max-age=" in answer.headers["cache-control"]
        head = plain.head(path)
        assert (head.content, head.headers["content-length"]) == (b"", str(len(answer.content)))
    for path in ("/crl/staff/1.crl", "/crl/nobody/0.crl", "/ca/nobody.cer", "/ca/nobody.p7c", "/ca/..%2fstaff.cer"):
        assert plain.get(path).status_code == 404


@pytest.mark.parametrize(
    "path", ["/", "/login", "/api/v1/me", "/access/v1/evaluation", "/healthz", "/metrics", "/static/yumen.css", "/log/ca/checkpoint"]
)
def test_the_plain_listener_has_status_only(plain: httpx.Client, path: str) -> None:
    answer = plain.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


@pytest.mark.component("openssl")
def test_openssl_accepts_chain_list_and_answer_and_refuses_after_revocation(service: Service, plain: httpx.Client, tmp_path: Path) -> None:
    taken = service.enrol(STAFF)
    leaf, issuer = (one.public_bytes(Encoding.PEM) for one in x509.load_pem_x509_certificates(taken.pem.encode())[:2])
    for name, data in (("leaf.pem", leaf), ("issuer.pem", issuer), ("root.pem", Path(service.told["ca_file"]).read_bytes())):
        (tmp_path / name).write_bytes(data)

    def run(*command: str) -> str:
        found = subprocess.run(["openssl", *command], capture_output=True, text=True, timeout=20, cwd=tmp_path, check=False)
        return found.stdout + found.stderr

    def status() -> str:
        url = f"{service.node.settings.web.http_url}/ocsp/staff"
        return run("ocsp", "-issuer", "issuer.pem", "-cert", "leaf.pem", "-url", url, "-CAfile", "root.pem", "-verify_other", "issuer.pem")

    assert "leaf.pem: good" in status()
    assert "Response verify OK" in status()
    lists = plain.get("/crl/staff/0.crl").content
    (tmp_path / "list.pem").write_bytes(x509.load_der_x509_crl(lists).public_bytes(Encoding.PEM))
    check = ("verify", "-CAfile", "root.pem", "-untrusted", "issuer.pem", "-crl_check", "-CRLfile", "list.pem", "leaf.pem")
    assert "leaf.pem: OK" in run(*check)
    service.person(STAFF).post(f"/api/v1/certificates/{taken.serial}/revoke", json={"reason": "keyCompromise"})
    time.sleep(0.6)
    assert "leaf.pem: revoked" in status()
    until = time.monotonic() + 60
    while "certificate revoked" not in run(*check):
        assert time.monotonic() < until
        (tmp_path / "list.pem").write_bytes(x509.load_der_x509_crl(plain.get("/crl/staff/0.crl").content).public_bytes(Encoding.PEM))
        time.sleep(0.1)


def test_requests_get_names_of_their_own_whoever_seeds_the_generator_of_all() -> None:
    names = set()
    for _ in range(2):
        random.seed(0)
        names.add(fresh_id()[8:])
    assert len(names) == 2
