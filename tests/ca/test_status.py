from __future__ import annotations

import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp as reader
from cryptography.x509.ocsp import OCSPCertStatus, OCSPResponseStatus
from sqlalchemy.exc import OperationalError

from audit.permit import Action
from audit.record import recording
from ca import certificates, revocation, status
from ca.status import Responder
from ca.tables import Authority, Certificate
from certs import ocsp
from tests.ca.town import Town


def question(town: Town, authority: str, serial: int, hash_name: str = "sha256", nonce: bytes | None = None) -> bytes:
    """A request as a relying party makes it."""
    issuer = x509.load_der_x509_certificate(town.row(Authority, authority).cert)
    digest = hashes.SHA256() if hash_name == "sha256" else hashes.SHA1()
    name = hashes.Hash(digest)
    name.update(issuer.subject.public_bytes())
    key = ocsp.cert_ids(issuer)[hash_name].issuer_key_hash
    builder = reader.OCSPRequestBuilder().add_certificate_by_hash(name.finalize(), key, serial, digest)
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.build().public_bytes(Encoding.DER)


def ask(town: Town, responder: Responder, certificate: Certificate, hash_name: str = "sha256", **more) -> OCSPCertStatus:
    der = question(town, "staff", int(certificate.serial, 16), hash_name, **more)
    return reader.load_der_ocsp_response(responder.answer("staff", der).der).certificate_status


def test_issued_is_good_and_revoked_is_revoked_with_its_reason_under_every_hash(town: Town):
    certificate, responder = town.issued(), town.responder()
    hash_names = ("sha1", "sha256")
    assert [ask(town, responder, certificate, name) for name in hash_names] == [OCSPCertStatus.GOOD] * 2
    town.revoke("zhangsan", certificate, "keyCompromise")
    responder.poll()
    assert [ask(town, responder, certificate, name) for name in hash_names] == [OCSPCertStatus.REVOKED] * 2
    answer = reader.load_der_ocsp_response(responder.answer("staff", question(town, "staff", int(certificate.serial, 16))).der)
    assert answer.revocation_reason is x509.ReasonFlags.key_compromise


def test_kept_answers_are_the_same_bytes_until_the_poll_that_sees_the_revocation(town: Town):
    certificate, responder = town.issued(), town.responder()
    der = question(town, "staff", int(certificate.serial, 16))
    first = responder.answer("staff", der)
    town.clock.advance(seconds=1)
    responder.poll()
    assert responder.answer("staff", der).der == first.der
    assert first.cacheable
    assert 0 < first.max_age_seconds <= status.MAX_AGE_SECONDS
    other = town.issued(uid="wangwu", approver="zhouba")
    town.revoke("wangwu", other)
    responder.poll()
    assert responder.answer("staff", der).der == first.der  # another's revocation drops nothing of ours
    town.revoke("zhangsan", certificate)
    responder.poll()
    assert responder.answer("staff", der).der != first.der


def test_an_answer_made_from_an_older_look_than_the_last_poll_is_not_kept(town: Town, monkeypatch: pytest.MonkeyPatch):
    certificate, responder = town.issued(), town.responder()
    look = status._status

    def overtaken(session, authority, serial):
        seen = look(session, authority, serial)
        monkeypatch.setattr(status, "_status", look)
        town.revoke("zhangsan", certificate)
        responder.poll()
        return seen

    monkeypatch.setattr(status, "_status", overtaken)
    assert ask(town, responder, certificate) is OCSPCertStatus.GOOD
    assert ask(town, responder, certificate) is OCSPCertStatus.REVOKED


def test_a_serial_that_was_never_issued_is_unknown_and_never_kept(town: Town):
    responder = town.responder()
    der = question(town, "staff", 0xBEEF)
    answer = responder.answer("staff", der)
    assert reader.load_der_ocsp_response(answer.der).certificate_status is OCSPCertStatus.UNKNOWN
    assert not answer.cacheable
    assert not responder._kept


def test_an_announced_serial_is_not_good_before_its_certificate_is_stored(town: Town):
    request_id = town.submit("zhangsan")
    town.decide("zhaoliu", request_id)
    responder, seen = town.responder(), []
    signer = town.signers.get("ca/staff")

    def look(signature: bytes) -> bytes:
        serial = int(town.events("code:CA1005")[-1]["cert"].partition(":")[2], 16)
        seen.append(reader.load_der_ocsp_response(responder.answer("staff", question(town, "staff", serial)).der).certificate_status)
        return signature

    signer.twist = look
    town.worker().issue()
    assert seen == [OCSPCertStatus.UNKNOWN]


