"""A home of production: two secrets, a ceremony from a file, a worker beside a process that only serves."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from audit.permit import Action
from audit.record import recording
from authz import province
from authz.decide import Target, service_permit
from authz.snapshot import Freshness
from ca import registration
from ca.registration import Draft
from ca.states import RequestState
from ca.subjects import facts
from certs import csr
from core.errors import Denied, Unavailable
from core.settings import Database, Settings, load
from ops import init, running
from ops.first import SealedKey, request_der
from ops.node import Node, open_node
from ops.renewal import PORTAL
from ops.worker import Worker

pytestmark = pytest.mark.slow

CEREMONY = """
name = "province"
organisation = "江州省"
root = {id = "root", name = "Jiangzhou Root"}
[[issuing]]
id = "servers"
name = "Jiangzhou Servers"
profiles = ["server"]
"""


def people() -> str:
    lines = []
    for account in province.accounts(seed=7):
        lines += [
            f'[[people]]\nperson = "{account.uuid}"\nrole = "{held.role}"\nunit = "{held.unit}"'
            for held in account.holdings
            if held.role in {"registrar", "system-admin", "security-admin", "auditor"}
        ]
    return "\n".join(lines)


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.component("postgresql"))])
def settings(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("production")
    home = folder / "home"
    home.mkdir()
    for name in ("web", "worker"):
        secret = folder / f"{name}.secret"
        secret.write_text(name * 8)
        secret.chmod(0o600)
    keys = "".join(f'{name}_secret = "{folder}/{name}.secret"\n' for name in ("web", "worker"))
    (home / "yumen.toml").write_text(f'[web]\nhttps_url = "https://yumen.jiangzhou.example"\n[keys]\n{keys}')
    province.write(home / "directory.ldif", seed=7, hasher=province.QUICK)
    found = load({"YUMEN_HOME": str(home)})
    if request.param == "postgresql":
        cluster = request.getfixturevalue("cluster")
        name = cluster.new_database()
        found = replace(found, database=Database(url=cluster.url("yumen_worker", name)))
        init.make_home(found, tell=lambda _: None, admin_url=cluster.url("admin", name))
    init.make_home(found, tell=lambda _: None)
    init.hold_ceremony(found, CEREMONY + people(), say=lambda _: None, hand_over=lambda _: None)
    return found


@pytest.fixture
def worker(settings: Settings) -> Iterator[Worker]:
    """The worker, which also follows the directory."""
    with running.working(settings) as found:
        yield found


@pytest.fixture
def serving(settings: Settings, worker: Worker) -> Iterator[Node]:
    """What a web process opens."""
    node = open_node(settings, role="serve", with_keys=False)
    yield node
    node.close()


def test_making_it_again_changes_nothing(settings):
    before = (settings.home / "notes" / "ca.vkey").read_bytes()
    init.make_home(settings, tell=lambda _: None)
    assert (settings.home / "notes" / "ca.vkey").read_bytes() == before


def test_a_process_that_serves_holds_no_key_of_an_authority(serving: Node):
    assert (serving.worker_vault, serving.publisher, serving.works) == (None, None, None)
    assert [name for name in serving.web_vault.names() if name.startswith(("ca/", "log/"))] == []


def test_the_web_secret_does_not_open_the_workers_keys(settings):
    from core.seal import Vault

    with pytest.raises(Unavailable):
        Vault(settings.home / "keys" / "worker", settings.keys.web_secret).get("ca/root")


def test_the_first_ceremony_gives_the_portal_its_certificate(serving: Node):
    assert serving.tls is not None
    assert b"BEGIN CERTIFICATE" in serving.tls.chain_pem


def test_the_ceremonys_people_count(serving: Node):
    snapshot = serving.world.current()
    auditor = snapshot.directory.by_uid["qianyi"]
    assert "auditor" in {holding.role for holding in snapshot.roles(auditor.uuid)}


def test_demonstration_rows_do_not_count_here(serving: Node):
    with pytest.raises(Denied):
        service_permit(serving.world, serving.trail, "demo", Action.GRANT_CHANGE, Target("app:oa"))


def test_the_operator_may_not_approve_grant_or_read_the_trail(serving: Node):
    for action in (Action.REQUEST_APPROVE, Action.GRANT_CHANGE, Action.TRAIL_READ, Action.CERT_ISSUE, Action.REQUEST_SUBMIT):
        with pytest.raises(Denied):
            service_permit(serving.world, serving.trail, "operator", action, Target("request:1"))


def test_the_worker_issues_what_another_process_took_in(serving: Node, worker: Worker):
    about = facts(serving.world.current(), PORTAL)
    permit = service_permit(serving.world, serving.trail, "renewal", Action.REQUEST_SUBMIT, Target(PORTAL, unit=about.unit))
    key = SealedKey(serving.web_vault, "tls/server").load()
    draft = Draft(profile="server", csr=csr.parse(request_der(key)), facts=about)
    with serving.database.reading() as session:
        (first,) = registration.listing(session, registration.Filter(subject=PORTAL))
    with recording(serving.trail) as tx:
        request = registration.renew(tx, permit=permit, draft=draft, previous=first.certificate.ref)
    assert request.state in {RequestState.APPROVED, RequestState.ISSUING, RequestState.ISSUED}
    assert worker.leading
    end = time.monotonic() + 10
    while time.monotonic() < end:
        with serving.database.reading() as session:
            if registration.get(session, request.id).state == RequestState.ISSUED:
                return
        time.sleep(0.05)
    pytest.fail("not issued in time")


def test_the_worker_begins_sqlites_journal_anew_when_it_has_grown(settings, monkeypatch: pytest.MonkeyPatch):
    if not settings.embedded:
        pytest.skip("PostgreSQL keeps its own log short")
    monkeypatch.setattr("core.database.JOURNAL_BYTES", 0)
    journal = settings.home / "yumen.db-wal"
    with running.working(settings):
        until = time.monotonic() + 30
        while journal.stat().st_size:  # the worker writes itself, so that it is empty for a moment only
            assert time.monotonic() < until, "the journal was never begun anew"
            time.sleep(0.005)


def test_without_a_directory_the_embedded_form_does_not_start_and_production_decides_nothing(settings, tmp_path: Path):
    path = settings.home / "directory.ldif"
    kept = path.rename(tmp_path / "away.ldif")
    try:
        if settings.embedded:
            with pytest.raises(Unavailable, match=r"directory\.ldif"):
                open_node(settings, role="serve", with_keys=False)
            return
        node = open_node(settings, role="serve", with_keys=False)
        assert node.world.current().freshness is Freshness.STALE
        assert any("nobody follows the directory" in problem for problem in node.world.problems())
        with running.working(settings):
            time.sleep(1)
            assert any("directory.ldif" in problem for problem in node.world.problems())
            assert node.world.current().freshness is Freshness.STALE
        node.close()
    finally:
        kept.rename(path)
