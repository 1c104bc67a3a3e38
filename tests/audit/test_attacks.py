"""Somebody with every right on the database, who also knows our code, against heads that were saved outside."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest
from click.testing import CliRunner, Result

from audit import check
from audit.checkpoint import LogKey
from audit.tables import INSERT_ONLY
from audit.trail import LOGS
from audit.verifier.database import Report
from audit.verifier.errors import Tampered
from audit.verifier.merkle import TILE_WIDTH, Frontier, leaf_hash, perfect_root, split_tile
from audit.verifier.note import Checkpoint
from cli.main import main
from tests.audit.homes import SEEDS, Home, close_home, decision, open_database, open_home, url
from tests.postgres import Cluster

FIRST_HEAD, SECOND_HEAD, SIZE = 302, 602, 703
LOG = "log = 'access' AND epoch = 1"


class Server:
    """The database of PostgreSQL as its administrator has it: no trigger fires. Takes the words of SQLite."""

    def __init__(self, folder: Path) -> None:
        self._connection = psycopg.connect(url(folder, "admin"), autocommit=True, options="-c search_path=audit,yumen")
        self._connection.execute("SET session_replication_role = replica")

    def execute(self, sql: str, values: tuple[Any, ...] = ()) -> psycopg.Cursor:
        sql = re.sub(r"zeroblob\((\d+)\)", r"decode(repeat('00', \1), 'hex')", sql.replace("?", "%s"))
        return self._connection.execute(re.sub(r"CAST\((.*) AS BLOB\)", r"\1", sql), values or None)

    def close(self) -> None:
        self._connection.close()


class Attacked:
    """A closed home with 703 access entries; heads were saved outside at 302 and 602; the attacker works on the database alone."""

    def __init__(self, folder: Path, heads: list[Checkpoint], put_old_back: Callable[[], None]) -> None:
        self.folder, self.heads, self._put_old_back = folder, heads, put_old_back
        self.db = self._opened()

    def _opened(self) -> Any:
        if (self.folder / "postgres").exists():
            return Server(self.folder)
        db = sqlite3.connect(self.folder / "yumen.db", isolation_level=None)
        for table in INSERT_ONLY:
            for verb in ("update", "delete"):
                db.execute(f"DROP TRIGGER IF EXISTS {table}_no_{verb}")
        return db

    def check(self) -> Report:
        """The outsider's check of the whole database."""
        self.db.close()
        database = open_database(self.folder, "audit_reader")
        try:
            return check.evidence(database, self.heads)
        finally:
            database.engine.dispose()

    def finding(self) -> Tampered:
        with pytest.raises(Tampered) as found:
            self.check()
        return found.value

    def put_old_back(self) -> None:
        self.db.close()
        self._put_old_back()

    def let_columns_be_null(self, column: str) -> None:
        if isinstance(self.db, Server):
            self.db.execute(f"ALTER TABLE trail_event ALTER {column} DROP NOT NULL")
            return
        self.db.execute("PRAGMA writable_schema = ON")
        self.db.execute("UPDATE sqlite_schema SET sql = replace(sql, ' NOT NULL', '') WHERE name = 'trail_event'")
        self.db.close()
        self.db = self._opened()

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

    def move(self, *moves: tuple[int, int]) -> None:
        for old, new in moves:
            self.db.execute(f"UPDATE trail_event SET idx = {new} WHERE {LOG} AND idx = {old}")

    def renumber(self, deleted: int) -> None:
        """Close the gap after a deletion, in rows and journal."""
        self.db.execute(f"UPDATE trail_event SET idx = idx + {AWAY} WHERE {LOG} AND idx > {deleted}")
        self.db.execute(f"UPDATE trail_event SET idx = idx - {AWAY} - 1 WHERE {LOG} AND idx >= {AWAY}")
        for size in (SIZE - 1, SIZE):
            self.db.execute(f"UPDATE trail_batch SET size = size - 1 WHERE {LOG} AND size = {size}")
        self.db.execute(f"UPDATE trail_batch SET first = first - 1 WHERE {LOG} AND size = {SIZE - 1}")


