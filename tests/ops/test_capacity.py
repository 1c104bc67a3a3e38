"""What the system page tells of jobs and room is what the home really is."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest
from sqlalchemy import insert

from audit import history
from audit.event import Event, Kind
from audit.permit import Actor
from ca.tables import Request
from core.clock import microseconds
from ops import capacity, jobs
from ops.capacity import Capacity
from ops.node import Node

pytestmark = pytest.mark.slow


def heartbeats(node: Node, number: int) -> None:
    for _ in range(number):
        node.trail.append([Event(kind=Kind.WRITER_HEARTBEAT, actor=Actor.service("test"), object="node:test")])


def test_the_size_of_a_log_at_a_moment_is_the_size_it_had(node: Node):
    for number in (1, 3, 7):
        heartbeats(node, number)
        at = microseconds(node.clock())
        with node.database.reading() as session:
            then = history.heads(session)
        heartbeats(node, 2)
        with node.database.reading() as session:
            assert history.heads_at(session, at) == then
            assert history.heads_at(session, microseconds(node.clock())) == history.heads(session)
            assert set(history.heads_at(session, 0).values()) == {0}


def test_room_is_told_from_the_disk_and_the_growth_of_a_day(node: Node):
    heartbeats(node, 3)
    with node.database.reading() as session:
        found = capacity.look(node.settings, session, node.clock())
        tomorrow = capacity.look(node.settings, session, node.clock() + dt.timedelta(days=1, minutes=1))
    files = sum(file.stat().st_size for file in node.settings.home.glob("*.db*"))
    assert found.used == files > 100_000
    assert found.free is not None
    assert found.free > 0
    assert found.entries == found.entries_per_day > 3
    assert (tomorrow.entries, tomorrow.entries_per_day, tomorrow.left) == (found.entries, 0, None)


def test_what_is_left_follows_from_the_size_of_an_entry():
    assert Capacity(1000, 9000, 100, 10).left == dt.timedelta(days=90)
    assert Capacity(1000, None, 100, 10).left is None
    assert Capacity(0, 9000, 0, 0).left is None
    assert Capacity(1, 1 << 60, 1, 1).left == dt.timedelta(days=36_500)


def test_a_job_that_was_not_done_is_late(node: Node):
    def late(at: dt.datetime) -> set[str]:
        with node.database.reading() as session:
            found = jobs.look(node, session, at)
        assert [one.name for one in found][:2] == ["issuance", "lists"]
        return {one.name for one in found if one.late}

    now = node.clock()
    assert "lists" not in late(now)
    assert "issuance" not in late(now)
    assert {"lists", "reconciler", "verifier", "listener"} <= late(now + dt.timedelta(days=400))
    heartbeats(node, 1)  # no worker runs here, so nobody signs the new head
    assert "checkpoint access" in late(node.clock() + dt.timedelta(minutes=1))


def test_without_the_listeners_file_the_rest_is_told(node: Node, tmp_path):
    with node.database.reading() as session:
        names = [one.name for one in jobs.look(replace(node, settings=replace(node.settings, home=tmp_path)), session, node.clock())]
    assert "reconciler" in names
    assert "listener" not in names


def test_what_was_approved_and_is_not_issued_makes_issuance_late(node: Node):
    now = node.clock()
    facts = {"profile": "staff-sign", "subject": "person:p_x", "requester": "p_x", "owner": "p_x", "unit": "u", "common_name": "x"}
    row = {**facts, "state": "approved", "facts": "{}", "spki": b"", "spki_sha256": "0", "submitted_at": now, "decided_at": now}
    with node.database.engine.begin() as connection:
        connection.execute(insert(Request), [row])
    with node.database.reading() as session:
        for seconds, late in ((10, False), (31, True)):
            assert jobs.look(node, session, now + dt.timedelta(seconds=seconds))[0].late is late
