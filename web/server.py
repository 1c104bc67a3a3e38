"""The embedded server: cheroot's parsing, gateway and threads, behind a loop of ours that never waits for one client.

TLS asks for a client certificate and names our authorities, but takes any: whether it is good is decided at each request,
so that an expired or revoked one gets a readable, recorded refusal. What the gateway puts into
`environ["yumen.peer_certificate"]` is the one proof of a client's certificate that the door believes.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import structlog
from cheroot.server import HTTPRequest
from cheroot.wsgi import Gateway_10
from cheroot.wsgi import Server as WsgiServer
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from OpenSSL import SSL

from core.errors import Error, Unavailable
from web import compose, problems
from web.loop import Loop
from web.ready import ocsp
from web.wire import MAX_HEAD_BYTES, Ready, Wire

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

    from ops.node import Node

#: Requests that may wait for a worker thread before further ones are answered 503 at once.
MAX_WAITING = 512

_RENEWAL_SECONDS = 5.0
_FIELD = re.compile(rb"([!#$%&'*+.^`|~0-9A-Za-z-]{1,64}):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*\r\n")
_LISTS = frozenset({b"Accept", b"Accept-Language", b"Accept-Encoding", b"Cache-Control", b"Connection", b"Via", b"X-Forwarded-For"})
_MAX_FIELDS = 100

#: What is at hand for a whole request, if anything.
AtOnce = Callable[[bytes], Ready | None]

log = structlog.get_logger()


def tls_context(
    chain: Sequence[x509.Certificate], key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, client_cas: Iterable[x509.Certificate]
) -> SSL.Context:
    """TLS 1.2 and 1.3 with `chain` (own certificate first), asking clients for a certificate of one of `client_cas`.

    The session id context is set: without it OpenSSL ends every resumed connection that began with a client certificate.
    """
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION | SSL.OP_CIPHER_SERVER_PREFERENCE)
    context.set_cipher_list(b"ECDHE+AESGCM:ECDHE+CHACHA20")
    context.use_certificate(chain[0])
    for certificate in chain[1:]:
        context.add_extra_chain_cert(certificate)
    context.use_privatekey(key)
    context.check_privatekey()
    context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
    for certificate in client_cas:
        context.add_client_ca(certificate)
    context.set_session_cache_mode(SSL.SESS_CACHE_SERVER)
    context.set_session_id(b"yumen")
    context.set_alpn_select_callback(lambda _, offered: b"http/1.1" if b"http/1.1" in offered else SSL.NO_OVERLAPPING_PROTOCOLS)
    return context


class _Fields:
    """Reads the header fields of a request, strictly: no folding, no underscore, nothing twice that is no list."""

    def __call__(self, rfile: Any, fields: dict[bytes, bytes]) -> dict[bytes, bytes]:
        for _ in range(_MAX_FIELDS):
            line = rfile.readline()
            if line == b"\r\n":
                return fields
            match = _FIELD.fullmatch(line)
            if not match:
                raise ValueError("a header field is malformed")
            name, value = match[1].title(), match[2]
            if name == b"Expect":  # the loop has answered it before the body came
                continue
            if name not in fields:
                fields[name] = value
            elif name in _LISTS:
                fields[name] += b", " + value
            else:
                raise ValueError("a header field is given twice")
        raise ValueError("too many header fields")


class _Request(HTTPRequest):
    """A request whose refusals are problem documents and whose oversized body is left to the door to refuse and record."""

    header_reader = _Fields()
    oversize = False

    def read_request_headers(self) -> bool:
        """Read the fields; note an oversized body instead of answering for the door."""
        if not super().read_request_headers():  # type: ignore[no-untyped-call]
            return False
        if b"Transfer-Encoding" in self.inheaders:
            self.simple_response("411 Length Required")
            return False
        length = self.inheaders.get(b"Content-Length", b"0")
        if not length.isdigit() or len(length) > 18 or (self.request_protocol == b"HTTP/1.1" and b"Host" not in self.inheaders):
            self.simple_response("400 Bad Request", "Content-Length must be digits, and Host must be given")
            return False
        if int(length) > self.server.max_body_bytes:
            self.oversize = self.close_connection = True
            self.inheaders[b"Content-Length"] = b"0"
        return True

    def simple_response(self, status: str, msg: str | bytes = "") -> None:
        """Refuse the request with a problem document and end the connection."""
        if str(status).startswith(("411", "501")):  # cheroot says 501 of codings that it does not know
            status, msg = "411 Length Required", "send the body with a Content-Length"
        number = int(str(status)[:3])
        code = {413: "too-large", 414: "too-large", 500: "internal", 503: "unavailable"}.get(number, "malformed")
        detail = (msg.decode("latin-1") if isinstance(msg, bytes) else msg) or problems.status_line(number)[4:]
        body = problems.document(code, detail[:1].lower() + detail[1:].rstrip("."), status=number)
        head = f"HTTP/1.1 {status}\r\nContent-Type: {problems.MEDIA_TYPE}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        self.ready, self.close_connection, self.sent_headers = False, True, True
        self.conn.wfile.write(head.encode("latin-1") + body)


class _Gateway(Gateway_10):
    """Hands the connection's own facts to the application, under names that no header field can take."""

    def get_environ(self) -> dict[str, Any]:  # type: ignore[override]
        """The WSGI environ with the peer's certificate (DER or None) and whether the body was too large to be read."""
        environ: dict[str, Any] = super().get_environ()  # type: ignore[no-untyped-call]
        environ["yumen.peer_certificate"] = self.req.conn.peer_certificate
        environ["yumen.oversize"] = self.req.oversize
        environ["yumen.tls"] = self.req.server.context is not None
        environ["wsgi.url_scheme"] = "https" if self.req.server.context else "http"
        return environ


