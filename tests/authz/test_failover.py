"""Which server is asked, on servers of the test's own making and a clock that it moves."""

from __future__ import annotations

import itertools

import pytest

from authz import failover
from authz.failover import Broken, Deadline, Server, Servers
from core.errors import Unavailable


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Machine:
    """A server with a state: `up`, `down` (refuses), `frozen` (costs a second)."""

    def __init__(self, name: str, clock: Clock) -> None:
        self.name, self.clock, self.state = name, clock, "up"
        self.connected = self.asked = self.closed = 0
        self.server = Server(name, self.connect, clock)

    def connect(self, deadline):
        self.connected += 1
        self._must_live()
        return Wire(self)

    def _must_live(self):
        if self.state == "frozen":
            self.clock.now += 1
            raise Broken("timed out", frozen=True)
        if self.state == "down":
            raise Broken("refused")


class Wire:
    def __init__(self, machine):
        self.machine, self.lost = machine, False

    def ask(self):
        self.machine.asked += 1
        if self.lost:
            raise Broken("lost")
        self.machine._must_live()
        return self.machine.name

    def close(self):
        self.machine.closed += 1


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def pair(clock):
    return Machine("one", clock), Machine("two", clock)


def ask(servers, clock, seconds=5.0):
    return servers.ask(lambda wire, _name, _deadline: wire.ask(), Deadline(seconds, clock))


def test_the_preferred_server_is_asked_and_its_connection_kept(clock, pair):
    servers = Servers([machine.server for machine in pair])
    assert [ask(servers, clock) for _ in range(5)] == ["one"] * 5
    assert (pair[0].connected, pair[1].connected) == (1, 0)


@pytest.mark.parametrize("state", ["down", "frozen"])
def test_a_failed_server_costs_one_caller_and_is_left_alone_for_longer_each_time(clock, pair, state):
    servers = Servers([machine.server for machine in pair])
    ask(servers, clock)
    pair[0].state = state
    tries = []
    before = pair[0].connected + pair[0].asked
    for _ in range(1300):
        assert ask(servers, clock) == "two"
        if pair[0].connected + pair[0].asked != before:
            before = pair[0].connected + pair[0].asked
            tries.append(clock.now)
        clock.now += 0.1
    pauses = [round(later - earlier) for earlier, later in itertools.pairwise(tries)]
    assert pauses == sorted(pauses)
    assert pauses[0] <= 3
    assert pauses[-1] > 30


def test_while_no_server_answers_each_is_tried_every_two_seconds(clock, pair):
    servers = Servers([machine.server for machine in pair])
    for machine in pair:
        machine.state = "down"
    for _ in range(200):
        with pytest.raises(Unavailable, match="one: refused; two: refused"):
            ask(servers, clock)
        clock.now += 0.25
    pair[1].state = "up"
    clock.now += failover.FIRST_PAUSE
    assert ask(servers, clock) == "two"


def test_a_lost_connection_is_renewed_and_a_frozen_one_is_not_waited_for_twice(clock, pair):
    one = pair[0]
    servers = Servers([machine.server for machine in pair])
    ask(servers, clock)
    one.server._kept[0][0].lost = True
    assert ask(servers, clock) == "one"
    assert one.connected == 2
    one.state, began = "frozen", clock.now
    assert ask(servers, clock) == "two"
    assert clock.now - began == 1


def test_a_connection_that_was_idle_or_is_old_is_not_used_again(clock, pair):
    servers = Servers([pair[0].server])
    ask(servers, clock)
    clock.now += failover.LONGEST_IDLE + 1
    ask(servers, clock)
    assert (pair[0].connected, pair[0].closed) == (2, 1)
    for _ in range(30):
        clock.now += failover.LONGEST_LIFE / 25
        ask(servers, clock)
    assert pair[0].connected == 3


def test_a_connection_on_which_a_question_failed_is_closed(clock, pair):
    servers = Servers([pair[0].server])

    def fails(_wire, _name, _deadline):
        raise KeyError

    with pytest.raises(KeyError):
        servers.ask(fails, Deadline(5, clock))
    assert pair[0].closed == 1
    assert pair[0].server._kept == []


def test_after_the_deadline_no_further_server_is_asked_nor_blamed(clock):
    machines = [Machine(str(number), clock) for number in range(5)]
    servers = Servers([machine.server for machine in machines])
    for machine in machines[:4]:
        machine.state = "frozen"
    with pytest.raises(Unavailable, match="no time was left"):
        ask(servers, clock, seconds=3)
    assert [machine.connected for machine in machines] == [1, 1, 1, 0, 0]
    assert ask(servers, clock) == "4"


def test_few_connections_are_kept(clock, pair):
    servers = Servers([pair[0].server])
    depth = failover.KEPT + 3

    def nested(left):
        return servers.ask(lambda wire, _name, _deadline: nested(left - 1) if left else wire.ask(), Deadline(5, clock))

    assert nested(depth) == "one"
    assert len(pair[0].server._kept) == failover.KEPT
    assert pair[0].connected - pair[0].closed == failover.KEPT
    servers.close()
    assert pair[0].connected == pair[0].closed
