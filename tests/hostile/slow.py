"""Clients that hold on: `python -m tests.hostile.slow HOST PORT NUMBER SECONDS [tls]`. Says `ready` when all of them are connected.

A fifth says nothing, a fifth begins a handshake or a head and trickles, a fifth trickles a body, a fifth asks for much and
does not read, a fifth keeps its connection open after an honest request. Each hundred comes from another address of this
machine.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import sys
import time

_HEAD = b"GET /static/yumen.css HTTP/1.1\r\nHost: localhost\r\n"
_BODY = b"POST /api/v1/sessions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 200000\r\n\r\n{"
_LARGE = b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 4


def connect(number: int, host: str, port: int, *, tls: bool) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    sock.bind((f"127.0.{number // 100 + 1}.1", 0))
    sock.settimeout(10)
    sock.connect((host, port))
    if tls and number % 5 >= 2:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context.wrap_socket(sock)
    return sock


def begin(number: int, sock: socket.socket) -> None:
    said = {1: _HEAD[:3], 2: _BODY, 3: _LARGE, 4: _HEAD + b"\r\n"}.get(number % 5)
    if said:
        sock.sendall(said)


def main(host: str, port: int, number: int, seconds: float, *, tls: bool) -> None:
    until, held = time.monotonic() + seconds, dict[int, socket.socket]()
    told = False
    while time.monotonic() < until:
        for one in range(number):
            with contextlib.suppress(OSError, ValueError):
                if one not in held:  # whoever was thrown out comes again
                    held[one] = connect(one, host, port, tls=tls)
                    begin(one, held[one])
                elif one % 5 in {1, 2}:
                    held[one].send(b"x")
                continue
            if one in held:
                held.pop(one).close()
        if not told:
            print("ready", len(held), flush=True)
            told = True
        time.sleep(0.5)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), tls="tls" in sys.argv)
