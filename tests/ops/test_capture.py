"""The database is copied as it was at one moment, by a role that may read everything and nobody else's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import text

from core.database import Database, open_postgres
from core.errors import Unavailable
from ops import capture
from tests.postgres import Cluster

pytestmark = pytest.mark.component("postgresql")

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


def test_the_workers_role_dumps_everything_also_parts_of_the_trail_that_are_made_later(cluster: Cluster, server: str) -> None:
    cluster.admin(LATER, server)
    assert b"trail_event_1" in dump(cluster, server, "yumen_worker")


def test_a_change_after_the_moment_is_not_in_the_dump(cluster: Cluster, server: str) -> None:
    row = "INSERT INTO yumen.ca_lease (node, boot, beat) VALUES ('too-late', 'b', 1)"
    assert b"too-late" not in dump(cluster, server, "yumen_worker", row)
    assert b"too-late" in dump(cluster, server, "yumen_worker")


def test_the_role_that_serves_cannot_dump(cluster: Cluster, server: str) -> None:
    with pytest.raises(Unavailable, match="permission denied"):
        dump(cluster, server, "yumen_web")
