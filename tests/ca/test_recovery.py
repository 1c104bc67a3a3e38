"""An authority on hold goes on only behind its last published list, and nothing that the list names stands better than it says."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

import pytest

from audit.permit import Action, Permit
from audit.record import recording
from ca import authorities, certificates, crls, recovery, revocation
from ca.recovery import PutBack
from ca.states import IntentState, RequestState, Standing
from ca.tables import Authority, Certificate, Intent, Revocation, RevocationList
from certs import crl
from certs.crl import Crl
from core.errors import Conflict, Unavailable
from tests.ca.town import Town

PERIOD = dt.timedelta(milliseconds=200)


def held(town: Town) -> None:
    """As a restore leaves the authorities."""
    permit = town.service("operator", Action.BACKUP_RESTORE, "backup:b1")
    with recording(town.trail) as tx:
        authorities.hold(tx, "b1", permit=permit)


def permit(town: Town) -> Permit:
    return town.service("operator", Action.BACKUP_RESTORE, "ca:staff")


def published(town: Town, entries: Mapping[int, str], number: int = 7) -> Crl:
    """A list that the authority made after the backup; everything was revoked an hour ago."""
    now = town.clock.now().replace(microsecond=0)
    with town.trail.database.reading() as session:
        issuer = authorities.issuer(session, town.signers, "staff")
    template = crl.Template(issuer.certificate, "http://127.0.0.1:8080/crl/staff/0.crl")
    told = [crl.entry(serial, now - dt.timedelta(hours=1), reason) for serial, reason in entries.items()]
    tbs = template.tbs(number=number, this_update=now, next_update=now + dt.timedelta(days=1), entries=told)
    return crl.parse(template.assemble(tbs, issuer.signer.sign(tbs)))


def supplied(town: Town, found: Crl) -> PutBack:
    return recovery.supply(town.trail, "staff", found, PERIOD, permit=permit(town))


def standing(town: Town, certificate: Certificate) -> tuple[str, str]:
    row = town.row(Revocation, certificate.intent_id)
    return row.standing, row.reason


def test_certificates_stand_as_the_list_says_with_its_dates_and_reasons(town: Town) -> None:
    lost, kept = town.issued("zhangsan"), town.issued("zhangsan")
    before = town.issued("zhangsan")
    town.revoke("zhangsan", before)
    names = {int(lost.serial, 16): "keyCompromise", int(kept.serial, 16): "certificateHold", int(before.serial, 16): "keyCompromise"}
    found = published(town, names)
    held(town)
    assert (told := supplied(town, found)).revoked == 2
    assert told.unrecorded == 0
    assert standing(town, lost) == (Standing.REVOKED, "keyCompromise")
    assert standing(town, kept) == (Standing.SUSPENDED, "certificateHold")
    assert town.row(Revocation, lost.intent_id).at == found.entries[int(lost.serial, 16)].at
    assert [event["rsn"] for event in town.events(f"obj:{lost.ref} code:CA1007")] == ["keyCompromise"]


def test_who_was_suspended_before_and_revoked_after_the_backup_is_revoked_with_the_date_of_the_list(town: Town) -> None:
    certificate = town.issued("zhangsan")
    suspend = town.permit("zhengshi", Action.CERT_SUSPEND, certificates.target(certificate))
    with recording(town.trail) as tx:
        revocation.suspend(tx, certificate.authority, certificate.serial, permit=suspend)
    found = published(town, {int(certificate.serial, 16): "keyCompromise"})
    held(town)
    assert supplied(town, found).revoked == 1
    assert standing(town, certificate) == (Standing.REVOKED, "keyCompromise")
    assert town.row(Revocation, certificate.intent_id).at == found.entries[int(certificate.serial, 16)].at


def test_serials_that_no_row_knows_stay_on_the_lists_as_long_as_their_authority_lives(town: Town) -> None:
    strangers = {(0x40 << 120) + number: "superseded" for number in range(1, recovery.BATCH + 20)}
    strangers[0x41 << 120] = "certificateHold"
    found = published(town, strangers)
    held(town)
    assert supplied(town, found).unrecorded == len(strangers)
    assert town.worker().publish()
    with town.trail.database.reading() as session:
        fresh = crl.parse(crls.latest(session, "staff").der)
    assert fresh.number > found.number + recovery.LEAST_SKIPPED - 1
    assert fresh.serials >= strangers.keys()
    assert fresh.entries[0x41 << 120].reason == "unspecified"
    assert {row.not_after for row in town.rows(Revocation) if row.reason == "superseded"} == {_end(town)}


def _end(town: Town) -> dt.datetime:
    with town.trail.database.reading() as session:
        return authorities.issuer(session, town.signers, "staff").certificate.not_valid_after_utc


def test_a_signature_that_was_announced_and_is_on_the_list_is_swept(town: Town) -> None:
    signer = town.signers.get("ca/staff")

    def fail(_: bytes) -> bytes:
        raise OSError("the machine was lost")

    request = town.submit("zhangsan")
    town.decide("zhaoliu", request)
    signer.twist = fail
    town.worker().issue()
    signer.twist = lambda signature: signature
    (intent,) = [row for row in town.rows(Intent) if row.state == IntentState.OPEN]
    found = published(town, {int(intent.serial, 16): "keyCompromise"})
    held(town)
    assert supplied(town, found).unrecorded == 0
    assert town.row(Intent, intent.id).state == IntentState.SWEPT
    assert town.request(request).state == RequestState.APPROVED


def test_a_hold_that_was_ended_half_way_goes_on_and_can_be_ended_again(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    found = published(town, {(0x40 << 120) + number: "superseded" for number in range(1, recovery.BATCH + 20)})
    held(town)
    adopt = crls.adopt

    def broken(*_: object, **__: object) -> None:
        raise Unavailable("the disk is full")

    monkeypatch.setattr(crls, "adopt", broken)
    with pytest.raises(Unavailable):
        supplied(town, found)
    assert town.row(Authority, "staff").held == "b1"
    monkeypatch.setattr(crls, "adopt", adopt)
    assert supplied(town, found).unrecorded == 0
    assert town.row(Authority, "staff").held == ""


def test_without_its_list_an_authority_shows_none_before_the_next_one_is_out(town: Town) -> None:
    with town.trail.database.reading() as session:
        before = crls.latest(session, "staff").number
    held(town)
    told = recovery.go_without(town.trail, "staff", town.clock.now(), PERIOD, permit=permit(town))
    assert "goes on without its last list" in told.unproved[0]
    assert town.responder().crl("staff") is None
    with town.trail.database.reading() as session:
        assert crls.due(session, "staff", town.clock.now()) == "restored"
    town.worker().publish()
    assert crl.parse(town.responder().crl("staff") or b"").number > before + recovery.LEAST_SKIPPED
    assert [event["out"] for event in town.events("obj:crl:staff code:CA5007")] == ["fail"]


def test_more_numbers_are_left_out_when_more_lists_could_have_been_made(town: Town) -> None:
    held(town)
    ago = town.clock.now() - dt.timedelta(days=30)
    recovery.go_without(town.trail, "staff", ago, PERIOD, permit=permit(town))
    newest = max(row.number for row in town.rows(RevocationList) if row.authority == "staff")
    assert newest >= dt.timedelta(days=30) // PERIOD


def test_two_lists_of_one_number_are_an_auditors_affair(town: Town) -> None:
    with town.trail.database.reading() as session:
        number = crls.latest(session, "staff").number
    found = published(town, {}, number=number)
    held(town)
    with pytest.raises(Conflict, match="there are two lists"):
        supplied(town, found)
    assert town.row(Authority, "staff").held == "b1"


def test_a_suspension_that_the_list_no_longer_names_is_told_and_stays(town: Town) -> None:
    certificate = town.issued("zhangsan")
    found_before = published(town, {})
    suspend = town.permit("zhengshi", Action.CERT_SUSPEND, certificates.target(certificate))
    with recording(town.trail) as tx:
        revocation.suspend(tx, certificate.authority, certificate.serial, permit=suspend)
    held(town)
    told = supplied(town, found_before)
    assert any(certificate.serial in sentence and "was it released" in sentence for sentence in told.unproved)
    assert standing(town, certificate)[0] == Standing.SUSPENDED
