"""No caller takes all threads: each has so many turns at one time, and who asks for one more is told to wait.

Callers are told apart by what they show, before it is judged: judging is what must not be had for nothing. Who comes to a
door that is open to anyone counts by his network. What asks for no more than a moment, such as a decision, needs no turn.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any

from audit.noise import network
from core.errors import RateLimited
from web.credentials import shown_at
from web.declare import Opening
from web.visit import Visit

#: Callers have at least so many turns, however few threads there are.
LEAST = 4


class Turns:
    """The turns of one listener. Safe to share between threads."""

    def __init__(self, threads: int) -> None:
        """With `threads` threads nobody has more than half of them."""
        self.most = max(LEAST, threads // 2)
        self._mutex = threading.Lock()
        self._taken = Counter[str]()

    def take(self, visit: Visit, openings: frozenset[Opening]) -> str:
        """A turn for `visit` to a door with these `openings`, to be given back; empty when none is needed.

        Raises:
            RateLimited: the caller has all of his turns; counted.
        """
        who = _who(visit.environ, openings)
        with self._mutex:
            if not who or self._taken[who] < self.most:
                self._taken[who] += bool(who)
                return who
        visit.recorded = True
        visit.node.noise.count("rate-limited", visit.environ.get("REMOTE_ADDR", ""), visit.route or "-")
        raise RateLimited("too many of your requests are under way at once; wait for their answers", retry_after_seconds=1)

    def give_back(self, who: str) -> None:
        """The request whose turn `who` was has its answer."""
        with self._mutex:
            self._taken[who] -= 1
            if self._taken[who] <= 0:
                del self._taken[who]


def _who(environ: Mapping[str, Any], openings: frozenset[Opening]) -> str:
    if Opening.ANYONE in openings:
        return "" if environ["REQUEST_METHOD"] in {"GET", "HEAD"} else network(environ.get("REMOTE_ADDR", ""))
    return shown_at(environ) or network(environ.get("REMOTE_ADDR", ""))
