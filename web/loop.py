"""The loop that moves connections: one thread for all of them, which never waits for one client.

What is at hand is answered here; every other whole request goes to a worker thread, and its answer comes back.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from queue import Empty, SimpleQueue
from typing import Protocol

import structlog
from OpenSSL import SSL

from web.wire import Blocked, Gone, Phase, Ready, Server, Wire, first_to_go

#: Connections open at one time; beyond them one that has not said its whole request makes room.
MAX_CONNECTIONS = 900
#: An address that holds more than one part in so many of them makes room first.
SHARE = 3

#: Requests of one client that are answered here in a row; then it waits for a worker thread, and others have their turn.
IN_A_ROW = 16

_SWEEP_SECONDS = 0.25

log = structlog.get_logger()


class Place(Server, Protocol):
    """The listener that a loop belongs to."""

    context: SSL.Context | None
    max_body_bytes: int
    shutdown_timeout: float

    def process_conn(self, wire: Wire, /) -> None:
        """Take a connection with a whole request, which a worker thread answers."""

    def at_once(self, request: bytes, /) -> Ready | None:
        """The answer to a whole request, when it is at hand and nothing must be waited for."""


class Loop:
    """Moves every connection through its phases; the place of cheroot's connection manager."""

    def __init__(self, server: Place, listening: socket.socket) -> None:
        self._server = server
        self._listening = listening
        self._wires: set[Wire] = set()
        self._done: SimpleQueue[Wire] = SimpleQueue()
        self._selector = selectors.DefaultSelector()
        self._waker, self._awake = socket.socketpair()
        self._stop = threading.Event()
        self._stopped = threading.Event()
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # whoever is accepted has it from here
        for sock in (listening, self._awake, self._waker):
            sock.settimeout(0)
        self._selector.register(listening, selectors.EVENT_READ)
        self._selector.register(self._awake, selectors.EVENT_READ)

    #: cheroot asks before it offers keep-alive; the limit of connections is kept by making room instead.
    can_add_keepalive_connection = True

    def put(self, wire: Wire) -> None:
        """Take a connection back from a worker thread."""
        self._done.put(wire)
        self.wake()

    def run(self, _expiration_interval: float) -> None:
        """Serve until `stop`."""
        swept = time.monotonic()
        while not self._stop.is_set():
            for key, _ in self._selector.select(_SWEEP_SECONDS):
                if key.fileobj is self._listening:
                    self._accept()
                elif key.fileobj is self._awake:
                    self._take_back()
                else:
                    self._advance(key.data)
            if time.monotonic() - swept >= _SWEEP_SECONDS:
                swept = time.monotonic()
                self._sweep(swept)
        self._stopped.set()

    def stop(self) -> None:
        """End `run` after the answers being made are sent; waits at most the server's shutdown time."""
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(self._listening)
        until = time.monotonic() + self._server.shutdown_timeout
        while time.monotonic() < until and any(wire.phase in {Phase.WORKING, Phase.WRITING} for wire in list(self._wires)):
            time.sleep(0.01)
        self._stop.set()
        self.wake()
        self._stopped.wait(1)

    def wake(self) -> None:
        """Let `run` look at its flags now."""
        with contextlib.suppress(OSError):
            self._waker.send(b"\0")

    def close(self) -> None:
        """Close every connection."""
        for wire in list(self._wires):
            wire.hang_up()
        self._selector.close()
        self._waker.close()
        self._awake.close()

    def _accept(self) -> None:
        for _ in range(64):
            try:
                sock, address = self._listening.accept()
            except OSError:
                return
            if len(self._wires) >= MAX_CONNECTIONS and not self._make_room():
                sock.close()
                continue
            sock.settimeout(0)
            wire = Wire(self._server, sock, address[:2], self._server.context)
            self._wires.add(wire)
            self._advance(wire)  # most have said something by now

    def _make_room(self) -> bool:
        first = first_to_go(self._wires, MAX_CONNECTIONS // SHARE)
        if first:
            self._drop(first)
        return first is not None

    def _take_back(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._awake.recv(4096):
                pass
        with contextlib.suppress(Empty):
            while True:
                wire = self._done.get_nowait()
                wire.send_answer()
                self._advance(wire)

    def _advance(self, wire: Wire) -> None:
        left = IN_A_ROW
        try:
            while wire.phase is not Phase.WORKING or ((left := left - 1) >= 0 and self._answered(wire)):
                self._step(wire)
            self._watch(wire, 0)
            self._server.process_conn(wire)
        except Blocked as blocked:
            self._watch(wire, selectors.EVENT_WRITE if blocked.writes else selectors.EVENT_READ)
        except Gone:
            self._drop(wire)
        except Exception:
            log.exception("connection dropped")  # a bug that one client meets must not stop the loop for all
            self._drop(wire)

    def _answered(self, wire: Wire) -> bool:
        """Whether the request needed no worker thread."""
        ready = self._server.at_once(wire.rfile.getvalue())
        if ready is None:
            return False
        wire.send_ready(ready)
        return True

    def _watch(self, wire: Wire, events: int) -> None:
        """Let `run` look for these events of the connection, and for no others."""
        if wire.watched == events:
            return
        if not wire.watched:
            self._selector.register(wire, events, wire)
        elif events:
            self._selector.modify(wire, events, wire)
        else:
            self._selector.unregister(wire)
        wire.watched = events

    def _step(self, wire: Wire) -> None:
        if wire.phase is Phase.HANDSHAKE:
            wire.shake_hands()
        elif wire.phase is Phase.READING:
            wire.read(self._server.max_body_bytes)
        elif wire.phase is Phase.WRITING:
            wire.write()
        else:
            wire.drain()

    def _sweep(self, now: float) -> None:
        for wire in [wire for wire in self._wires if wire.deadline < now and wire.phase is not Phase.WORKING]:
            self._drop(wire)

    def _drop(self, wire: Wire) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._watch(wire, 0)
        self._wires.discard(wire)
        wire.hang_up()
