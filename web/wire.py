"""One connection as bytes: TLS, the buffer of what came, the answer that goes.

Only `web.loop` touches the socket, without ever waiting: it shakes hands, gathers one whole request, hands
it to a worker thread, and sends the answer that the worker left. So a silent or slow client holds a file descriptor and
a deadline, never a thread.
"""

from __future__ import annotations

import functools
import io
import re
import socket
import time
from collections import Counter
from collections.abc import Callable, Collection
from enum import Enum, auto
from typing import NamedTuple, Protocol, TypeVar

from OpenSSL import SSL, crypto

#: Seconds from the first contact to the end of the TLS handshake.
HANDSHAKE_SECONDS = 5.0
#: Seconds from the first byte of a request to its last.
REQUEST_SECONDS = 10.0
#: Seconds that a connection may stay open between requests.
IDLE_SECONDS = 30.0
#: Seconds for the client to take an answer.
ANSWER_SECONDS = 30.0
#: Seconds after which a client that takes nothing of its answer may be dropped to make room for others.
STALL_SECONDS = 5.0
#: Seconds to go on reading after the last answer, so that a reset does not destroy it on the way.
DRAIN_SECONDS = 2.0
#: Largest request line with headers, in bytes.
MAX_HEAD_BYTES = 32_768

_T = TypeVar("_T")
_CHUNK = 65_536
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,18})[ \t]*(?=\r\n)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding[ \t]*:", re.IGNORECASE)
_EXPECTS = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*(?=\r\n)", re.IGNORECASE)
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Phase(Enum):
    """What a connection is doing. Only `WORKING` belongs to a worker thread, everything else to the loop."""

    HANDSHAKE = auto()
    READING = auto()
    WORKING = auto()
    WRITING = auto()
    DRAINING = auto()
    CLOSED = auto()


class Ready(NamedTuple):
    """A whole answer as it goes over the wire, and whether the connection ends with it."""

    data: bytes
    closes: bool


class Server(Protocol):
    """What a connection needs of the server that it belongs to."""

    def answer(self, wire: Wire, /) -> bool:
        """Answer the request that `wire` holds; whether the connection stays open."""

    def put_conn(self, wire: Wire, /) -> None:
        """Take the connection back from a worker thread."""


class Blocked(Exception):
    """Nothing more can be done until the socket is readable, or writable when `writes`."""

    def __init__(self, *, writes: bool) -> None:
        super().__init__()
        self.writes = writes


class Gone(Exception):
    """The other side went away or broke the protocol; nothing can be said to it."""


