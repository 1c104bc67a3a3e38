"""Somebody with every right on the database file, who also knows our code, against heads that were saved outside."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import orjson
import pytest

from audit.tables import INSERT_ONLY
from audit.verifier.errors import Tampered
from audit.verifier.merkle import TILE_WIDTH, Frontier, leaf_hash, perfect_root, split_tile
from audit.verifier.note import Checkpoint
from tests.audit.homes import Home, close_home, decision, open_home

FIRST_HEAD, SECOND_HEAD, SIZE = 302, 602, 702
LOG = "log = 'access' AND epoch = 1"


class Attacked:
    """A home with 702 access entries; heads were saved outside at 302 and 602; the attacker works on the file alone."""

    def __init__(self, home: Home, heads: list[Checkpoint], old_copy: Path) -> None:
        self.home, self.heads, self.old_copy = home, heads, old_copy
        self.db = sqlite3.connect(home.file, isolation_level=None)
        for table in INSERT_ONLY:
            for verb in ("update", "delete"):
                self.db.execute(f"DROP TRIGGER {table}_no_{verb}")

    def finding(self) -> Tampered:
        self.db.close()
        with pytest.raises(Tampered) as found:
            self.home.check(self.heads)
        return found.value

    def body(self, index: int) -> bytes:
        return self.db.execute(f"SELECT body FROM trail_event WHERE {LOG} AND idx = {index}").fetchone()[0]

    def forge(self, index: int) -> None:
        """Replace a body and everything in its row that follows from it."""
        told = orjson.loads(self.body(index))
        told["out"] = "deny"
        body = orjson.dumps(told, option=orjson.OPT_SORT_KEYS)
        self.db.execute(
            f"UPDATE trail_event SET body = ?, leaf = ?, outcome = 'deny' WHERE {LOG} AND idx = {index}", (body, leaf_hash(body))
        )

    def rebuild(self) -> None:
        """Recompute every tile, the journal and its edges from the leaves as they are now."""
        leaves = [leaf for (leaf,) in self.db.execute(f"SELECT leaf FROM trail_event WHERE {LOG} ORDER BY idx")]
        self.db.execute(f"DELETE FROM trail_tile WHERE {LOG}")
        for n in range(len(leaves) // TILE_WIDTH):
            data = b"".join(leaves[n * TILE_WIDTH : (n + 1) * TILE_WIDTH])
            self.db.execute("INSERT INTO trail_tile VALUES ('access', 1, 0, ?, ?)", (n, data))
        for (size,) in self.db.execute(f"SELECT size FROM trail_batch WHERE {LOG}").fetchall():
            if size > len(leaves):
                self.db.execute(f"DELETE FROM trail_batch WHERE {LOG} AND size = {size}")
            tree = Frontier()
            tree.extend(leaves[:size])
            self.db.execute(f"UPDATE trail_batch SET edge = ?, root = ? WHERE {LOG} AND size = {size}", (tree.encode(), tree.root()))

    def renumber(self, deleted: int) -> None:
        """Close the gap after a deletion, in rows and journal."""
        self.db.execute(f"UPDATE trail_event SET idx = -idx WHERE {LOG} AND idx > {deleted}")
        self.db.execute(f"UPDATE trail_event SET idx = -idx - 1 WHERE {LOG} AND idx < 0")
        self.db.execute(f"UPDATE trail_batch SET size = size - 1, first = max(first - 1, 0) WHERE {LOG} AND size = {SIZE}")


@pytest.fixture
def attacked(tmp_path: Path) -> Iterator[Attacked]:
    home = open_home(tmp_path / "home") if (tmp_path / "home").mkdir() is None else None
    assert home
    heads = []
    for number in range(7):
        home.trail.append([decision(100 * number + at) for at in range(100)])
        if number in {2, 5}:
            heads += home.save_heads()
        if number == 3:
            with closing(sqlite3.connect(home.file)) as source, closing(sqlite3.connect(tmp_path / "old.db")) as target:
                source.backup(target)
    attack = Attacked(home, heads, tmp_path / "old.db")
    yield attack
    attack.db.close()
    close_home(home)


def test_the_untouched_home_holds(attacked: Attacked) -> None:
    report = attacked.home.check(attacked.heads)
    assert [(log.origin, log.size, log.proved) for log in report.logs] == [
        ("yumen.test/access/1", SIZE, SECOND_HEAD),
        ("yumen.test/ca/1", 2, 2),
    ]


@pytest.mark.parametrize("index", [0, 255, 256, 400, SECOND_HEAD - 1, SIZE - 1])
@pytest.mark.parametrize("column", ["body", "leaf"])
def test_one_changed_byte_is_named_by_its_index(attacked: Attacked, index: int, column: str) -> None:
    [(old,)] = attacked.db.execute(f"SELECT {column} FROM trail_event WHERE {LOG} AND idx = {index}")
    new = old[:20] + bytes([old[20] ^ 1]) + old[21:]
    attacked.db.execute(f"UPDATE trail_event SET {column} = ? WHERE {LOG} AND idx = {index}", (new,))
    assert (attacked.finding().first, attacked.finding().last) == (index, index)


@pytest.mark.parametrize("index", [0, 255, 256, 511])
def test_a_forged_row_is_named_by_its_tile(attacked: Attacked, index: int) -> None:
    attacked.forge(index)
    found = attacked.finding()
    assert (found.first, found.last) == (index, index)
    assert "tile" in str(found)


def test_a_changed_tile_is_named_by_its_first_wrong_entry(attacked: Attacked) -> None:
    attacked.db.execute(f"UPDATE trail_tile SET data = CAST(substr(data, 1, 3200) || zeroblob(4992) AS BLOB) WHERE {LOG} AND n = 1")
    assert attacked.finding().first == 256 + 100


@pytest.mark.parametrize("column", ["body", "leaf", "actor"])
def test_a_value_of_another_type_is_named(attacked: Attacked, column: str) -> None:
    attacked.db.execute(f"UPDATE trail_event SET {column} = CAST(x'ff00fe' AS TEXT) WHERE {LOG} AND idx = 44")
    assert attacked.finding().first == 44


def test_a_missing_tile_is_named(attacked: Attacked) -> None:
    attacked.db.execute(f"DELETE FROM trail_tile WHERE {LOG} AND n = 0")
    assert "tile 0/0" in str(attacked.finding())


@pytest.mark.parametrize("index", [0, 300, 540, 650, SIZE - 1])
def test_a_deleted_row_is_named(attacked: Attacked, index: int) -> None:
    attacked.db.execute(f"DELETE FROM trail_event WHERE {LOG} AND idx = {index}")
    found = attacked.finding()
    assert (found.first, found.last) == (index, index)


def test_rows_deleted_behind_the_last_head_are_named(attacked: Attacked) -> None:
    attacked.db.execute(f"DELETE FROM trail_event WHERE {LOG} AND idx >= {SECOND_HEAD - 5}")
    found = attacked.finding()
    assert (found.first, found.last) == (SECOND_HEAD - 5, SECOND_HEAD - 1)


@pytest.mark.parametrize("deleted", [0, 300, SECOND_HEAD - 1])
def test_a_row_deleted_with_everything_recomputed_is_bounded_by_two_heads(attacked: Attacked, deleted: int) -> None:
    attacked.db.execute(f"DELETE FROM trail_event WHERE {LOG} AND idx = {deleted}")
    attacked.renumber(deleted)
    attacked.rebuild()
    found = attacked.finding()
    assert (found.first, found.last) == ((0, FIRST_HEAD - 1) if deleted < FIRST_HEAD else (FIRST_HEAD, SECOND_HEAD - 1))


def test_two_swapped_rows_are_named(attacked: Attacked) -> None:
    for old, new in ((10, -1), (20, 10), (-1, 20)):
        attacked.db.execute(f"UPDATE trail_event SET idx = {new} WHERE {LOG} AND idx = {old}")
    assert attacked.finding().first == 10


def test_two_swapped_rows_in_the_unfinished_tile_are_bounded_by_two_heads(attacked: Attacked) -> None:
    for old, new in ((520, -1), (530, 520), (-1, 530)):
        attacked.db.execute(f"UPDATE trail_event SET idx = {new} WHERE {LOG} AND idx = {old}")
    found = attacked.finding()
    assert (found.first, found.last) == (FIRST_HEAD, SECOND_HEAD - 1)


@pytest.mark.parametrize("column", ["actor", "object", "code", "outcome", "t", "id", "request_id", "leaf", "body"])
def test_a_column_set_to_null_is_named(attacked: Attacked, column: str) -> None:
    attacked.db.execute("PRAGMA writable_schema = ON")
    attacked.db.execute("UPDATE sqlite_schema SET sql = replace(sql, ' NOT NULL', '') WHERE name = 'trail_event'")
    attacked.db.close()
    attacked.db = sqlite3.connect(attacked.home.file, isolation_level=None)
    attacked.db.execute(f"UPDATE trail_event SET {column} = NULL WHERE {LOG} AND idx = 77")
    found = attacked.finding()
    assert (found.first, found.last) == (77, 77)


@pytest.mark.parametrize("column", ["actor", "object", "code", "outcome", "cert", "scope", "request_id"])
def test_a_searchable_column_that_hides_its_entry_is_named(attacked: Attacked, column: str) -> None:
    attacked.db.execute(f"UPDATE trail_event SET {column} = 'hidden' WHERE {LOG} AND idx = 650")
    found = attacked.finding()
    assert (found.first, found.last) == (650, 650)


def test_a_replaced_head_is_found(attacked: Attacked) -> None:
    attacked.db.execute(f"UPDATE trail_batch SET root = zeroblob(32) WHERE {LOG} AND size = {SIZE}")
    assert "journal" in str(attacked.finding())


@pytest.mark.parametrize("size", [SIZE, SECOND_HEAD, FIRST_HEAD])
def test_a_deleted_journal_row_is_found(attacked: Attacked, size: int) -> None:
    attacked.db.execute(f"DELETE FROM trail_batch WHERE {LOG} AND size = {size}")
    assert "journal" in str(attacked.finding())


@pytest.mark.parametrize(
    ("index", "bounds"),
    [(5, (0, FIRST_HEAD - 1)), (FIRST_HEAD, (FIRST_HEAD, SECOND_HEAD - 1)), (SECOND_HEAD - 1, (FIRST_HEAD, SECOND_HEAD - 1))],
)
def test_a_forgery_with_the_whole_tree_recomputed_is_bounded_by_two_heads(attacked: Attacked, index: int, bounds: tuple[int, int]) -> None:
    attacked.forge(index)
    attacked.rebuild()
    found = attacked.finding()
    assert (found.first, found.last) == bounds
    assert "between the trusted heads" in str(found)


def test_what_no_saved_head_covers_is_told_as_unproved_not_as_sound(attacked: Attacked) -> None:
    attacked.forge(SIZE - 1)
    attacked.rebuild()
    attacked.db.close()
    [access, _] = attacked.home.check(attacked.heads).logs
    assert (access.size, access.proved) == (SIZE, SECOND_HEAD)


def test_an_old_copy_put_back_is_found(attacked: Attacked) -> None:
    attacked.db.close()
    close_home(attacked.home)
    for suffix in ("", "-wal", "-shm"):
        attacked.home.file.with_name("yumen.db" + suffix).unlink(missing_ok=True)
    shutil.copy(attacked.old_copy, attacked.home.file)
    found = attacked.finding()
    assert (found.first, found.last) == (402, SECOND_HEAD - 1)


def test_an_old_copy_that_went_on_is_found(attacked: Attacked) -> None:
    attacked.db.close()
    close_home(attacked.home)
    for suffix in ("", "-wal", "-shm"):
        attacked.home.file.with_name("yumen.db" + suffix).unlink(missing_ok=True)
    shutil.copy(attacked.old_copy, attacked.home.file)
    again = open_home(attacked.home.folder, boot="again")
    again.trail.append([decision(number) for number in range(400)])
    close_home(again)
    found = attacked.finding()
    assert (found.first, found.last) == (FIRST_HEAD, SECOND_HEAD - 1)


def test_an_added_row_is_found(attacked: Attacked) -> None:
    columns = "id, t, code, outcome, actor, object, cert, scope, request_id, leaf, body"
    attacked.db.execute(f"INSERT INTO trail_event SELECT log, epoch, {SIZE}, {columns} FROM trail_event WHERE {LOG} AND idx = 9")
    assert "journal" in str(attacked.finding())


def test_a_renamed_log_is_found(attacked: Attacked) -> None:
    attacked.db.execute("UPDATE trail_epoch SET origin = 'elsewhere/access/1' WHERE log = 'access'")
    assert "not in the database" in str(attacked.finding())


def test_a_log_hidden_behind_another_epoch_is_found(attacked: Attacked) -> None:
    attacked.db.execute("UPDATE trail_epoch SET origin = 'yumen.test/ca/1' WHERE log = 'access'")
    assert "epoch row" in str(attacked.finding())


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_trees_of_two_tile_levels_are_checked_whole(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    width = 4
    for module in ("audit.append", "audit.verifier.database", "audit.tiles"):
        monkeypatch.setattr(f"{module}.TILE_WIDTH", width)
    home.trail.append([decision(number) for number in range(70)])
    heads = [Checkpoint(log.origin, log.size, log.root) for log in home.check([Checkpoint("yumen.test/ca/1", 0, Frontier().root())]).logs]
    with closing(sqlite3.connect(home.file, isolation_level=None)) as db:
        tiles = dict(db.execute("SELECT level || '/' || n, data FROM trail_tile WHERE log = 'access'").fetchall())
        assert sorted(name for name in tiles if not name.startswith("0/")) == ["1/0", "1/1", "1/2", "1/3", "2/0"]
        assert tiles["2/0"][:32] == perfect_root(split_tile(tiles["1/0"]))
        db.execute("DROP TRIGGER trail_tile_no_update")
        db.execute("UPDATE trail_tile SET data = zeroblob(128) WHERE log = 'access' AND level = 1 AND n = 2")
    with pytest.raises(Tampered, match="tile 1/2") as found:
        home.check(heads)
    assert (found.value.first, found.value.last) == (32, 35)
