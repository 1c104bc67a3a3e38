"""What stands in a directory's place, or between it and Yumen: it records what it is told, and cuts where a test says."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from pathlib import Path


class Trap:
    """Listens on the loopback and keeps every byte it is sent; with a certificate, what came out of TLS.

    `answers` are sent one by one, each after something was received.
    """

    def __init__(self, *, certificate: Path | None = None, answers: tuple[bytes, ...] = ()) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(0.05)
        self.port = self._listening.getsockname()[1]
        self.connections = 0
        self.heard = b""
        self._answers = answers
        self._context = None
        if certificate:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(certificate.with_suffix(".pem"), certificate.with_suffix(".key"))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                peer, _ = self._listening.accept()
            except TimeoutError:
                continue
            self.connections += 1
            with peer:
                self._listen(peer)

    def _listen(self, peer: socket.socket) -> None:
        peer.settimeout(0.5)
        try:
            talking = self._context.wrap_socket(peer, server_side=True) if self._context else peer
            with talking:
                for answer in (*self._answers, b""):
                    heard = talking.recv(65_536)
                    self.heard += heard
                    if not heard:
                        return
                    talking.sendall(answer)
        except OSError:
            return

    def close(self) -> None:
        self._stop.set()
        self._thread.join(5)
        self._listening.close()


class Cut:
    """Passes bytes on to a server, and ends the connection after `most` bytes of answers; None lets everything through."""

    def __init__(self, port: int) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(0.05)
        self._target = port
        self.port = self._listening.getsockname()[1]
        self.most: int | None = None
        self.passed = 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True)]
        self._threads[0].start()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                near, _ = self._listening.accept()
            except TimeoutError:
                continue
            far = socket.create_connection(("127.0.0.1", self._target))
            for source, sink, counted in ((near, far, False), (far, near, True)):
                self._threads.append(threading.Thread(target=self._pass_on, args=(source, sink, counted), daemon=True))
                self._threads[-1].start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        with suppress(OSError):
            while data := source.recv(1024):
                if counted and self.most is not None and self.passed + len(data) > self.most:
                    break
                self.passed += len(data) if counted else 0
                sink.sendall(data)
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(5)
        self._listening.close()
