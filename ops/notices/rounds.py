"""The rounds of the worker's leader: plan what is due, send what is planned, give up what cannot be sent.

While the trail cannot be written nothing can be planned either. Then one alarm is sent from memory, by the process that
leads or led a moment ago, and written down as soon as that is possible.
"""

from __future__ import annotations

import datetime as dt
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import structlog
from sqlalchemy.orm import Session

from audit.trail import Trail
from core.settings import Settings
from ops.hour import Hour
from ops.notices import alarms, due, outbox
from ops.notices.alarms import Alarm
from ops.notices.mail import Mail
from ops.notices.notice import Channel, Doubtful, Kind, Letter, Planned, Send, Undelivered, Unreachable
from ops.notices.signins import SignIns
from ops.notices.texts import letter
from ops.notices.webhook import Webhook
from ops.tables import Notice

#: How often each kind is looked for, in seconds.
EVERY: Mapping[Kind, float] = {Kind.SIGN_IN: 5.0, Kind.ALARM: 15.0, Kind.APPROVAL: 60.0, Kind.EXPIRY: 3600.0}
#: How often rows that ended long ago are removed, in seconds.
_FORGET = 3600.0
#: After a failed connection the next one waits this long, twice as long after each further one, at most the second; in seconds.
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 900.0
#: Whoever led within this time and lost the database still tells that the trail is closed, in seconds.
_LATELY = 60.0

CLOSED = Alarm("trail-closed")
_log = structlog.get_logger()


class _Parts(Protocol):
    """What notices are made from."""

    @property
    def settings(self) -> Settings: ...
    @property
    def trail(self) -> Trail: ...
    @property
    def world(self) -> alarms.World: ...
    @property
    def hour(self) -> Hour: ...


def channels(settings: Settings) -> list[Channel]:
    """The ways that the settings name."""
    found: list[Channel] = []
    if settings.notices.mail_server:
        found.append(Mail(settings.notices))
    if settings.notices.webhook_url:
        found.append(Webhook(settings.notices))
    return found


