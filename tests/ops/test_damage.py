"""The worker finds damage of the trail by itself, and it is told wherever somebody looks, until it is mended."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from audit import rounds
from ops import jobs, measures, readiness, status
from ops.node import Node
from ops.notices import alarms
from ops.notices.alarms import Alarm
from ops.worker import Worker
from tests.stranger import Stranger
from web.app import create_app
from web.pages import figures, told
from web.visit import Visit

pytestmark = pytest.mark.slow


@pytest.fixture
def worked(node: Node, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    """A home whose worker verifies the trail all the time, not each ten seconds."""
    monkeypatch.setattr(rounds, "EVERY", 0.05)
    worker = Worker(node)
    worker.start()
    yield node
    worker.stop()


def until(node: Node, *, damaged: bool) -> rounds.Result:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with node.database.reading() as session:
            found = rounds.last(session)
        if found and found.whole_at and bool(found.damage) is damaged:
            return found
        time.sleep(0.05)
    raise AssertionError("the worker has not found it")


def said(node: Node) -> SimpleNamespace:
    """What readiness, status, alarms, issuance, a measure and the pages tell of it."""
    registry = CollectorRegistry()
    registry.register(measures.State(node.settings, node.database, node.clock))
    measured = dict(line.split(" ") for line in generate_latest(registry).decode().splitlines() if line.startswith("yumen_trail_"))
    seen = status.look(node.settings)
    assert node.works is not None
    visit = {"yumen.visit": Visit(node, {})}
    page = create_app(node).test_request_context(headers={"Accept-Language": "en"}, environ_overrides=visit)
    with node.database.reading() as session, page:
        [check] = [one for one in told.vitals(node, session).checks if one.label == "Verified whole"]
        return SimpleNamespace(
            ready=not any("the trail is damaged" in reason for reason in readiness.reasons(node, node.lead)),
            status=("the trail is damaged" in " ".join(seen.problems), seen.facts["verified"]["damage"]),
            alarms=[one for one in alarms.standing(node.settings, node.trail, node.world, session) if one.name == "trail-damaged"],
            issues=not node.works.damaged(),
            measure=float(measured["yumen_trail_damaged"]),
            overview=(str(check.word.label), check.detail),
            system=figures.verified(rounds.last(session)),
            late=[one.late for one in jobs.look(node, session, node.clock()) if one.name == "verifier"],
        )


def sound(node: Node) -> None:
    seen = said(node)
    assert (seen.ready, seen.status, seen.alarms, seen.issues, seen.measure) == (True, (False, []), [], True, 0.0)
    assert seen.overview[0] == "Whole"
    assert "entries of both logs, round ended" in seen.overview[1]
    assert (str(seen.system.state.label), seen.system.damage, seen.late) == ("Whole", [], [False])


def test_the_worker_finds_damage_and_everybody_is_told_until_it_is_mended(worked: Node):
    stranger = Stranger(worked.database)
    until(worked, damaged=False)
    sound(worked)
    row = stranger.row("trail_event", {"log": "ca", "epoch": 1, "idx": 5})
    stranger.change("trail_event", row, body=row["body"][:-1] + b" ")
    [found] = until(worked, damaged=True).damage
    seen = said(worked)
    assert (seen.ready, seen.issues, seen.measure) == (False, False, 1.0)
    assert seen.status == (True, ["body and leaf of entry 5 of ca/1 disagree"]) == (True, [found.sentence])
    assert seen.alarms == [Alarm("trail-damaged", "ca/1")]
    assert seen.overview == ("Broken", "Damaged from here on: ca/1:5")
    assert (str(seen.system.state.label), seen.system.damage) == ("Broken", [found.sentence])
    stranger.change("trail_event", row, body=row["body"])
    until(worked, damaged=False)
    sound(worked)
    stranger.close()
