"""PostgreSQL: what its roles may not do, what its administrator cannot hide, and what happens when it fails in between."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text

from audit.postgres import Missequenced
from audit.record import UnrecordedChange, recording, volatile_tables
from audit.tables import INSERT_ONLY
from audit.verifier.errors import Tampered
from core.database import Model
from core.errors import NotYetProved, Unavailable
from migrations import rights
from tests.audit.homes import Home, close_home, decision, issued, open_home, stranger, url

pytestmark = [pytest.mark.component("postgresql"), pytest.mark.parametrize("place", ["postgresql"], indirect=True)]

SERVICES = ("yumen_web", "yumen_worker")
#: A change of a fact, in a table that both services may write.
CHANGE = "INSERT INTO authz_account (person, reason, at) VALUES ('p', 'why', now())"


def as_role(home: Home, role: str) -> psycopg.Connection:
    return psycopg.connect(url(home.folder, role), options="-c search_path=pg_catalog,yumen,audit,pg_temp")


@pytest.fixture
def worker(home: Home) -> Iterator[psycopg.Connection]:
    with as_role(home, "yumen_worker") as connection:
        yield connection
        connection.rollback()


def bodies(home: Home, code: str) -> list[dict[str, object]]:
    return [json.loads(body) for (body,) in home.rows(f"SELECT body FROM trail_event WHERE code = '{code}' ORDER BY idx")]


@pytest.mark.parametrize("role", [*SERVICES, "audit_reader"])
def test_no_role_of_the_service_writes_a_table_of_the_trail(home: Home, role: str) -> None:
    home.trail.append([decision(1, personal={"name": "x"})])
    tables = [table for (table,) in home.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'audit'")]
    assert set(INSERT_ONLY) < set(tables)
    with as_role(home, role) as connection:
        connection.autocommit = True
        for table in tables:
            [(column,)] = home.rows(f"SELECT attname FROM pg_attribute WHERE attrelid = 'audit.{table}'::regclass AND attnum = 1")
            for statement in (
                f"INSERT INTO audit.{table} OVERRIDING SYSTEM VALUE SELECT * FROM audit.{table}",
                f"UPDATE audit.{table} SET {column} = DEFAULT",
                f"DELETE FROM audit.{table}",
                f"TRUNCATE audit.{table}",
                f"DROP TABLE audit.{table}",
                f"ALTER TABLE audit.{table} DISABLE TRIGGER ALL",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statement)


def test_signed_things_and_checkpoints_are_written_by_the_worker_alone(home: Home) -> None:
    with as_role(home, "yumen_web") as connection:
        connection.autocommit = True
        for table in rights.SIGNED:
            for statement in (f"INSERT INTO {table} DEFAULT VALUES", f"DELETE FROM {table}", f"TRUNCATE {table}"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statement)
        for column in ("der", "subject", "intent_id", "authority"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"UPDATE ca_certificate SET {column} = {column}")
        connection.execute("SELECT * FROM ca_certificate FOR UPDATE")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT audit.put_checkpoint('ca', 1, 2, '', '', 0)")


def test_inner_functions_are_nobodys(home: Home) -> None:
    functions = home.rows("SELECT proname, oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'audit'::regnamespace")
    open_to = {"append", "enqueue", "disclose", "open_epoch"}
    for name, signature in functions:
        for role in (*SERVICES, "audit_reader"):
            [(may,)] = home.rows(f"SELECT has_function_privilege('{role}', '{signature}', 'EXECUTE')")
            assert may is (role in SERVICES and (name in open_to or (name == "put_checkpoint" and role == "yumen_worker"))), (name, role)


@pytest.mark.parametrize("role", SERVICES)
def test_a_fact_without_an_event_is_refused_at_commit(home: Home, role: str) -> None:
    with as_role(home, role) as connection:
        connection.execute(CHANGE)
        with pytest.raises(psycopg.Error, match="no event was enqueued"):
            connection.commit()
    with pytest.raises(UnrecordedChange), recording(home.trail) as tx:
        tx.db.connection().exec_driver_sql(CHANGE)
    assert home.rows("SELECT * FROM authz_account") == []


def test_an_event_of_another_transaction_does_not_excuse_a_fact(home: Home, worker: psycopg.Connection) -> None:
    other = open_home(home.folder, node="other", boot="other")
    with other.database.writing() as session:
        other.trail.place_with(session, other.trail.prepare([issued(1)]))
        session.flush()
        worker.execute(CHANGE)
        with pytest.raises(psycopg.Error, match="no event was enqueued"):
            worker.commit()
    close_home(other)


def test_the_tables_of_no_facts_are_the_same_here_and_there(home: Home) -> None:
    shown = {name for name in Model.metadata.tables if not name.startswith(("trail_", "test_"))}
    assert volatile_tables() & shown == set(rights.VOLATILE) - {"alembic_version"}


def test_every_table_of_facts_has_its_trigger(home: Home) -> None:
    guarded = {table for (table,) in home.rows("SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname LIKE '%\\_recorded'")}
    facts = {name for name in Model.metadata.tables if not name.startswith(("trail_", "test_"))} - set(rights.VOLATILE)
    assert facts <= {name.removeprefix("yumen.") for name in guarded}


@pytest.mark.parametrize("role", SERVICES)
def test_rows_cannot_be_diverted_by_objects_of_the_same_name(home: Home, role: str) -> None:
    with as_role(home, role) as connection:
        connection.autocommit = True
        for statement in (
            "CREATE TEMPORARY TABLE trail_event (LIKE audit.trail_event)",
            "CREATE TEMPORARY TABLE trail_pending (LIKE audit.trail_event)",
            "CREATE FUNCTION pg_temp.sha256(bytea) RETURNS bytea LANGUAGE sql AS 'SELECT $1'",
            "CREATE FUNCTION public.sha256(bytea) RETURNS bytea LANGUAGE sql AS 'SELECT $1'",
            "CREATE FUNCTION yumen.cardinality(anyarray) RETURNS integer LANGUAGE sql AS 'SELECT 0'",
            "CREATE OPERATOR yumen.|| (LEFTARG = bytea, RIGHTARG = bytea, FUNCTION = byteacat)",
            "CREATE SCHEMA mine",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


def test_even_with_temporary_tables_every_row_reaches_the_trail(home: Home) -> None:
    """The second wall: the functions' own search path, seen when the first one is taken away."""
    [(name,)] = home.rows("SELECT current_database()")
    home.rows(f"GRANT TEMPORARY ON DATABASE {name} TO PUBLIC")
    with home.database.appending() as cursor:
        for table in ("trail_event", "trail_batch", "trail_pending", "trail_epoch", "trail_lock"):
            cursor.execute(f"CREATE TEMPORARY TABLE {table} AS SELECT * FROM pg_class LIMIT 0")
        placed = home.trail.place(cursor, home.trail.prepare([decision(1)]))
    home.trail.landed(placed)
    assert len(bodies(home, "AZ1001")) == 1
    home.database.engine.dispose()
    home.check(home.save_heads())


