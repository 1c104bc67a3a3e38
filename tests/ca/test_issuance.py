from __future__ import annotations

import datetime as dt
import fcntl
from dataclasses import replace

import pytest
from cryptography import x509
from sqlalchemy import delete, event
from sqlalchemy.exc import IntegrityError

from audit.body import Writer
from audit.event import Event, Kind
from audit.permit import Action
from audit.record import recording
from authz.snapshot import Freshness
from ca import authorities, crls, intents, issuance
from ca.intents import Leases
from ca.keys import Missigned
from ca.order import Rehearsed
from ca.states import IntentState, RequestState, Standing
from ca.tables import Authority, Certificate, Intent, Lease, Request, Revocation
from ca.worker import Worker
from certs import lint
from certs.profiles import PROFILES
from core.errors import Conflict, Denied, NotFound, Unavailable
from tests.ca.town import Town


def approved(town: Town, uid: str = "zhangsan", approver: str = "zhaoliu") -> int:
    request_id = town.submit(uid)
    town.decide(approver, request_id)
    return request_id


def test_the_signed_bytes_are_the_announced_bytes_and_both_are_in_the_trail(town: Town):
    certificate = town.issued()
    intent = town.row(Intent, certificate.intent_id)
    assert x509.load_der_x509_certificate(certificate.der).tbs_certificate_bytes == intent.tbs
    announced, issued = town.events("code:CA1005")[-1], town.events("code:CA1004")[-1]
    assert announced["d"]["tbs-sha256"] == intent.tbs_sha256 == town.signers.signed()[-1]
    assert announced["cert"] == issued["cert"]
    assert announced["d"]["approvals"][0]["by"] == town.person("zhaoliu").id
    assert announced["d"]["version"] == PROFILES["staff-sign"].version
    assert announced["pol"]["rule"] == "cert-issue.issuance"
    assert announced["actor"]["id"] == "issuance"


def test_a_certificate_without_an_intent_is_impossible(town: Town):
    good = town.issued()
    columns = {column.key: getattr(good, column.key) for column in Certificate.__table__.columns}
    for wrong in ({"intent_id": 999}, {"serial": "abc"}, {"authority": "servers"}):
        row = Certificate(**{**columns, "request_id": None, "intent_id": good.intent_id, **wrong})
        with pytest.raises(IntegrityError), recording(town.trail) as tx:
            tx.db.execute(delete(Certificate).where(Certificate.intent_id == good.intent_id))
            tx.db.add(row)
            tx.db.flush()
    with pytest.raises(IntegrityError), recording(town.trail) as tx:
        tx.db.execute(delete(Intent).where(Intent.id == good.intent_id))


def test_a_serial_is_unique_in_its_authority_and_a_request_has_one_open_intent_and_one_certificate(town: Town):
    good = town.issued()
    intent = town.row(Intent, good.intent_id)
    columns = {column.key: getattr(intent, column.key) for column in Intent.__table__.columns if column.key != "id"}
    with pytest.raises(IntegrityError), recording(town.trail) as tx:
        tx.db.add(Intent(**columns))
        tx.db.flush()
    with pytest.raises(IntegrityError), recording(town.trail) as tx:
        tx.db.add_all(Intent(**{**columns, "serial": serial, "state": IntentState.OPEN}) for serial in ("a1", "a2"))
        tx.db.flush()
    with pytest.raises(IntegrityError), recording(town.trail) as tx:
        tx.db.add(Intent(**{**columns, "serial": "a3", "id": 500}))
        tx.db.flush()
        row = {column.key: getattr(good, column.key) for column in Certificate.__table__.columns}
        tx.db.add(Certificate(**{**row, "serial": "a3", "intent_id": 500}))
        tx.db.flush()


def test_serials_are_long_random_positive_and_short_enough():
    serials = [issuance.new_serial(1) for _ in range(2000)]
    assert len(set(serials)) == len(serials)
    assert all(0 < serial < 1 << 159 for serial in serials)
    mixed = 0
    for serial in serials:
        mixed |= serial ^ serials[0]
    assert mixed.bit_count() >= 64


def test_a_batch_is_issued_in_two_commits_and_one_that_fails_leaves_it(town: Town):
    good, bad = approved(town), approved(town, "wangwu", "zhouba")
    town.move("wangwu", name="五" * 65)
    told = _event(town)
    with recording(town.trail) as tx:  # the directory said so when the request was made, too
        request = tx.db.get_one(Request, bad)
        request.facts = request.facts.replace("王五", "五" * 65)
        tx.record(told)
    before = len(town.events("code:CA1005"))
    made = town.worker().issue()
    assert [row.request_id for row in made] == [good]
    assert (town.request(bad).state, town.request(bad).reasons) == (RequestState.FAILED, "not-buildable")
    assert len(town.events("code:CA1005")) == before + 1
    assert town.events("code:CA1010")[-1]["d"]["problems"]


