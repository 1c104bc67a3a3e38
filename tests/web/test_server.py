from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from tests.web.pki import Holder, make
from web import wire
from web.loop import IN_A_ROW
from web.server import Listener, Servers, tls_context

pytestmark = [pytest.mark.alone, pytest.mark.slow]

LIMIT = 1_000


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Tells what arrived; `/slow` thinks for a while, `/large` says much, `/bug` fails."""
    body = environ["wsgi.input"].read()
    path = environ["PATH_INFO"]
    if path == "/bug":
        raise RuntimeError("a bug")
    if path == "/slow":
        time.sleep(0.3)
    peer = environ["yumen.peer_certificate"]
    told = {"body": body.decode(), "peer": len(peer or b""), "oversize": environ["yumen.oversize"], "path": path}
    data = b"x" * 3_000_000 if path == "/large" else json.dumps(told).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(data)))])
    return [data]


@dataclass
class Place:
    """A listener of the tests and everything that a client needs."""

    folder: Path
    authority: Holder
    port: int
    plain_port: int

    def files(self, name: str, *, days: int = 30) -> tuple[Path, Path]:
        return make(name, self.authority, days=days).write(self.folder, name)

    def context(self, cert: tuple[Path, Path] | None = None) -> ssl.SSLContext:
        found = ssl.create_default_context(cafile=self.folder / "authority.pem")
        if cert:
            found.load_cert_chain(*cert)
        return found

    def client(self, cert: tuple[Path, Path] | None = None) -> httpx.Client:
        return httpx.Client(base_url=f"https://localhost:{self.port}", verify=self.context(cert), trust_env=False)

    def tls(self) -> ssl.SSLSocket:
        return self.context().wrap_socket(socket.create_connection(("127.0.0.1", self.port), 5), server_hostname="localhost")

    def ask(self, request: bytes) -> bytes:
        """Everything that the server says to these bytes until it closes or falls silent."""
        with self.tls() as sock:
            sock.settimeout(2)
            sock.sendall(request)
            heard = b""
            try:
                while data := sock.recv(65_536):
                    heard += data
            except TimeoutError:
                pass
            return heard


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("listener")
    authority = make("authority")
    authority.write(folder, "authority")
    own = make("localhost", authority)
    context = tls_context([own.cert], own.key, [authority.cert])
    address = ("127.0.0.1", 0)
    servers = Servers(
        (
            Listener(address, application, context=context, threads=4, max_body_bytes=LIMIT),
            Listener(address, application, threads=2, max_body_bytes=LIMIT),
        )
    )
    servers.start()
    yield Place(folder, authority, servers.addresses[0][1], servers.addresses[1][1])
    servers.stop()


def seconds_of_an_honest_request(place: Place) -> float:
    began = time.monotonic()
    with place.client() as client:
        assert client.get("/").status_code == 200
    return time.monotonic() - began


@pytest.mark.parametrize(
    "said",
    [
        b"",  # nothing at all
        b"\x16",  # the first byte of a handshake
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # the beginning of a ClientHello
    ],
)
def test_two_hundred_silent_connections_delay_nobody(place: Place, said: bytes) -> None:
    silent = [socket.create_connection(("127.0.0.1", place.port)) for _ in range(200)]
    try:
        for sock in silent:
            sock.sendall(said)
        assert seconds_of_an_honest_request(place) < 1
    finally:
        for sock in silent:
            sock.close()


def test_two_hundred_connections_that_begin_a_request_and_stop_delay_nobody(place: Place) -> None:
    begun = [place.tls() for _ in range(200)]
    try:
        for sock in begun:
            sock.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf")
        assert seconds_of_an_honest_request(place) < 1
    finally:
        for sock in begun:
            sock.close()


def test_a_handshake_has_five_seconds(place: Place) -> None:
    with socket.create_connection(("127.0.0.1", place.port)) as sock:
        sock.settimeout(wire.HANDSHAKE_SECONDS + 2)
        sock.sendall(b"\x16")
        began = time.monotonic()
        assert sock.recv(1) == b""
        assert wire.HANDSHAKE_SECONDS - 0.5 < time.monotonic() - began < wire.HANDSHAKE_SECONDS + 1


def test_a_request_that_trickles_is_ended(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "REQUEST_SECONDS", 1.0)
    with place.tls() as sock:
        sock.settimeout(5)
        began = time.monotonic()
        ended = False
        while time.monotonic() - began < 4 and not ended:
            try:
                sock.sendall(b"G")
                time.sleep(0.1)
            except OSError:
                ended = True
        assert ended


def test_many_connections_make_room_for_new_ones(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.loop.MAX_CONNECTIONS", 50)
    silent = [socket.create_connection(("127.0.0.1", place.port)) for _ in range(80)]
    begun = [place.tls() for _ in range(80)]
    try:
        for sock in begun[30:]:
            sock.sendall(b"GET / HT")
        assert seconds_of_an_honest_request(place) < 1
    finally:
        for sock in silent + begun:
            sock.close()


def asking_much(place: Place, source: str) -> ssl.SSLSocket:
    """A client that asks for a large answer and takes nothing of it."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    sock.bind((source, 0))
    sock.connect(("127.0.0.1", place.port))
    asking = place.context().wrap_socket(sock, server_hostname="localhost")
    asking.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
    return asking


