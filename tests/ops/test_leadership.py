"""One worker leads, whatever ends the one before: on PostgreSQL by a lock that only the worker's role can take."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from subprocess import Popen

import psycopg
import pytest
from cryptography import x509
from sqlalchemy import create_engine, func, select

from audit import check
from audit.permit import Action
from audit.record import recording
from audit.tables import TrailCheckpoint
from audit.trail import LOGS
from audit.verifier.note import VerifierKey, open_checkpoint
from authz.decide import Target, service_permit
from ca import registration
from ca.registration import Draft
from ca.states import IntentState, RequestState
from ca.subjects import facts
from ca.tables import Certificate, Intent, Request
from certs import csr
from core.settings import load
from migrations import rights
from ops import homes, leadership
from ops.first import SealedKey, request_der
from ops.leadership import DatabaseLeadership
from ops.node import Node, open_node
from ops.renewal import PORTAL
from tests.ops.processes import CEREMONY, WEB, Place, may, wait_for
from tests.pace import in_time
from tests.postgres import Cluster

pytestmark = [pytest.mark.alone, pytest.mark.slow, pytest.mark.component("postgresql")]

HOLDER = "SELECT a.pid, substr(a.application_name, 14)::int FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
HOLDER += " WHERE l.relation = 'yumen.leadership'::regclass AND l.mode = 'ExclusiveLock' AND l.granted"


@pytest.fixture(scope="module")
def database(cluster: Cluster) -> str:
    return cluster.new_database()


@pytest.fixture
def claims(cluster: Cluster, database: str) -> Iterator[list[DatabaseLeadership]]:
    """Two workers."""
    made = [DatabaseLeadership(cluster.url("yumen_worker", database)) for _ in range(2)]
    yield made
    for claim in made:
        claim.release()


def holder(cluster: Cluster, database: str) -> tuple[int, int] | None:
    """Process of the server, and process of the worker, that hold the jobs."""
    with cluster.connect(database) as connection:
        return connection.execute(HOLDER).fetchone()


def test_one_leads_and_the_next_takes_over(claims):
    first, second = claims
    assert [claim.take() for claim in claims] == [True, False]
    assert first.take()
    first.release()
    assert second.take()
    assert not first.take()


def test_who_lost_the_connection_stops_leading_at_once_and_lets_others_try_first(cluster, database, claims):
    first, second = claims
    assert first.take()
    cluster.admin(f"SELECT pg_terminate_backend(pid) FROM ({HOLDER}) AS h", database)
    assert not first.take()
    assert not first.held
    assert not first.take(), "others come first"
    assert second.take()
    second.release()
    wait_for(first.take, 3)


def test_a_leader_that_is_silent_loses_the_jobs(cluster, database, claims, monkeypatch):
    monkeypatch.setattr(leadership, "SILENCE_SECONDS", 1)
    silent, other = DatabaseLeadership(cluster.url("yumen_worker", database)), claims[0]
    assert silent.take()
    for _ in range(6):
        time.sleep(0.4)
        silent.keep()
        assert not other.take(), "who says that it lives keeps them, however long a job takes"
    wait_for(other.take, 5)
    silent.keep()
    assert not silent.held


def test_the_role_that_serves_cannot_keep_the_jobs_from_the_worker(cluster, database, claims):
    with psycopg.connect(cluster.url("yumen_web", database)) as web:
        for mode in (
            "ROW SHARE",
            "ROW EXCLUSIVE",
            "SHARE UPDATE EXCLUSIVE",
            "SHARE",
            "SHARE ROW EXCLUSIVE",
            "EXCLUSIVE",
            "ACCESS EXCLUSIVE",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                web.execute(f"LOCK TABLE yumen.leadership IN {mode} MODE")
            web.rollback()
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            web.execute("SELECT * FROM yumen.leadership FOR UPDATE")
        web.rollback()
        for statement in ("DROP VIEW yumen.leadership", "CREATE OR REPLACE VIEW yumen.leadership AS SELECT false AS one"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                web.execute(statement)
            web.rollback()
        web.execute("LOCK TABLE yumen.leadership IN ACCESS SHARE MODE")  # what reading takes
        for key in (0, 1, 7311):
            web.execute("SELECT pg_advisory_lock(%s)", (key,))
        assert claims[0].take()


def test_the_lock_keeps_no_row_from_vacuum_and_no_upgrade_from_the_database(cluster, database, claims):
    assert claims[0].take()
    assert claims[0].take()
    with cluster.connect(database) as connection:
        held = "SELECT state, backend_xid, backend_xmin FROM pg_stat_activity WHERE application_name LIKE 'yumen leader%'"
        assert connection.execute(held).fetchall() == [("idle in transaction", None, None)]
    admin = create_engine(cluster.url("admin", database).replace("postgresql:", "postgresql+psycopg:"))
    upgrade = threading.Thread(target=rights.prepare, args=(admin,), daemon=True)
    upgrade.start()
    upgrade.join(20)
    assert not upgrade.is_alive()
    admin.dispose()
    assert claims[0].take()


@pytest.fixture(scope="module")
def place(cluster: Cluster) -> Iterator[Place]:
    found = Place(cluster)
    found.prepare()
    try:
        assert (made := found.run("init")).returncode == 0, made.stderr
        (found.folder / "ceremony.toml").write_text(CEREMONY)
        held = found.run("ca", "ceremony", str(found.folder / "ceremony.toml"))
        assert held.returncode == 0, held.stderr
        yield found
    finally:
        found.close()


@pytest.fixture(scope="module")
def elsewhere(place: Place) -> Iterator[Place]:
    """A second machine: its home is a copy from before anything was issued."""
    found = Place(place.cluster, copied=place)
    yield found
    found.close()


@pytest.fixture(scope="module")
def node(place: Place) -> Iterator[Node]:
    """Takes requests in, as a process that serves does."""
    worker = place.work()
    opened = open_node(load(place.environ("yumen_web")), role="serve", with_keys=False)
    worker.terminate()
    assert worker.wait(20) == 0
    yield opened
    opened.close()


def ask(node: Node) -> int:
    """One more certificate for the portal, approved at once."""
    about = facts(node.world.current(), PORTAL)
    permit = service_permit(node.world, node.trail, "renewal", Action.REQUEST_SUBMIT, Target(PORTAL, unit=about.unit))
    with node.database.reading() as session:
        latest = session.scalar(select(Certificate).where(Certificate.subject == PORTAL).order_by(Certificate.intent_id.desc()).limit(1))
    draft = Draft(profile="server", csr=csr.parse(request_der(SealedKey(node.web_vault, "tls/server").load())), facts=about)
    with recording(node.trail) as tx:
        return registration.renew(tx, permit=permit, draft=draft, previous=latest.ref).id


def is_issued(node: Node, request: int) -> bool:
    with node.database.reading() as session:
        return session.get_one(Request, request).state == RequestState.ISSUED


@contextmanager
def ending(*workers: Popen[str]) -> Iterator[None]:
    """None of `workers` outlives a test that failed."""
    try:
        yield
    finally:
        for worker in workers:
            if worker.poll() is None:
                worker.kill()
                worker.wait()


def killed(place: Place, pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    place.child(pid).wait()


def terminated(place: Place, pid: int) -> None:
    place.cluster.admin(f"SELECT pg_terminate_backend(pid) FROM ({HOLDER}) AS h", place.database)


def frozen(place: Place, pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)


def restarted(place: Place, pid: int) -> None:
    place.cluster.stop("fast")
    place.cluster.start()
    place.cluster.wait_until_up(place.database)


@pytest.mark.parametrize(
    ("end", "machines"),
    [
        (killed, 1),
        (terminated, 2),
        (frozen, 1),
        pytest.param(killed, 2, marks=pytest.mark.proof),
        pytest.param(terminated, 1, marks=pytest.mark.proof),
        pytest.param(frozen, 2, marks=pytest.mark.proof),
        pytest.param(restarted, 1, marks=pytest.mark.proof),
        (restarted, 2),
    ],
)
@in_time
def test_another_worker_goes_on_and_nothing_is_issued_twice(place, elsewhere, node, end, machines):
    first = place.work()
    second = (place if machines == 1 else elsewhere).work()

    def taken_over() -> bool:
        with suppress(psycopg.OperationalError):
            found = holder(place.cluster, place.database)
            return found is not None and (found[1] == second.pid or end is restarted)
        return False

    with ending(first, second):
        wait_for(lambda: holder(place.cluster, place.database))
        assert holder(place.cluster, place.database)[1] == first.pid
        done = ask(node)
        wait_for(lambda: is_issued(node, done))
        under_way = ask(node)
        end(place, first.pid)
        took = wait_for(taken_over, 10)
        print(f"{end.__name__}, {machines} machines: taken over after {took:.2f} s")
        wait_for(lambda: is_issued(node, under_way), 30)  # announced by the killed one, it is swept after 15 s
        last = ask(node)
        wait_for(lambda: is_issued(node, last), 15)
        os.kill(first.pid, signal.SIGCONT) if end is frozen else None
        assert twice(node) == []
        for child in (first, second):
            if child.poll() is None:
                child.terminate()
                assert child.wait(20) == 0


def twice(node: Node) -> list[int]:
    """Requests with more than one fulfilled intent."""
    with node.database.reading() as session:
        fulfilled = select(Intent.request_id).where(Intent.state == IntentState.FULFILLED, Intent.request_id.is_not(None))
        return list(session.scalars(fulfilled.group_by(Intent.request_id).having(func.count() > 1)))


@in_time
def test_a_worker_that_stands_by_elsewhere_keeps_its_notes_fresh(place, elsewhere, node):
    leader, standby = place.work(), elsewhere.work()

    def fresh() -> bool:
        notes = [[(home / "notes" / f"{log}.note").read_bytes() for log in LOGS] for home in (place.home, elsewhere.home)]
        return notes[0] == notes[1]

    with ending(leader, standby):
        wait_for(lambda: holder(place.cluster, place.database))
        for _ in range(2):
            node.trail.beat()
            time.sleep(1.5)
            wait_for(fresh, 4)
        for child in (standby, leader):
            child.terminate()
            assert child.wait(20) == 0


def test_the_worker_puts_the_newest_certificate_of_the_listener_in_place(place, node):
    worker = place.work()
    request = ask(node)
    wait_for(lambda: is_issued(node, request))
    worker.terminate()
    assert worker.wait(20) == 0
    worker = place.work()

    def is_in_place() -> bool:
        with node.database.reading() as session:
            newest = session.scalar(select(Certificate).where(Certificate.request_id == request))
            return x509.load_der_x509_certificate(newest.der) == x509.load_pem_x509_certificates(node.tls.chain_pem)[0]

    wait_for(is_in_place)
    assert may(WEB, "-r", homes.tls_file(place.home))
    worker.terminate()
    assert worker.wait(20) == 0


def test_every_published_head_is_one_history(place, node):
    keys = [VerifierKey.parse((place.home / "notes" / f"{log}.vkey").read_text()) for log in LOGS]
    with node.database.reading() as session:
        notes = list(session.scalars(select(TrailCheckpoint.note)))
    heads = [open_checkpoint(note.encode(), keys) for note in notes]
    assert len(heads) >= len(LOGS)
    report = check.evidence(node.database, heads)
    assert {log.origin for log in report.logs} == {key.name for key in keys}
