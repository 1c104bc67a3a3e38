"""The browser's own module, in a real browser, judged by openssl and `cryptography`."""

from __future__ import annotations

import base64
import datetime as dt
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.component("chromium", "openssl")

STATIC = Path(__file__).parents[2] / "web" / "static"
PASSWORD = "Lantern over 9 hills"


class _Quiet(SimpleHTTPRequestHandler):
    extensions_map = SimpleHTTPRequestHandler.extensions_map | {".js": "text/javascript"}

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(STATIC)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://localhost:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def page(browser: Browser, origin: str) -> Iterator[Page]:
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{origin}/enrol.js")
    yield page
    context.close()


def call(page: Page, expression: str, argument: Any = None) -> Any:
    """Evaluate `expression` (with `m` the module, `a` the argument) in the page."""
    return page.evaluate(f"async (a) => {{ const m = await import('/enrol.js'); return {expression}; }}", argument)


def certified(csr_pem: str) -> str:
    """The chain for a request, leaf first, as a small CA would give it."""
    csr = x509.load_pem_x509_csr(csr_pem.encode())
    key = ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC)
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "测试签发 CA")])
    names = {"leaf": x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "张三")]), "ca": issuer}
    chain = [
        x509.CertificateBuilder(issuer, names[who], public, x509.random_serial_number(), now, now + dt.timedelta(days=1)).sign(
            key, hashes.SHA256()
        )
        for who, public in (("leaf", csr.public_key()), ("ca", key.public_key()))
    ]
    return "".join(certificate.public_bytes(serialization.Encoding.PEM).decode() for certificate in chain)


def finished(page: Page, key_id: str, chain: str, password: str) -> bytes:
    """The PKCS#12 octets of the waiting key."""
    octets = call(
        page, "Array.from(await m.finish(a.id, a.chain, a.password, '张三 · Yumen'))", {"id": key_id, "chain": chain, "password": password}
    )
    return bytes(octets)


def test_request_made_in_the_browser_satisfies_openssl(page: Page) -> None:
    made = call(page, "m.begin(a)", PASSWORD)
    answer = subprocess.run(["openssl", "req", "-verify", "-noout", "-text"], input=made["csr"].encode(), capture_output=True, check=True)
    assert b"verify OK" in answer.stdout + answer.stderr
    assert b"prime256v1" in answer.stdout


def test_every_request_is_canonical_der_whatever_the_signature_looks_like(page: Page) -> None:
    pair = "await crypto.subtle.generateKey({name: 'ECDSA', namedCurve: 'P-256'}, true, ['sign'])"
    one = f"async () => m.pem('CERTIFICATE REQUEST', await m.certificateRequest({pair}))"
    requests = call(page, f"await Promise.all(Array.from({{length: 200}}, {one}))")
    for text in requests:
        csr = x509.load_pem_x509_csr(text.encode())
        assert csr.is_signature_valid
        body = base64.b64decode("".join(text.splitlines()[1:-1]))
        assert csr.public_bytes(serialization.Encoding.DER) == body


@pytest.mark.parametrize("password", [PASSWORD, "纸上得来终觉浅 0731", "x" * 70])
def test_openssl_opens_the_file_with_the_persons_password_and_no_other(page: Page, tmp_path: Path, password: str) -> None:
    made = call(page, "m.begin(a)", password)
    chain = certified(made["csr"])
    file = tmp_path / "person.p12"
    file.write_bytes(finished(page, made["id"], chain, password))
    command = ["openssl", "pkcs12", "-in", str(file), "-info", "-nodes", "-passin"]
    opened = subprocess.run([*command, f"pass:{password}"], capture_output=True, text=True, errors="replace", check=True)
    assert opened.stdout.count("BEGIN CERTIFICATE") == 2
    assert "BEGIN PRIVATE KEY" in opened.stdout
    assert "MAC: sha256, Iteration 50000" in opened.stderr
    assert opened.stderr.count("PBES2, PBKDF2, AES-256-CBC, Iteration 210000, PRF hmacWithSHA256") == 2
    refused = subprocess.run([*command, "pass:another password"], capture_output=True, text=True, errors="replace", check=False)
    assert refused.returncode != 0
    assert "invalid password" in refused.stderr


def test_key_and_certificate_in_the_file_belong_together(page: Page) -> None:
    made = call(page, "m.begin(a)", PASSWORD)
    chain = certified(made["csr"])
    content = pkcs12.load_pkcs12(finished(page, made["id"], chain, PASSWORD), PASSWORD.encode())
    assert content.key is not None
    assert content.cert is not None
    assert content.key.public_key() == content.cert.certificate.public_key()  # type: ignore[union-attr]
    assert content.cert.friendly_name == "张三 · Yumen".encode()
    assert len(content.additional_certs) == 1


def test_waiting_key_survives_closing_the_page_and_is_gone_after_forget(browser: Browser, origin: str) -> None:
    context = browser.new_context()
    first = context.new_page()
    first.goto(f"{origin}/enrol.js")
    made = call(first, "m.begin(a)", PASSWORD)
    first.close()
    second = context.new_page()
    second.goto(f"{origin}/enrol.js")
    assert call(second, "m.waits(a)", made["id"]) is True
    assert finished(second, made["id"], certified(made["csr"]), PASSWORD)
    call(second, "m.forget(a)", made["id"])
    assert call(second, "m.waits(a)", made["id"]) is False
    context.close()


def test_waiting_key_is_stored_only_encrypted(page: Page) -> None:
    made = call(page, "m.begin(a)", PASSWORD)
    record = page.evaluate(
        """() => new Promise((resolve) => {
            const opening = indexedDB.open("yumen", 1);
            opening.onsuccess = () => {
                const all = opening.result.transaction("waiting").objectStore("waiting").getAll();
                all.onsuccess = () => resolve(all.result.map((r) => ({...r, salt: [...r.salt], iv: [...r.iv], sealed: [...r.sealed]})));
            };
        })"""
    )
    assert [entry["id"] for entry in record] == [made["id"]]
    assert set(record[0]) == {"id", "salt", "iv", "sealed", "iterations", "at"}
    with pytest.raises(ValueError, match=r"deserialize|parse|ASN"):
        serialization.load_der_private_key(bytes(record[0]["sealed"]), None)


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"password": "not this one"}, "wrong-password"), ({"id": "00" * 32}, "no-key"), ({"chain": "other"}, "other-key")],
)
def test_failures_are_named(page: Page, change: dict[str, str], reason: str) -> None:
    made = call(page, "m.begin(a)", PASSWORD)
    asked = {"id": made["id"], "chain": certified(made["csr"]), "password": PASSWORD} | change
    if asked["chain"] == "other":
        asked["chain"] = certified(call(page, "m.begin(a)", PASSWORD)["csr"])
    assert call(page, "await m.finish(a.id, a.chain, a.password, 'x').catch((e) => e.message)", asked) == reason


def test_the_module_stays_within_its_three_hundred_lines() -> None:
    assert len((STATIC / "enrol.js").read_text("utf-8").splitlines()) <= 300
