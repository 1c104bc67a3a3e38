"""The clients that measurements are made with: they wait for whole answers, and count nothing but yes and no."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress

import pytest

from bench.clients import drive, once

ASK = b"POST / HTTP/1.1\r\nHost: x\r\n\r\n"
YES = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes"


@pytest.fixture
def listening(tmp_path):
    """Gives the path of a socket on which each question is answered with these pieces, one after the other."""
    held = []

    def listen(*pieces):
        server = socket.socket(socket.AF_UNIX)
        path = tmp_path / f"{len(held)}.sock"
        server.bind(str(path))
        server.listen()
        held.append(server)

        def talk(connection):
            with connection, suppress(OSError):
                while connection.recv(65_536):
                    for piece in pieces:
                        connection.sendall(piece)
                        time.sleep(0.005)
                    if pieces == (b"",):
                        return

        def accept():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=talk, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        return path

    yield listen
    for server in held:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


@pytest.mark.parametrize("cut", range(1, len(YES)))
def test_an_answer_that_comes_in_pieces_is_one_answer(listening, cut):
    assert once(listening(YES[:cut], YES[cut:]), ASK) == b"yes"


def test_all_clients_are_answered_and_spread_over_the_sockets(listening):
    driven = drive([listening(YES), listening(YES)], ASK, clients=8, seconds=0.3)
    assert len(driven.waits) == pytest.approx(driven.rate * 0.3, rel=0.3)
    assert min(driven.waits) > 0


@pytest.mark.parametrize("answer", [b"HTTP/1.1 503 No\r\nContent-Length: 3\r\n\r\nyes", b""])
def test_whatever_is_no_answer_ends_the_measurement(listening, answer):
    with pytest.raises((RuntimeError, OSError)):
        drive([listening(answer)], ASK, clients=2, seconds=0.3)
