"""How large a home has become, how quickly it grows, and for how long its disk will do."""

from __future__ import annotations

import datetime as dt
import shutil
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import Session

from audit import history
from core.clock import microseconds
from core.settings import Settings
from ops import homes

#: Growth is measured over this time.
SPAN = dt.timedelta(days=1)


class Capacity(NamedTuple):
    """Sizes in bytes. On PostgreSQL nothing is known of the disk: it is another machine's."""

    used: int
    free: int | None
    #: Entries of the trail altogether, and those of the last day.
    entries: int
    entries_per_day: int

    @property
    def left(self) -> dt.timedelta | None:
        """How long the free space lasts when everything grows as in the last day; nothing when it is not known."""
        if self.free is None or not self.entries or not self.entries_per_day:
            return None
        days = self.free / (self.used / self.entries * self.entries_per_day)
        return dt.timedelta(days=min(days, 36_500))


def look(settings: Settings, session: Session, now: dt.datetime) -> Capacity:
    """What the home of `settings` takes, and what there is."""
    entries = sum(history.heads(session).values())
    before = sum(history.heads_at(session, microseconds(now - SPAN)).values())
    if settings.database.url:
        used, free = session.scalar(text("SELECT pg_database_size(current_database())")) or 0, None
    else:
        file = homes.database_file(settings.home)
        used = sum(one.stat().st_size for one in file.parent.glob(f"{file.name}*"))
        free = shutil.disk_usage(settings.home).free
    return Capacity(used, free, entries, entries - before)