def test_a_function_that_was_replaced_is_noticed_before_the_commit(home: Home) -> None:
    [(source,)] = home.rows("SELECT pg_get_functiondef('audit.place'::regproc)")
    for honest, tampered in (("sha256('\\x00'::bytea || x)", "sha256('\\x00'::bytea || x || 'x')"), ("w.l, w.y", "w.l, w.y || 'x'::bytea")):
        assert honest in source
        source = source.replace(honest, tampered)
    home.rows(source)
    before = home.rows("SELECT count(*) FROM trail_event")
    with pytest.raises(Unavailable) as refused:
        home.trail.append([decision(1)])
    assert isinstance(refused.value.__cause__, Missequenced)
    assert home.trail.closed
    assert home.rows("SELECT count(*) FROM trail_event") == before


def test_when_the_rights_are_gone_the_answer_is_no_and_later_told(home: Home) -> None:
    [(function,)] = home.rows("SELECT 'audit.append'::regproc::oid::regprocedure::text")
    home.rows(f"REVOKE EXECUTE ON FUNCTION {function} FROM yumen_worker")
    for _ in range(2):
        with pytest.raises(Unavailable):
            home.trail.append([decision(1)])
    with pytest.raises(Unavailable), recording(home.trail) as tx:  # the trail is closed: no fact is committed for later
        tx.record(issued(1))
    assert home.trail.closed
    home.rows(f"GRANT EXECUTE ON FUNCTION {function} TO yumen_worker")
    home.trail.append([decision(2)])
    [told] = bodies(home, "AZ9005")
    assert told["d"]["refused"] >= 2
    assert [body["d"]["n"] for body in bodies(home, "AZ1001")] == [2]
    assert home.check(home.save_heads()).open_numbers == {}


def test_an_act_whose_event_cannot_be_placed_stands_and_is_placed_by_the_next_append(home: Home) -> None:
    [(function,)] = home.rows("SELECT 'audit.append'::regproc::oid::regprocedure::text")
    home.rows(f"REVOKE EXECUTE ON FUNCTION {function} FROM yumen_worker")
    with pytest.raises(NotYetProved, match="cert:staff/7"), recording(home.trail) as tx:
        tx.db.execute(text(CHANGE))
        tx.record(issued(7))
    assert len(home.rows("SELECT * FROM authz_account")) == 1
    assert bodies(home, "CA1004") == []
    home.rows(f"GRANT EXECUTE ON FUNCTION {function} TO yumen_worker")
    home.trail.append([decision(1)])
    assert [body["obj"] for body in bodies(home, "CA1004")] == ["cert:staff/7"]
    assert home.check(home.save_heads()).open_numbers == {}


