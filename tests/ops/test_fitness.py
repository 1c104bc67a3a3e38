"""Databases and roles that the service refuses to work with: each by its real cause, with what to do, and before anything is written."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from core.errors import Unavailable
from core.settings import Database, Settings, load
from ops import init, postgres
from ops.node import open_database
from tests.postgres import Cluster
from tests.shape.rules import ROOT

pytestmark = pytest.mark.component("postgresql")

ADVICE = "name yumen_web or yumen_worker in `database.url`"
PREPARE = "run `yumen init --admin-url URL`"


@dataclass
class Place:
    """A database of the test's own, and what is made for it beside it."""

    cluster: Cluster
    name: str

    def url(self, role: str = "yumen_web") -> str:
        return self.cluster.url(role, self.name)

    def admin(self, *statements: str) -> None:
        for statement in statements:
            self.cluster.admin(statement.format(db=self.name), self.name)

    def events(self) -> int:
        with self.cluster.connect(self.name) as connection:
            return connection.execute("SELECT count(*) FROM audit.trail_event").fetchone()[0]

    def accepts(self, role: str = "yumen_web") -> None:
        postgres.opened(self.url(role)).engine.dispose()

    def refusal(self, role: str = "yumen_web") -> str:
        with pytest.raises(Unavailable) as refused:
            postgres.opened(self.url(role)).engine.dispose()
        return refused.value.detail


@pytest.fixture
def place(cluster: Cluster) -> Iterator[Place]:
    made = Place(cluster, cluster.new_database())
    yield made
    cluster.drop(made.name)


@pytest.fixture
def role(place: Place) -> Iterator[str]:
    """A role that may log in to the database and nothing else."""
    name = f"r_{place.name}"
    place.admin(f"CREATE ROLE {name} LOGIN", f"GRANT CONNECT ON DATABASE {place.name} TO {name}")
    place.admin(f"GRANT USAGE ON SCHEMA yumen TO {name}", f"GRANT SELECT ON yumen.alembic_version TO {name}")
    yield name
    place.admin(f"REASSIGN OWNED BY {name} TO admin", f"DROP OWNED BY {name}", f"DROP ROLE {name}")


@pytest.mark.parametrize("name", ["yumen_web", "yumen_worker"])
def test_roles_of_processes_are_fit(place: Place, name: str) -> None:
    place.accepts(name)


@pytest.mark.parametrize("power", ["SUPERUSER", "CREATEROLE", "CREATEDB", "REPLICATION", "BYPASSRLS"])
def test_an_administrator_s_role_is_refused(place: Place, role: str, power: str) -> None:
    place.accepts(role)
    place.admin(f"ALTER ROLE {role} {power}")
    told = place.refusal(role)
    assert f"an administrator's ({power})" in told
    assert ADVICE in told


def test_a_role_behind_which_the_session_began_as_an_administrator_is_refused(place: Place, role: str) -> None:
    """`ALTER ROLE … SET role`: it is one word for the session to be the administrator again."""
    place.admin(f"GRANT yumen_web TO {role}", f"ALTER ROLE {role} SUPERUSER", f"ALTER ROLE {role} SET role = yumen_web")
    with place.cluster.connect(place.name, role) as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("yumen_web",)
    assert "an administrator's (SUPERUSER)" in place.refusal(role)


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE yumen.ca_request OWNER TO {role}",
        "ALTER SCHEMA audit OWNER TO {role}",
        "ALTER FUNCTION audit.must_be_recorded() OWNER TO {role}",
        "ALTER DATABASE {{db}} OWNER TO {role}",
    ],
)
def test_an_owner_of_any_part_is_refused(place: Place, role: str, statement: str) -> None:
    place.admin(statement.format(role=role))
    told = place.refusal(role)
    assert "owns parts of the database" in told
    assert ADVICE in told


@pytest.mark.parametrize("other", ["yumen_owner", "audit_owner", "yumen_worker", "pg_write_all_data", "pg_execute_server_program"])
@pytest.mark.parametrize("inherits", ["INHERIT", "NOINHERIT"])
def test_a_role_that_may_act_as_a_stronger_one_is_refused(place: Place, role: str, other: str, inherits: str) -> None:
    place.admin(f"ALTER ROLE {role} {inherits}", f"GRANT {other} TO {role}")
    told = place.refusal(role)
    assert f"may act as {other}" in told
    assert ADVICE in told


def test_a_role_that_may_act_as_a_stronger_one_by_a_detour_is_refused(place: Place, role: str) -> None:
    middle = f"m_{place.name}"
    place.admin(f"CREATE ROLE {middle} NOINHERIT", f"GRANT audit_owner TO {middle}", f"GRANT {middle} TO {role}")
    try:
        assert "may act as audit_owner" in place.refusal(role)
    finally:
        place.admin(f"DROP ROLE {middle}")


