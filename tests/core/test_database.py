"""The engine keeps what it acknowledges, and lets one writer in at a time, also between processes."""

from __future__ import annotations

import datetime as dt
import fcntl
import multiprocessing
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import MetaData, insert, select, text
from sqlalchemy.exc import SQLAlchemyError, StatementError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from core import database as module
from core.clock import microseconds
from core.database import Database, Instant, UtcDateTime, open_sqlite
from core.errors import Unavailable


class Base(DeclarativeBase):
    """Tables of this test only: the product's metadata stays as it is."""

    metadata = MetaData()


class Moment(Base):
    __tablename__ = "moment"
    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[Instant]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = open_sqlite(tmp_path / "yumen.db")
    Base.metadata.create_all(database.engine)
    yield database
    database.engine.dispose()


def test_every_connection_is_durable_and_keeps_foreign_keys(database: Database) -> None:
    with database.reading() as one, database.reading() as two:
        for session in (one, two):
            values = [session.scalar(text(f"PRAGMA {name}")) for name in ("journal_mode", "synchronous", "foreign_keys", "trusted_schema")]
            assert values == ["wal", 2, 1, 0]


def test_naive_time_is_refused(database: Database) -> None:
    with pytest.raises(StatementError, match="naive datetime"), database.writing() as session:
        session.execute(insert(Moment).values(id=1, at=dt.datetime(2026, 1, 1)))
    with database.reading() as session:
        assert session.scalars(select(Moment)).all() == []


@given(st.datetimes(timezones=st.just(dt.UTC) | st.timezones(), min_value=dt.datetime(1950, 1, 1), max_value=dt.datetime(2200, 1, 1)))
def test_times_come_back_as_the_same_moment_in_utc(moment: dt.datetime) -> None:
    column = UtcDateTime()
    stored = column.process_bind_param(moment, None)
    back = column.process_result_value(stored.replace(tzinfo=None), None)
    assert back == moment.astimezone(dt.UTC).replace(microsecond=0)
    assert back.tzinfo is dt.UTC


@given(st.datetimes(timezones=st.just(dt.UTC)))
def test_microseconds_are_exact(moment: dt.datetime) -> None:
    assert dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=microseconds(moment)) == moment


def test_failed_block_writes_nothing(database: Database) -> None:
    with pytest.raises(ZeroDivisionError), database.writing() as session:
        session.execute(insert(Moment).values(id=1, at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC)))
        1 / 0  # noqa: B018 - the failure
    assert not database.in_write
    with database.reading() as session:
        assert session.scalars(select(Moment)).all() == []


def test_nested_write_is_a_bug(database: Database) -> None:
    with database.writing(), pytest.raises(RuntimeError), database.writing():
        pass


def test_writer_holds_the_lock_file_alone(database: Database) -> None:
    with database.writing():
        descriptor = os.open(database.lock, os.O_RDWR)
        with pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        os.close(descriptor)


def test_writer_excludes_strangers_before_its_first_statement(database: Database) -> None:
    stranger = sqlite3.connect(database.lock.with_suffix(".db"), timeout=0, isolation_level=None)
    with database.writing(), pytest.raises(sqlite3.OperationalError, match="locked"):
        stranger.execute("BEGIN IMMEDIATE")
    stranger.execute("BEGIN IMMEDIATE")
    stranger.close()


def _count_up(path: Path, times: int) -> None:
    """Read, wait, write back: loses counts unless writers exclude each other."""
    database = open_sqlite(path)
    for _ in range(times):
        with database.writing() as session:
            value = session.scalar(text("SELECT n FROM counter"))
            time.sleep(0.0005)
            session.execute(text("UPDATE counter SET n = :n"), {"n": value + 1})
    database.engine.dispose()


@pytest.mark.slow
def test_writers_of_several_processes_exclude_each_other(database: Database, tmp_path: Path) -> None:
    with database.writing() as session:
        session.execute(text("CREATE TABLE counter (n INTEGER)"))
        session.execute(text("INSERT INTO counter VALUES (0)"))
    context = multiprocessing.get_context("spawn")
    children = [context.Process(target=_count_up, args=(tmp_path / "yumen.db", 60)) for _ in range(3)]
    for child in children:
        child.start()
    threads = [threading.Thread(target=_count_up, args=(tmp_path / "yumen.db", 30)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for waiting in (*children, *threads):
        waiting.join()
    assert [child.exitcode for child in children] == [0, 0, 0]
    with database.reading() as session:
        assert session.scalar(text("SELECT n FROM counter")) == 3 * 60 + 2 * 30


def test_writer_gives_up_when_the_lock_stays_taken(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOCK_PATIENCE", dt.timedelta(milliseconds=50))
    descriptor = os.open(database.lock, os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    began = time.monotonic()
    with pytest.raises(Unavailable), database.writing():
        pass
    assert 0.04 < time.monotonic() - began < 1
    os.close(descriptor)
    with database.writing() as session:
        session.execute(insert(Moment).values(id=1, at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC)))


def test_lock_is_released_when_the_block_fails(database: Database) -> None:
    with pytest.raises(ZeroDivisionError), database.writing():
        1 / 0  # noqa: B018 - the failure
    with database.writing():
        pass


def test_readers_see_the_old_state_while_a_writer_works(database: Database) -> None:
    with database.writing() as writer:
        writer.execute(insert(Moment).values(id=1, at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC)))
        seen: list[int] = []

        def read() -> None:
            with database.reading() as session:
                seen.append(len(session.scalars(select(Moment)).all()))

        thread = threading.Thread(target=read)
        thread.start()
        thread.join(5)
    assert seen == [0]


def test_errors_of_the_database_do_not_tell_the_values_they_were_about(tmp_path: Path) -> None:
    database = open_sqlite(tmp_path / "yumen.db")
    with database.reading() as session, pytest.raises(SQLAlchemyError) as told:
        session.execute(text("SELECT nothing FROM nowhere WHERE name = :name"), {"name": "zhangsan"})
    assert "zhangsan" not in str(told.value)


def test_a_journal_that_readers_kept_growing_begins_anew(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "JOURNAL_BYTES", 1 << 20)
    journal = Path(f"{database.engine.url.database}-wal")
    count = select(Moment.id).limit(1)
    with ExitStack() as readers:
        for _ in range(6):  # there is always one who reads, as under load
            with database.writing() as session:
                session.execute(text("CREATE TABLE IF NOT EXISTS filler (data BLOB)"))
                session.execute(text("INSERT INTO filler VALUES (zeroblob(1000000))"))
            with ExitStack() as before:
                before.push(readers.pop_all())
                readers.enter_context(database.reading()).scalar(count)
        grown = journal.stat().st_size
        assert grown > 5_000_000
        database.shorten()  # one still reads what was: nothing is lost, nothing is waited for
        assert journal.stat().st_size == grown
    database.shorten()
    assert journal.stat().st_size == 0
    with database.reading() as session:
        assert session.scalar(text("SELECT count(*) FROM filler")) == 6


def test_a_short_journal_is_left_to_sqlite(database: Database) -> None:
    with database.writing() as session:
        session.execute(insert(Moment).values(id=1, at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC)))
    journal = Path(f"{database.engine.url.database}-wal")
    before = journal.stat().st_size
    database.shorten()
    assert journal.stat().st_size == before > 0
