"""A process of production tells what keeps it from serving: each reason by its real cause, and gone when the cause is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from audit.event import Event, Kind
from audit.permit import Actor
from audit.record import recording
from authz import province, standing
from ca.tables import Authority
from core.errors import NotYetProved
from core.settings import Database, Settings, load
from ops import init, readiness, running
from ops.node import Node, open_node
from ops.readiness import LEADERLESS, Lead
from tests.ops.processes import CEREMONY, people
from tests.postgres import Cluster

pytestmark = [pytest.mark.alone, pytest.mark.slow, pytest.mark.component("postgresql")]


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    """A server of the test's own: it is stopped, and set wrongly."""
    own = Cluster()
    yield own
    own.close()


@pytest.fixture(scope="module")
def settings(server: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("readiness")
    home = folder / "home"
    home.mkdir()
    for name in ("web", "worker"):
        (folder / f"{name}.secret").write_text(name * 8)
        (folder / f"{name}.secret").chmod(0o600)
    keys = "".join(f'{name}_secret = "{folder}/{name}.secret"\n' for name in ("web", "worker"))
    (home / "yumen.toml").write_text(f'[authz]\nstale_limit = "2s"\n[audit]\nreconcile_period = "1d"\n[keys]\n{keys}')
    province.write(home / "directory.ldif", seed=7, hasher=province.QUICK)
    name = server.new_database()
    found = replace(load({"YUMEN_HOME": str(home)}), database=Database(url=server.url("yumen_worker", name)))
    init.make_home(found, tell=lambda _: None, admin_url=server.url("admin", name))
    init.make_home(found, tell=lambda _: None)
    init.hold_ceremony(found, CEREMONY + people(), say=lambda _: None, hand_over=lambda _: None)
    return found


class Jobs:
    """The worker of the home, which tests end and start again."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._running = settings, ExitStack()

    def start(self) -> None:
        self._running.enter_context(running.working(self._settings))

    def end(self) -> None:
        self._running.close()


@pytest.fixture(scope="module")
def jobs(settings: Settings) -> Iterator[Jobs]:
    found = Jobs(settings)
    found.start()
    yield found
    found.end()


@pytest.fixture(scope="module")
def opened(settings: Settings, jobs: Jobs) -> Iterator[Node]:
    """What a web process opens."""
    role = replace(settings, database=Database(url=settings.database.url.replace("yumen_worker", "yumen_web")))
    node = open_node(role, role="serve", with_keys=False)
    yield node
    node.close()


@pytest.fixture
def node(opened: Node) -> Iterator[Node]:
    """It is ready before each test and again after it."""
    until(lambda: told(opened) == [])
    yield opened
    until(lambda: told(opened) == [])


def told(node: Node) -> list[str]:
    return readiness.reasons(node, node.lead)


def until(holds: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.05)


def shows(node: Node, words: str) -> None:
    until(lambda: any(words in reason for reason in told(node)))


def admin(server: Cluster, settings: Settings, *statements: str) -> None:
    """Behind the back of everybody: no trigger fires."""
    database = settings.database.url.partition("@/")[2].partition("?")[0]
    with server.connect(database) as connection:
        connection.execute("SET session_replication_role = replica")
        for statement in statements:
            connection.execute(statement)


def test_when_the_trail_takes_nothing_in_it_is_told_with_what_waits(server: Cluster, settings: Settings, node: Node) -> None:
    with node.database.reading() as session:
        found = session.scalars(text("SELECT oid::regprocedure::text FROM pg_proc WHERE proname = 'append'"))
        functions = ", ".join(found)
    admin(server, settings, f"REVOKE EXECUTE ON FUNCTION {functions} FROM yumen_web")
    try:
        with pytest.raises(NotYetProved), recording(node.trail) as tx:
            standing.revoke(tx, "ab" * 32, 0x77, "superseded")
            tx.record(Event(kind=Kind.CERT_REVOKED, actor=Actor.service("issuance"), object="cert:staff/77"))
        shows(node, "the trail cannot be written: acts, logins and decisions are refused; 1 events stand and wait for their place in it")
    finally:
        admin(server, settings, f"GRANT EXECUTE ON FUNCTION {functions} TO yumen_web")


def test_a_directory_that_cannot_be_read_is_told_when_decisions_have_become_no(settings: Settings, node: Node, tmp_path: Path) -> None:
    kept = (settings.home / "directory.ldif").rename(tmp_path / "away.ldif")
    try:
        shows(node, "the directory is stale")
    finally:
        kept.rename(settings.home / "directory.ldif")


def test_that_nobody_works_is_told_after_some_seconds_and_not_before(node: Node, jobs: Jobs) -> None:
    jobs.end()
    ended = time.monotonic()
    try:
        shows(node, "no worker leads")
        assert time.monotonic() - ended > LEADERLESS - 1
        assert any("run `yumen worker`" in reason for reason in told(node))
    finally:
        jobs.start()


def test_a_change_of_workers_is_not_told(settings: Settings, node: Node) -> None:
    """Whoever looks at a database that somebody leads again in time has missed nobody."""
    now = [100.0]
    lead = Lead(node.settings, node.trail, lambda: now[0])
    now[0] += LEADERLESS - 0.1
    assert lead.look()
    now[0] += 1
    assert lead.missing_seconds == 1
    assert readiness.reasons(node, lead) == []


NEWEST = "(SELECT max(id) FROM yumen.ca_crl WHERE authority = 'staff' AND state = 'published')"


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (f"UPDATE yumen.ca_crl SET next_update = now() WHERE id = {NEWEST}", "the revocation list of staff is missing or over"),
        (
            f"UPDATE yumen.ca_crl SET this_update = now() - interval '20 h', next_update = now() + interval '4 h' WHERE id = {NEWEST}",
            "the revocation list of staff was not renewed at half of its life",
        ),
        (
            """INSERT INTO yumen.ca_revocation (intent_id, authority, serial, standing, reason, at, not_after, revision)
            VALUES (999999, 'staff', 'abc', 'revoked', 'superseded', now() - interval '2 min', now() + interval '1 day', 999999)""",
            "the revocation list of staff lacks a revocation for more than a minute",
        ),
    ],
)
def test_what_the_worker_left_undone_is_told_until_it_works_again(
    server: Cluster, settings: Settings, node: Node, jobs: Jobs, cause: str, words: str
) -> None:
    jobs.end()
    try:
        admin(server, settings, cause)
        shows(node, words)
    finally:
        jobs.start()


def test_an_authority_without_a_responder_is_told(server: Cluster, settings: Settings, node: Node) -> None:
    with node.database.reading() as session:
        responder = session.get_one(Authority, "staff").responder
    assert responder is not None
    admin(server, settings, "UPDATE yumen.ca_authority SET responder = NULL WHERE id = 'staff'")
    try:
        shows(node, "authority staff has no OCSP responder")
    finally:
        admin(server, settings, f"UPDATE yumen.ca_authority SET responder = decode('{responder.hex()}', 'hex') WHERE id = 'staff'")


def test_an_authority_that_was_stopped_is_told(server: Cluster, settings: Settings, node: Node) -> None:
    admin(server, settings, "UPDATE yumen.ca_authority SET stopped = 'other bytes' WHERE id = 'staff'")
    try:
        shows(node, "authority staff was stopped: other bytes")
    finally:
        admin(server, settings, "UPDATE yumen.ca_authority SET stopped = '' WHERE id = 'staff'")


def test_a_server_that_was_set_to_lose_commits_while_it_runs_is_told(server: Cluster, settings: Settings, node: Node) -> None:
    admin(server, settings, "ALTER SYSTEM SET full_page_writes = off", "SELECT pg_reload_conf()")
    try:
        shows(node, "full_page_writes is off")
    finally:
        admin(server, settings, "ALTER SYSTEM RESET full_page_writes", "SELECT pg_reload_conf()")


def test_a_server_that_is_gone_is_told_and_its_return_as_well(server: Cluster, node: Node) -> None:
    server.stop()
    try:
        shows(node, "the database cannot be read")
        shows(node, "stale")
    finally:
        server.start()
