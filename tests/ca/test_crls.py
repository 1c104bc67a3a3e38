from __future__ import annotations

import datetime as dt

import pytest
from sqlalchemy import delete, update

from audit.permit import Action
from audit.record import recording
from ca import certificates, crls, revocation
from ca.states import ListState
from ca.tables import Authority, Revocation, RevocationList
from certs import crl
from tests.ca.town import Town


def published(town: Town, authority: str = "staff") -> crl.Crl:
    with town.trail.database.reading() as session:
        row = crls.latest(session, authority)
    assert row is not None
    assert row.der is not None
    return crl.parse(row.der)


def due(town: Town, authority: str = "staff") -> str:
    with town.trail.database.reading() as session:
        return crls.due(session, authority, town.works.now())


def test_every_authority_has_a_list_after_the_first_step(town: Town):
    for row in town.rows(Authority):
        first = published(town, row.id)
        assert (first.number, first.entries) == (1, {})
        assert first.urls == ((f"http://127.0.0.1:8080/crl/{row.id}/0.crl",) if row.parent else ())
    assert due(town) == ""


def test_the_certificate_names_the_list_that_tells_of_it(town: Town):
    certificate = town.issued()
    text = str(town.chain(certificate)[0].extensions)
    assert published(town).urls[0] in text


MOVED = "http://status.jiangzhou.example"


def test_lists_go_on_when_the_status_address_moves_and_name_every_address_that_certificates_have(town: Town):
    old = town.issued("zhangsan")
    before = town.http_url
    town.http_url = f"{MOVED}/"
    new = town.issued("zhangsan")
    town.revoke("zhangsan", old)
    town.worker().step()
    found = published(town)
    assert (found.number, found.serials) == (2, {int(old.serial, 16)})
    assert found.urls == (f"{MOVED}/crl/staff/0.crl", f"{before}/crl/staff/0.crl")
    assert [url in str(town.chain(one)[0].extensions) for one in (old, new) for url in found.urls] == [False, True, True, False]
    town.http_url = before  # it moves back
    town.revoke("zhaoliu", new)
    town.worker().step()
    assert published(town).urls == (f"{before}/crl/staff/0.crl", f"{MOVED}/crl/staff/0.crl")


def test_until_when_an_address_is_needed_is_told_as_long_as_a_certificate_names_it(town: Town):
    def needed() -> dict[str, dt.datetime]:
        with town.trail.database.reading() as session:
            return crls.former_addresses(session, town.http_url, town.works.now())

    before, certificate = town.http_url, town.issued()
    assert needed() == {}
    town.http_url = MOVED
    [(place, ends)] = needed().items()
    assert place == before
    assert ends > certificate.not_after  # the authority's own names it longest
    town.worker().step()
    town.clock.advance(seconds=(ends - town.clock.now()).total_seconds())
    assert needed() == {}


def test_a_revocation_is_published_in_the_next_step(town: Town):
    certificate = town.issued()
    town.revoke("zhangsan", certificate, "keyCompromise")
    assert due(town) == "revoked"
    town.worker().step()
    entry = published(town).entries[int(certificate.serial, 16)]
    assert entry.reason == "keyCompromise"
    assert published(town).number == 2
    assert due(town) == ""
    assert due(town, "servers") == ""


def test_a_suspension_is_told_as_a_hold_and_a_release_takes_it_off(town: Town):
    certificate = town.issued()
    worker = town.worker()
    for do, action in ((revocation.suspend, Action.CERT_SUSPEND), (revocation.release, Action.CERT_RELEASE)):
        permit = town.permit("zhengshi", action, certificates.target(certificate))
        with recording(town.trail) as tx:
            do(tx, "staff", certificate.serial, permit=permit)
        worker.step()
        told = {serial: entry.reason for serial, entry in published(town).entries.items()}
        assert told == ({int(certificate.serial, 16): crl.HOLD} if do is revocation.suspend else {})
    assert published(town).number == 3


