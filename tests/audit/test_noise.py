"""Anonymous refusals are counted by network and minute, and nobody can make the trail grow from outside."""

from __future__ import annotations

import datetime as dt
import json

import pytest

from audit.noise import Noise, network
from core.errors import Unavailable
from tests.audit.homes import START, Home


class Settable:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> dt.datetime:
        return self.now


def counted(home: Home) -> list[dict[str, object]]:
    return [json.loads(body)["d"] for (body,) in home.rows("SELECT body FROM trail_event WHERE code = 'AZ2009' ORDER BY idx")]


def test_one_event_for_each_kind_network_and_minute(home: Home) -> None:
    clock = Settable()
    noise = Noise(home.trail, clock)
    for address in ("10.1.2.3", "10.1.2.99", "10.1.3.1", "2001:db8:1:2::1", "2001:db8:1:ffff::1"):
        noise.count("unauthenticated", address, f"GET /from/{address}")
    noise.count("bad-tls", "10.1.2.3", "")
    noise.flush()
    assert counted(home) == []
    clock.now += dt.timedelta(minutes=1)
    noise.flush()
    minute = int(START.timestamp())
    assert counted(home) == [
        {"kind": "unauthenticated", "network": "10.1.2.0/24", "count": 2, "minute": minute},
        {"kind": "unauthenticated", "network": "10.1.3.0/24", "count": 1, "minute": minute},
        {"kind": "unauthenticated", "network": "2001:db8:1::/48", "count": 2, "minute": minute},
        {"kind": "bad-tls", "network": "10.1.2.0/24", "count": 1, "minute": minute},
    ]


def test_a_flood_from_everywhere_ends_in_one_row(home: Home) -> None:
    noise = Noise(home.trail, Settable())
    for number in range(1500):
        noise.count("unauthenticated", f"10.{number // 250}.{number % 250}.1", "")
    noise.flush(everything=True)
    rows = counted(home)
    assert len(rows) == 1001
    assert rows[-1] == {"kind": "unauthenticated", "network": "other", "count": 500, "minute": int(START.timestamp())}
    assert sum(row["count"] for row in rows) == 1500


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_counts_survive_a_closed_trail(home: Home) -> None:
    noise = Noise(home.trail, Settable())
    noise.count("unauthenticated", "10.0.0.1", "GET /")
    lock = home.file.with_suffix(".lock")
    lock.unlink()
    lock.mkdir()
    with pytest.raises(Unavailable):
        noise.flush(everything=True)
    noise.count("unauthenticated", "10.0.0.2", "GET /")
    lock.rmdir()
    noise.flush(everything=True)
    assert [row["count"] for row in counted(home)] == [2]


@pytest.mark.parametrize(
    ("source", "expected"), [("", "unknown"), ("nonsense", "unknown"), ("::ffff:10.1.2.3", "10.1.2.0/24"), ("::1", "::/48")]
)
def test_networks_of_unusual_addresses(source: str, expected: str) -> None:
    assert network(source) == expected
