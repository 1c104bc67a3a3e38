"""Many clients at once, on connections that they keep or anew for each question: one thread, since a core is all that we may take."""

from __future__ import annotations

import itertools
import re
import selectors
import socket
import time
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

#: Addresses of loopback that new connections come from in turn: each has so many ports, and they rest for a minute.
_SOURCES = [f"127.0.0.{number}" for number in range(2, 34)]
#: Linux: the port is chosen when the other end is known, so that each pair of addresses has all of them.
_IP_BIND_ADDRESS_NO_PORT = 24
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)\r\n")


class Driven(NamedTuple):
    """What came of it: answers a second, and the milliseconds of each."""

    rate: float
    waits: list[float]


class Client:
    """One connection, with at most one question under way."""

    def __init__(self, path: Path, request: bytes) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        try:
            self.socket.connect(str(path))
        except OSError:
            self.socket.close()
            raise
        self._request, self._began, self._answer = request, 0.0, b""

    def ask(self) -> None:
        """Send the question."""
        self._began, self._answer = time.perf_counter(), b""
        self.socket.sendall(self._request)

    def hear(self) -> float | None:
        """Take what came; the milliseconds of the whole answer, or None while some is missing.

        Raises:
            RuntimeError: the connection was closed.
        """
        some = self.socket.recv(65_536)
        self._answer += some
        head, end, body = self._answer.partition(b"\r\n\r\n")
        length = _LENGTH.search(head + b"\r\n") if end else None
        if not some:
            raise RuntimeError(f"the connection was closed after `{self._answer.decode('utf-8', 'replace')}`")
        if length is None or len(body) < int(length[1]):
            return None
        return (time.perf_counter() - self._began) * 1e3

    @property
    def answer(self) -> bytes:
        """The body of the last answer; empty when it was not 200."""
        head, _, body = self._answer.partition(b"\r\n\r\n")
        return body if head.startswith(b"HTTP/1.1 200") else b""

    def have(self) -> bytes:
        """Ask, wait, and give `answer`."""
        self.ask()
        while self.hear() is None:
            pass
        return self.answer


def drive(sockets: Sequence[Path], request: bytes, clients: int, seconds: float) -> Driven:
    """Let as many clients ask the same again and again, spread over `sockets`.

    Raises:
        RuntimeError: an answer is not 200.
    """
    waits: list[float] = []
    with selectors.DefaultSelector() as selector, ExitStack() as stack:
        for number in range(clients):
            client = Client(sockets[number % len(sockets)], request)
            stack.enter_context(client.socket)
            selector.register(client.socket, selectors.EVENT_READ, client)
            client.ask()
        began = time.perf_counter()
        while time.perf_counter() - began < seconds:
            for key, _ in selector.select():
                if (wait := key.data.hear()) is None:
                    continue
                if not key.data.answer:
                    raise RuntimeError("an answer is not 200; see the logs of the site")
                waits.append(wait)
                key.data.ask()
        took = time.perf_counter() - began
    return Driven(len(waits) / took, waits)


def once(path: Path, request: bytes) -> bytes:
    """The body of the answer to one question; empty when it is not 200."""
    client = Client(path, request)
    try:
        return client.have()
    finally:
        client.socket.close()


def anew(port: int, request: bytes) -> bytes:
    """The whole answer to one question on a new connection."""
    return _heard(_asked(port, request, _SOURCES[0]))


def drive_anew(port: int, requests: Sequence[bytes], clients: int, seconds: float) -> Driven:
    """Let as many clients ask these in turn, each question on a new connection to this port of loopback.

    Raises:
        RuntimeError: an answer is not 200, or not whole.
    """
    waits: list[float] = []
    under_way: deque[tuple[float, socket.socket]] = deque()
    coming = zip(itertools.cycle(requests), itertools.cycle(_SOURCES), strict=False)
    began = now = time.perf_counter()
    while now - began < seconds:
        while len(under_way) < clients:
            under_way.append((time.perf_counter(), _asked(port, *next(coming))))
        asked_at, connection = under_way.popleft()
        if not _heard(connection).startswith((b"HTTP/1.1 200", b"HTTP/1.0 200")):
            raise RuntimeError("an answer is not 200; see the log of the server")
        now = time.perf_counter()
        waits.append((now - asked_at) * 1e3)
    for _, connection in under_way:
        connection.close()
    return Driven(len(waits) / (now - began), waits)


def _asked(port: int, request: bytes, source: str) -> socket.socket:
    connection = socket.socket()
    connection.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
    connection.bind((source, 0))
    try:
        connection.connect(("127.0.0.1", port))
        connection.sendall(request)
    except OSError:
        connection.close()
        raise
    return connection


def _heard(connection: socket.socket) -> bytes:
    with connection:
        answer = connection.recv(65_536)
        while not _is_whole(answer):
            if not (some := connection.recv(65_536)):
                raise RuntimeError(f"the connection was closed after `{answer.decode('utf-8', 'replace')}`")
            answer += some
    return answer


def _is_whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    length = _LENGTH.search(head + b"\r\n") if end else None
    return length is not None and len(body) >= int(length[1])
