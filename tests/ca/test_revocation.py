from __future__ import annotations

from dataclasses import replace

import pytest

from audit.permit import Action
from audit.record import recording
from authz.tables import Standing as StandingRow
from ca import certificates, revocation
from ca.certificates import Filter
from ca.states import Standing
from ca.tables import Authority, Certificate, Revocation
from core.errors import Conflict, Denied, Malformed, NotFound
from tests.ca.town import Town


def act(town: Town, uid: str, certificate: Certificate, action: Action):
    permit = town.permit(uid, action, certificates.target(certificate))
    do = revocation.suspend if action is Action.CERT_SUSPEND else revocation.release
    with recording(town.trail) as tx:
        do(tx, certificate.authority, certificate.serial, permit=permit)


def now(town: Town, certificate: Certificate) -> tuple[Standing, str | None]:
    """What the row and what logins see."""
    spki = town.row(Authority, certificate.authority).spki_sha256
    with town.trail.database.reading() as session:
        kept = session.get(StandingRow, (spki, certificate.serial))
    seen = kept.state if kept is not None and kept.state != "released" else None
    return town.row(Certificate, certificate.intent_id).standing, seen


def test_one_row_and_standing_change_in_one_transaction_with_the_event(town: Town):
    certificate = town.issued()
    assert now(town, certificate) == (Standing.VALID, None)
    town.revoke("zhangsan", certificate, "keyCompromise")
    assert now(town, certificate) == (Standing.REVOKED, "revoked")
    (told,) = town.events("code:CA1007")
    spki = town.row(Authority, "staff").spki_sha256
    assert (told["rsn"], told["cert"]) == ("keyCompromise", f"{spki}:{certificate.serial}")


def test_revoked_is_for_ever(town: Town):
    certificate = town.issued()
    town.revoke("zhaoliu", certificate, "superseded")
    with pytest.raises(Conflict):
        town.revoke("zhaoliu", certificate)
    for action in (Action.CERT_SUSPEND, Action.CERT_RELEASE):
        with pytest.raises(Conflict):
            act(town, "zhengshi", certificate, action)
    assert len(town.rows(Revocation)) == 1


def test_suspended_then_released_then_revoked(town: Town):
    certificate = town.issued()
    revisions = []
    for action, expected in (
        (Action.CERT_SUSPEND, (Standing.SUSPENDED, "suspended")),
        (Action.CERT_RELEASE, (Standing.VALID, None)),
        (Action.CERT_SUSPEND, (Standing.SUSPENDED, "suspended")),
    ):
        act(town, "zhengshi", certificate, action)
        assert now(town, certificate) == expected
        revisions.append(town.row(Revocation, certificate.intent_id).revision)
    town.revoke("zhengshi", certificate, "unspecified")
    assert now(town, certificate) == (Standing.REVOKED, "revoked")
    assert revisions == sorted(set(revisions))


def test_suspension_only_where_the_profile_allows_it(town: Town):
    request_id = town.submit("fenger", profile="server", ref="server:portal")
    town.decide("zhaoliu", request_id)
    town.worker().step()
    certificate = town.request(request_id).certificate
    assert certificate
    with pytest.raises(Conflict, match="server"):
        act(town, "zhengshi", certificate, Action.CERT_SUSPEND)


@pytest.mark.parametrize("reason", ["certificateHold", "removeFromCRL", "because", ""])
def test_only_reasons_of_the_standard(town: Town, reason: str):
    with pytest.raises(Malformed):
        town.revoke("zhangsan", town.issued(), reason)
    assert town.rows(Revocation) == []


def test_strangers_and_other_counties_do_not_revoke(town: Town):
    certificate = town.issued()
    for uid in ("lisi", "zhouba", "qianyi"):
        with pytest.raises(Denied):
            town.revoke(uid, certificate)


def test_permits_are_for_one_certificate_in_one_unit(town: Town):
    certificate, other = town.issued(), town.issued()
    permit = town.permit("zhaoliu", Action.CERT_REVOKE, certificates.target(certificate))
    with pytest.raises(RuntimeError), recording(town.trail) as tx:
        revocation.revoke(tx, "staff", other.serial, "superseded", permit=permit)
    with pytest.raises(Conflict), recording(town.trail) as tx:
        revocation.revoke(tx, "staff", certificate.serial, "superseded", permit=replace(permit, unit="elsewhere"))


def test_an_unknown_serial_and_the_right_serial_of_another_authority_are_not_found(town: Town):
    certificate = town.issued()
    for authority, serial in (("staff", "abc"), ("servers", certificate.serial)):
        permit = town.permit("zhengshi", Action.CERT_REVOKE, (f"cert:{authority}/{serial}", certificate.unit, "", ""))
        with pytest.raises(NotFound), recording(town.trail) as tx:
            revocation.revoke(tx, authority, serial, "superseded", permit=permit)


def test_certificates_are_found_by_serial_and_listed_by_what_matters(town: Town):
    first, second = town.issued(), town.issued(uid="wangwu", approver="zhouba")
    town.revoke("zhengshi", first)
    with town.trail.database.reading() as session:

        def listed(**which: object) -> list[str]:
            return [row.serial for row in certificates.listing(session, Filter(profile="staff-sign", **which))]

        assert certificates.get(session, first.serial.upper()).ref == first.ref
        assert certificates.find(session, "beef") is None
        assert listed() == [second.serial, first.serial]
        assert listed(units=[first.unit]) == [first.serial]
        assert listed(standing="valid") == [second.serial]
        assert listed(standing="revoked") == [first.serial]
        assert listed(name="王") == [second.serial]
        assert listed(owner=first.owner) == [first.serial]
        assert listed(unexpired_at=town.clock.now()) == [second.serial, first.serial]
        names = [one.subject.rfc4514_string() for one in certificates.chain(session, first)]
        assert len(names) == 2
        assert "Staff" in names[1]
