"""An independent linter finds nothing in what the authority really issued: every profile, list and OCSP answer."""

from __future__ import annotations

import pytest
from cryptography import x509

from ca.tables import Authority, Certificate
from tests.ca.test_status import question
from tests.ca.town import Town
from tests.certs.test_pkilint import lint_certificate, lint_crl, lint_ocsp


@pytest.fixture
def busy(town: Town) -> Town:
    """A home that issued under every profile, and revoked."""
    revoked = town.issued()
    for profile, ref in (("server", "server:portal"), ("application", "application:oa")):
        town.decide("zhaoliu", town.submit("fenger", profile=profile, ref=ref))
    town.issued(uid="wangwu", approver="zhouba")
    town.revoke("zhangsan", revoked, "keyCompromise")
    town.worker().step()
    return town


def test_certificates_of_every_profile_are_silent(busy: Town):
    rows = busy.rows(Certificate)
    assert {row.profile for row in rows} == {"root", "issuing", "ocsp", "staff-sign", "server", "application"}
    assert {f"{row.profile}: {found}" for row in rows for found in lint_certificate(x509.load_der_x509_certificate(row.der))} == set()


def test_lists_and_answers_are_silent(busy: Town):
    responder = busy.responder()
    for authority in busy.rows(Authority):
        assert lint_crl(responder.crl(authority.id) or b"") == []
    for row in busy.rows(Certificate):
        for nonce in (None, b"n" * 32):
            answer = responder.answer(row.authority, question(busy, row.authority, int(row.serial, 16), nonce=nonce))
            assert lint_ocsp(answer.der) == []
    assert lint_ocsp(responder.answer("staff", question(busy, "staff", 0xBEEF)).der) == []
