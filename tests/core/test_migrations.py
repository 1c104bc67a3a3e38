"""The history of the schema and the rooms' tables are the same thing."""

from __future__ import annotations

import importlib
import re
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

import migrations
from core.database import Database, Model, open_sqlite

for _room in ("audit", "authz", "ca", "ops"):
    importlib.import_module(f"{_room}.tables")  # registers the room's tables

#: Tests of other rooms declare tables of their own, `test_…`.
OURS = [table for table in Model.metadata.sorted_tables if not table.name.startswith("test_")]


def _schema(database: Database) -> dict[str, str]:
    """Every table, index and trigger as SQLite keeps it, without white space and order of constraints."""
    with database.reading() as session:
        rows = session.execute(text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name != 'alembic_version'"))
        return {name: _normal(sql) for name, sql in rows}


def _normal(sql: str) -> str:
    head, _, body = re.sub(r"\s+", " ", sql.replace('"', "")).partition("(")
    return head.strip() + "(" + ",".join(sorted(part.strip() for part in body.removesuffix(")").split(",")))


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return open_sqlite(tmp_path / "yumen.db")


def test_steps_and_tables_agree_to_the_letter(database: Database, tmp_path: Path) -> None:
    migrations.upgrade(database.engine)
    declared = open_sqlite(tmp_path / "declared.db")
    Model.metadata.create_all(declared.engine, OURS)
    assert _schema(database) == _schema(declared)


def test_alembic_sees_no_difference(database: Database) -> None:
    migrations.upgrade(database.engine)
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_object": lambda table, *_: not str(table.name).startswith("test_")})
        assert compare_metadata(context, Model.metadata) == []


def test_upgrade_twice_changes_nothing(database: Database) -> None:
    migrations.upgrade(database.engine)
    before = _schema(database)
    migrations.upgrade(database.engine)
    assert migrations.age(database.engine) is migrations.Age.CURRENT
    assert _schema(database) == before


def test_new_database_is_not_current(database: Database) -> None:
    assert migrations.age(database.engine) is not migrations.Age.CURRENT


def test_several_processes_may_upgrade_at_once(tmp_path: Path) -> None:
    failures: list[Exception] = []

    def start() -> None:
        try:
            migrations.upgrade(open_sqlite(tmp_path / "yumen.db").engine)
        except Exception as error:  # noqa: BLE001 - whatever happens in the thread is the result
            failures.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert migrations.age(open_sqlite(tmp_path / "yumen.db").engine) is migrations.Age.CURRENT


def test_step_that_fails_leaves_nothing(database: Database) -> None:
    """The schema changes in one transaction: an interrupted upgrade is no half schema."""
    with database.writing() as session:
        session.execute(text("CREATE TABLE trail_event (in_the_way INTEGER)"))
    before = _schema(database)
    with pytest.raises(OperationalError, match="trail_event"):
        migrations.upgrade(database.engine)
    assert _schema(database) == before
