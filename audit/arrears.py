"""What a process owes the trail before anything else: that it was closed for a while, and numbers that were rolled back."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from audit.counters import ranges
from audit.event import Event, Kind
from audit.permit import Actor

#: Who tells what the trail tells of itself.
ITSELF = Actor.service("trail")


@dataclass(slots=True)
class Closed:
    """Since when (microseconds) the trail could not be written, and how many attempts failed."""

    since: int
    refused: int = 0


def arrears(owed: AbstractSet[int], closed: Closed | None) -> list[Event]:
    """The events that are due."""
    events = []
    if closed:
        details = {"since": closed.since, "refused": closed.refused}
        events.append(Event(kind=Kind.TRAIL_CLOSED, actor=ITSELF, object="trail:*", outcome="error", details=details))
    if owed:
        numbers = {"numbers": ranges(owed)}
        events.append(Event(kind=Kind.WRITER_VOID, actor=ITSELF, object="trail:*", outcome="void", details=numbers))
    return events
