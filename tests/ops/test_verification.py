"""`yumen audit verify` on the database file itself, as an auditor with a saved head and a key would run it."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli.main import main

pytestmark = pytest.mark.slow


def verify(home: Path, *more: str) -> Result:
    notes = home / "notes"
    trusted = [part for log in ("ca", "access") for part in ("--key", str(notes / f"{log}.vkey"), "--trust", str(notes / f"{log}.note"))]
    return CliRunner().invoke(main, ["audit", "verify", str(home / "yumen.db"), *trusted, "--json", *more])


def break_in(home: Path) -> sqlite3.Connection:
    """The database as somebody with every right on it has it: nothing is append-only any more."""
    database = sqlite3.connect(home / "yumen.db", isolation_level=None)
    for (trigger,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        database.execute(f'DROP TRIGGER "{trigger}"')
    return database


def test_an_untouched_database_verifies(home):
    ended = verify(home)
    assert ended.exit_code == 0, ended.output
    assert json.loads(ended.stdout)["verified"]


def test_a_changed_byte_is_found_and_its_index_named(home):
    database = break_in(home)
    (body,) = database.execute("SELECT body FROM trail_event WHERE log = 'ca' AND idx = 17").fetchone()
    database.execute("UPDATE trail_event SET body = ? WHERE log = 'ca' AND idx = 17", (body.replace(b'"ok"', b'"no"'),))
    database.close()
    ended = verify(home)
    assert ended.exit_code == 1
    told = json.loads(ended.stdout)
    assert (told["verified"], told["first"], told["last"]) == (False, 17, 17)


def test_a_cut_log_is_found_and_the_range_named(home):
    database = break_in(home)
    (size,) = database.execute("SELECT max(idx) + 1 FROM trail_event WHERE log = 'ca'").fetchone()
    database.execute("DELETE FROM trail_event WHERE log = 'ca' AND idx >= ?", (size - 5,))
    database.close()
    ended = verify(home)
    assert ended.exit_code == 1
    told = json.loads(ended.stdout)
    assert told["first"] == size - 5


def test_without_a_key_from_outside_it_refuses_to_answer(home):
    ended = CliRunner().invoke(main, ["audit", "verify", str(home / "yumen.db")])
    assert ended.exit_code == 2


def test_a_file_that_is_no_evidence_is_exit_one(home):
    (home / "x").write_bytes(b"hello")
    ended = CliRunner().invoke(main, ["audit", "verify", str(home / "x"), "--key", str(home / "notes" / "ca.vkey"), "--json"])
    assert ended.exit_code == 1
    assert json.loads(ended.stdout)["code"] == "malformed"
