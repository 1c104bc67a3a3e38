"""Backups go to every target by themselves, stay as long as they shall, and the last good one always."""

from __future__ import annotations

import datetime as dt
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from audit import history
from audit.event import Kind
from audit.history import Told
from cli.main import main
from core.clock import system
from core.settings import Settings, load
from ops import backup, copies, homes, keeping, running
from ops.node import Node
from ops.schedule import RETRY, Schedule
from ops.status import look

pytestmark = pytest.mark.slow

DAY = dt.timedelta(days=1)


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    folder = tmp_path / "shelf"
    folder.mkdir()
    return folder


@pytest.fixture
def kept(node: Node, shelf: Path) -> Node:
    """A home whose backups go to the shelf, the newest two for ever, others for three days and a half."""
    own = replace(node.settings.backup, targets=f"file://{shelf}", keep=3.5 * DAY, keep_least=2)
    return replace(node, settings=replace(node.settings, backup=own))


def quiet(_: str) -> None:
    pass


def told(node: Node, kind: Kind) -> list[Told]:
    """What the trail has of `kind`, the oldest first."""
    with node.database.reading() as session:
        return history.newest(session, kind, 100)[::-1]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def at(node: Node, moment: dt.datetime) -> Node:
    """The same home at another time."""
    return replace(node, clock=lambda: moment)


def daily(node: Node, days: int) -> list[str]:
    """A backup a day, up to now; their names."""
    began = system() - (days - 1) * DAY
    return [keeping.keep(at(node, began + day * DAY), by="schedule", tell=quiet).made.name for day in range(days)]


def test_a_stored_backup_opens_and_stands_in_the_trail(kept: Node, shelf: Path):
    made = keeping.keep(kept, by="operator", tell=quiet).made
    assert names(shelf) == [made.name]
    assert backup.check(shelf / made.name, homes.secrets(kept.settings)["worker_secret"]).id == made.manifest.id
    (stored,) = told(kept, Kind.BACKUP_STORED)
    assert (stored.object, stored.details["sha256"], stored.details["target"]) == (
        f"backup:{made.manifest.id}",
        made.sha256,
        f"file://{shelf}",
    )
    assert stored.body["pol"]["rule"] == "backup-make.operator"
    assert list(kept.settings.home.glob("outgoing-*")) == []
    with kept.database.reading() as session:
        assert [(copy.name, copy.removed) for copy in copies.listing(session)] == [(made.name, False)]


def test_what_is_over_goes_after_a_newer_one_was_stored_each_with_its_event(kept: Node, shelf: Path):
    stranger = shelf / "yumen-20200101T000000Z-00000000.backup"
    stranger.touch()
    made = daily(kept, 6)
    assert names(shelf) == [stranger.name, *made[-4:]], "those that are not over, and what nobody recorded"
    removed = told(kept, Kind.BACKUP_REMOVED)
    assert [each.details["name"] for each in removed] == made[:2]
    assert {each.body["pol"]["rule"] for each in removed} == {"backup-remove.schedule"}
    with kept.database.reading() as session:
        assert [copy.name for copy in copies.listing(session) if copy.removed] == made[1::-1]
        newest = copies.last(session)
    assert newest is not None
    assert newest.name == made[-1]


def test_the_newest_stay_however_old_they_are(kept: Node, shelf: Path):
    old = at(kept, system() - 300 * DAY)
    first = keeping.keep(old, by="schedule", tell=quiet).made.name
    second = keeping.keep(kept, by="schedule", tell=quiet).made.name
    assert names(shelf) == [first, second]


def test_a_copy_that_lost_bytes_is_none_of_the_newest(kept: Node, shelf: Path):
    """Or a good one would go in its favour."""
    began = system() - 300 * DAY
    made = [keeping.keep(at(kept, began + day * DAY), by="schedule", tell=quiet).made.name for day in range(2)]
    os.truncate(shelf / made[1], 100)
    last = keeping.keep(kept, by="schedule", tell=quiet).made.name
    assert names(shelf) == [*made, last]


def test_where_no_newer_one_arrives_nothing_goes(kept: Node, shelf: Path):
    made = daily(kept, 2)
    shelf.rename(shelf.with_name("elsewhere"))
    later = at(kept, system() + 300 * DAY)
    refused = keeping.keep(later, by="schedule", tell=quiet)
    assert "No such file" in refused.targets[f"file://{shelf}"]
    assert names(shelf.with_name("elsewhere")) == made
    assert told(kept, Kind.BACKUP_REMOVED) == []
    (failed,) = told(kept, Kind.BACKUP_NOT_STORED)
    assert "No such file" in failed.details["problem"]