def test_a_group_that_may_nothing_is_no_trouble(place: Place, role: str) -> None:
    group = f"g_{place.name}"
    place.admin(f"CREATE ROLE {group}", f"GRANT {group} TO {role}")
    place.accepts(role)
    place.admin(f"DROP ROLE {group}")


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("GRANT INSERT ON audit.trail_event TO {role}", "may write the trail (trail_event)"),
        ("GRANT UPDATE (body) ON audit.trail_event_0 TO {role}", "may write the trail (trail_event_0)"),
        ("GRANT TRUNCATE ON audit.trail_pending TO PUBLIC", "may write the trail (trail_pending)"),
        ("GRANT CREATE ON SCHEMA yumen TO {role}", "may make objects in yumen"),
        ("GRANT TEMPORARY ON DATABASE {{db}} TO PUBLIC", "temporary tables"),
        ("GRANT CREATE ON DATABASE {{db}} TO {role}", "may make schemas"),
        ("GRANT SET ON PARAMETER session_replication_role TO {role}", "may set session_replication_role"),
        ("ALTER ROLE {role} SET session_replication_role = replica", "session_replication_role is set for this role"),
        ("ALTER ROLE {role} SET default_transaction_read_only = on", "takes no writes"),
    ],
)
def test_a_right_that_goes_around_the_trail_is_refused(place: Place, role: str, statement: str, told: str) -> None:
    place.admin(statement.format(role=role))
    assert told in place.refusal(role)


@pytest.mark.parametrize("where", ["ROLE {role}", "DATABASE {db}", "ROLE {role} IN DATABASE {db}"])
@pytest.mark.parametrize("value", ["off", "local", "remote_write"])
def test_no_default_of_a_role_or_a_database_makes_commits_less_durable(place: Place, role: str, where: str, value: str) -> None:
    place.admin(f"ALTER {where.format(role=role, db=place.name)} SET synchronous_commit = {value}")
    with place.cluster.connect(place.name, role) as plain:
        assert plain.execute("SHOW synchronous_commit").fetchone() == (value,)
    database = postgres.opened(place.url(role))
    with database.engine.connect() as connection:
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "on"
    database.engine.dispose()


def test_a_database_without_schema_is_refused(place: Place) -> None:
    place.admin("DROP SCHEMA yumen CASCADE", "DROP SCHEMA audit CASCADE")
    told = place.refusal()
    assert "it has no schema" in told
    assert PREPARE in told


def test_an_older_schema_is_refused_and_can_be_brought_up(place: Place) -> None:
    place.admin("UPDATE yumen.alembic_version SET version_num = '0001'")
    told = place.refusal()
    assert "older than this version" in told
    assert PREPARE in told


def test_a_database_without_the_name_that_workers_lock_is_older(place: Place) -> None:
    place.admin("DROP VIEW yumen.leadership")
    assert "older than this version" in place.refusal()


def test_a_newer_schema_is_refused_and_not_taken_back(place: Place) -> None:
    place.admin("UPDATE yumen.alembic_version SET version_num = '9999'")
    told = place.refusal()
    assert "newer than this version" in told
    assert PREPARE not in told
    with pytest.raises(Unavailable, match="newer than this version"):
        postgres.prepare(place.url("admin"))
    with place.cluster.connect(place.name) as connection:
        assert connection.execute("SELECT version_num FROM yumen.alembic_version").fetchone() == ("9999",)


def test_a_role_of_another_trade_is_refused(place: Place) -> None:
    told = place.refusal("audit_reader")
    assert "has not the rights of a process" in told
    assert ADVICE in told


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A server whose settings and passwords are the test's own."""
    server = Cluster()
    yield server
    server.close()


@pytest.fixture
def private(own: Cluster) -> Iterator[Place]:
    made = Place(own, own.new_database())
    yield made
    own.drop(made.name)


@contextmanager
def restarted(server: Cluster, options: str) -> Iterator[None]:
    server.stop("fast")
    server.start(options)
    try:
        yield
    finally:
        server.stop("fast")
        server.start()


@pytest.mark.parametrize("name", ["fsync", "full_page_writes"])
def test_a_server_that_loses_what_it_acknowledged_is_refused(own: Cluster, private: Place, name: str) -> None:
    with restarted(own, f"-c {name}=off"):
        told = private.refusal()
    assert f"{name} is off" in told
    assert "switch it on" in told
    private.accepts()


