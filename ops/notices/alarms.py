"""What officers and operators are told at once: what readiness says, as a list of names, and who acts on each."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol

from sqlalchemy import select
from sqlalchemy.orm import Session

from audit.trail import Trail
from authz.people import Person
from authz.snapshot import Freshness, Snapshot
from ca import crls
from ca.tables import Authority
from core.settings import Settings
from ops import acceptance, copies, own, reconcile
from ops.notices import outbox
from ops.notices.due import holders
from ops.notices.notice import Kind, Planned

#: An alarm that stays is told again after this.
AGAIN = dt.timedelta(days=1)
#: A certificate of the service's own that has so little left of its life should have been renewed long ago; at most the second.
LEFT, SOON = 6, dt.timedelta(days=90)

_OPERATORS = ("system-admin",)
_EVERYBODY = ("system-admin", "security-admin", "auditor")
#: Who is told, by the alarm's name.
CONCERNED: Mapping[str, tuple[str, ...]] = {
    "trail-closed": _EVERYBODY,
    "contradiction": _EVERYBODY,
    "trail-damaged": _EVERYBODY,
    "authority-stopped": _EVERYBODY,
    "directory-refused": ("system-admin", "security-admin"),
    "directory-stale": _OPERATORS,
    "list-stale": _OPERATORS,
    "certificate-ending": _OPERATORS,
    "clock-stepped": _EVERYBODY,
    "backup-late": _OPERATORS,
}


class Alarm(NamedTuple):
    """Something that is wrong: a name of `CONCERNED`, and the thing that it is about, or nothing."""

    name: str
    about: str = ""

    @property
    def prefix(self) -> str:
        """How the keys of its notices begin."""
        return f"alarm:{self.name}:{self.about}:"


#: The hour of the process that leads cannot be believed.
CLOCK = Alarm("clock-stepped")


class World(Protocol):
    """What is looked at of directory and policy."""

    #: Digest of a directory that waits for a security administrator, or empty.
    refused: str

    def current(self) -> Snapshot:
        """The newest snapshot."""


def standing(settings: Settings, trail: Trail, world: World, session: Session) -> Iterator[Alarm]:
    """What is wrong now, as far as it can be read."""
    now = trail.clock()
    if (result := reconcile.last(session)) and result.open:
        yield Alarm("contradiction")
    for damage in acceptance.damage(session):
        yield Alarm("trail-damaged", damage.log)
    for authority in session.scalars(select(Authority.id).where(Authority.stopped != "").order_by(Authority.id)):
        yield Alarm("authority-stopped", authority)
    for authority in crls.trouble(session, now):
        yield Alarm("list-stale", authority)
    if world.current().freshness is Freshness.STALE:
        yield Alarm("directory-stale")
    if world.refused:
        yield Alarm("directory-refused")
    if copies.problems(settings, session, now):
        yield Alarm("backup-late")
    for name, ours in own.listing(settings, session):
        if ours.not_valid_after_utc - now < min((ours.not_valid_after_utc - ours.not_valid_before_utc) / LEFT, SOON):
            yield Alarm("certificate-ending", name)


class Watch:
    """Which alarms stand, and since when. Used by one thread."""

    def __init__(self) -> None:
        self._since: dict[Alarm, dt.datetime] = {}

    def seen(self, alarms: Iterable[Alarm], now: dt.datetime, after: dt.timedelta) -> dict[Alarm, dt.datetime]:
        """Those of `alarms` that have stood for `after`, with their beginning; what is not among them any more is forgotten."""
        self._since = {alarm: self._since.get(alarm, now) for alarm in alarms}
        return {alarm: since for alarm, since in self._since.items() if now - since >= after}


def due(session: Session, snapshot: Snapshot, alarms: Mapping[Alarm, dt.datetime], now: dt.datetime) -> Iterator[Planned]:
    """What is to be told of `alarms`, which stand since those times: each to those concerned, and once a day."""
    for alarm, since in alarms.items():
        last = outbox.last_of(session, alarm.prefix)
        if last is None or now - last.made_at >= AGAIN:
            number = 1 if last is None else int(last.key.rpartition(":")[2]) + 1
            yield from planned(snapshot, alarm, since, number)


def planned(snapshot: Snapshot, alarm: Alarm, since: dt.datetime, number: int) -> Iterator[Planned]:
    """The notices of one alarm, told for the `number`th time, to everybody concerned."""
    facts = {"alarm": alarm.name, "about": alarm.about, "since": since.isoformat(timespec="seconds")}
    for person in concerned(snapshot, alarm):
        yield Planned(f"{alarm.prefix}{number}", Kind.ALARM, person.uuid, facts)


def concerned(snapshot: Snapshot, alarm: Alarm) -> list[Person]:
    """Who is told, in a fixed order."""
    found = {person.uuid: person for held in holders(snapshot, CONCERNED[alarm.name]).values() for person in held}
    return [found[identity] for identity in sorted(found)]
