"""Writers that end, fall silent, come back, or lose numbers: the leader tells of each, once."""

from __future__ import annotations

import json
from typing import Any

import pytest

from audit.ledgers import waiting_seconds
from audit.trail import LATE
from core.settings import Audit
from ops.reconcile import Reconciler
from tests.audit.homes import Home, close_home, decision, die, issued, open_home

#: Three heartbeats.
PATIENCE = 3 * Audit().heartbeat.total_seconds()


class Leader:
    """The leader's comparison, with seconds that only the test lets pass."""

    def __init__(self, home: Home) -> None:
        self.home, self.seconds = home, 0.0
        self.reconciler = Reconciler(home.trail, NOBODY, pairs=(), monotonic=lambda: self.seconds)

    def after(self, seconds: float) -> Any:
        self.seconds += seconds
        return self.reconciler.turn()

    def told(self, code: str) -> list[dict[str, Any]]:
        return [json.loads(body) for (body,) in self.home.rows(f"SELECT body FROM trail_event WHERE code = '{code}' ORDER BY idx")]


class Nobody:
    """No person stands in what these tests compare."""

    def pseudonym(self, uuid: str) -> str:
        raise AssertionError(uuid)

    def keyed(self, label: str, text: str) -> str:
        raise AssertionError(label)

    def uuids(self, pseudonyms: object) -> None:
        raise AssertionError(pseudonyms)


NOBODY = Nobody()


@pytest.fixture
def leader(home: Home) -> Leader:
    return Leader(home)


def test_a_silent_process_is_declared_lost_once_with_its_last_number_and_what_died_with_it(leader: Leader) -> None:
    dead = open_home(leader.home.folder, node="dead", boot="one")
    dead.trail.prepare([decision(1)])
    dead.trail.append([decision(2)])
    die(dead)
    leader.after(0)
    leader.after(PATIENCE - 1)
    assert leader.told("AZ9007") == []
    for _ in range(2):
        leader.after(PATIENCE)
    [lost] = leader.told("AZ9007")
    assert (lost["obj"], lost["out"], lost["d"]) == ("node:dead", "error", {"boot": "one", "last": 4, "lost": [[3, 3]]})
    report = leader.home.check(leader.home.save_heads())
    assert ("dead", "one") not in report.open_numbers


def test_who_ends_in_order_or_gives_signs_of_life_is_not_lost(leader: Leader) -> None:
    ended = open_home(leader.home.folder, node="ended", boot="one")
    lives = open_home(leader.home.folder, node="lives", boot="one")
    leader.after(0)
    close_home(ended)
    for _ in range(3):
        lives.trail.beat()
        leader.after(PATIENCE - 1)
    assert leader.told("AZ9007") == []
    close_home(lives)


def test_a_process_that_was_only_frozen_goes_on_and_may_be_lost_again(leader: Leader) -> None:
    frozen = open_home(leader.home.folder, node="frozen", boot="one")
    under_way = frozen.trail.prepare([decision(1)])
    frozen.trail.append([decision(2)])
    leader.after(0)
    leader.after(PATIENCE)
    assert len(leader.told("AZ9007")) == 1
    frozen.trail._flusher.submit(under_way)
    frozen.trail.append([decision(3)])
    assert leader.after(1).open == 0
    leader.home.check(leader.home.save_heads())
    die(frozen)
    leader.after(PATIENCE)
    assert [told["d"]["last"] for told in leader.told("AZ9007")] == [4, 5]


def test_the_next_leader_needs_not_begin_from_the_first_entry(leader: Leader) -> None:
    dead = open_home(leader.home.folder, node="dead", boot="one")
    dead.trail.append([decision(1)])
    die(dead)
    leader.after(0)
    read = leader.told("AZ9008")[-1]["d"]
    assert [place[:2] for place in read["read"]] == [["access", 1], ["ca", 1]]
    following = Leader(leader.home)
    leader.home.attack("UPDATE trail_event SET body = zeroblob(2) WHERE code = 'AZ1001'")  # it would not be counted again
    following.after(0)
    following.after(PATIENCE)
    assert [told["d"] for told in leader.told("AZ9007")] == [{"boot": "one", "last": 3}]


def test_a_number_that_its_process_calls_settled_and_that_is_not_there_is_an_alarm_once(leader: Leader) -> None:
    other = open_home(leader.home.folder, node="other", boot="one")
    leader.after(0)
    other.trail._counters.land(made.counter for made in other.trail.prepare([decision(1)]))  # gone behind its back
    other.trail.append([decision(2)])
    other.trail.append([decision(3)])
    for _ in range(2):
        result = leader.after(1)
        assert result.open == 1
    [alarm] = leader.told("AZ9009")
    assert (alarm["obj"], alarm["rsn"]) == ("node:other", "numbers-missing")
    assert (alarm["d"]["key"], alarm["d"]["said"]) == (["node:other", "one"], ["3-3"])
    close_home(other)


def test_a_number_in_flight_is_no_alarm(leader: Leader) -> None:
    other = open_home(leader.home.folder, node="other", boot="one")
    under_way = other.trail.prepare([decision(1)])
    other.trail.append([decision(2)])
    assert leader.after(0).open == 0
    other.trail.lost(under_way, None)
    other.trail.append([decision(3)])
    assert leader.after(0).open == 0
    close_home(other)


@pytest.mark.parametrize("place", [pytest.param("postgresql", marks=pytest.mark.component("postgresql"))], indirect=True)
def test_what_a_dead_process_left_waiting_is_told_and_placed_by_the_leader(leader: Leader, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = open_home(leader.home.folder, node="dead", boot="one")
    with dead.database.writing() as session:
        dead.trail.place_with(session, dead.trail.prepare([issued(9)]))
    die(dead)
    clock = leader.home.clock
    while clock.now < dead.clock.now:
        clock()
    assert 0 < waiting_seconds(leader.home.database, clock()) < LATE
    leader.home.trail.settle_late()
    assert leader.told("CA1004") == []
    for _ in range(3000):
        clock()
    assert waiting_seconds(leader.home.database, clock()) > LATE
    leader.home.trail.settle_late()
    assert [told["obj"] for told in leader.told("CA1004")] == ["cert:staff/9"]
    assert waiting_seconds(leader.home.database, clock()) == 0


@pytest.mark.parametrize("place", [pytest.param("postgresql", marks=pytest.mark.component("postgresql"))], indirect=True)
def test_what_is_taken_away_before_it_has_its_place_is_found_by_its_number(leader: Leader) -> None:
    """Somebody with every right on the database deletes what a killed process enqueued: the number stays missing."""
    dead = open_home(leader.home.folder, node="dead", boot="one")
    leader.after(0)
    with dead.database.writing() as session:
        dead.trail.place_with(session, dead.trail.prepare([issued(9), decision(1)]))
    leader.home.rows("DELETE FROM trail_pending WHERE log = 'ca'")
    die(dead)
    leader.home.trail.settle()
    leader.after(1)
    leader.after(PATIENCE)
    [lost] = leader.told("AZ9007")
    assert lost["d"]["lost"] == [[3, 3]]