#: No entry stands there.
AWAY = 1_000_000


@dataclass
class Ground:
    """A closed home, the heads that were saved outside, and its database as it was after 402 entries."""

    folder: Path
    heads: list[Checkpoint]
    old: Any


def build(folder: Path, keep: Callable[[Home], Any]) -> Ground:
    home, heads, old = open_home(folder), list[Checkpoint](), None
    for number in range(7):
        home.trail.append([decision(100 * number + at) for at in range(100)])
        if number in {2, 5}:
            heads += home.save_heads()
        if number == 3:
            old = keep(home)
    close_home(home)
    return Ground(folder, heads, old)


@pytest.fixture(scope="module")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    folder = tmp_path_factory.mktemp("ground")

    def keep(home: Home) -> Path:
        copy = tmp_path_factory.mktemp("old") / "old.db"
        with closing(sqlite3.connect(home.file)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        return copy

    return build(folder, keep)


@pytest.fixture(scope="module")
def on_postgresql(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    folder, made = tmp_path_factory.mktemp("ground-postgresql"), [cluster.new_database()]
    (folder / "postgres").write_text(cluster.url("{role}", made[0]))

    def keep(home: Home) -> str:
        home.database.engine.dispose()  # nobody may be connected to what is copied
        made.append(cluster.new_database(made[0]))
        return made[1]

    yield build(folder, keep)
    for name in made:
        cluster.drop(name)


POSTGRESQL = pytest.param("postgresql", marks=pytest.mark.component("postgresql"))


@pytest.fixture(params=["sqlite", POSTGRESQL])
def attacked(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Attacked]:
    """The home in either database: what is claimed of one is claimed of both."""
    ground: Ground = request.getfixturevalue(f"on_{request.param}")
    folder = Path(shutil.copytree(ground.folder, tmp_path / "home"))
    if request.param == "sqlite":

        def back() -> None:
            for suffix in ("", "-wal", "-shm"):
                (folder / ("yumen.db" + suffix)).unlink(missing_ok=True)
            shutil.copy(ground.old, folder / "yumen.db")

        attack = Attacked(folder, ground.heads, back)
        yield attack
        attack.db.close()
        return
    cluster: Cluster = request.getfixturevalue("cluster")
    made = []

    def copied(name: str) -> None:
        made.append(cluster.new_database(name))
        (folder / "postgres").write_text(cluster.url("{role}", made[-1]))

    copied((ground.folder / "postgres").read_text().partition("@/")[2].partition("?")[0])
    attack = Attacked(folder, ground.heads, lambda: copied(ground.old))
    yield attack
    attack.db.close()
    for name in made:
        cluster.drop(name)


#: What can be done to one of the databases alone.
only_sqlite = pytest.mark.parametrize("attacked", ["sqlite"], indirect=True)
only_postgresql = pytest.mark.parametrize("attacked", [POSTGRESQL], indirect=True)


def test_the_untouched_home_holds(attacked: Attacked) -> None:
    report = attacked.check()
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


@only_sqlite
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
    attacked.move((10, AWAY), (20, 10), (AWAY, 20))
    assert attacked.finding().first == 10


def test_two_swapped_rows_in_the_unfinished_tile_are_bounded_by_two_heads(attacked: Attacked) -> None:
    attacked.move((520, AWAY), (530, 520), (AWAY, 530))
    found = attacked.finding()
    assert (found.first, found.last) == (FIRST_HEAD, SECOND_HEAD - 1)


@pytest.mark.parametrize("column", ["actor", "object", "code", "outcome", "t", "id", "request_id", "leaf", "body"])
def test_a_column_set_to_null_is_named(attacked: Attacked, column: str) -> None:
    attacked.let_columns_be_null(column)
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
    [access, _] = attacked.check().logs
    assert (access.size, access.proved) == (SIZE, SECOND_HEAD)


def test_an_old_copy_put_back_is_found(attacked: Attacked) -> None:
    attacked.put_old_back()
    found = attacked.finding()
    assert (found.first, found.last) == (402, SECOND_HEAD - 1)


def test_an_old_copy_that_went_on_is_found(attacked: Attacked) -> None:
    attacked.put_old_back()
    again = open_home(attacked.folder, boot="again")
    again.trail.append([decision(number) for number in range(400)])
    close_home(again)
    found = attacked.finding()
    assert (found.first, found.last) == (FIRST_HEAD, SECOND_HEAD - 1)


def test_an_old_copy_put_back_gets_no_new_signature(attacked: Attacked) -> None:
    """The notes outside the database convict it, whether it went on or not."""
    attacked.put_old_back()
    again = open_home(attacked.folder, boot="again")
    with pytest.raises(Tampered, match="were signed before"):
        again.publisher.publish()
    again.trail.append([decision(number) for number in range(400)])
    with pytest.raises(Tampered):
        again.publisher.publish()
    close_home(again)


def test_a_cut_tail_with_everything_recomputed_is_named(attacked: Attacked) -> None:
    attacked.db.execute(f"DELETE FROM trail_event WHERE {LOG} AND idx >= {SECOND_HEAD - 5}")
    attacked.db.execute(f"DELETE FROM trail_batch WHERE {LOG} AND size > {SECOND_HEAD}")
    attacked.db.execute(f"UPDATE trail_batch SET size = {SECOND_HEAD - 5} WHERE {LOG} AND size = {SECOND_HEAD}")
    attacked.rebuild()
    found = attacked.finding()
    assert (found.first, found.last) == (SECOND_HEAD - 5, SECOND_HEAD - 1)
    assert "ends after" in str(found)


def test_a_rewritten_journal_row_is_found(attacked: Attacked) -> None:
    """A tree that forks behind an unchanged size: the row tells of other entries than there are."""
    tree = Frontier()
    tree.extend([leaf_hash(b"forged %d" % number) for number in range(SECOND_HEAD)])
    attacked.db.execute(f"UPDATE trail_batch SET edge = ?, root = ? WHERE {LOG} AND size = {SECOND_HEAD}", (tree.encode(), tree.root()))
    found = attacked.finding()
    assert "journal" in str(found)
    assert found.last == SECOND_HEAD - 1


def test_nothing_is_appended_to_a_rewritten_tree(attacked: Attacked) -> None:
    """Whoever goes on from a forged edge makes a tree that no head extends."""
    tree = Frontier()
    tree.extend([leaf_hash(b"forged %d" % number) for number in range(SIZE)])
    attacked.db.execute(f"UPDATE trail_batch SET edge = ?, root = ? WHERE {LOG} AND size = {SIZE}", (tree.encode(), tree.root()))
    again = open_home(attacked.folder, boot="again")
    with pytest.raises(Tampered):
        again.publisher.publish()
    close_home(again)
    assert "journal" in str(attacked.finding())


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


@only_postgresql
def test_the_command_names_it_as_the_role_that_may_only_read(attacked: Attacked, tmp_path: Path) -> None:
    def verify() -> Result:
        trusted = [part for log in LOGS for part in ("--trust", str(attacked.folder / "notes" / f"{log}.note"))]
        keys = [part for log in LOGS for part in ("--key", LogKey(SEEDS[log]).verifier_key(f"yumen.test/{log}/1").encode())]
        return CliRunner().invoke(main, ["audit", "verify", url(attacked.folder, "audit_reader"), *trusted, *keys, "--json"])

    sound = verify()
    assert sound.exit_code == 0, sound.output
    attacked.db.execute(f"UPDATE trail_event SET outcome = 'deny' WHERE {LOG} AND idx = 44")
    found = verify()
    assert found.exit_code == 1
    assert (json.loads(found.stdout)["first"], json.loads(found.stdout)["last"]) == (44, 44)


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
