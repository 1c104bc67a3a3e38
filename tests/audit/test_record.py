"""The recording transaction: facts and their events live or die together."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import insert, select, text, update
from sqlalchemy.orm import Mapped, mapped_column

from audit.record import UnrecordedChange, recording, volatile_tables
from core.database import Model
from core.errors import Conflict, Malformed, Unavailable
from migrations.rights import guard
from tests.audit.homes import Home, issued


class Fact(Model):
    __tablename__ = "test_fact"
    id: Mapped[int] = mapped_column(primary_key=True)
    word: Mapped[str]


class LastSeen(Model):
    __tablename__ = "test_last_seen"
    __volatile__ = True
    id: Mapped[int] = mapped_column(primary_key=True)


@pytest.fixture
def tables(home: Home) -> Home:
    if home.database.lock:
        Model.metadata.create_all(home.database.engine, tables=[Fact.__table__, LastSeen.__table__])
    else:
        home.rows("CREATE TABLE test_fact (id SERIAL PRIMARY KEY, word varchar NOT NULL)")
        home.rows("CREATE TABLE test_last_seen (id SERIAL PRIMARY KEY)")
        home.rows("GRANT SELECT, INSERT, UPDATE, DELETE ON test_fact, test_last_seen TO yumen_worker")
        home.rows(guard("test_fact"))
    with recording(home.trail) as tx:
        tx.db.add(Fact(id=1, word="before"))
        tx.record(issued(0))
    return home


def word(home: Home) -> str | None:
    with home.database.reading() as session:
        return session.scalar(select(Fact.word).where(Fact.id == 1))


def test_fact_and_event_commit_together_and_the_receipt_says_where(tables: Home) -> None:
    with recording(tables.trail) as tx:
        tx.db.add(Fact(id=2, word="new"))
        tx.record(issued(1))
        tx.record(issued(2))
        assert tx.receipts == []
    assert [receipt.log for receipt in tx.receipts] == ["ca/1", "ca/1"]
    assert tx.receipts[1].idx == tx.receipts[0].idx + 1
    tables.check(tables.save_heads())


def test_neither_fact_nor_event_survives_an_error(tables: Home) -> None:
    before = tables.save_heads()
    with pytest.raises(Conflict), recording(tables.trail) as tx:
        tx.db.get_one(Fact, 1).word = "after"
        tx.record(issued(1))
        raise Conflict("no")
    assert word(tables) == "before"
    assert [head.size for head in tables.save_heads()] == [head.size for head in before]


@pytest.mark.parametrize(
    "change",
    [
        lambda db: db.add(Fact(id=9, word="added")),
        lambda db: (db.add(Fact(id=9, word="flushed early")), db.flush()),
        lambda db: setattr(db.get_one(Fact, 1), "word", "changed"),
        lambda db: db.delete(db.get_one(Fact, 1)),
        lambda db: db.execute(update(Fact).values(word="bulk")),
        lambda db: db.execute(insert(Fact).values(id=9, word="core")),
        lambda db: db.execute(update(Fact.__table__).values(word="table")),
        lambda db: db.execute(text("UPDATE test_fact SET word = 'text'")),
        lambda db: db.connection().exec_driver_sql("UPDATE test_fact SET word = 'raw'"),
        lambda db: db.bulk_insert_mappings(Fact, [{"id": 9, "word": "mapping"}]),
        lambda db: (db.add(Fact(id=9, word="mixed")), db.add(LastSeen(id=1))),
    ],
)
def test_a_change_without_an_event_is_refused(tables: Home, change: object) -> None:
    with pytest.raises(UnrecordedChange), recording(tables.trail) as tx:
        change(tx.db)  # type: ignore[operator]
    assert word(tables) == "before"


def test_reading_needs_no_event(tables: Home) -> None:
    with recording(tables.trail) as tx:
        assert tx.db.scalars(select(Fact)).all()
        tx.db.get_one(Fact, 1).word = "before"
    assert tx.receipts == []


def test_rows_that_are_no_facts_need_no_event(tables: Home) -> None:
    with recording(tables.trail) as tx:
        tx.db.add(LastSeen(id=1))
    with recording(tables.trail) as tx:
        tx.db.execute(update(LastSeen).values(id=2))
    assert "test_last_seen" in volatile_tables()
    assert "test_fact" not in volatile_tables()


def test_the_moment_is_one_for_the_whole_transaction(tables: Home) -> None:
    with recording(tables.trail) as tx:
        assert tx.now == tx.now


def test_a_database_that_fails_under_the_use_case_is_unavailable(tables: Home) -> None:
    with pytest.raises(Unavailable), recording(tables.trail) as tx:
        tx.db.execute(text("SELECT * FROM no_such_table"))
    assert tables.trail.closed


def test_an_error_of_the_use_case_stays_itself(tables: Home, tmp_path: Path) -> None:
    with pytest.raises(Malformed), recording(tables.trail):
        try:
            (tmp_path / "missing").read_bytes()
        except OSError as error:
            raise Malformed("cannot read it") from error
    assert not tables.trail.closed


def test_a_transaction_inside_a_transaction_is_a_bug(tables: Home) -> None:
    with pytest.raises(RuntimeError, match="already open"), recording(tables.trail), recording(tables.trail):
        pass
