"""A clock that was stepped is not believed: what bears a time waits, it is told, and it ends by itself."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace

import pytest

from audit.event import Kind
from audit.history import newest, newest_at
from ca.states import RequestState
from ca.tables import RevocationList
from ca.worker import Worker
from core.clock import system
from core.errors import Unavailable
from core.settings import Settings
from ops import hour, init
from ops.hour import SETTLED, STEP, Hour
from ops.node import open_node
from ops.notices.notice import Kind as Notice
from ops.status import look
from tests.ca.conftest import founded, founded_on_postgresql, town  # noqa: F401
from tests.ca.town import Town
from tests.ops.processes import CEREMONY
from tests.ops.told import Told

HOUR = dt.timedelta(hours=1)


@dataclass
class Machine:
    """A machine whose two clocks are the test's."""

    wall: dt.datetime = dt.datetime(2026, 11, 21, tzinfo=dt.UTC)
    counted: float = 0.0
    kept: bool = False

    def hour(self) -> Hour:
        return Hour(lambda: self.wall, lambda: self.counted, lambda: self.kept)

    def wait(self, seconds: float) -> None:
        self.wall += dt.timedelta(seconds=seconds)
        self.counted += seconds


@pytest.mark.parametrize("sign", [1, -1], ids=["forward", "back"])
def test_a_clock_that_is_put_back_is_believed_at_once(sign: int):
    machine = Machine()
    seen = machine.hour()
    machine.wall += sign * HOUR
    machine.wait(1)
    seen.look()
    assert (seen.doubtful, round(seen.off_seconds)) == (True, sign * 3600)
    assert f"set {'forward' if sign > 0 else 'back'} by 3600 s" in seen.problems()[0]
    machine.wait(60)
    machine.wall -= sign * HOUR
    seen.look()
    assert (seen.doubtful, seen.off_seconds, seen.problems()) == (False, 0.0, [])


def test_a_clock_that_is_left_alone_is_believed_after_a_while():
    machine = Machine()
    seen = machine.hour()
    machine.wall += HOUR
    seen.look()
    machine.wait(SETTLED - 1)
    seen.look()
    assert seen.doubtful
    machine.wall -= HOUR / 2  # somebody turns it still
    seen.look()
    machine.wait(SETTLED - 1)
    seen.look()
    assert seen.doubtful
    machine.wait(2)
    seen.look()
    assert not seen.doubtful


def test_a_step_that_a_time_source_made_is_believed_at_once():
    machine = Machine(kept=True)
    seen = machine.hour()
    machine.wall += HOUR
    seen.look()
    assert not seen.doubtful


def test_a_clock_that_runs_wrong_by_little_or_a_machine_that_stood_still_is_no_step():
    machine = Machine()
    seen = machine.hour()
    for _ in range(10):
        machine.wall += dt.timedelta(seconds=STEP - 1)
        seen.look()
    machine.wait(40_000)
    seen.look()
    assert not seen.doubtful


def test_a_trail_from_the_future_tells_of_a_clock_that_was_set_back_while_all_was_off():
    machine = Machine()
    ahead = int((machine.wall + HOUR).timestamp() * 1_000_000)
    for newest_entry, off in ((ahead, -3600), (ahead - 3_600_000_000, 0), (0, 0)):
        seen = machine.hour()
        seen.begin(newest_entry)
        seen.look()
        assert round(seen.off_seconds) == off


def test_a_clock_that_is_put_right_after_that_is_believed_whatever_time_passed_since_the_last_entry():
    for minutes, believed in ((59, False), (60, True), (90, True)):
        machine = Machine()
        seen = machine.hour()
        seen.begin(int((machine.wall + HOUR).timestamp() * 1_000_000))
        seen.look()
        machine.wait(30)
        machine.wall += dt.timedelta(minutes=minutes)
        seen.look()
        assert seen.doubtful is not believed
        assert round(seen.off_seconds) == min(0, (minutes - 60) * 60)


def stepped(town: Town, by: dt.timedelta) -> Hour:  # noqa: F811
    """The hour of a process of the town, after its clock was stepped."""
    seen = Hour(town.clock.now, town.clock.monotonic, lambda: False)
    town.clock.ahead += by
    seen.look(town.trail)
    return seen


def test_each_step_and_its_end_are_events(town: Town):  # noqa: F811
    seen = stepped(town, HOUR)
    town.clock.ahead -= HOUR
    seen.look(town.trail)
    on_postgresql = town.trail.ledger.enqueues
    with town.trail.database.reading() as session:
        steps = [told.details for told in newest(session, Kind.CLOCK_STEPPED, 9)]
        ends = [told.details for told in newest(session, Kind.CLOCK_BELIEVED, 9)]
        assert newest_at(session) <= town.clock.now().timestamp() * 1_000_000
    assert {"seconds": 3600, "against": "itself"} in steps
    assert {"why": "put-right"} in ends
    assert ({"seconds": 3600, "against": "database"} in steps) is on_postgresql
    assert ({"why": "agrees", "against": "database"} in ends) is on_postgresql


def test_a_clock_that_the_database_contradicts_is_not_believed_by_being_left_alone(town: Town):  # noqa: F811
    seen = stepped(town, HOUR)
    town.clock.advance(seconds=SETTLED + 1)
    seen.look(town.trail)
    assert seen.doubtful is town.trail.ledger.enqueues
    assert [word for word in seen.problems() if "ahead of the database server's" in word] == seen.problems()


def test_nothing_is_signed_by_a_clock_that_is_not_believed(town: Town):  # noqa: F811
    request = town.submit("zhangsan")
    town.decide("zhaoliu", request)
    seen = Hour(town.clock.now, town.clock.monotonic, lambda: False)
    worker = Worker(replace(town.works, doubtful=lambda: seen.doubtful))
    before = len(town.rows(RevocationList))
    town.clock.ahead += dt.timedelta(days=30)  # lists and responders are due as well
    seen.look()
    worker.step()
    assert (town.request(request).state, len(town.rows(RevocationList))) == (RequestState.APPROVED, before)
    town.clock.ahead -= dt.timedelta(days=30)
    seen.look()
    worker.step()
    assert town.request(request).state == RequestState.ISSUED


def test_nobody_is_told_of_what_only_a_wrong_clock_says_and_operators_are_told_of_the_clock(town: Town):  # noqa: F811
    told = Told.of(town, mail_server="localhost:1", mail_from="yumen@jiangzhou.example")
    certificate = town.issued("zhangsan")
    told.turn()
    town.clock.ahead += certificate.not_after - town.clock.now() - dt.timedelta(days=3)
    told.hour.look()
    told.restart()  # the next leader looks for everything at once
    for _ in range(2):
        told.turn(minutes=2)
        told.hour.look()
    kinds = {row.kind for row in told.rows()}
    assert kinds == {Notice.ALARM}
    assert "alarm:clock-stepped::1" in {row.key for row in told.rows()}


def test_no_ceremony_is_held_by_a_clock_that_is_not_believed(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hour, "kernel", lambda: hour.Kernel(kept=False, most_wrong=0))  # whatever keeps this machine's
    open_node(settings, role="operator", with_keys=False, clock=lambda: system() + HOUR).close()
    assert [problem for problem in look(settings).problems if "ahead of this machine's clock" in problem]
    with pytest.raises(Unavailable, match=r"set back by 3[56]"):
        init.hold_ceremony(settings, CEREMONY, say=lambda _: None, hand_over=lambda _: None)
