"""Sign-ins from new places: read from the trail as they come, and compared with the places of the same person before."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from sqlalchemy.orm import Session

from audit import history
from audit.event import Kind as Event
from audit.history import Told
from audit.noise import network
from authz.snapshot import Snapshot
from core.clock import microseconds
from ops.notices.notice import Kind, Planned

#: A place is known for so long after the last sign-in from there.
KNOWN_FOR = dt.timedelta(days=90)
#: A new leader looks back so far: what its predecessor saw already is told by the same key, and so not twice.
LOOK_BACK = dt.timedelta(days=1)
#: Sign-ins that are looked at in one turn, and that are compared with for each person.
AT_ONCE, COMPARED = 2000, 200


class SignIns:
    """Reads on from turn to turn. Used by one thread."""

    def __init__(self) -> None:
        self._read: dict[tuple[str, int], int] | None = None

    def new(self, session: Session, snapshot: Snapshot, now: dt.datetime) -> Iterator[Planned]:
        """Those since the last turn whose network their person had not used in the 90 days before."""
        for told in self._since(session, now):
            person = snapshot.directory.by_id.get(str(told.body["actor"]["id"]))
            place = _place(session, told)
            if person is not None and place and place not in _places_before(session, told):
                facts = {"at": _moment(told).isoformat(timespec="seconds"), "auth": str(told.body["actor"]["auth"])}
                yield Planned(f"sign-in:{told.object.removeprefix('session:')}", Kind.SIGN_IN, person.uuid, facts)

    def _since(self, session: Session, now: dt.datetime) -> list[Told]:
        sizes = {place: size for place, size in history.heads(session).items() if place[0] == "access"}
        if self._read is None:
            self._read = sizes
            oldest = microseconds(now - LOOK_BACK)
            return [told for told in reversed(history.newest(session, Event.LOGIN, AT_ONCE)) if told.t >= oldest]
        found: list[Told] = []
        for place, size in sorted(sizes.items()):
            found += history.walk(session, place, self._read.get(place, 0), size, [Event.LOGIN])
        self._read = sizes
        return found


def _place(session: Session, told: Told) -> str:
    """The network of a sign-in; empty when it is not known, or was erased."""
    source = history.opened(session, "source", [told]).get(str(told.body.get("id")), "")
    found = network(source) if source else ""
    return "" if found == "unknown" else found


def _places_before(session: Session, told: Told) -> set[str]:
    span = (told.t - KNOWN_FOR // dt.timedelta(microseconds=1), told.t)
    actor = told.body["actor"]
    earlier = history.acts(session, f"{actor['k']}:{actor['id']}", Event.LOGIN, span, COMPARED)
    sources = history.opened(session, "source", [one for one in earlier if one[:3] != told[:3]])
    return {network(source) for source in sources.values()}


def _moment(told: Told) -> dt.datetime:
    return dt.datetime.fromtimestamp(told.t / 1_000_000, dt.UTC)
