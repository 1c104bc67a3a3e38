"""What the trail tells about somebody: what they did, and what happened to them and to what is theirs."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from audit import search
from audit.event import Kind
from audit.tables import TrailEvent
from core.errors import Malformed

_KEY = (TrailEvent.t, TrailEvent.log, TrailEvent.epoch, TrailEvent.idx)
_CURSOR = re.compile(r"(\d{1,17})\.(ca|access)\.(\d{1,9})\.(\d{1,18})")


class Told(NamedTuple):
    """Entries, newest first, and the cursor of the next page (empty at the end)."""

    entries: tuple[search.Entry, ...]
    after: str


def about(session: Session, actor: str, objects: Collection[str], kinds: Collection[Kind], after: str = "", limit: int = 50) -> Told:
    """Entries of `kinds` that `actor` (such as `person:p_…`) caused or that are about one of `objects`, behind the cursor `after`.

    Two questions, each of which walks its own index: joined by *or* they would be answered by sorting everything.

    Raises:
        Malformed: the cursor is not one that a page gave.
    """
    # An expression, so that no planner takes the index of kinds: it would read every decision that was ever made.
    wanted = select(*_KEY).where(TrailEvent.code.concat("").in_([kind.code for kind in kinds]))
    wanted = wanted.order_by(*(column.desc() for column in _KEY)).limit(limit + 1)
    if after:
        match = _CURSOR.fullmatch(after)
        if not match:
            raise Malformed("`{after}` is not a cursor of this list; start again without it", after=after)
        wanted = wanted.where(tuple_(*_KEY) < tuple_(int(match[1]), match[2], int(match[3]), int(match[4])))
    sides = (TrailEvent.actor == actor, TrailEvent.object.in_(objects))
    found = {(t, log, epoch, idx) for side in sides for t, log, epoch, idx in session.execute(wanted.where(side))}
    keys = sorted(found, reverse=True)
    return Told(
        search.entries(session, [(log, epoch, idx) for _t, log, epoch, idx in keys[:limit]]),
        ".".join(map(str, keys[limit - 1])) if len(keys) > limit else "",
    )