def test_what_a_dead_process_enqueued_is_placed_by_the_next_start(home: Home) -> None:
    dead = open_home(home.folder, node="dead", boot="one")
    with dead.database.writing() as session:
        dead.trail.place_with(session, dead.trail.prepare([issued(9)]))
    close_home(dead)
    close_home(open_home(home.folder, node="dead", boot="two"))
    assert [body["obj"] for body in bodies(home, "CA1004")] == ["cert:staff/9"]
    report = home.check(home.save_heads())
    assert all(node != "dead" or boot == "two" for node, boot in report.open_numbers)


def test_two_processes_place_side_by_side_without_gap_or_fork(home: Home) -> None:
    other = open_home(home.folder, node="other", boot="other")
    failures: list[BaseException] = []

    def work(trail: object) -> None:
        try:
            for number in range(15):
                trail.append([decision(number)])  # type: ignore[attr-defined]
                with recording(trail) as tx:  # type: ignore[arg-type]
                    tx.record(issued(number))
                    tx.record(decision(number))
        except BaseException as error:  # noqa: BLE001 - whatever happens in the thread is the result
            failures.append(error)

    threads = [threading.Thread(target=work, args=(trail,)) for trail in (home.trail, other.trail) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    close_home(other)
    assert len(bodies(home, "CA1004")) == 120
    assert len(bodies(home, "AZ1001")) == 240
    assert home.rows("SELECT count(*) FROM trail_pending") == [(0,)]
    home.check(home.save_heads())


@pytest.mark.slow
def test_trees_of_two_tile_levels_are_checked_whole(home: Home) -> None:
    for _ in range(66):
        home.trail.append([decision(number) for number in range(1000)])
    heads = home.save_heads()
    assert home.rows("SELECT count(*) FROM trail_tile WHERE log = 'access' AND level = 1") == [(1,)]
    home.check(heads)
    home.attack("UPDATE trail_tile SET data = zeroblob(8192) WHERE log = 'access' AND level = 1")
    with pytest.raises(Tampered, match="tile 1/0"):
        home.check(heads)


def test_a_partition_is_opened_where_the_last_one_ends(home: Home) -> None:
    """The next index is 2^24, as far as the journal knows."""
    size = 1 << 24
    home.attack(f"UPDATE trail_batch SET size = {size}, edge = substr(edge, 1, 32) WHERE log = 'access'")
    [receipt] = home.trail.append([decision(1)])
    assert receipt.idx == size
    assert home.rows("SELECT tableoid::regclass::text FROM trail_event WHERE code = 'AZ1001'") == [("trail_event_1",)]


def test_administrators_are_no_strangers_to_the_helper(home: Home, place: Path) -> None:
    assert stranger(place, "SELECT current_setting('is_superuser')") == [("on",)]


def a_row(home: Home, table: str) -> str:
    """The statement that makes one row of `table`, whatever it means."""
    columns = home.rows(
        "SELECT attname, format_type(atttypid, NULL), attidentity FROM pg_attribute"
        f" WHERE attrelid = 'yumen.{table}'::regclass AND attnum > 0 AND NOT attisdropped"
    )
    values = {"boolean": "true", "bytea": "'\\x00'", "timestamp with time zone": "now()", "integer": "1", "bigint": "1"}
    names, things = ", ".join(name for name, _, _ in columns), ", ".join(values.get(kind, "'x'") for _, kind, _ in columns)
    return f"INSERT INTO {table} ({names}) VALUES ({things})"


@pytest.mark.parametrize("role", SERVICES)
def test_no_fact_of_any_table_changes_without_an_event_whoever_tries(home: Home, role: str) -> None:
    facts = sorted({name for name in Model.metadata.tables if not name.startswith(("trail_", "test_"))} - set(rights.VOLATILE))
    for table in facts:
        home.attack(a_row(home, table))
        [(column,)] = home.rows(f"SELECT attname FROM pg_attribute WHERE attrelid = 'yumen.{table}'::regclass AND attnum = 1")
        for statement in (f"UPDATE {table} SET {column} = {column}", f"DELETE FROM {table}"):
            with as_role(home, role) as connection:
                try:
                    connection.execute(statement)
                    connection.commit()
                except psycopg.errors.InsufficientPrivilege:
                    assert role == "yumen_web", table
                    assert table in rights.SIGNED, table
                except psycopg.Error as error:
                    assert "no event was enqueued" in str(error), table
                else:
                    raise AssertionError(f"{role} did: {statement}")
                connection.rollback()
        assert len(home.rows(f"SELECT * FROM {table}")) == 1, table
        home.attack(f"DELETE FROM {table}")
