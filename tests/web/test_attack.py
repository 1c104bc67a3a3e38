"""Attacks from outside on the way in: what is sent to break the parsers, never to be served."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from tests.web.conftest import AUDITOR, REGISTRAR, Service
from web.server import Listener
from web.wire import Blocked, Phase, Wire

pytestmark = pytest.mark.slow

BEYOND = str(10**30)


def _echo(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Says 409 when less body arrived than was announced."""
    body = environ["wsgi.input"].read()
    whole = len(body) == int(environ.get("CONTENT_LENGTH") or 0)
    start_response("200 OK" if whole else "409 Conflict", [("Content-Length", str(len(body)))])
    return [body]


class _Nobody:
    """A server that answers nothing."""

    def answer(self, _wire: Wire) -> bool:
        return False

    def put_conn(self, _wire: Wire) -> None:
        return


@pytest.mark.parametrize("length", [b"11", b"00000000000011", b"000000000000000011"])
def test_a_length_written_in_many_digits_hides_no_second_request(length: bytes) -> None:
    """RFC 9112 section 11.2: loop and parser agree where a request ends."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        wire = Wire(_Nobody(), ours, ("127.0.0.1", 1), None)
        theirs.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + length + b"\r\n\r\nGET / HIDDEN")
        assert wire.read(1_000)
        assert wire.phase is Phase.WORKING
        assert wire.rfile.getvalue().endswith(b"\r\n\r\nGET / HIDDE")


_PIECES = st.sampled_from(
    [
        *(
            b"POST / HTTP/1.1\r\n",
            b"GET /a HTTP/1.0\r\n",
            b"Host: x\r\n",
            b"Content-Length: 5\r\n",
            b"Content-Length: 000000000005\r\n",
            b"content-length:\t07\r\n",
            b"\r\n",
            b"\n",
        ),
        *(b"Content-Length: 5, 5\r\n", b"Transfer-Encoding: chunked\r\n", b" Content-Length: 3\r\n", b"Content-Length : 4\r\n", b"x" * 7),
        *(
            b"X: a\nContent-Length: 9\r\n",
            b"Content_Length: 8\r\n",
            b"0\r\n\r\n",
            b"Content-Length: 99999999999999999999\r\n",
            b"\r",
            b"\x00",
        ),
    ]
)


@examples(300)
@given(
    st.lists(_PIECES, min_size=1, max_size=10)
    | st.lists(_PIECES, min_size=1, max_size=2).map(lambda fields: [b"POST / HTTP/1.1\r\nHost: x\r\n", *fields, b"\r\n", b"GET /hidden"])
)
def test_loop_and_parser_agree_on_every_request_that_keeps_its_connection(pieces: list[bytes]) -> None:
    """What the loop cut out is what the parser read: nothing is left over, nothing is missing."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        listener = Listener(("127.0.0.1", 0), _echo, threads=1, max_body_bytes=1_000)
        wire = Wire(listener, ours, ("127.0.0.1", 1), None)
        theirs.sendall(b"".join(pieces))
        try:
            wire.read(1_000)
        except Blocked:
            return  # the request is not whole
        whole = wire.rfile.getvalue()
        stays = listener.answer(wire)
        assert wire.wfile.getvalue().startswith(b"HTTP/1.1 ")
        assert b" 409 " not in wire.wfile.getvalue()
        if stays:
            assert wire.rfile.tell() == len(whole)


@pytest.mark.parametrize(
    "path",
    [
        f"/api/v1/requests/{BEYOND}",
        f"/api/v1/events/ca/{BEYOND}/1",
        f"/api/v1/events/ca/1/{BEYOND}",
        f"/api/v1/events/ca/1/{BEYOND}/proof",
        f"/log/ca/{BEYOND}/checkpoint",
        f"/log/ca/{BEYOND}/tile/0/000",
    ],
)
def test_a_number_beyond_every_column_is_no_address(service: Service, path: str) -> None:
    answer = service.person(AUDITOR).get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


def test_a_number_beyond_every_column_is_nothing_to_approve(service: Service) -> None:
    answer = service.person(REGISTRAR).post(f"/api/v1/requests/{BEYOND}/approve", json={})
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


def test_a_query_of_a_thousand_terms_is_refused(service: Service) -> None:
    answer = service.person(AUDITOR).get("/api/v1/events", params={"q": "actor:x " * 1_000})
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")


NUL = "U+0000"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/certificates/%00"),
        ("GET", "/api/v1/certificates?q=%00"),
        ("GET", "/api/v1/certificates?%00=x"),
        ("GET", "/certificates/%00"),
        ("GET", "/trail?q=%00"),
        ("GET", "/crl/staff%00/0.crl"),
    ],
)
def test_the_character_that_no_text_may_have_is_refused_in_every_address(service: Service, method: str, path: str) -> None:
    """PostgreSQL takes it in no text: a query with it would be an error of ours."""
    answer = service.person(AUDITOR).request(method, path)
    assert answer.status_code == 400
    assert NUL in answer.text


def test_the_character_that_no_text_may_have_is_refused_in_bodies_and_forms(service: Service) -> None:
    body = {"content": b'{"comment": "a\\u0000b"}', "headers": {"Content-Type": "application/json"}}
    answer = service.person(REGISTRAR).post("/api/v1/requests/1/approve", **body)
    assert answer.status_code == 400
    assert NUL in answer.json()["detail"]
    assert [event["body"]["code"] for event in service.events(f"req:{answer.headers['x-request-id']}")] == ["AZ1005"]
    question = b'{"subject":{"type":"user","id":"\\u0000"},"action":{"name":"read"},"resource":{"type":"document","id":"1"}}'
    asked = service.application().post("/access/v1/evaluation", content=question, headers={"Content-Type": "application/json"})
    assert asked.status_code == 400
    for form in ({"uid": "zhang\0san"}, {"u\0id": "zhangsan"}):
        page = service.client().post("/login", data=form)
        assert page.status_code == 400
        assert NUL in page.text


def test_a_client_certificate_of_a_version_that_does_not_exist_is_a_strangers(service: Service, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "version 8")])
    now = dt.datetime.now(dt.UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 5, now - dt.timedelta(days=1), now + dt.timedelta(days=1))
    der = made.sign(key, hashes.SHA256()).public_bytes(Encoding.DER).replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x07", 1)
    (tmp_path / "odd.pem").write_text(ssl.DER_cert_to_PEM_cert(der))
    (tmp_path / "odd.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    client = service.client(cert=(tmp_path / "odd.pem", tmp_path / "odd.key"))
    for method, path in (("POST", "/api/v1/sessions"), ("GET", "/api/v1/me"), ("POST", "/access/v1/evaluation")):
        answer = client.request(method, path, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