def _event(town: Town) -> Event:
    permit = town.service("issuance", Action.CERT_ISSUE, "request:0")
    return Event.under(permit, Kind.REQUEST_SUBMITTED, "request:0")


def test_what_breaks_a_lint_is_not_signed(town: Town, monkeypatch: pytest.MonkeyPatch):
    request_id = approved(town)
    signatures = len(town.signers.signed())
    monkeypatch.setattr("certs.profiles._status", lambda _urls: [])
    monkeypatch.setattr("certs.lint.LINTS", (*lint.LINTS, lambda it: None if it.value(x509.CRLDistributionPoints) else "no list is named"))
    town.worker().issue()
    assert (town.request(request_id).state, town.request(request_id).reasons) == (RequestState.FAILED, "lint")
    assert len(town.signers.signed()) == signatures


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"name": "张三丰"}, "name-changed"),
        ({"mail": "x@y.example"}, "name-changed"),
        ({"unit": "other"}, "unit-changed"),
        ({"active": False}, "subject-inactive"),
    ],
)
def test_a_request_goes_back_when_the_directory_changed(town: Town, change: dict, reason: str):
    request_id = approved(town)
    if "unit" in change:
        change = {"unit": town.person("wangwu").unit}
    town.move("zhangsan", **change)
    town.worker().step()
    request = town.request(request_id)
    assert (request.state, request.certificate) == (RequestState.RETURNED, None)
    assert reason in request.reasons.split()
    assert town.events("code:CA1012")[-1]["rsn"] in request.reasons


def test_a_faulty_signature_never_leaves_and_stops_that_authority_only(town: Town):
    mine, other = approved(town), None
    signer = town.signers.get("ca/staff")
    signer.twist = lambda signature: signature[:-1] + bytes([signature[-1] ^ 1])
    worker = town.worker()
    worker.step()
    assert town.request(mine).certificate is None
    assert "does not verify" in town.row(Authority, "staff").stopped
    with town.trail.database.reading() as session:
        assert len(authorities.problems(session)) == 1
    assert town.events("code:CA1011")[-1]["obj"] == "ca:staff"
    signer.twist = lambda signature: signature
    worker.step()
    assert town.request(mine).state == RequestState.APPROVED  # swept, and waiting for officers
    assert town.request(mine).certificate is None
    assert {row.standing for row in town.rows(Revocation)} == {Standing.REVOKED}
    other = town.submit("fenger", profile="application", ref="application:oa")
    town.decide("zhaoliu", other)
    worker.step()
    assert town.request(other).state == RequestState.ISSUED


def rehearsed(town: Town) -> Rehearsed:
    """The first request, as far as it gets without anything written."""
    order = town.worker()._order(town.request(1), "staff")
    assert order
    with town.trail.database.reading() as session:
        issuer = authorities.issuer(session, town.signers, order.authority)
    made = issuance._rehearse(town.works, order, issuer)
    assert made
    return made


def test_other_bytes_than_the_rehearsed_are_missigned(town: Town):
    approved(town)
    signer = town.signers.get("ca/staff")
    good = signer.sign
    signer.sign = lambda tbs: good(tbs + b"\0")  # type: ignore[method-assign]
    with pytest.raises(Missigned):
        issuance.sign(rehearsed(town))


def test_a_signer_in_trouble_is_not_asked_and_the_request_waits(town: Town):
    request_id = approved(town)
    town.signers.get("ca/staff").trouble = "token removed"
    worker = town.worker()
    worker.step()
    assert town.request(request_id).state == RequestState.APPROVED
    assert len(town.rows(Revocation)) == 0
    town.signers.get("ca/staff").trouble = ""
    worker.step()
    assert town.request(request_id).state == RequestState.ISSUED