@pytest.mark.parametrize(("addresses", "stall"), [(10, 0.2), (1, 60.0)])
def test_who_takes_no_answer_makes_room(place: Place, monkeypatch: pytest.MonkeyPatch, addresses: int, stall: float) -> None:
    """After a while for everybody, at once for an address that holds more than its share."""
    monkeypatch.setattr("web.loop.MAX_CONNECTIONS", 20)
    monkeypatch.setattr(wire, "STALL_SECONDS", stall)
    greedy = [asking_much(place, f"127.0.0.{number % addresses + 2}") for number in range(20)]
    try:
        time.sleep(0.5)
        assert seconds_of_an_honest_request(place) < 1
    finally:
        for sock in greedy:
            sock.close()


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_a_client_certificate_works_on_a_resumed_session(place: Place, version: int) -> None:
    cert, key = place.files("resuming")
    session = None
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(version)
    context.set_max_proto_version(version)
    context.use_certificate_file(str(cert))
    context.use_privatekey_file(str(key))
    for resumed in (False, True, True):
        with socket.create_connection(("127.0.0.1", place.port)) as sock:
            connection = SSL.Connection(context, sock)
            if session:
                connection.set_session(session)
            connection.set_connect_state()
            connection.do_handshake()
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            heard = b""
            while not heard.endswith(b"}"):
                heard += connection.recv(65_536)
            assert json.loads(heard.partition(b"\r\n\r\n")[2])["peer"] > 0
            assert was_resumed(connection) is resumed
            session = connection.get_session()
            connection.shutdown()  # without it OpenSSL forgets the session


def was_resumed(connection: SSL.Connection) -> bool:
    return bool(SSL._lib.SSL_session_reused(connection._ssl))


@pytest.mark.component("openssl")
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_resumes_with_its_certificate(place: Place, version: str) -> None:
    cert, key = place.files("openssl")
    kept = place.folder / f"session{version}"
    for option, word in (("-sess_out", "New"), ("-sess_in", "Reused")):
        command = [
            "openssl",
            "s_client",
            "-connect",
            f"127.0.0.1:{place.port}",
            version,
            "-cert",
            str(cert),
            "-key",
            str(key),
            option,
            str(kept),
        ]
        request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        said = subprocess.run([*command, "-ign_eof"], input=request, capture_output=True, timeout=20, check=False).stdout.decode("latin-1")
        assert f"{word}, TLSv1" in said
        assert '"peer": 3' in said  # a certificate of three hundred and some bytes


def test_certificates_are_asked_for_by_the_names_of_our_authorities(place: Place) -> None:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    with socket.create_connection(("127.0.0.1", place.port)) as sock:
        connection = SSL.Connection(context, sock)
        connection.set_connect_state()
        connection.do_handshake()
        assert [name.rfc4514_string() for name in connection.get_client_ca_list(as_cryptography=True)] == ["CN=authority"]


@pytest.mark.parametrize("days", [30, -30])
def test_any_certificate_reaches_the_application_even_an_expired_one(place: Place, days: int) -> None:
    with place.client(place.files(f"days{days}", days=days)) as client:
        assert client.get("/").json()["peer"] > 0
    with place.client() as client:
        assert client.get("/").json()["peer"] == 0


def test_a_strangers_certificate_reaches_the_application(place: Place) -> None:
    with place.client(make("stranger").write(place.folder, "stranger")) as client:
        assert client.get("/").json()["peer"] > 0


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_tls_is_refused(place: Place, version: ssl.TLSVersion) -> None:
    context = place.context()
    with pytest.warns(DeprecationWarning, match="deprecated"):
        context.minimum_version = version
    with pytest.warns(DeprecationWarning, match="deprecated"):
        context.maximum_version = version
    with pytest.raises((ssl.SSLError, ConnectionError)), socket.create_connection(("127.0.0.1", place.port)) as sock:
        context.wrap_socket(sock, server_hostname="localhost")


