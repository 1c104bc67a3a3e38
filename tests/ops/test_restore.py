"""After a disaster the way back is proved step by step, on either database: nothing acknowledged is missing, nothing revoked is good."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp as reader

from audit import check
from audit.event import Kind
from audit.history import about, newest, walk
from audit.verifier.note import VerifierKey, open_checkpoint
from ca import crls
from ca.tables import Authority
from ca.worker import Worker
from certs import crl, ocsp
from core.errors import Conflict, Error, Malformed, Unavailable
from core.settings import Settings
from ops import homes, readiness, restore, running
from ops.node import Node, open_node
from ops.pairs.people import Directory
from ops.reconcile import Reconciler
from ops.restore import Restored, Terms
from tests.ops import disaster
from tests.ops.disaster import Disaster

pytestmark = pytest.mark.slow
DATABASES = ["sqlite", pytest.param("postgresql", marks=pytest.mark.component("postgresql"))]


def quiet(_now: str) -> None:
    """Nobody listens."""


@pytest.fixture(scope="module", params=DATABASES)
def lost(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disaster]:
    cluster = request.getfixturevalue("cluster") if request.param == "postgresql" else None
    played = disaster.play(tmp_path_factory.mktemp("disaster"), cluster)
    yield played
    for name in played.databases:
        cluster.drop(name)


@pytest.fixture(scope="module")
def home(lost: Disaster) -> tuple[Settings, str]:
    """The settings of the home that comes back, and the administrator of its empty database."""
    return lost.elsewhere("back")


@pytest.fixture(scope="module")
def back(lost: Disaster, home: tuple[Settings, str]) -> Restored:
    """Restored, with the notes that others had saved; on hold."""
    terms = Terms(trust=(*lost.early, *lost.late), accept_loss=True, admin_url=home[1])
    return restore.restore(home[0], lost.made.path, terms=terms, tell=quiet)


@pytest.fixture
def node(back: Restored, home: tuple[Settings, str]) -> Iterator[Node]:
    opened = open_node(home[0], role="operator", with_keys=True)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def supplied(back: Restored, home: tuple[Settings, str], lost: Disaster) -> Restored:
    """The hold ended by the lists that were published last."""
    return restore.supply(home[0], lists=lost.lists.values(), tell=quiet)


def asked(node: Node, serial: str) -> str:
    """What OCSP says of a serial: `good`, `revoked`, `unknown`, or why it says nothing."""
    with node.database.reading() as session:
        issuer = x509.load_der_x509_certificate(session.get_one(Authority, "servers").cert)
    name = hashes.Hash(hashes.SHA256())
    name.update(issuer.subject.public_bytes())
    key = ocsp.cert_ids(issuer)["sha256"].issuer_key_hash
    builder = reader.OCSPRequestBuilder().add_certificate_by_hash(name.finalize(), key, int(serial, 16), hashes.SHA256())
    node.responder.poll()
    answer = reader.load_der_ocsp_response(node.responder.answer("servers", builder.build().public_bytes(Encoding.DER)).der)
    if answer.response_status is not reader.OCSPResponseStatus.SUCCESSFUL:
        return answer.response_status.name.lower()
    return answer.certificate_status.name.lower()


def refused(lost: Disaster, change: Callable[[bytes], bytes], error: type[Error], words: str, **terms: object) -> None:
    """The changed backup is refused with these words, and neither a home nor a schema is there afterwards."""
    settings, admin_url = lost.elsewhere("refused")
    archive = lost.folder / "changed.backup"
    archive.write_bytes(change(lost.made.path.read_bytes()))
    with pytest.raises(error, match=words):
        restore.restore(settings, archive, terms=Terms(admin_url=admin_url, **terms), tell=quiet)
    assert not settings.home.exists()
    if admin_url:
        with psycopg.connect(admin_url) as connection:
            assert connection.execute("SELECT count(*) FROM pg_namespace WHERE nspname IN ('yumen', 'audit')").fetchone() == (0,)


# The backup


def test_issuance_goes_on_while_a_backup_is_made(lost: Disaster) -> None:
    assert lost.issued_meanwhile > 0


def test_a_damaged_backup_is_refused_before_anything_is_unpacked(lost: Disaster) -> None:
    refused(lost, lambda data: data[:9000] + bytes([data[9000] ^ 1]) + data[9001:], Malformed, "damaged")


def test_an_incomplete_backup_is_refused(lost: Disaster) -> None:
    refused(lost, lambda data: data[:-1000], Malformed, "incomplete")


def test_the_wrong_secret_restores_nothing(lost: Disaster, tmp_path: Path) -> None:
    word = lost.secret.read_bytes()
    try:
        lost.secret.write_bytes(b"another secret of the worker")
        refused(lost, lambda data: data, Unavailable, "wrong unsealing secret")
    finally:
        lost.secret.write_bytes(word)


def test_a_backup_that_is_older_than_what_was_witnessed_is_refused_with_both_sizes(lost: Disaster) -> None:
    size = lost.made.manifest.logs["ca"].size
    refused(lost, lambda data: data, Conflict, f"ends after {size} entries of ca/1.*--accept-loss", trust=tuple(lost.late))


def test_a_note_that_no_log_of_this_home_signed_is_refused(lost: Disaster, tmp_path: Path) -> None:
    text = lost.early[0].read_text().splitlines()
    (tmp_path / "forged.note").write_text("\n".join([text[0], "7", *text[2:]]) + "\n")
    refused(lost, lambda data: data, Malformed, "no note that a log of this home signed", trust=(tmp_path / "forged.note",))


def test_a_home_that_is_not_empty_is_left_alone(lost: Disaster) -> None:
    settings, admin_url = lost.elsewhere("taken")
    settings.home.mkdir()
    (settings.home / "yumen.toml").write_text("something else")
    with pytest.raises(Conflict, match="not empty"):
        restore.restore(settings, lost.made.path, terms=Terms(admin_url=admin_url), tell=quiet)
    assert (settings.home / "yumen.toml").read_text() == "something else"


# On hold


def test_every_certificate_acknowledged_before_the_backup_is_there(lost: Disaster, node: Node) -> None:
    assert set(lost.before) <= set(disaster.serials(node))


def test_both_logs_go_on_in_a_new_epoch_whose_first_entry_tells_of_the_old_one(lost: Disaster, back: Restored, node: Node) -> None:
    assert back.epochs == {"ca": 2, "access": 2} == dict(node.trail.epochs)
    for log, note in zip(("ca", "access"), lost.late, strict=True):
        head = lost.made.manifest.logs[log]
        with node.database.reading() as session:
            (first,) = walk(session, (log, 2), 0, 1)
        assert first.kind in {Kind.CA_EPOCH_OPENED, Kind.ACCESS_EPOCH_OPENED}
        assert first.details["restored"] == {"log": f"{log}/1", "size": head.size, "root": head.root}
        assert str(first.details["known"]["size"]) == note.read_text("utf-8").splitlines()[1]
        assert first.details["backup"] == lost.made.manifest.id


def test_what_is_lost_and_what_nobody_can_know_is_listed(lost: Disaster, back: Restored) -> None:
    seen = int(lost.late[0].read_text("utf-8").splitlines()[1])
    size = lost.made.manifest.logs["ca"].size
    assert f"entries {size} to {seen - 1} of ca/1 were witnessed and are lost; later ones may be" in back.unproved
    assert any("certificates issued since the backup" in sentence for sentence in back.unproved)


def test_on_hold_nothing_is_vouched_for_signed_or_published(lost: Disaster, back: Restored, node: Node) -> None:
    assert back.held == ("root", "servers")
    assert {asked(node, serial) for serial in (lost.revoked_known, *lost.before[:3])} == {"try_later"}
    assert node.responder.crl("servers") is None
    assert node.works is not None
    worker = Worker(node.works)
    assert (worker.issue(), worker.publish(), worker.renew_responders()) == ([], [], [])
    assert node.world.trust().intermediates == ()
    assert sum("is on hold since its restore" in problem for problem in readiness.reasons(node, node.lead)) == 2


def test_sessions_of_before_are_open_to_nobody(lost: Disaster, node: Node) -> None:
    sealed = "keys/web/session.sealed"
    assert (node.settings.home / sealed).read_bytes() != (lost.settings.home / sealed).read_bytes()


def test_a_list_that_is_older_than_the_backup_ends_no_hold(lost: Disaster, home: tuple[Settings, str], back: Restored, node: Node) -> None:
    with pytest.raises(Conflict, match="list `1` of `servers` is older than list 2 in the backup"):
        restore.supply(home[0], lists=[lost.old_list], tell=quiet)
    assert asked(node, lost.before[2]) == "try_later"


def test_a_list_that_nobody_on_hold_made_ends_no_hold(lost: Disaster, home: tuple[Settings, str], back: Restored, tmp_path: Path) -> None:
    data = bytearray(lost.lists["servers"].read_bytes())
    data[-1] ^= 1
    (tmp_path / "forged.crl").write_bytes(data)
    with pytest.raises(Malformed, match="not made by an authority that is on hold"):
        restore.supply(home[0], lists=[tmp_path / "forged.crl"], tell=quiet)


# Going on


def test_what_was_revoked_after_the_backup_is_revoked_again(lost: Disaster, supplied: Restored, node: Node) -> None:
    assert (supplied.held, supplied.revoked, supplied.unrecorded) == ((), 1, 1)
    assert asked(node, lost.revoked_known) == "revoked"
    assert asked(node, lost.revoked_unknown) == "revoked"
    assert asked(node, lost.before[2]) == "revoked"
    assert asked(node, lost.before[0]) == "good"


def test_what_was_issued_after_the_backup_is_never_good(lost: Disaster, supplied: Restored, node: Node) -> None:
    assert set(lost.after).isdisjoint(disaster.serials(node))
    assert {asked(node, serial) for serial in lost.after[:-1]} == {"unknown"}


def test_numbers_of_lists_and_serials_are_beyond_all_that_was_given_out(
    lost: Disaster, supplied: Restored, home: tuple[Settings, str]
) -> None:
    with running.working(home[0]):
        node = open_node(home[0], role="serve", with_keys=True)
        asking = disaster.Asking(node)
        try:
            disaster.until(lambda: _newest(node) > lost.numbers["servers"])
            asking.start()
            disaster.until(lambda: any(serial.startswith("41") for serial in disaster.serials(node)))
            with node.database.reading() as session:
                fresh = crl.parse(crls.latest(session, "servers").der)
        finally:
            asking.stop()
            node.close()
    assert fresh.number > lost.numbers["servers"] + 1000
    assert {int(lost.revoked_known, 16), int(lost.revoked_unknown, 16)} <= fresh.serials
    assert all(serial.startswith("40") for serial in (*lost.before, *lost.after))


def _newest(node: Node) -> int:
    with node.database.reading() as session:
        return crls.latest(session, "servers").number


def test_the_trail_verifies_across_the_epochs(lost: Disaster, supplied: Restored, node: Node) -> None:
    assert node.publisher is not None
    node.publisher.publish()
    notes = homes.notes_folder(node.settings.home)
    keys = [VerifierKey.parse(path.read_text()) for path in notes.glob("*.vkey")]
    heads = [open_checkpoint(path.read_bytes(), keys) for path in (*notes.glob("*.note"), *lost.early)]
    report = check.evidence(node.database, heads)
    assert {log.origin for log in report.logs} == {f"yumen.local/{log}/{epoch}" for log in ("ca", "access") for epoch in (1, 2)}
    assert all(log.proved == log.size for log in report.logs if log.origin.endswith("/1"))


def test_facts_and_events_agree_after_it(supplied: Restored, node: Node) -> None:
    result = Reconciler(node.trail, Directory(node.trail, node.world)).turn(whole=True)
    assert (result.open, result.first) == (0, ())


def test_every_step_is_in_the_trail(lost: Disaster, supplied: Restored, node: Node) -> None:
    with node.database.reading() as session:
        (told,) = newest(session, Kind.RESTORED)
        steps = {one.kind for one in about(session, ["ca:servers", "crl:servers"], list(Kind)) if one.epoch == 2}
    assert told.object == f"backup:{lost.made.manifest.id}"
    assert steps >= {Kind.AUTHORITY_HELD, Kind.LIST_SUPPLIED, Kind.CRL_ABANDONED, Kind.AUTHORITY_RELEASED}


def test_a_second_supply_finds_nothing_on_hold(lost: Disaster, home: tuple[Settings, str], supplied: Restored) -> None:
    with pytest.raises(Conflict, match="no authority is on hold"):
        restore.supply(home[0], lists=lost.lists.values(), tell=quiet)


# A database that other tools put back


def test_an_old_database_under_its_home_goes_on_as_after_a_restore(lost: Disaster) -> None:
    settings, admin_url = disaster.put_back(lost)
    with pytest.raises(Conflict, match="older than what was witnessed"):
        restore.adopt(settings, terms=Terms(admin_url=admin_url), tell=quiet)
    terms = Terms(accept_loss=True, lists=tuple(lost.lists.values()), admin_url=admin_url)
    done = restore.adopt(settings, terms=terms, tell=quiet)
    assert (done.epochs, done.held, done.revoked, done.unrecorded) == ({"ca": 2, "access": 2}, (), 1, 1)
    node = open_node(settings, role="operator", with_keys=True)
    try:
        assert (asked(node, lost.revoked_known), asked(node, lost.before[0])) == ("revoked", "good")
    finally:
        node.close()
