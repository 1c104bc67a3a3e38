"""PostgreSQL: what goes over the wire in one batch arrives as it was, and what died is noticed before it is used."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from audit import postgres
from tests.audit.homes import Home, decision
from tests.examples import examples

pytestmark = [pytest.mark.component("postgresql"), pytest.mark.parametrize("place", ["postgresql"], indirect=True)]

_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])) | st.sampled_from(
    ['"', "\\", '\\"', "{}", ",", "NULL", " ", "", "\\x00"]
)


@examples(200, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(_TEXT, st.integers(-(1 << 63), (1 << 63) - 1), st.binary())))
def test_arrays_arrive_as_they_were(home: Home, rows: list[tuple[str, int, bytes]]) -> None:
    texts, numbers, octets = ([row[at] for row in rows] for at in range(3))
    sent = (postgres._texts(texts), postgres._numbers(numbers), postgres._octets(octets))
    with home.database.engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        assert driver.execute("SELECT %s::text[], %s::bigint[], %s::bytea[]", sent).fetchone() == (texts, numbers, octets)


def test_a_text_with_nul_shifts_no_other(place: Path) -> None:
    with pytest.raises(ValueError, match="NUL"):
        postgres._texts(["a", "b\0c"])


def test_what_a_stranger_sends_keeps_nobodys_event_from_being_written(home: Home) -> None:
    """No text of PostgreSQL holds NUL: it is written as its symbol, and commitment and disclosure agree on that."""
    home.trail.append([decision(1), decision(2, personal={"resource": "a\0b"}, object="app:\0", request_id="\0")])
    assert home.rows("SELECT value FROM trail_disclosure WHERE field = 'resource'") == [("a\u2400b",)]
    assert home.rows("SELECT object FROM trail_event WHERE object LIKE 'app:%' AND request_id <> ''") == [("app:\u2400",)]
    home.check(home.save_heads())
    assert not home.trail.closed


def test_after_the_servers_end_of_every_connection_the_next_writer_notices_nothing(home: Home) -> None:
    home.trail.append([decision(1)])
    home.rows("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename LIKE 'yumen%' AND datname = current_database()")
    home.trail.append([decision(2)])
    with home.database.reading() as session:
        assert session.connection().exec_driver_sql("SELECT 1").scalar() == 1
