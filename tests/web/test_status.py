"""What relying parties see: OCSP, CRLs and certificates, over plain HTTP, as openssl reads them."""

from __future__ import annotations

import base64
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from tests.web.conftest import STAFF, Issued, Service

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
    for text in ("%FF%FE", "not*base64", "AAA"):
        got = plain.get(f"/ocsp/staff/{text}")
        assert ocsp.load_der_ocsp_response(got.content).response_status is ocsp.OCSPResponseStatus.MALFORMED_REQUEST


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
