"""Writing: acknowledged means in the tree; what cannot be written is refused; nothing is lost before the log."""

from __future__ import annotations

import base64
import datetime as dt
import json
import sqlite3
import threading
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg
import pytest

from audit.flusher import Flusher
from audit.record import recording
from audit.trail import Writer, open_trail
from audit.verifier.errors import Tampered
from audit.verifier.merkle import Frontier, leaf_hash
from core.database import open_sqlite
from core.errors import Unavailable
from core.settings import Audit
from tests.audit.homes import PRIVACY, Home, Ticking, close_home, decision, die, issued, open_home

#: A way to break storage that only this database has; the same claim has its own test in `test_postgres`.
only_sqlite = pytest.mark.parametrize("place", ["sqlite"], indirect=True)


def rows(home: Home, sql: str) -> list[Any]:
    return home.rows(sql)


def bodies(home: Home, code: str) -> list[dict[str, Any]]:
    return [json.loads(body) for (body,) in rows(home, f"SELECT body FROM trail_event WHERE code = '{code}' ORDER BY t")]


def test_an_acknowledged_event_is_in_the_file_under_the_root(home: Home) -> None:
    receipts = home.trail.append([decision(1), issued(2)])
    assert [receipt.log for receipt in receipts] == ["access/1", "ca/1"]
    for receipt in receipts:
        log = receipt.log.partition("/")[0]
        stored = [body for (body,) in rows(home, f"SELECT body FROM trail_event WHERE log = '{log}' ORDER BY idx")]
        assert leaf_hash(stored[receipt.idx]).hex() == receipt.leaf
        tree = Frontier()
        tree.extend(map(leaf_hash, stored))
        assert rows(home, f"SELECT size, root FROM trail_batch WHERE log = '{log}' ORDER BY size DESC LIMIT 1") == [
            (tree.size, tree.root())
        ]


def test_the_first_event_of_each_log_opens_its_epoch_and_the_second_names_the_writer(home: Home) -> None:
    for log in ("ca", "access"):
        first, second = rows(home, f"SELECT body FROM trail_event WHERE log = '{log}' ORDER BY idx LIMIT 2")
        assert json.loads(first[0])["d"] == {"origin": f"yumen.test/{log}/1", "size": 0}
        assert json.loads(second[0])["obj"] == "node:web"


def test_tiles_are_complete_as_soon_as_their_last_entry_is_acknowledged(home: Home) -> None:
    for _ in range(3):
        home.trail.append([decision(number) for number in range(200)])
    leaves = [leaf for (leaf,) in rows(home, "SELECT leaf FROM trail_event WHERE log = 'access' ORDER BY idx")]
    tiles = rows(home, "SELECT level, n, data FROM trail_tile WHERE log = 'access' ORDER BY n")
    assert tiles == [(0, n, b"".join(leaves[n * 256 : n * 256 + 256])) for n in range(2)]


def test_an_accident_cannot_change_or_delete_trail_rows(home: Home) -> None:
    home.trail.append([decision(number) for number in range(300)])
    home.save_heads()
    for table in ("trail_event", "trail_batch", "trail_tile", "trail_epoch", "trail_checkpoint"):
        for statement in (f"DELETE FROM {table}", f"UPDATE {table} SET epoch = 9"):
            with pytest.raises((sqlite3.IntegrityError, psycopg.Error), match="append-only"):
                rows(home, statement)


def test_personal_data_is_committed_to_and_can_be_forgotten(home: Home) -> None:
    home.trail.append([decision(1, source="10.9.8.7", personal={"name": "张三"})])
    everything = b"".join(body for (body,) in rows(home, "SELECT body FROM trail_event"))
    assert b"10.9.8.7" not in everything
    assert "张三".encode() not in everything
    [body] = bodies(home, "AZ1001")
    for field, salt, value in rows(home, f"SELECT field, salt, value FROM trail_disclosure WHERE id = '{body['id']}'"):
        assert body["c"][field] == base64.b64encode(sha256(salt + field.encode() + value.encode()).digest()).decode()
    heads = home.save_heads()
    rows(home, "DELETE FROM trail_disclosure")
    home.check(heads)


def test_equal_personal_values_have_different_commitments(home: Home) -> None:
    home.trail.append([decision(1, source="10.0.0.1"), decision(2, source="10.0.0.1")])
    one, two = bodies(home, "AZ1001")
    assert one["c"]["source"] != two["c"]["source"]