def test_a_target_that_refuses_keeps_nothing_from_the_others(home: Path, shelf: Path):
    environ = {"YUMEN_HOME": str(home), "YUMEN_SETTINGS": "", "YUMEN_BACKUP_TARGETS": f"file:///nowhere/at/all file://{shelf}"}
    ended = CliRunner(env=environ).invoke(main, ["backup", "--json"])
    assert ended.exit_code == 1, ended.output
    answer = json.loads(ended.stdout)
    assert names(shelf) == [answer["backup"]]
    assert answer["targets"] == {f"file://{shelf}": "stored", "file:///nowhere/at/all": answer["targets"]["file:///nowhere/at/all"]}
    assert "No such file" in answer["targets"]["file:///nowhere/at/all"]


def test_what_a_killed_process_left_on_the_way_is_swept_when_it_is_old(kept: Node):
    old, young = (kept.settings.home / f"outgoing-{name}" for name in ("old", "young"))
    for folder in (old, young):
        folder.mkdir()
        (folder / ".1.backup.part").touch()
    os.utime(old, (time.time() - 90_000,) * 2)
    keeping.keep(kept, by="schedule", tell=quiet)
    assert [path.name for path in kept.settings.home.glob("outgoing-*")] == ["outgoing-young"]


class Hands:
    """A monotonic clock that a test turns."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_backup_is_made_when_it_is_due_and_a_failure_is_not_repeated_at_once(kept: Node, shelf: Path):
    hands = Hands()
    schedule = Schedule(kept, hands)
    turn: Callable[[], int] = lambda: (schedule.turn(), len(told(kept, Kind.BACKUP_MADE)))[1]
    assert turn() == 1
    hands.now += RETRY.total_seconds() + 1
    assert turn() == 1, "it is not due before a day has passed"

    tomorrow = Schedule(at(kept, system() + DAY), hands)
    shelf.rename(shelf.with_name("elsewhere"))
    tomorrow.turn()
    assert (len(told(kept, Kind.BACKUP_MADE)), len(told(kept, Kind.BACKUP_NOT_STORED))) == (2, 1)
    tomorrow.turn()
    assert len(told(kept, Kind.BACKUP_MADE)) == 2
    hands.now += RETRY.total_seconds() + 1
    shelf.with_name("elsewhere").rename(shelf)
    tomorrow.turn()
    assert len(names(shelf)) == 2


def test_a_target_that_fails_is_tried_again_alone_and_ever_more_seldom(kept: Node, shelf: Path):
    away = shelf.with_name("away")
    both = replace(kept.settings.backup, targets=f"file://{shelf} file://{away}", period=DAY)
    node = replace(kept, settings=replace(kept.settings, backup=both))
    hands, waited = Hands(), list[int]()
    schedule, since = Schedule(node, hands), 0.0
    while len(waited) < 5:
        before = len(told(node, Kind.BACKUP_NOT_STORED))
        schedule.turn()
        if len(told(node, Kind.BACKUP_NOT_STORED)) > before:
            waited.append(round((hands.now - since) / RETRY.total_seconds()))
            since = hands.now
        hands.now += RETRY.total_seconds()
    assert waited == [0, 1, 2, 4, 8]
    assert len(names(shelf)) == 1, "the one that took it gets no other before its time"
    away.mkdir()
    hands.now += DAY.total_seconds()
    schedule.turn()
    assert (len(names(shelf)), len(names(away))) == (1, 1)
    tomorrow = Schedule(at(node, system() + DAY), hands)
    tomorrow.turn()
    assert (len(names(shelf)), len(names(away))) == (2, 2), "both get the same again"


def test_without_a_target_nothing_is_made_by_itself(node: Node):
    Schedule(node).turn()
    assert told(node, Kind.BACKUP_MADE) == []


def test_the_worker_does_it_by_itself(home: Path, shelf: Path):
    environ = {"YUMEN_HOME": str(home), "YUMEN_BACKUP_TARGETS": f"file://{shelf}", "YUMEN_BACKUP_PERIOD": "1s"}
    settings = load(environ)
    with running.embedded(settings) as node:
        end = time.monotonic() + 30
        while len(told(node, Kind.BACKUP_STORED)) < 2 and time.monotonic() < end:
            time.sleep(0.1)
    assert len(names(shelf)) >= 2


def test_a_target_without_a_young_backup_is_a_problem_that_status_names(home: Path, shelf: Path):
    def problems(settings: Settings) -> list[str]:
        return [each for each in look(settings).problems if "backup" in each]

    environ = {"YUMEN_HOME": str(home), "YUMEN_BACKUP_TARGETS": f"file://{shelf}"}
    settings = load(environ)
    assert problems(settings) == [f"no backup lies at `file://{shelf}`; run `yumen backup`, or read the worker's log"]
    keeping.run(settings, tell=quiet)
    assert problems(settings) == []
    time.sleep(2.1)
    hasty = load(environ | {"YUMEN_BACKUP_PERIOD": "1s"})
    assert problems(hasty) == [f"the newest backup at `file://{shelf}` is 0d old; run `yumen backup`, or read the worker's log"]