def test_a_right_serial_with_another_issuer_is_refused(town: Town):
    certificate, responder = town.issued(), town.responder()
    serial = int(certificate.serial, 16)
    assert responder.answer("servers", question(town, "staff", serial)).der == ocsp.UNAUTHORIZED
    assert responder.answer("staff", question(town, "servers", serial)).der == ocsp.UNAUTHORIZED
    assert responder.answer("nobody", question(town, "staff", serial)).der == ocsp.UNAUTHORIZED
    unknown = reader.load_der_ocsp_response(responder.answer("servers", question(town, "servers", serial)).der)
    assert unknown.certificate_status is OCSPCertStatus.UNKNOWN


def test_nonces_are_answered_and_such_answers_never_kept(town: Town):
    certificate, responder = town.issued(), town.responder()
    for nonce in (b"\x01", b"n" * 32, b"n" * 128):
        answer = responder.answer("staff", question(town, "staff", int(certificate.serial, 16), nonce=nonce))
        read = reader.load_der_ocsp_response(answer.der)
        assert read.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == nonce
        assert (answer.cacheable, answer.max_age_seconds) == (False, 0)
    assert not any(known.answers for known in responder._kept.values())


def test_what_is_known_is_signed_without_the_database_until_the_poll_that_sees_the_revocation(town: Town, monkeypatch: pytest.MonkeyPatch):
    certificate, responder = town.issued(), town.responder()
    nonces = (question(town, "staff", int(certificate.serial, 16), nonce=bytes([number])) for number in range(9))
    assert responder.at_hand("staff", next(nonces)) is None
    assert ask(town, responder, certificate) is OCSPCertStatus.GOOD
    look = status._status
    monkeypatch.setattr(status, "_status", None)
    for der in (next(nonces), question(town, "staff", int(certificate.serial, 16), "sha1")):
        assert reader.load_der_ocsp_response(responder.answer("staff", der).der).certificate_status is OCSPCertStatus.GOOD
        assert responder.at_hand("staff", der)
    town.revoke("zhangsan", certificate)
    responder.poll()
    assert responder.at_hand("staff", next(nonces)) is None
    monkeypatch.setattr(status, "_status", look)
    assert reader.load_der_ocsp_response(responder.answer("staff", next(nonces)).der).certificate_status is OCSPCertStatus.REVOKED
    town.clock.advance(seconds=1.6)
    assert responder.answer("staff", next(nonces)).der == ocsp.TRY_LATER


@pytest.mark.parametrize("garbage", [b"", b"\x30", b"garbage", b"\x30\x03\x0a\x01\x00"])
def test_garbage_is_malformed(town: Town, garbage: bytes):
    answer = reader.load_der_ocsp_response(town.responder().answer("staff", garbage).der)
    assert answer.response_status is OCSPResponseStatus.MALFORMED_REQUEST


def test_after_a_second_and_a_half_without_a_poll_the_answer_is_try_later_but_lists_go_on(town: Town):
    certificate, responder = town.issued(), town.responder()
    der = question(town, "staff", int(certificate.serial, 16))
    responder.answer("staff", der)
    town.clock.advance(seconds=1.4)
    assert responder.answer("staff", der).cacheable
    town.clock.advance(seconds=0.2)
    assert responder.answer("staff", der).der == ocsp.TRY_LATER
    assert responder.problems()
    assert responder.crl("staff")
    assert responder.certificate("staff")
    responder.poll()
    assert responder.answer("staff", der).cacheable


def test_a_responder_that_never_looked_answers_nothing(town: Town):
    responder = Responder(town.trail, town.signers)
    assert responder.answer("staff", question(town, "staff", 1)).der == ocsp.TRY_LATER


def test_a_database_that_fails_meanwhile_is_try_later(town: Town, monkeypatch: pytest.MonkeyPatch):
    certificate, responder = town.issued(), town.responder()

    def gone(*_: object) -> None:
        raise OperationalError("SELECT", {}, Exception("disk I/O error"))

    monkeypatch.setattr(status, "_status", gone)
    der = question(town, "staff", int(certificate.serial, 16))
    assert responder.answer("staff", der).der == ocsp.TRY_LATER