class Wire:
    """One client's connection. The names of the public fields are those that cheroot's request class asks for."""

    def __init__(self, server: Server, sock: socket.socket, address: tuple[str, int], context: SSL.Context | None) -> None:
        self.server = server
        self.remote_addr, self.remote_port = address
        self.ssl_env: dict[str, str] = {}
        self.rfile = io.BytesIO()
        self.wfile = io.BytesIO()
        self.linger = False
        self.requests_seen = 0
        #: DER of the certificate that the client proved to hold in the handshake, else nothing.
        self.peer_certificate: bytes | None = None
        self.phase = Phase.HANDSHAKE if context else Phase.READING
        self.deadline = time.monotonic() + HANDSHAKE_SECONDS
        self.closing = False
        #: The events that the loop looks for.
        self.watched = 0
        self._socket = sock
        self._tls: SSL.Connection | None = None
        self._inbox = bytearray()
        self._outbox = memoryview(b"")
        self._taken_at = self.deadline
        self._told_to_continue = False
        #: Whether the client said that this is its last request, and has its answer.
        self._said_all = False
        if context:
            self._tls = SSL.Connection(context, sock)
            self._tls.set_accept_state()

    def fileno(self) -> int:
        """The descriptor that the selector watches."""
        return self._socket.fileno()

    # -- the loop's side

    def shake_hands(self) -> None:
        """Go on with the TLS handshake; afterwards the peer's certificate is known and the phase is `READING`.

        Raises:
            Blocked: more bytes are needed.
            Gone: the handshake failed.
        """
        assert self._tls is not None
        _attempt(self._tls.do_handshake)
        peer = self._tls.get_peer_certificate()
        self.peer_certificate = crypto.dump_certificate(crypto.FILETYPE_ASN1, peer) if peer else None
        self._wait_for_request()

    def read(self, max_body_bytes: int) -> bool:
        """Take in what has arrived; whether one whole request (or one that must be refused unread) is there.

        Raises:
            Blocked: the request is not complete.
            Gone: the client closed the connection.
        """
        while not self._ready(max_body_bytes):
            data = self._receive()
            if not self._inbox:
                self.deadline = time.monotonic() + REQUEST_SECONDS
            self._inbox += data
            if self._inbox[:2] == b"\r\n":  # RFC 9112 section 2.2: ignore an empty line before a request
                del self._inbox[:2]
        return True

    def write(self) -> None:
        """Send the answer; when it is out, wait for the next request or begin to close.

        Raises:
            Blocked: the client does not take more at the moment.
            Gone: the client closed the connection.
        """
        while self._outbox:
            self._outbox = self._outbox[self._send(bytes(self._outbox[:_CHUNK])) :]
            self._taken_at = time.monotonic()
        if self._said_all:
            raise Gone  # and keeps nothing that comes after: it was told that nothing would
        if self.closing:
            self._say_goodbye()
        else:
            self._wait_for_request()

    def drain(self) -> None:
        """Throw away what still comes after the last answer.

        Raises:
            Blocked: nothing more has come yet.
            Gone: the client closed its side as well.
        """
        while True:
            try:
                data = self._socket.recv(_CHUNK)
            except BlockingIOError:
                raise Blocked(writes=False) from None
            except OSError as error:
                raise Gone from error
            if not data:
                raise Gone

    def send_ready(self, ready: Ready) -> None:
        """Begin to send an answer that no worker made."""
        self.wfile.write(ready.data)
        self.closing = self._said_all = ready.closes
        self.send_answer()

    def send_answer(self) -> None:
        """Begin to send what was left in `wfile`."""
        self._outbox = memoryview(self.wfile.getvalue())
        self.phase = Phase.WRITING
        self._taken_at = time.monotonic()
        self.deadline = self._taken_at + ANSWER_SECONDS

    def hang_up(self) -> None:
        """Close the socket at once."""
        self.phase = Phase.CLOSED
        self._tls = None
        self._socket.close()

    @property
    def may_be_dropped(self) -> bool:
        """Whether the client is owed no answer, or does not take the one it gets: it may be dropped to make room for others."""
        stalled = self.phase is Phase.WRITING and time.monotonic() - self._taken_at > STALL_SECONDS
        return stalled or self.phase in {Phase.HANDSHAKE, Phase.READING, Phase.DRAINING}

    @property
    def waits_for_client(self) -> bool:
        """Whether nobody here works for this connection now."""
        return self.phase not in {Phase.WORKING, Phase.CLOSED}

    @property
    def patience(self) -> tuple[bool, float]:
        """The order in which clients are dropped: who has said nothing first, then who has waited longest."""
        return bool(self._inbox), self.deadline

    # -- the worker's side

    def communicate(self) -> bool:
        """Answer the request in `rfile` into `wfile`; whether the connection stays open. Called by a worker thread."""
        return self.server.answer(self)

    def close(self) -> None:
        """The worker is done and the connection must end once the answer is sent. Called by a worker thread."""
        self.closing = True
        self.server.put_conn(self)

    # -- inside

    def _wait_for_request(self) -> None:
        self.phase = Phase.READING
        self._told_to_continue = False
        self.deadline = time.monotonic() + (REQUEST_SECONDS if self._inbox else IDLE_SECONDS)

    def _ready(self, max_body_bytes: int) -> bool:
        end = self._inbox.find(b"\r\n\r\n")
        if end < 0:
            if len(self._inbox) <= MAX_HEAD_BYTES:
                return False
            self._take(len(self._inbox))
            return True
        head = bytes(self._inbox[: end + 2])
        lengths = _LENGTH.findall(head)
        size = int(lengths[0]) if len(lengths) == 1 and not _CHUNKED.search(head) else 0
        whole = end + 4 + (size if size <= max_body_bytes else 0)
        if len(self._inbox) >= whole:
            self._take(whole)
            return True
        if not self._told_to_continue and _EXPECTS.search(head):
            self._told_to_continue = True
            self._send(_CONTINUE)
        return False

    def _take(self, size: int) -> None:
        self.rfile, self.wfile = io.BytesIO(self._inbox[:size]), io.BytesIO()
        del self._inbox[:size]
        self.phase = Phase.WORKING

    def _receive(self) -> bytes:
        data = _attempt(functools.partial((self._tls or self._socket).recv, _CHUNK))
        if not data:
            raise Gone
        return data

    def _send(self, data: bytes) -> int:
        return _attempt(functools.partial((self._tls or self._socket).send, data), writes=True)

    def _say_goodbye(self) -> None:
        if self._tls:
            try:
                self._tls.shutdown()
            except SSL.Error:
                raise Gone from None
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise Gone from error
        self.phase = Phase.DRAINING
        self.deadline = time.monotonic() + DRAIN_SECONDS


def first_to_go(wires: Collection[Wire], share: int) -> Wire | None:
    """Which of `wires` makes room: one that may be dropped, or any of an address that holds more than `share`, unless it is worked for."""
    address, held = Counter(wire.remote_addr for wire in wires).most_common(1)[0]
    greedy = address if held > share else None
    some = [wire for wire in wires if wire.may_be_dropped or (wire.remote_addr == greedy and wire.waits_for_client)]
    return min(some, key=lambda wire: (not wire.may_be_dropped, wire.patience), default=None)


def _attempt(call: Callable[[], _T], *, writes: bool = False) -> _T:
    """What `call` gives, its many ways of failing told apart as `Blocked` and `Gone`."""
    try:
        return call()
    except SSL.WantReadError:
        raise Blocked(writes=False) from None
    except SSL.WantWriteError:
        raise Blocked(writes=True) from None
    except BlockingIOError:
        raise Blocked(writes=writes) from None
    except (SSL.Error, OSError) as error:
        raise Gone from error