def test_a_body_at_the_limit_is_read_and_one_beyond_is_named_unread(place: Place) -> None:
    with place.client() as client:
        assert client.post("/", content=b"a" * LIMIT).json()["body"] == "a" * LIMIT
        answer = client.post("/", content=b"a" * (LIMIT + 1))
        assert answer.json()["oversize"] is True
        assert answer.json()["body"] == ""
        assert answer.headers["connection"] == "close"
        huge = client.post("/", content=b"a" * 20_000_000)
        assert huge.json()["oversize"] is True


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nCookie: a\r\nCookie: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Type: a\r\nContent-Type: b\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nClient_Cert: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nName : x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nName: x\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nName: x\x00y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nName: x\rX: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nhello",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"GET http://elsewhere/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"get / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 5_000 + b"\r\n",
        b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(200)) + b"\r\n",
    ],
)
def test_what_is_no_clean_request_gets_a_problem_document_and_the_connection_ends(place: Place, request_: bytes) -> None:
    head, _, body = place.ask(request_).partition(b"\r\n\r\n")
    assert int(head.split()[1]) in {400, 411, 413, 414}
    assert b"application/problem+json" in head
    assert json.loads(body)["code"] in {"malformed", "too-large"}


def test_requests_may_follow_each_other_at_once(place: Place) -> None:
    one = b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab"
    heard = place.ask(one % 1 + one % 2 + b"\r\nGET /3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert [heard.find(f'"path": "/{number}"'.encode()) > 0 for number in (1, 2, 3)] == [True] * 3
    assert heard.count(b"HTTP/1.1 200 OK") == 3


def test_who_waits_for_100_continue_gets_it(place: Place) -> None:
    with place.tls() as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n")
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"ab")
        heard = b""
        while data := sock.recv(65_536):
            heard += data
        assert heard.startswith(b"HTTP/1.1 200 OK")


def test_a_bug_is_an_internal_problem_and_tells_nothing(place: Place) -> None:
    with place.client() as client:
        answer = client.get("/bug")
        assert (answer.status_code, answer.json()["code"]) == (500, "internal")
        assert "RuntimeError" not in answer.text


def test_who_takes_an_answer_slowly_gets_it_whole_and_holds_nobody_up(place: Place) -> None:
    slow = [place.tls() for _ in range(8)]
    for sock in slow:
        sock.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert seconds_of_an_honest_request(place) < 1
    for sock in slow:
        heard = 0
        while data := sock.recv(65_536):
            heard += len(data)
        assert heard > 3_000_000
        sock.close()


def test_who_is_answered_at_once_lets_others_have_their_turn() -> None:
    """Many requests in one go: most are answered where they are read, but a worker thread comes in between, and all come in order."""
    listener = Listener(("127.0.0.1", 0), application, threads=2, max_body_bytes=LIMIT)
    listener.at_once = lambda request: wire.Ready(b"HTTP/1.1 200 OK\r\n\r\n" + request.split()[1], closes=b"/39" in request)
    servers = Servers((listener,))
    servers.start()
    try:
        with socket.create_connection(servers.addresses[0], 5) as sock:
            sock.sendall(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(40)))
            heard = b"".join(iter(lambda: sock.recv(65_536), b""))
    finally:
        servers.stop()
    paths = [int(path) for path in re.findall(rb"(?:\n\r\n|path\": \")/(\d+)", heard)]
    assert paths == list(range(40))
    assert heard.count(b'"path"') == 40 // (IN_A_ROW + 1)


def test_stopping_finishes_what_is_being_answered() -> None:
    servers = Servers((Listener(("127.0.0.1", 0), application, threads=2, max_body_bytes=LIMIT),))
    servers.start()
    with socket.create_connection(servers.addresses[0], 5) as sock:
        sock.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(0.1)
        servers.stop()
        heard = b""
        while data := sock.recv(65_536):
            heard += data
        assert heard.startswith(b"HTTP/1.1 200 OK")
    with pytest.raises(ConnectionError):
        socket.create_connection(servers.addresses[0], 5)


def test_a_renewed_certificate_is_shown_without_a_restart(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.server._RENEWAL_SECONDS", 0.2)
    old, new = make("localhost", place.authority), make("localhost", place.authority)
    first, second = (tls_context([own.cert], own.key, [place.authority.cert]) for own in (old, new))
    listener = Listener(("127.0.0.1", 0), application, context=first, threads=2, max_body_bytes=LIMIT)
    servers = Servers((listener,), lambda: setattr(listener, "context", second))
    servers.start()
    try:
        shown = []
        for _ in range(2):
            with place.context().wrap_socket(socket.create_connection(servers.addresses[0], 5), server_hostname="localhost") as sock:
                shown.append(sock.getpeercert(binary_form=True))
            time.sleep(0.6)
        assert shown == [old.cert.public_bytes(Encoding.DER), new.cert.public_bytes(Encoding.DER)]
    finally:
        servers.stop()


def test_plain_http_on_the_tls_port_is_closed(place: Place) -> None:
    with socket.create_connection(("127.0.0.1", place.port), 5) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            assert b"200" not in sock.recv(1000)