class Listener(WsgiServer):
    """One address that Yumen listens on, with TLS when there is a context."""

    #: Answers of a whole request that are at hand; the loop asks for them before a worker thread does.
    at_once: AtOnce = staticmethod(lambda _: None)

    def __init__(
        self, address: tuple[str, int], app: WSGIApplication, *, context: SSL.Context | None = None, threads: int, max_body_bytes: int
    ) -> None:
        super().__init__(address, app, numthreads=threads, max=threads, server_name="yumen", request_queue_size=256)
        self.context = context
        self.max_body_bytes = max_body_bytes
        self.gateway = _Gateway
        self.max_request_header_size = MAX_HEAD_BYTES

    def prepare(self) -> None:
        """Bind the address and make the loop and the worker threads ready."""
        super().prepare()
        self._connections.close()
        self._connections: Loop = Loop(self, self.socket)

    def process_conn(self, wire: Wire) -> None:
        """Queue a connection with a whole request for a worker thread, or answer 503 when too many wait."""
        if self.requests.qsize < MAX_WAITING:
            self.requests.put(wire)
            return
        _Request(self, wire).simple_response("503 Service Unavailable", "too many requests are waiting; try again in a moment")
        wire.close()

    def put_conn(self, wire: Wire) -> None:
        """Give a connection back to the loop, also while stopping: its answer is still to be sent."""
        self._connections.put(wire)

    def answer(self, wire: Wire) -> bool:
        """Let the application answer the request that `wire` holds; whether the connection stays open."""
        request = _Request(self, wire)
        try:
            request.parse_request()
            if request.ready:
                request.respond()
        except Exception:  # one client's bad luck, answered and logged, must not end the worker thread
            log.exception("request failed")
            wire.wfile.seek(0)
            wire.wfile.truncate()
            request.simple_response("500 Internal Server Error", "something went wrong inside; the operator's log has the reason")
        return request.ready and not request.close_connection

    def error_log(self, msg: str = "", level: int = 20, traceback: bool = False) -> None:  # noqa: FBT001, FBT002 - cheroot's signature
        """Send what cheroot has to say to our log."""
        log.log(level, msg, exc_info=traceback)


class Servers:
    """The listeners of one process: start them, learn where they listen, stop them."""

    def __init__(self, listeners: Sequence[Listener], renew: Callable[[], None] = lambda: None) -> None:
        """`renew` is called now and then, to take over a new certificate of our own."""
        self.listeners = tuple(listeners)
        self._renew = renew
        self._stop = threading.Event()

    def start(self) -> None:
        """Bind every address, then serve each in a thread of its own.

        Raises:
            OSError: an address is taken.
        """
        for listener in self.listeners:
            listener.prepare()
        for listener in self.listeners:
            threading.Thread(target=listener.serve, name=f"listen-{listener.bind_addr[1]}", daemon=True).start()
        threading.Thread(target=self._look, name="listen-renewal", daemon=True).start()

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of each listener, as bound."""
        return [listener.bind_addr for listener in self.listeners]

    def stop(self) -> None:
        """Finish the answers being made and close everything."""
        self._stop.set()
        for listener in self.listeners:
            listener.stop()

    def _look(self) -> None:
        while not self._stop.wait(_RENEWAL_SECONDS):
            try:
                self._renew()
            except Error:
                log.exception("the listener keeps its certificate")


def serve(node: Node) -> Servers:
    """The listeners of `node`: everything over TLS, and status alone over plain HTTP. Call `start` on what this gives.

    Raises:
        Unavailable: the home has no certificate for TLS.
    """
    web = node.settings.web
    shown = [node.tls]  # before the context is made: the worker may replace it meanwhile
    portal = Listener(
        _address(web.https), compose.portal(node), context=_context(node), threads=web.threads, max_body_bytes=web.max_body_bytes
    )
    plain = Listener(_address(web.http), compose.status(node), threads=max(2, web.threads // 4), max_body_bytes=16_384)
    plain.at_once = ocsp(node)

    def renew() -> None:
        if (found := node.tls) and shown[0] and found.chain_pem != shown[0].chain_pem:  # a new context forgets all sessions
            portal.context, shown[0] = _context(node), found

    return Servers((portal, plain), renew)


def _context(node: Node) -> SSL.Context:
    tls = node.tls
    if tls is None or not isinstance(tls.key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise Unavailable("this home has no TLS certificate with an EC or RSA key; run `yumen init` again")
    return tls_context(x509.load_pem_x509_certificates(tls.chain_pem), tls.key, node.client_cas)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)
