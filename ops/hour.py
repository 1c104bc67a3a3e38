"""Whether the hour that this machine tells can be believed.

Every process compares each second the clock of the day with the one that only counts. What is stepped by more than a few
seconds is not believed until it is put back, a time source keeps it, or it was left alone for a while: until then nothing is
signed that bears a time, nobody gets a notice, and no old backup is taken away. Three things tell of a step: the two clocks
of this machine, the trail, whose last entry cannot lie in the future of a process that begins, and the database server.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from audit.event import Event, Kind
from audit.permit import Actor
from audit.trail import Trail
from core.clock import Clock, microseconds
from core.database import Database
from core.errors import Unavailable

#: Clocks differ by more than this only when somebody, or something, set one of them; in seconds.
STEP = 5.0
#: A clock that nothing else speaks against is believed again after this, in seconds.
SETTLED = 600.0
#: An answer of the database that took longer tells nothing of its clock, in seconds.
_LONG = 2.0
#: What `adjtimex` gives when no time source keeps the clock.
_TIME_ERROR = 5
_ITSELF = Actor.service("clock")

Details = dict[str, str | int]


class Hour:
    """See the module. Safe to share between threads; `look` is called by one of them, again and again."""

    def __init__(self, clock: Clock, counted: Callable[[], float] | None = None, kept: Callable[[], bool] | None = None) -> None:
        """`counted` gives seconds that never jump, `kept` whether a time source keeps this machine's clock."""
        self._clock, self._counted, self._kept = clock, counted or _counted, kept or is_kept
        #: By how much the clock was stepped since it was last believed, when, and by how much the database's differs; in seconds.
        self._off, self._since, self._apart = 0.0, 0.0, 0.0
        self._at = (clock().timestamp(), self._counted())
        self._differs = False
        #: By how much the clock of the day is ahead of the other one at least, when a trail from the future tells so.
        self._least: float | None = None
        #: What is not in the trail yet.
        self._untold: deque[tuple[Kind, Details]] = deque()
        self._looking = threading.Lock()

    def begin(self, newest: int) -> None:
        """A process begins, and the newest entry of the trail is of that time (microseconds)."""
        if (ahead := newest / 1_000_000 - self._at[0]) > STEP:
            self._least = newest / 1_000_000 - self._at[1]
            self._stepped(-ahead, "trail")

    def look(self, trail: Trail | None = None) -> None:
        """Compare the clocks now, and record in `trail` what is new."""
        with self._looking:
            self._look_here()
            if trail is not None:
                self._look_there(trail.database)
                self._tell(trail)

    @property
    def doubtful(self) -> bool:
        """Whether nothing may be signed, sent or taken away by this clock."""
        return self._off != 0.0 or self._differs

    @property
    def off_seconds(self) -> float:
        """By how much it was stepped, or else differs from the database's, while it is not believed; 0 when it is."""
        return self._off or (self._apart if self._differs else 0.0)

    def problems(self) -> list[str]:
        """Why it is not believed and what to do, one sentence each."""
        found = []
        if self._off:
            word = f"this machine's clock was set {'forward' if self._off > 0 else 'back'} by {abs(self._off):.0f} s"
            until = f"it is put right, a time source keeps it, or it was left alone for {SETTLED / 60:.0f} minutes"
            found.append(f"{word}: no certificate, list or OCSP answer is signed until {until}")
        if self._differs:
            word = f"this machine's clock is {abs(self._apart):.0f} s {'ahead of' if self._apart > 0 else 'behind'} the database server's"
            found.append(f"{word}: no certificate, list or OCSP answer is signed until they agree; put the wrong one right")
        return found

    def _look_here(self) -> None:
        wall, counted = self._clock().timestamp(), self._counted()
        step = (wall - self._at[0]) - (counted - self._at[1])
        self._at = (wall, counted)
        if abs(step) > STEP:
            self._stepped(step, "itself")
        if self._least is not None:
            self._off = min(0.0, wall - counted - self._least)
        elif not self._off:
            return
        if abs(self._off) <= STEP:
            self._believed("put-right")
        elif self._kept():
            self._believed("time-source")
        elif counted - self._since >= SETTLED:
            self._believed("left-alone")

    def _look_there(self, database: Database) -> None:
        apart = _apart(database, self._clock, self._counted)
        if apart is None:
            return
        self._apart, differed, self._differs = apart, self._differs, abs(apart) > STEP
        if self._differs and not differed:
            self._untold.append((Kind.CLOCK_STEPPED, {"seconds": round(apart), "against": "database"}))
        elif differed and not self._differs:
            self._untold.append((Kind.CLOCK_BELIEVED, {"why": "agrees", "against": "database"}))

    def _stepped(self, seconds: float, against: str) -> None:
        self._off, self._since = self._off + seconds, self._at[1]
        self._untold.append((Kind.CLOCK_STEPPED, {"seconds": round(seconds), "against": against}))

    def _believed(self, why: str) -> None:
        self._off, self._least = 0.0, None
        self._untold.append((Kind.CLOCK_BELIEVED, {"why": why}))

    def _tell(self, trail: Trail) -> None:
        with suppress(Unavailable):  # that the trail cannot be written is told by itself, and this is kept for the next look
            while self._untold:
                kind, details = self._untold[0]
                trail.append([Event(kind=kind, actor=_ITSELF, object=f"node:{trail.writer.node}", details=details)])
                self._untold.popleft()


class Kernel(NamedTuple):
    """What the kernel was told by whatever keeps its time: chrony, ntpd and systemd-timesyncd all tell it.

    Setting the clock by hand makes it forget that at once.
    """

    kept: bool
    #: By how much it may be wrong, in microseconds.
    most_wrong: int


class _Timex(ctypes.Structure):
    """The head of the kernel's `struct timex` (adjtimex(2)), with room for the rest."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_long * 32),
    )


def kernel() -> Kernel:
    """What the kernel says of its clock.

    Raises:
        OSError: it does not say.
    """
    said = _Timex()
    state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(said))
    if state < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return Kernel(state != _TIME_ERROR, said.maxerror)


def is_kept() -> bool:
    """Whether a time source keeps this machine's clock."""
    try:
        return kernel().kept
    except OSError:
        return False


def _counted() -> float:
    """Seconds since the machine began, asleep or awake: a machine that wakes up has not been stepped."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _apart(database: Database, clock: Clock, counted: Callable[[], float]) -> float | None:
    """By how many seconds our clock is ahead of the database server's; None where there is none, or it cannot be told."""
    if database.engine.dialect.name != "postgresql":
        return None
    try:
        with database.reading() as session:
            session.execute(text("SELECT 1"))  # so that what is measured is one answer, and no connection that is being made
            began, asked_at = counted(), microseconds(clock())
            theirs: Any = session.scalar(text("SELECT clock_timestamp()"))
            took = counted() - began
    except (OSError, SQLAlchemyError, Unavailable):
        return None
    return (asked_at - microseconds(theirs)) / 1_000_000 + took / 2 if took < _LONG else None