def test_everything_that_is_wrong_is_named_at_once(own: Cluster, private: Place) -> None:
    with restarted(own, "-c fsync=off -c full_page_writes=off"):
        told = private.refusal("admin")
    assert "fsync, full_page_writes is off" in told
    assert "administrator's" in told


def test_a_standby_is_refused(own: Cluster, private: Place) -> None:
    (own.data / "standby.signal").touch()
    with restarted(own, ""):
        told = private.refusal()
        (own.data / "standby.signal").unlink()
    assert "takes no writes, being a standby" in told


def test_a_wrong_password_and_a_wrong_name_are_told_apart(own: Cluster, private: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    private.admin("ALTER ROLE yumen_web PASSWORD 'right'")
    rules = own.data / "pg_hba.conf"
    kept = rules.read_text()
    rules.write_text("local all admin trust\nlocal all yumen_web scram-sha-256\n")
    private.admin("SELECT pg_reload_conf()")
    try:
        time.sleep(0.2)
        monkeypatch.setenv("PGPASSWORD", "right")
        private.accepts()
        monkeypatch.setenv("PGPASSWORD", "wrong")
        told = private.refusal()
        assert "password authentication failed" in told
        assert "wrong" not in told
        assert "how it lets this role in" in told
    finally:
        rules.write_text(kept)
        private.admin("SELECT pg_reload_conf()")


def test_a_database_or_a_role_that_is_not_there_is_named(cluster: Cluster, place: Place) -> None:
    assert '"nowhere" does not exist' in Place(cluster, "nowhere").refusal()
    assert '"nobody_here" does not exist' in place.refusal("nobody_here")


def test_a_server_that_is_not_there_or_does_not_answer_is_told_within_seconds(cluster: Cluster, tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(Unavailable, match="No such file or directory"):
        postgres.opened(f"postgresql://yumen_web@/yumen?host={tmp_path}")
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(Unavailable, match="timeout"):
        postgres.opened(f"postgresql://yumen_web@127.0.0.1:{silent.getsockname()[1]}/yumen")
    assert time.monotonic() - began < 8


def test_a_home_of_a_newer_version_is_refused_on_sqlite_as_well(settings: Settings) -> None:
    with closing(sqlite3.connect(settings.home / "yumen.db", isolation_level=None)) as file:
        file.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(Unavailable, match="newer than this version"):
        open_database(settings)


@pytest.fixture(scope="module")
def production(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A home of production before its ceremony, and its database to copy."""
    folder = tmp_path_factory.mktemp("production")
    home = folder / "home"
    home.mkdir()
    for name in ("web", "worker"):
        (folder / f"{name}.secret").write_text(name * 8)
        (folder / f"{name}.secret").chmod(0o600)
    keys = "".join(f'{name}_secret = "{folder}/{name}.secret"\n' for name in ("web", "worker"))
    (home / "yumen.toml").write_text(f'[web]\nhttps_url = "https://yumen.jiangzhou.example"\n[keys]\n{keys}')
    name = cluster.new_database()
    found = replace(load({"YUMEN_HOME": str(home)}), database=Database(url=cluster.url("yumen_worker", name)))
    init.make_home(found, tell=lambda _: None, admin_url=cluster.url("admin", name))
    init.make_home(found, tell=lambda _: None)
    return home, name


def files(home: Path) -> dict[str, bytes]:
    """What lies in a home, but for the locks of its processes."""
    return {str(path): path.read_bytes() for path in home.rglob("*") if path.is_file() and path.parent.name != "writers"}


CAUSES = {
    "superuser": ([], "admin", "administrator's"),
    "newer": (["UPDATE yumen.alembic_version SET version_num = '9999'"], "yumen_worker", "newer than this version"),
    "elsewhere": ([], "nobody_here", "does not exist"),
}


@pytest.mark.slow
@pytest.mark.parametrize("cause", CAUSES)
def test_no_command_starts_and_nothing_is_written(cluster: Cluster, production: tuple[Path, str], tmp_path: Path, cause: str) -> None:
    statements, role, told = CAUSES[cause]
    home = shutil.copytree(production[0], tmp_path / "home")
    place = Place(cluster, cluster.new_database(production[1]))
    place.admin(*statements)
    before, events = files(home), place.events()
    environ = {**os.environ, "YUMEN_HOME": str(home), "YUMEN_DATABASE_URL": place.url(role)}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "cli.main", command], env=environ, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for command in ("serve", "worker", "status")
    ]
    told_by = [(*process.communicate(timeout=30), process.returncode) for process in started]
    for out, err, code in told_by:
        assert (code, out) == (1, "")
        assert "unavailable: the database " in err
        assert told in err
        assert "Traceback" not in err
    assert files(home) == before
    assert place.events() == events
    cluster.drop(place.name)