def test_kept_answers_are_bounded_and_the_least_used_leave(town: Town, monkeypatch: pytest.MonkeyPatch):
    first, second, third = town.issued(), town.issued(), town.issued()
    monkeypatch.setattr(status, "CACHED_SERIALS", 2)
    responder = town.responder()
    for certificate in (first, second, first, third):
        ask(town, responder, certificate)
    assert [serial for _, serial in responder._kept] == [int(first.serial, 16), int(third.serial, 16)]


def test_answers_are_renewed_at_half_of_their_life_and_end_with_the_responder(town: Town):
    certificate, responder = town.issued(), town.responder()
    der = question(town, "staff", int(certificate.serial, 16))
    first = responder.answer("staff", der)
    read = reader.load_der_ocsp_response(first.der)
    assert read.next_update_utc - read.this_update_utc == dt.timedelta(hours=8)
    town.clock.advance(hours=4, minutes=1)
    responder.poll()
    assert responder.answer("staff", der).der != first.der
    town.clock.advance(days=89, hours=16)
    responder.poll()
    last = reader.load_der_ocsp_response(responder.answer("staff", der).der)
    assert last.next_update_utc == last.certificates[0].not_valid_after_utc


def test_a_new_responder_certificate_is_taken_up_and_old_answers_dropped(town: Town):
    certificate, responder = town.issued(), town.responder()
    der = question(town, "staff", int(certificate.serial, 16))
    town.clock.advance(days=46)
    responder.poll()
    before = reader.load_der_ocsp_response(responder.answer("staff", der).der).certificates[0].serial_number
    town.worker().renew_responders()
    responder.poll()
    assert reader.load_der_ocsp_response(responder.answer("staff", der).der).certificates[0].serial_number != before


def test_a_suspension_is_told_as_a_hold_and_ends_with_the_release(town: Town):
    certificate, responder = town.issued(), town.responder()
    for do, action, expected in (
        (revocation.suspend, Action.CERT_SUSPEND, OCSPCertStatus.REVOKED),
        (revocation.release, Action.CERT_RELEASE, OCSPCertStatus.GOOD),
    ):
        permit = town.permit("zhengshi", action, certificates.target(certificate))
        with recording(town.trail) as tx:
            do(tx, "staff", certificate.serial, permit=permit)
        responder.poll()
        assert ask(town, responder, certificate) is expected


def test_signatures_are_counted_by_key_and_minute(town: Town):
    certificate, responder = town.issued(), town.responder()
    for nonce in (b"a", b"b", b"c", None, None):
        ask(town, responder, certificate, nonce=nonce)
    responder.count()
    assert town.events("code:CA3003") == []  # the minute is not over
    town.clock.advance(minutes=1)
    responder.count()
    (told,) = town.events("code:CA3003")
    assert (told["obj"], told["d"]["signed"]) == ("ocsp:staff", 4)  # the fifth was a kept one
    assert len(town.signers.signed("ocsp/staff")) == 4
    responder.count()
    assert len(town.events("code:CA3003")) == 1


def test_the_poll_thread_sees_a_revocation_within_two_seconds(town: Town):
    responder = Responder(town.trail, town.signers)
    certificate = town.issued()
    responder.poll()
    responder.start()
    try:
        assert ask(town, responder, certificate) is OCSPCertStatus.GOOD
        town.revoke("zhangsan", certificate)
        end = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=2)
        while ask(town, responder, certificate) is OCSPCertStatus.GOOD:
            assert dt.datetime.now(dt.UTC) < end
    finally:
        responder.close()
    assert town.events("code:CA3003")


def test_certificates_of_authorities_are_served_alone_and_as_pkcs7(town: Town):
    responder = town.responder()
    der = responder.certificate("staff")
    assert der == town.row(Authority, "staff").cert
    from cryptography.hazmat.primitives.serialization import pkcs7

    (inside,) = pkcs7.load_der_pkcs7_certificates(responder.p7c("staff") or b"")
    assert inside.public_bytes(Encoding.DER) == der
    assert responder.certificate("nobody") is responder.p7c("nobody") is responder.crl("nobody") is None
