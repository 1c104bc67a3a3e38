"""Somebody with every right on the database: rows of facts and of the trail, changed behind the back of the service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, delete, event, insert, select, update

from audit.tables import INSERT_ONLY
from core.database import Database, Model


class Stranger:
    """Works on the database itself, with triggers and foreign keys out of the way."""

    def __init__(self, database: Database) -> None:
        self._engine = _engine(database)

    @contextmanager
    def at_work(self) -> Iterator[Connection]:
        with self._engine.begin() as connection:
            yield connection

    def close(self) -> None:
        self._engine.dispose()

    def rows(self, table: str) -> list[dict[str, Any]]:
        with self.at_work() as db:
            return [dict(row) for row in db.execute(select(Model.metadata.tables[table])).mappings()]

    def row(self, table: str, key: dict[str, Any]) -> dict[str, Any]:
        with self.at_work() as db:
            return dict(db.execute(select(Model.metadata.tables[table]).filter_by(**key)).mappings().one())

    def delete(self, table: str, row: dict[str, Any]) -> None:
        with self.at_work() as db:
            assert db.execute(delete(Model.metadata.tables[table]).where(*_is(table, row))).rowcount == 1

    def insert(self, table: str, row: dict[str, Any]) -> None:
        with self.at_work() as db:
            db.execute(insert(Model.metadata.tables[table]).values(row))

    def change(self, table: str, row: dict[str, Any], **changes: Any) -> None:
        with self.at_work() as db:
            assert db.execute(update(Model.metadata.tables[table]).where(*_is(table, row)).values(changes)).rowcount == 1


def _is(table: str, row: dict[str, Any]) -> list[Any]:
    known: Table = Model.metadata.tables[table]
    return [column == row[column.name] for column in known.primary_key]


def _engine(database: Database) -> Engine:
    if database.lock:
        engine = create_engine(database.engine.url)

        @event.listens_for(engine, "connect")
        def _unguarded(connection: Any, _entry: Any) -> None:
            for table in INSERT_ONLY:
                for verb in ("update", "delete"):
                    connection.execute(f"DROP TRIGGER IF EXISTS {table}_no_{verb}")

        return engine
    options = "-c search_path=pg_catalog,yumen,audit,pg_temp -c timezone=UTC -c session_replication_role=replica"
    return create_engine(database.engine.url.set(username="admin"), connect_args={"options": options})
