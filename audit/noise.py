"""Anonymous refusals, counted: nobody can fill the disk from outside, and nothing that happened goes untold.

One event per kind, source network (/24 or /48) and minute, with the count and the first sample. At most 1,000 of them a
minute; the rest is counted together, per kind, under the network `other`.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from audit.event import Event, Kind
from audit.permit import ANONYMOUS
from audit.trail import Trail
from core.clock import Clock
from core.errors import Unavailable

MAX_NETWORKS = 1000
MAX_SAMPLE = 200
OTHER = "other"


@dataclass(slots=True)
class _Tally:
    count: int
    sample: str


class Noise:
    """Counts in memory and writes once a minute. Call `flush` at least that often; safe to share between threads."""

    def __init__(self, trail: Trail, clock: Clock) -> None:
        self._trail, self._clock = trail, clock
        self._mutex = threading.Lock()
        self._minutes: dict[int, dict[tuple[str, str], _Tally]] = {}

    def count(self, kind: str, source: str, sample: str) -> None:
        """Count one refusal of `kind` (such as `unauthenticated`) from the address `source`; never waits."""
        with self._mutex:
            tallies = self._minutes.setdefault(self._minute(), {})
            key = (kind, network(source))
            if key not in tallies and len(tallies) >= MAX_NETWORKS:
                key = (kind, OTHER)
            tally = tallies.setdefault(key, _Tally(0, sample[:MAX_SAMPLE]))
            tally.count += 1

    def flush(self, *, everything: bool = False) -> None:
        """Write the minutes that are over; with `everything` also the present one, before the process ends.

        Raises:
            Unavailable: the trail cannot be written; the counts are kept.
        """
        now = self._minute()
        with self._mutex:
            due = {minute: self._minutes.pop(minute) for minute in list(self._minutes) if everything or minute < now}
        events = [_event(minute, key, tally) for minute, tallies in sorted(due.items()) for key, tally in tallies.items()]
        try:
            if events:
                self._trail.append(events)
        except Unavailable:
            self._restore(due)
            raise

    def _restore(self, due: dict[int, dict[tuple[str, str], _Tally]]) -> None:
        with self._mutex:
            for minute, tallies in due.items():
                kept = self._minutes.setdefault(minute, {})
                for key, tally in tallies.items():
                    tally.count += kept[key].count if key in kept else 0
                    kept[key] = tally

    def _minute(self) -> int:
        return int(self._clock().timestamp()) // 60


def network(source: str) -> str:
    """The network an address belongs to: `10.1.2.0/24`, `2001:db8:1::/48`, or `unknown`."""
    try:
        address = ip_address(source)
    except ValueError:
        return "unknown"
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is None:
            return f"{IPv6Address(int(address) >> 80 << 80)}/48"
        address = address.ipv4_mapped
    return f"{type(address)(int(address) >> 8 << 8)}/24"


def _event(minute: int, key: tuple[str, str], tally: _Tally) -> Event:
    kind, place = key
    details = {"kind": kind, "network": place, "count": tally.count, "minute": minute * 60}
    return Event(
        kind=Kind.NOISE_COUNTED,
        actor=ANONYMOUS,
        object=f"noise:{kind}",
        outcome="deny",
        details=details,
        personal={"sample": tally.sample} if tally.sample else {},
    )