def test_lists_are_renewed_at_half_of_their_life(town: Town):
    town.clock.advance(hours=11, minutes=30)
    assert due(town) == ""
    town.clock.advance(minutes=31)
    assert due(town) == "half-life"
    town.worker().step()
    assert published(town).number == 2
    assert published(town).next_update - published(town).this_update == dt.timedelta(hours=24)


def test_a_serial_stays_until_one_list_after_its_end(town: Town):
    certificate = town.issued()
    serial = int(certificate.serial, 16)
    town.revoke("zhangsan", certificate)
    worker = town.worker()
    worker.step()
    town.clock.advance(days=364, hours=23)
    worker.publish()
    assert serial in published(town).serials
    town.clock.advance(hours=13)
    worker.publish()  # the first list after notAfter still has it
    assert published(town).this_update > certificate.not_after
    assert serial in published(town).serials
    town.clock.advance(hours=13)
    worker.publish()
    assert serial not in published(town).serials


@pytest.mark.parametrize("town", ["sqlite"], indirect=True)  # breaks in by means of a file
def test_a_list_that_lost_a_revocation_is_held_back(town: Town):
    certificate = town.issued()
    town.revoke("zhangsan", certificate)
    worker = town.worker()
    worker.step()
    told = published(town)
    with town.trail.database.engine.begin() as connection:  # somebody with rights on the file
        connection.execute(delete(Revocation))
    town.clock.advance(hours=13)
    worker.publish()
    assert published(town).number == told.number
    assert int(certificate.serial, 16) in published(town).serials
    refusal = town.events("code:CA3004")[-1]
    assert "missing without a reason" in refusal["d"]["problems"][0]
    worker.publish()
    assert len(town.events("code:CA3004")) == 1  # it is not tried again at once
    town.clock.advance(minutes=1)
    worker.publish()
    assert len(town.events("code:CA3004")) == 2


@pytest.mark.parametrize("town", ["sqlite"], indirect=True)  # breaks in by means of a file
def test_numbers_never_go_back_nor_repeat(town: Town):
    worker = town.worker()
    with town.trail.database.engine.begin() as connection:
        connection.execute(update(RevocationList).where(RevocationList.authority == "staff").values(number=41))
    town.clock.advance(hours=13)
    worker.publish()
    assert published(town).number == 42


def test_what_is_signed_was_announced_and_an_orphan_s_number_is_not_used_again(town: Town):
    town.clock.advance(hours=13)

    def die(signature: bytes) -> bytes:
        raise OSError("gone")

    town.signers.get("ca/staff").twist = die
    worker = town.worker()
    worker.publish()
    town.signers.get("ca/staff").twist = lambda signature: signature
    worker.step()
    assert published(town).number == 1  # a signer in trouble is left alone for some seconds
    town.clock.advance(seconds=6)
    worker.step()
    assert published(town).number == 3
    states = [row.state for row in town.rows(RevocationList) if row.authority == "staff"]
    assert states == [ListState.PUBLISHED, ListState.ABANDONED, ListState.PUBLISHED]
    announced = [event["d"]["tbs-sha256"] for event in town.events("code:CA3001 obj:crl:staff")]
    assert [digest for digest in town.signers.signed("ca/staff") if digest in announced] == announced
    assert town.events("code:CA3005")[-1]["out"] == "void"


def test_a_list_with_a_faulty_signature_is_never_published_and_stops_the_authority(town: Town):
    town.clock.advance(hours=13)
    town.signers.get("ca/staff").twist = lambda signature: signature[:-1] + bytes([signature[-1] ^ 1])
    town.worker().publish()
    assert published(town).number == 1
    assert "does not verify" in town.row(Authority, "staff").stopped


def test_a_permit_for_another_list_is_a_bug(town: Town):
    permit = town.service("issuance", Action.STATUS_PUBLISH, "crl:servers")
    with pytest.raises(RuntimeError):
        crls.publish(town.works, "staff", permit=permit)
