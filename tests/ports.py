"""Ports for servers that tests start: nobody else of this machine is given them while this process lives."""

from __future__ import annotations

import socket

#: Bound and never listening: a server that says SO_REUSEADDR, as all do, may listen there; the kernel gives the port to nobody who asks
#: for any, neither to listen nor to connect from.
_held: list[socket.socket] = []


def free_ports(number: int) -> list[int]:
    """That many ports on which nobody listens, all different."""
    for _ in range(number):
        held = socket.socket()
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        _held.append(held)
    return [held.getsockname()[1] for held in _held[-number:]]