class Notices:
    """See the module. Used by one thread; `stop` may be called by another one."""

    def __init__(self, node: _Parts, ways: Sequence[Channel], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._node, self._trail, self._settings = node, node.trail, node.settings.notices
        self._channels, self._monotonic = ways, monotonic
        self._due = dict.fromkeys(EVERY, 0.0)
        self._forget_at = 0.0
        self._sign_ins, self._watch = SignIns(), alarms.Watch()
        #: By channel: after how many failures, and when, it is tried again.
        self._paused: dict[str, tuple[int, float]] = {}
        self._led_at = float("-inf")
        #: Since when the trail is closed, when that was told last, and what of it is not written down yet.
        self._closed_since: dt.datetime | None = None
        self._told_at: dt.datetime | None = None
        self._told: list[tuple[Planned, str]] = []
        self._stop = threading.Event()

    def stop(self) -> None:
        """Let the turn that is under way end after the letter at hand."""
        self._stop.set()

    def turn(self, *, leads: bool) -> None:
        """One round. Only the leader's does something.

        Raises:
            Unavailable: the trail or the database cannot be read or written; the next round tries again.
        """
        now = self._monotonic()
        if leads:
            self._led_at = now
        if not self._channels or now - self._led_at > _LATELY:
            return
        if self._trail.closed:
            self._led_at = now
            self._tell_closed()
        elif leads:
            self._write_down()
            self._plan(now)
            for channel in self._channels:
                self._deliver(channel)
            while not self._node.hour.doubtful and outbox.give_up_late(self._trail, self._settings) and not self._stop.is_set():
                pass

    # What is due

    def _plan(self, now: float) -> None:
        """With a clock that cannot be believed only alarms are: what else is due follows from it, and is told once."""
        doubtful = self._node.hour.doubtful
        ways = {kind: [channel.name for channel in self._channels if kind in channel.kinds] for kind in Kind}
        for kind, every in EVERY.items():
            if ways[kind] and self._due[kind] <= now and (kind is Kind.ALARM or not doubtful):
                with self._trail.database.reading() as session:
                    planned = list(self._found(kind, session))
                if planned:
                    outbox.plan(self._trail, planned, ways)
                self._due[kind] = now + every
        if self._forget_at <= now and not doubtful:
            outbox.forget(self._trail)
            self._forget_at = now + _FORGET

    def _found(self, kind: Kind, session: Session) -> Iterator[Planned]:
        world, now = self._node.world, self._trail.clock()
        snapshot = world.current()
        if kind is Kind.SIGN_IN:
            yield from self._sign_ins.new(session, snapshot, now)
        elif kind is Kind.EXPIRY:
            yield from due.expiring(session, snapshot, now, [int(day) for day in self._settings.expiry_days.split()])
        elif kind is Kind.APPROVAL:
            yield from due.awaiting(session, snapshot, now, self._settings)
        else:
            standing = list(alarms.standing(self._node.settings, self._trail, world, session))
            standing += [alarms.CLOCK] if self._node.hour.doubtful else []
            yield from alarms.due(session, snapshot, self._watch.seen(standing, now, self._settings.alarm_after), now)

    # Sending

    def _deliver(self, channel: Channel) -> None:
        failures, not_before = self._paused.get(channel.name, (0, 0.0))
        with self._trail.database.reading() as session:
            if self._monotonic() < not_before or not outbox.is_due(session, channel.name, self._trail.clock()):
                return
        try:
            with channel.open() as send:
                while not self._stop.is_set() and (row := outbox.claim(self._trail, channel.name)) is not None:
                    self._send(channel, send, row)
        except Unreachable as error:
            self._pause(channel, failures, error)
        else:
            self._paused.pop(channel.name, None)

    def _pause(self, channel: Channel, failures: int, error: Unreachable) -> None:
        wait = min(FIRST_PAUSE * 2 ** min(failures, 20), LONGEST_PAUSE)
        _log.warning("notices cannot be sent", way=channel.name, reason=str(error), again_in_seconds=wait)
        self._paused[channel.name] = (failures + 1, self._monotonic() + wait)

    def _send(self, channel: Channel, send: Send, row: Notice) -> None:
        person = self._node.world.current().directory.people.get(row.person)
        address = channel.address(person) if person is not None else ""
        if not address:
            outbox.failed(self._trail, row, "no-address" if person else "no-person", self._settings, final=True)
            return
        try:
            send(address, self._letter(row.key, row.kind, row.person, row.made_at, json.loads(row.facts)))
        except Undelivered as error:
            outbox.failed(self._trail, row, error.reason, self._settings, final=error.final)
        except Doubtful as error:
            _log.warning("a notice may have arrived and is not sent again", way=channel.name, notice=row.id, reason=str(error))
            outbox.failed(self._trail, row, "interrupted", self._settings, final=True)
            raise Unreachable(str(error)) from error
        except Unreachable as error:
            outbox.failed(self._trail, row, str(error), self._settings, final=False)
            raise
        else:
            outbox.sent(self._trail, row)

    def _letter(self, key: str, kind: str, person: str, made_at: dt.datetime, facts: Mapping[str, str | int]) -> Letter:
        return letter(f"{key} {person}", Kind(kind), made_at, facts, self._node.settings.web.https_url)

    # While nothing can be written

    def _tell_closed(self) -> None:
        """Tell those concerned that the trail is closed, once by each way as long as it stays so."""
        now = self._trail.clock()
        self._closed_since = self._closed_since or now
        if self._told_at is not None and self._told_at < self._closed_since and now - self._told_at < alarms.AGAIN:
            return
        if now - self._closed_since < self._settings.alarm_after:
            return
        planned = list(alarms.planned(self._node.world.current(), CLOSED, self._closed_since, int(self._closed_since.timestamp())))
        for channel in self._channels:
            missing = [each for each in planned if (each, channel.name) not in self._told]
            if Kind.ALARM in channel.kinds and missing and self._monotonic() >= self._paused.get(channel.name, (0, 0.0))[1]:
                self._tell(channel, missing)

    def _tell(self, channel: Channel, planned: Sequence[Planned]) -> None:
        people, now = self._node.world.current().directory.people, self._trail.clock()
        reached = [(each, address) for each in planned if (address := channel.address(people[each.person]))]
        if not reached:
            return
        try:
            with channel.open() as send:
                for each, address in reached:
                    self._told.append((each, channel.name))
                    self._told_at = now
                    send(address, self._letter(each.key, each.kind, each.person, now, each.facts))
        except (Unreachable, Undelivered, Doubtful) as error:
            self._pause(channel, self._paused.get(channel.name, (0, 0.0))[0], Unreachable(str(error)))

    def _write_down(self) -> None:
        """Remember what was told while nothing could be written."""
        if self._told:
            outbox.remember(self._trail, self._told)
        self._told, self._closed_since = [], None
