"""The database is copied as it was at one moment, by a role that may read everything and nobody else's."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from core.database import Database, open_postgres, open_sqlite
from core.errors import Unavailable
from ops import capture
from tests.postgres import Cluster

on_postgresql = pytest.mark.component("postgresql")

#: What the sixteenth million and some events make, in a moment.
LATER = (
    "SET ROLE audit_owner; CREATE TABLE audit.trail_event_1 PARTITION OF audit.trail_event FOR VALUES FROM (16777216) TO (33554432); "
    "RESET ROLE"
)


@pytest.fixture(scope="module")
def server(cluster: Cluster) -> Iterator[str]:
    """A prepared database, by its name."""
    name = cluster.new_database()
    yield name
    cluster.drop(name)


def dump(cluster: Cluster, server: str, role: str, change: str = "SELECT 1") -> bytes:
    """What `role` dumps, while somebody changes the database after the moment was chosen."""
    database: Database = open_postgres(cluster.url(role, server))
    try:
        with database.moment() as session:
            session.execute(text("SELECT 1"))
            with capture.postgres(cluster.url(role, server), session) as data:
                cluster.admin(change, server)
                return b"".join(data)
    finally:
        database.engine.dispose()


@on_postgresql
def test_the_workers_role_dumps_everything_also_parts_of_the_trail_that_are_made_later(cluster: Cluster, server: str) -> None:
    cluster.admin(LATER, server)
    assert b"trail_event_1" in dump(cluster, server, "yumen_worker")


@on_postgresql
def test_a_change_after_the_moment_is_not_in_the_dump(cluster: Cluster, server: str) -> None:
    row = "INSERT INTO yumen.ca_lease (node, boot, beat) VALUES ('too-late', 'b', 1)"
    assert b"too-late" not in dump(cluster, server, "yumen_worker", row)
    assert b"too-late" in dump(cluster, server, "yumen_worker")


@on_postgresql
def test_the_role_that_serves_cannot_dump(cluster: Cluster, server: str) -> None:
    with pytest.raises(Unavailable, match="permission denied"):
        dump(cluster, server, "yumen_web")


def test_no_writer_makes_a_copy_of_sqlite_begin_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = open_sqlite(tmp_path / "yumen.db")
    with sqlite3.connect(tmp_path / "yumen.db") as writer:
        writer.execute("CREATE TABLE rows (number INTEGER, filling TEXT)")
        writer.executemany("INSERT INTO rows VALUES (?, ?)", [(number, "x" * 500) for number in range(400)])
    told: list[str] = []

    def write(now: str) -> None:
        """Another connection commits after every page that was copied."""
        told.append(now)
        with sqlite3.connect(tmp_path / "yumen.db") as writer:
            writer.execute("INSERT INTO rows VALUES (-1, 'too late')")

    monkeypatch.setattr(capture, "_PAGES", 1)
    with database.moment() as session:
        assert session.scalar(text("SELECT count(*) FROM rows")) == 400
        with capture.sqlite(session, tmp_path / "scratch", write) as data:
            (tmp_path / "copy.db").write_bytes(b"".join(data))
    database.engine.dispose()
    with sqlite3.connect(tmp_path / "copy.db") as copy:
        assert copy.execute("SELECT count(*), min(number) FROM rows").fetchone() == (400, 0)
    assert len(told) < 80
    assert not (tmp_path / "scratch").exists()
