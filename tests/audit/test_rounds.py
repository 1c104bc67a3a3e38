"""The trail verifies itself: a portion at a time, round after round; what is damaged is told once, and what is mended again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from audit import check, history, rounds
from audit.checkpoint import LogKey, verifier_keys
from audit.epochs import conclude, reopen
from audit.event import Kind
from audit.rounds import Result, Rounds
from audit.trail import Writer
from audit.verifier.database import Walk
from audit.verifier.note import Checkpoint, VerifierKey, open_checkpoint
from core.settings import Audit
from tests.audit.homes import PRIVACY, SEEDS, Home, decision, die, ended_at, go_round, issued
from tests.audit.test_epochs import administrator, ended
from tests.stranger import Stranger

SIZE = 300
#: What of the log `access` is verified in one turn: a round over all of it takes several.
PORTION = 70


@dataclass
class Watched:
    """A home whose logs are filled and signed, the leader that verifies them, and who damages them."""

    home: Home
    rounds: Rounds
    stranger: Stranger

    def round(self) -> Result:
        return go_round(self.rounds, PORTION)

    def another_leader(self) -> None:
        self.rounds = Rounds(self.home.trail, self.home.folder / "notes")

    def sign_another_root(self) -> None:
        """What the note would say if the entries had been others."""
        [size] = [head.size for head in self.home.save_heads() if "/access/" in head.origin]
        forged = LogKey(SEEDS["access"]).sign(Checkpoint("yumen.test/access/1", size, b"x" * 32))
        (self.home.folder / "notes" / "access.note").write_bytes(forged)

    def told(self, kind: Kind) -> list[tuple[str, int]]:
        """The log and the first entry, oldest first."""
        with self.home.database.reading() as session:
            found = history.newest(session, kind, 100)
        return [(one.object, one.details.get("first", -1)) for one in reversed(found)]

    def row(self, idx: int) -> dict[str, object]:
        return self.stranger.row("trail_event", {"log": "access", "epoch": 1, "idx": idx})


@pytest.fixture
def watched(home: Home) -> Watched:
    for first in range(0, SIZE, 100):
        home.trail.append([decision(number) for number in range(first, first + 100)])
    home.trail.append([issued(number) for number in range(20)])
    home.save_heads()
    made = Watched(home, Rounds(home.trail, home.folder / "notes"), Stranger(home.database))
    yield made
    made.stranger.close()


def flipped(data: object) -> bytes:
    assert isinstance(data, bytes)
    return data[:20] + bytes([data[20] ^ 1]) + data[21:]


def test_a_round_covers_both_logs_up_to_their_notes_and_says_when_it_ended(watched: Watched) -> None:
    result = watched.round()
    heads = watched.home.save_heads()
    assert result.damage == ()
    assert result.whole_at
    assert result.whole_at <= result.at
    assert SIZE < result.entries <= sum(head.size for head in heads)


DAMAGES = {
    "body": ("trail_event", {"idx": 44}, "body", 44),
    "leaf": ("trail_event", {"idx": 290}, "leaf", 290),
    "tile": ("trail_tile", {"level": 0, "n": 0}, "data", 0),
    "journal": ("trail_batch", {"size": 102}, "root", 2),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_found_told_once_and_its_mending_as_well(watched: Watched, name: str) -> None:
    table, key, column, first = DAMAGES[name]
    assert watched.round().damage == ()
    row = watched.stranger.row(table, {"log": "access", "epoch": 1} | key)
    watched.stranger.change(table, row, **{column: flipped(row[column])})
    with capture_logs() as logs:
        result = watched.round()
    assert [(one.log, one.first) for one in result.damage] == [("access/1", first)]
    assert [one["log_level"] for one in logs if one["event"] == "the trail is damaged"] == ["critical"]
    watched.another_leader()
    assert watched.round().damage == result.damage
    assert watched.told(Kind.TRAIL_DAMAGED) == [("log:access/1", first)]
    assert watched.told(Kind.TRAIL_MENDED) == []
    watched.stranger.change(table, row, **{column: row[column]})
    assert watched.round().damage == ()
    watched.another_leader()
    assert watched.round().damage == ()
    assert watched.told(Kind.TRAIL_MENDED) == [("log:access/1", -1)]


def test_a_deleted_row_is_found_and_another_damage_is_told_as_another(watched: Watched) -> None:
    last, earlier = watched.row(SIZE - 1), watched.row(7)
    watched.stranger.delete("trail_event", last)
    watched.round()
    watched.stranger.delete("trail_event", earlier)
    watched.round()
    assert watched.told(Kind.TRAIL_DAMAGED) == [("log:access/1", SIZE - 1), ("log:access/1", 7)]


def test_whoever_recomputed_everything_is_convicted_by_the_note(watched: Watched) -> None:
    watched.sign_another_root()
    assert [(one.log, one.first) for one in watched.round().damage] == [("access/1", 0)]
    (watched.home.folder / "notes" / "access.note").unlink()
    [lost] = watched.round().damage
    assert (lost.first, "lost" in lost.sentence) == (-1, True)


def test_another_leader_goes_on_where_the_last_one_told_that_it_was(watched: Watched) -> None:
    """What is damaged behind that place is found by the next round, not by this one."""
    watched.round()
    watched.home.clock.now += rounds.TELL
    before, behind, row = ended_at(watched.rounds), watched.rounds.turn(PORTION).done, watched.row(7)
    watched.stranger.change("trail_event", row, body=flipped(row["body"]))
    watched.another_leader()
    assert 7 < behind < watched.rounds.turn(1).entries
    while ended_at(watched.rounds) == before:
        assert watched.rounds.turn(PORTION).damage == ()
    assert [one.first for one in watched.round().damage] == [7]


def test_a_note_convicts_also_a_walk_that_another_leader_went_on_with(watched: Watched) -> None:
    watched.round()
    watched.home.clock.now += rounds.TELL
    before, behind = ended_at(watched.rounds), watched.rounds.turn(PORTION).done
    watched.sign_another_root()
    watched.another_leader()
    while ended_at(watched.rounds) in {0, before}:
        result = watched.rounds.turn(PORTION)
    assert 0 < behind < SIZE
    assert [one.log for one in result.damage] == ["access/1"]


def test_what_is_written_and_signed_meanwhile_is_no_damage(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worst moment: between the look at the database and the look at the notes."""

    def busy(folder: Path) -> dict[str, VerifierKey]:
        watched.home.trail.append([decision(), issued()])
        watched.home.save_heads()
        return verifier_keys(folder)

    monkeypatch.setattr(rounds, "verifier_keys", busy)
    for _ in range(3):
        assert watched.round().damage == ()