def test_pseudonyms_are_stable_keyed_and_tell_nothing(home: Home) -> None:
    name = home.trail.pseudonym("6BA7B810-9DAD-11D1-80B4-00C04FD430C8")
    assert name == home.trail.pseudonym("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
    assert len(name) == 34
    assert name.startswith("p_")
    assert name != home.trail.pseudonym("6ba7b811-9dad-11d1-80b4-00c04fd430c8")


def test_waiting_for_the_flusher_inside_a_transaction_is_a_bug(home: Home) -> None:
    with pytest.raises(RuntimeError, match="inside a write transaction"), home.database.writing():
        home.trail.append([decision()])


def test_a_full_queue_answers_no_instead_of_growing() -> None:
    release = threading.Event()
    flusher = Flusher(lambda _: release.wait(5) and [], 2, lambda: None, lambda: 60.0)
    waiting = [threading.Thread(target=flusher.submit, args=([],)) for _ in range(1)]
    for thread in waiting:
        thread.start()
    with pytest.raises(Unavailable, match="cannot take more"):
        flusher.submit([None, None, None])  # type: ignore[list-item]
    release.set()
    for thread in waiting:
        thread.join()
    flusher.close()
    with pytest.raises(Unavailable):
        flusher.submit([])


@only_sqlite
def test_what_waits_is_committed_together(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.database.LOCK_PATIENCE", dt.timedelta(minutes=1))  # a busy machine starts threads slowly
    with home.database.writing():
        threads = [threading.Thread(target=home.trail.append, args=([decision(number)],)) for number in range(20)]
        threads[0].start()
        while not any(thread.name == "database-lock" for thread in threading.enumerate()):
            time.sleep(0.001)  # until the flusher stands before the lock, with the first one in its hands
        for thread in threads[1:]:
            thread.start()
        while len(home.trail._counters._open) < 20:  # the flusher has taken the first few, and waits for the lock
            time.sleep(0.001)
        time.sleep(0.05)
    for thread in threads:
        thread.join()
    batches = rows(home, "SELECT size - first FROM trail_batch WHERE log = 'access' ORDER BY size")
    assert sum(size for (size,) in batches[1:]) == 20
    assert len(batches) <= 4


@only_sqlite
def test_when_the_trail_cannot_be_written_the_answer_is_no_and_later_told(home: Home) -> None:
    lock = home.file.with_suffix(".lock")
    lock.unlink()
    lock.mkdir()  # the lock file cannot be opened: no writer can begin
    for _ in range(2):
        with pytest.raises(Unavailable):
            home.trail.append([decision(1)])
    with pytest.raises(Unavailable), recording(home.trail) as tx:
        tx.record(issued(1))
    assert home.trail.closed
    lock.rmdir()
    home.trail.append([decision(2)])
    assert not home.trail.closed
    [told] = bodies(home, "AZ9005")
    assert told["d"]["refused"] >= 3
    assert [body["d"]["n"] for body in bodies(home, "AZ1001")] == [2]
    assert home.check(home.save_heads()).open_numbers == {}


@only_sqlite
def test_a_failing_insert_closes_the_trail_without_killing_the_flusher(home: Home) -> None:
    rows(home, "CREATE TRIGGER broken BEFORE INSERT ON trail_tile BEGIN SELECT RAISE(ROLLBACK, 'no'); END")
    with pytest.raises(Unavailable):
        home.trail.append([decision(number) for number in range(300)])
    rows(home, "DROP TRIGGER broken")
    home.trail.append([decision()])
    [void] = bodies(home, "AZ9004")
    assert sum(last - first + 1 for first, last in void["d"]["numbers"]) >= 300
    home.check(home.save_heads())


def test_rolled_back_numbers_are_voided_with_the_next_batch(home: Home) -> None:
    with pytest.raises(ZeroDivisionError), recording(home.trail) as tx:
        tx.record(issued(1))
        raise ZeroDivisionError
    home.trail.append([decision(1)])
    [void] = bodies(home, "AZ9004")
    [lost] = void["d"]["numbers"]
    assert lost[0] == lost[1] == 5
    assert home.check(home.save_heads()).open_numbers == {}


def test_an_event_that_cannot_be_written_down_owes_its_number(home: Home) -> None:
    with pytest.raises(ValueError, match="outside the profile"):
        home.trail.append([decision(1), decision(2, details={"Upper": 1})])
    home.trail.append([decision(3)])
    assert home.check(home.save_heads()).open_numbers == {}


def test_a_start_names_the_boot_before_it_and_what_died_with_it(place: Path) -> None:
    first = open_home(place, boot="one")
    first.trail.append([decision(1)])
    first.trail.prepare([decision(2)])  # numbered, but the process dies before it is placed
    first.trail.append([decision(3)])
    die(first)
    second = open_home(place, boot="two")
    [told] = [body for body in bodies(second, "AZ9002") if body["w"]["b"] == "two"]
    assert told["d"] == {"previous": [{"boot": "one", "last": 7, "lost": [[6, 6]]}]}
    second.check(second.save_heads())
    close_home(second)
    third = open_home(place, boot="three")
    [told] = [body for body in bodies(third, "AZ9002") if body["w"]["b"] == "three"]
    assert [earlier["boot"] for earlier in told["d"]["previous"]] == ["two"]
    close_home(third)


def test_a_process_that_ends_in_order_says_so_and_owes_nothing(place: Path) -> None:
    first = open_home(place, boot="one")
    first.trail.prepare([decision(1)])  # some thread has numbered it, and will never place it
    with pytest.raises(RuntimeError), recording(first.trail) as tx:
        tx.record(decision(2))
        raise RuntimeError
    close_home(first)
    second = open_home(place, boot="two")
    [told] = bodies(second, "AZ9006")
    assert (told["w"]["b"], told["d"]) == ("one", {"open": [[5, 5]]})
    [void] = bodies(second, "AZ9004")
    assert void["d"] == {"numbers": [[6, 6]]}
    assert all(boot != "one" for _, boot in second.check(second.save_heads()).open_numbers)
    close_home(second)


def test_a_number_that_is_neither_there_nor_void_nor_declared_lost_is_found(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_home(place, boot="one")
    first.trail.prepare([decision(2)])
    first.trail.append([decision(3)])
    die(first)
    monkeypatch.setattr("audit.writers.ranges", lambda _: [])
    second = open_home(place, boot="two")
    with pytest.raises(Tampered, match="events 5 to 5 of process web/one never reached"):
        second.check(second.save_heads())
    close_home(second)


def test_an_idle_process_says_that_it_lives(place: Path) -> None:
    home = open_home(place, settings=Audit(origin="yumen.test", heartbeat=dt.timedelta(milliseconds=30)))
    time.sleep(0.2)
    close_home(home)
    assert 2 <= len(bodies(home, "AZ9003")) <= 7


def test_a_trail_that_cannot_be_written_does_not_open(tmp_path: Path) -> None:
    database = open_sqlite(tmp_path / "empty.db")
    with pytest.raises(Unavailable, match="then start again"):
        open_trail(database, Ticking(), Writer.fresh("web"), PRIVACY)
    database.engine.dispose()


def test_a_second_writer_at_the_same_place_is_refused_by_the_keys(home: Home) -> None:
    with pytest.raises((sqlite3.IntegrityError, psycopg.IntegrityError)):
        rows(
            home, "INSERT INTO trail_batch SELECT log, epoch, size + 1, first, edge, root, t, node, boot, counter, settled FROM trail_batch"
        )


@only_sqlite
def test_the_notice_survives_a_commit_that_fails(home: Home) -> None:
    lock = home.file.with_suffix(".lock")
    lock.unlink()
    lock.mkdir()
    with pytest.raises(Unavailable):
        home.trail.append([decision(1)])
    since = home.trail._closed.since
    lock.rmdir()
    rows(home, "CREATE TABLE parent (id INTEGER PRIMARY KEY)")
    rows(home, "CREATE TABLE child (id INTEGER REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED)")
    rows(home, "CREATE TRIGGER late AFTER INSERT ON trail_batch BEGIN INSERT INTO child VALUES (1); END")
    with pytest.raises(Unavailable):  # the deferred key refuses the commit itself, after everything was placed
        home.trail.append([decision(2)])
    rows(home, "DROP TRIGGER late")
    home.trail.append([decision(3)])
    [told] = bodies(home, "AZ9005")
    assert told["d"]["since"] == since
    assert home.check(home.save_heads()).open_numbers == {}


@only_sqlite
def test_a_disk_that_hangs_does_not_hang_the_callers(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audit.flusher.PATIENCE", dt.timedelta(milliseconds=50))
    with home.database.writing():
        answers: list[BaseException] = []

        def ask() -> None:
            try:
                home.trail.append([decision(1)])
            except Unavailable as error:
                answers.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        thread.join(1)
        assert [str(answer) for answer in answers] == [
            "the trail does not answer; nothing was allowed, try again and tell the operator if it stays"
        ]
        assert home.trail.closed
    monkeypatch.undo()
    home.trail.append([decision(2)])
    assert home.check(home.save_heads()).open_numbers == {}
