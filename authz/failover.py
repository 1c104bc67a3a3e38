"""Which of several servers to ask: kept connections, one breaker for each server, one deadline over all attempts. Pure.

Servers are asked in the order in which they are named. One that could not be reached or did not answer in time is left
alone for two seconds, then for twice as long after each further failure, up to a minute, but never for more than two
seconds while no other answers; after that one caller tries it again while the others go on elsewhere. Questions only read,
so a lost connection may be asked again on a new one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from core.errors import Unavailable

#: A failed server is left alone this long at first, and at most.
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 60.0
#: A kept connection that was idle for longer may have been forgotten on the way; it is not used again.
LONGEST_IDLE = 30.0
#: A connection is renewed after this time, so that new certificates and new secrets come into use.
LONGEST_LIFE = 600.0
#: Connections kept for each server.
KEPT = 4

T = TypeVar("T")


class Broken(Exception):
    """A server cannot answer now; another may. `frozen` when it cost its whole time-out."""

    def __init__(self, reason: str, *, frozen: bool = False) -> None:
        super().__init__(reason)
        self.frozen = frozen


class Deadline:
    """The moment at which an answer is of no use any more."""

    def __init__(self, seconds: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic, self._end = monotonic, monotonic() + seconds

    def over(self) -> bool:
        """Whether it has passed."""
        return self._monotonic() >= self._end

    def left(self) -> float:
        """Seconds until then.

        Raises:
            Broken: none are left.
        """
        if (left := self._end - self._monotonic()) <= 0:
            raise Broken("no time is left", frozen=True)
        return left


class Link(Protocol):
    """A connection that can be kept. It is used by one thread at a time."""

    def close(self) -> None:
        """End it; never raises."""


L = TypeVar("L", bound=Link)


class Server(Generic[L]):
    """One server: how to connect to it, the connections kept, and whether it is left alone."""

    def __init__(self, name: str, connect: Callable[[Deadline], L], monotonic: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self.connect = connect
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._kept: list[tuple[L, float, float]] = []
        #: Why it failed last.
        self.reason = ""
        self._failures = 0
        self._closed_until = 0.0

    def admits(self) -> bool:
        """Whether it may be tried now; of those who wait for a failed server only one at a time gets a yes."""
        with self._lock:
            if not self._failures:
                return True
            if self._monotonic() < self._closed_until:
                return False
            self._closed_until = self._monotonic() + self._pause()
            return True

    def ask(self, question: Callable[[L], T], deadline: Deadline) -> T:
        """Put `question` to a kept connection, or to a new one when there is none or it was lost.

        Raises:
            Broken: the server does not answer.
        """
        kept = self._take()
        if kept is not None:
            try:
                return self._put(question, *kept)
            except Broken as error:
                self.close()
                if error.frozen:
                    raise
        return self._put(question, self.connect(deadline), self._monotonic())

    def failed(self, reason: str) -> None:
        """Leave it alone for a while, and say why."""
        with self._lock:
            self.reason = reason
            self._failures += 1
            self._closed_until = self._monotonic() + self._pause()

    def hasten(self) -> None:
        """Try it again soon: there is no other."""
        with self._lock:
            self._closed_until = min(self._closed_until, self._monotonic() + FIRST_PAUSE)

    def answered(self) -> None:
        """Use it again without hesitation."""
        with self._lock:
            self._failures = 0

    def close(self) -> None:
        """Close the kept connections."""
        with self._lock:
            kept, self._kept = self._kept, []
        for link, _, _ in kept:
            link.close()

    def _pause(self) -> float:
        return float(min(FIRST_PAUSE * 2 ** max(self._failures - 1, 0), LONGEST_PAUSE))

    def _put(self, question: Callable[[L], T], link: L, born: float) -> T:
        """The answer; the connection is kept only after a good one, since half an answer may still be in it."""
        try:
            answer = question(link)
        except BaseException:
            link.close()
            raise
        with self._lock:
            if len(self._kept) < KEPT:
                self._kept.append((link, born, self._monotonic()))
                return answer
        link.close()
        return answer

    def _take(self) -> tuple[L, float] | None:
        now = self._monotonic()
        while True:
            with self._lock:
                if not self._kept:
                    return None
                link, born, used = self._kept.pop()
            if now - used <= LONGEST_IDLE and now - born <= LONGEST_LIFE:
                return link, born
            link.close()


class Servers(Generic[L]):
    """All servers of one directory, the preferred first. Safe to use from any thread."""

    def __init__(self, servers: Sequence[Server[L]]) -> None:
        self._servers = tuple(servers)

    def ask(self, question: Callable[[L, str, Deadline], T], deadline: Deadline) -> T:
        """The first answer to `question(connection, name of the server, deadline)`.

        Raises:
            Unavailable: no server answered in time.
        """
        return self.attempt(lambda server, deadline: server.ask(lambda link: question(link, server.name, deadline), deadline), deadline)

    def attempt(self, step: Callable[[Server[L], Deadline], T], deadline: Deadline) -> T:
        """As `ask`, for a step that opens connections of its own.

        Raises:
            Unavailable: no server answered in time.
        """
        told = []
        for server in self._servers:
            if deadline.over() or not server.admits():
                told.append(f"{server.name}: {server.reason or 'no time was left'}")
                continue
            try:
                answer = step(server, deadline)
            except Broken as error:
                server.failed(str(error))
                told.append(f"{server.name}: {error}")
            else:
                server.answered()
                return answer
        for server in self._servers:
            server.hasten()
        raise Unavailable("the directory cannot be reached: {reasons}", reasons="; ".join(told))

    def close(self) -> None:
        """Close every kept connection."""
        for server in self._servers:
            server.close()