@pytest.mark.parametrize("portion", [1, 255, 256, 257, 5000])
def test_portions_of_any_size_show_what_the_check_of_everything_shows(watched: Watched, portion: int) -> None:
    home, folder = watched.home, watched.home.folder / "notes"
    keys = verifier_keys(folder)
    heads = [open_checkpoint((folder / f"{log}.note").read_bytes(), [key]) for log, key in keys.items()]
    whole = {log.origin: (log.proved, log.root) for log in check.evidence(home.database, heads).logs}
    for head in heads:
        log, epoch = head.origin.split("/")[1:]
        with home.trail.ledger.frozen(home.database) as connection:
            walk = Walk((log, int(epoch)), [head])
            while walk.tree.size < head.size:
                walk = Walk((log, int(epoch)), [head], tree=walk.tree, journal=walk.journal)  # as after a restart
                walk.on(connection, min(portion, head.size - walk.tree.size))
            walk.end(None)
        assert walk.proved == whole[head.origin][0]
        assert walk.tree.root() == head.root


def test_closed_epochs_are_verified_as_well_to_their_end(home: Home) -> None:
    closed = ended(home)
    die(home)
    database = administrator(home)
    trail = reopen(database, home.clock, Writer("restore", "b2"), PRIVACY, Audit(origin="yumen.test"), closed)
    conclude(trail, {log: LogKey(SEEDS[log]) for log in SEEDS}, home.folder / "notes", closed)
    again, stranger = Rounds(trail, home.folder / "notes"), Stranger(home.database)
    assert (result := go_round(again)).damage == ()
    assert result.entries == sum(one.size for one in closed)
    row = stranger.row("trail_event", {"log": "ca", "epoch": 1, "idx": 1})
    stranger.insert("trail_event", row | {"idx": closed[0].size})
    assert [one.log for one in go_round(again).damage] == ["ca/1"]
    stranger.close()
    trail.close()
    database.engine.dispose()
