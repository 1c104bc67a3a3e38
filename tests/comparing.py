"""What the tests of reconciling share: whose rows are damaged, pair by pair, and what is then told."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from audit import history
from audit.event import Kind
from audit.history import Told
from audit.trail import Trail
from ops.compare import claim_of
from ops.pairs import PAIRS
from ops.pairs.pair import Key, Pair
from ops.pairs.people import Current, Directory, People
from ops.reconcile import Reconciler, Result
from tests.stranger import Stranger


class Compared:
    """A home whose facts and events are compared, and a stranger who damages them."""

    def __init__(self, trail: Trail, world: Current) -> None:
        self.trail, self.people = trail, Directory(trail, world)
        self.reconciler = Reconciler(trail, self.people)
        self.stranger = Stranger(trail.database)

    def turn(self) -> Result:
        return self.reconciler.turn()

    def must_be_clean(self, where: str = "") -> None:
        result = self.turn()
        assert (result.open, result.first) == (0, ()), where

    def is_named(self, name: str, key: Key, problem: str) -> None:
        """The next turn finds it; a later one, also of a new leader, does not tell of it again."""
        before = len(self.alarms())
        assert self.turn().open
        assert (name, key, problem) in self.told_since(before)
        told = len(self.alarms())
        self.reconciler = Reconciler(self.trail, self.people)
        assert self.turn().open
        assert len(self.alarms()) == told

    def alarms(self) -> list[Told]:
        """The newest first."""
        with self.trail.database.reading() as session:
            return history.newest(session, Kind.CONTRADICTED, 1000)

    def told_since(self, before: int) -> set[tuple[str, Key, str]]:
        new = self.alarms()
        return {(told.details["pair"], tuple(told.details["key"]), told.body["rsn"]) for told in new[: len(new) - before]}

    def shown(self, pair: Pair, people: People) -> list[Key]:
        """The keys that rows show."""
        with self.trail.database.reading() as session:
            claims = [pair.shown(row, people) for row in session.execute(pair.rows)]
        return sorted(key for key, value in claims if value is not None)

    def told(self, pair: Pair, key: Key) -> list[Told]:
        """The events about one key."""
        with self.trail.database.reading() as session:
            about = history.about(session, {key[0]}, pair.kinds)
        return [told for told in about if (claim := claim_of(pair, told)) and claim[0] == key]

    def row_of(self, pair: Pair, key: Key) -> dict[str, Any]:
        """The row behind a key."""
        with self.trail.database.reading() as session:
            rows = session.execute(pair.rows.add_columns(*pair.walk)).all()
        claims = [(pair.shown(row, self.people), row[-len(pair.walk) :]) for row in rows]
        [found] = [walk for (shown, value), walk in claims if shown == key and value is not None]
        return self.stranger.row(pair.table, dict(zip([column.name for column in pair.walk], found, strict=True)))


def assert_damage_is_named(home: Compared, room: str, without: Collection[str] = ()) -> None:
    """For every pair of a room: a fact that is deleted, and an event that is deleted, are found and named; then all is well again."""
    home.must_be_clean("before")
    for pair in [pair for pair in PAIRS if pair.table.startswith(room) and pair.table not in without]:
        keys = home.shown(pair, home.people)
        assert keys, f"the home has no {pair.name}"
        key = keys[-1]
        row, before = home.row_of(pair, key), len(home.alarms())
        home.stranger.delete(pair.table, row)
        home.turn()
        assert (pair.name, key, "event-without-fact") in home.told_since(before), pair.name
        home.stranger.insert(pair.table, row)
        _event_deleted(home, pair, key)


def _event_deleted(home: Compared, pair: Pair, key: Key) -> None:
    told, before = home.told(pair, key)[-1], len(home.alarms())
    row = home.stranger.row("trail_event", {"log": told.log, "epoch": told.epoch, "idx": told.idx})
    home.stranger.delete("trail_event", row)
    home.turn()
    found = {problem for name, where, problem in home.told_since(before) if (name, where) == (pair.name, key)}
    assert found in ({"fact-without-event"}, {"differ"}), pair.name
    home.stranger.insert("trail_event", row)
    home.must_be_clean(pair.name)