def test_requests_for_a_stopped_authority_keep_nobody_from_his_turn(town: Town, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ca.worker.BATCH", 2)
    waiting = [approved(town) for _ in range(3)]
    town.signers.get("ca/staff").trouble = "token removed"
    other = town.submit("fenger", profile="application", ref="application:oa")
    town.decide("zhaoliu", other)
    town.worker().step()
    assert town.request(other).state == RequestState.ISSUED
    assert {town.request(each).state for each in waiting} == {RequestState.APPROVED}


def test_a_bug_in_one_part_of_the_worker_keeps_no_list_from_going_out(town: Town, monkeypatch: pytest.MonkeyPatch):
    town.revoke("zhangsan", town.issued())
    monkeypatch.setattr(issuance, "issue", lambda *_: 1 / 0)
    approved(town)
    town.worker().step()
    with town.trail.database.reading() as session:
        assert crls.due(session, "staff", town.works.now()) == ""


def test_a_refused_permit_is_not_asked_again_at_once(town: Town):
    request_id = approved(town)
    fresh = town.snapshot
    town.snapshot = replace(fresh, freshness=Freshness.STALE)
    worker = town.worker()
    for _ in range(3):
        worker.issue()
    assert len(town.events("code:AZ1002 out:deny")) == 1
    assert town.request(request_id).state == RequestState.APPROVED
    town.snapshot = fresh
    town.clock.advance(seconds=6)
    worker.issue()
    assert town.request(request_id).state == RequestState.ISSUED


def test_a_signer_that_fails_costs_a_serial_and_the_next_attempts_wait_longer(town: Town):
    request_id = approved(town)

    def fail(signature: bytes) -> bytes:
        raise OSError("the token does not answer")

    town.signers.get("ca/staff").twist = fail
    worker = town.worker()
    worker.step()
    assert town.request(request_id).state == RequestState.ISSUING
    for _ in range(5):
        worker.step()
    intents_now = [row for row in town.rows(Intent) if row.request_id == request_id]
    assert {row.state for row in intents_now} == {IntentState.SWEPT}
    assert len(intents_now) == 2  # the second attempt at once, the third only after two seconds
    town.signers.get("ca/staff").twist = lambda signature: signature
    town.clock.advance(seconds=3)
    worker.step()
    assert town.request(request_id).state == RequestState.ISSUED


def orphan(town: Town, node: str, boot: str) -> int:
    """An intent that another process announced and never completed."""
    approved(town)
    made = rehearsed(town)
    with recording(town.trail) as tx:
        [(_, number)] = intents.announce(tx, [made], Writer(node, boot))
    return number


def test_an_orphan_of_one_s_own_is_swept_at_once(town: Town):
    number = orphan(town, *town.trail.writer)
    worker = town.worker()
    assert worker.sweep() == [number]
    assert town.row(Intent, number).state == IntentState.SWEPT
    assert town.row(Revocation, number).standing == Standing.REVOKED
    assert town.request(1).state == RequestState.APPROVED
    worker.step()
    assert town.request(1).state == RequestState.ISSUED


def test_what_is_in_the_running_batch_is_not_swept(town: Town):
    number = orphan(town, *town.trail.writer)
    assert intents.sweep(town.works, Leases(town.clock.monotonic), running={number}) == []


def test_an_orphan_of_another_process_is_swept_only_after_its_lease_stood_still(town: Town):
    number = orphan(town, "b", "beef")
    lease = Lease(node="b", boot="beef", beat=1)
    with recording(town.trail) as tx:
        tx.db.add(lease)
    worker = town.worker()
    assert worker.sweep() == []
    town.clock.advance(seconds=14)
    assert worker.sweep() == []
    with recording(town.trail) as tx:  # a sign of life: the fifteen seconds begin again
        tx.db.get_one(Lease, ("b", "beef")).beat += 1
    town.clock.advance(seconds=2)
    assert worker.sweep() == []
    town.clock.advance(seconds=14)
    assert worker.sweep() == []
    town.clock.ahead += dt.timedelta(hours=3)  # wall clocks do not matter
    assert worker.sweep() == []
    town.clock.advance(seconds=2)
    assert worker.sweep() == [number]


def test_lease_rows_of_processes_that_are_long_gone_are_taken_away(town: Town):
    worker = town.worker()
    worker.beat()
    with recording(town.trail) as tx:
        tx.db.add_all([Lease(node="gone", boot="dead", beat=7), Lease(node="far", boot="beef", beat=1)])
    for _ in range(4):
        town.clock.advance(seconds=1201)
        with recording(town.trail) as tx:
            tx.db.get_one(Lease, ("far", "beef")).beat += 1
        worker.beat()
    mine = tuple(town.trail.writer)
    assert {(row.node, row.boot) for row in town.rows(Lease)} == {mine, ("far", "beef")}


def test_an_orphan_whose_lease_row_was_taken_away_is_swept_all_the_same(town: Town):
    number = orphan(town, "gone", "dead")
    worker = town.worker()
    assert worker.sweep() == []
    town.clock.advance(seconds=16)
    assert worker.sweep() == [number]


def stopped(town: Town) -> int:
    """A request whose signature was faulty; the authority was stopped for it, though its key is good again."""
    waiting = approved(town)
    signer = town.signers.get("ca/staff")
    signer.twist = lambda signature: signature[:-1] + bytes([signature[-1] ^ 1])
    worker = town.worker()
    worker.step()
    signer.twist = lambda signature: signature
    worker.step()
    assert town.row(Authority, "staff").stopped
    return waiting


def clear(town: Town, uid: str = "zhengshi", authority: str = "staff") -> None:
    permit = town.permit(uid, Action.AUTHORITY_RESUME, (f"ca:{authority}",))
    with recording(town.trail) as tx:
        authorities.clear(tx, authority, permit=permit)


def test_a_stopped_authority_goes_on_when_a_security_administrator_clears_it(town: Town):
    waiting = stopped(town)
    town.clock.advance(seconds=600)
    clear(town)
    assert town.row(Authority, "staff").stopped, "the process that serves writes nothing about authorities"
    town.worker().step()
    assert town.row(Authority, "staff").stopped == ""
    assert town.request(waiting).state == RequestState.ISSUED
    (said,), (done,) = town.events("code:CA2004"), town.events("code:CA2005")
    assert town.person("zhengshi").id in str(said)
    assert done["obj"] == "ca:staff"
    assert "'log': 'ca/1'" in str(done)


@pytest.mark.parametrize("uid", ["zhaoliu", "wujiu", "qianyi", "zhangsan"])
def test_nobody_else_clears_an_authority(town: Town, uid: str):
    with pytest.raises(Denied):
        town.permit(uid, Action.AUTHORITY_RESUME, ("ca:staff",))


@pytest.mark.parametrize("service", ["operator", "renewal", "ceremony"])
def test_no_service_but_issuance_resumes(town: Town, service: str):
    with pytest.raises(Denied):
        town.service(service, Action.AUTHORITY_RESUME, "ca:staff")


def test_a_word_from_before_the_stop_counts_no_more(town: Town):
    stopped(town)
    town.clock.advance(seconds=600)
    clear(town)
    signer = town.signers.get("ca/staff")
    signer.twist = lambda signature: signature[:-1] + bytes([signature[-1] ^ 1])
    worker = town.worker()
    worker.step()  # goes on, and signs wrongly again
    assert len(town.events("code:CA1011")) == 2
    signer.twist = lambda signature: signature
    worker.step()
    assert town.row(Authority, "staff").stopped
    assert len(town.events("code:CA2005")) == 1


def test_an_authority_that_works_is_not_cleared(town: Town):
    with pytest.raises(Conflict, match="was not stopped"):
        clear(town)
    with pytest.raises(NotFound):
        clear(town, authority="nobody")


def test_a_late_certificate_is_discarded(town: Town):
    number = orphan(town, *town.trail.writer)
    intent = town.row(Intent, number)
    town.worker().sweep()
    with recording(town.trail) as tx:
        assert intents.fulfil(tx, [number]) == set()
    with pytest.raises(Conflict):
        intents.after(intents.INTENTS, IntentState.SWEPT, intents.IntentStep.FULFIL, "intent")
    assert intent.serial not in {row.serial for row in town.rows(Certificate)}


def test_a_certificate_that_was_swept_while_it_was_signed_is_never_delivered(town: Town):
    request_id = approved(town)
    signer = town.signers.get("ca/staff")

    def swept_meanwhile(signature: bytes) -> bytes:
        signer.twist = lambda same: same
        intents.sweep(town.works, Leases(town.clock.monotonic))
        return signature

    signer.twist = swept_meanwhile
    assert town.worker().issue() == []
    request = town.request(request_id)
    assert (request.state, request.certificate) == (RequestState.APPROVED, None)
    assert town.events("code:CA1010")[-1]["out"] == "void"
    (row,) = town.rows(Revocation)
    assert row.standing == Standing.REVOKED
    town.worker().publish()
    with town.trail.database.reading() as session:
        assert crls.due(session, "staff", town.works.now()) == ""


@pytest.mark.parametrize("town", ["sqlite"], indirect=True)  # breaks in by means of a file
def test_nothing_is_signed_while_the_trail_cannot_be_written(town: Town):
    approved(town)
    before = town.signers.signed()
    with town.trail.database.lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(Unavailable):
            town.worker().issue()
    assert town.signers.signed() == before
    assert town.request(1).state == RequestState.APPROVED


def test_responders_get_a_new_certificate_at_half_of_their_life(town: Town):
    worker = town.worker()
    assert worker.renew_responders() == []
    town.clock.advance(days=46)
    old = {row.id: row.responder for row in town.rows(Authority)}
    assert len(worker.renew_responders()) == 4
    new = {row.id: row.responder for row in town.rows(Authority)}
    assert all(old[name] != new[name] for name in old)
    keys = [x509.load_der_x509_certificate(der["staff"] or b"").public_key() for der in (old, new)]
    assert keys[0] == keys[1]
    assert worker.renew_responders() == []


def test_a_batch_of_many_is_one_pair_of_commits(town: Town):
    for _ in range(20):
        approved(town)
    commits: list[str] = []
    town.trail.database.engine.dispose()
    event.listen(town.trail.database.engine, "commit", lambda _connection: commits.append("commit"))
    worker = Worker(town.works)
    made = worker.issue()
    assert len(made) == 20
    assert len(commits) == 2
    assert len({row.serial for row in made}) == 20
