"""Time, as a value that is passed in: whoever needs the hour takes a `Clock`, so that tests can own it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

#: The province's own zone: people read times in it, whatever the server's.
ZONE = dt.timezone(dt.timedelta(hours=8))

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)

#: Gives the present moment, aware and in UTC.
Clock = Callable[[], dt.datetime]


def system() -> dt.datetime:
    """The machine's own clock."""
    return dt.datetime.now(dt.UTC)


def microseconds(moment: dt.datetime) -> int:
    """Microseconds since 1970-01-01T00:00:00Z, exact: floats would lose the last digits."""
    return (moment - _EPOCH) // _MICROSECOND


def moment(stored: str | dt.datetime) -> dt.datetime:
    """The time that an `Instant` column holds, read by a bare cursor."""
    if isinstance(stored, dt.datetime):
        return stored.astimezone(dt.UTC)
    return dt.datetime.fromisoformat(stored).replace(tzinfo=dt.UTC)


def span(length: dt.timedelta) -> str:
    """A length of time as the settings write it, in its largest whole unit."""
    units = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1))
    whole = length // dt.timedelta(milliseconds=1)
    return next(f"{whole // size}{name}" for name, size in units if whole % size == 0)
