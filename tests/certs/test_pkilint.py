"""An independent linter finds nothing at NOTICE or above, in anything that we sign under any profile and suite."""

import datetime as dt
from functools import cache

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pkilint import loader, pkix
from pkilint.pkix import certificate, crl, extension, name, ocsp
from pkilint.validation import ValidationFindingSeverity

from certs import crl as our_crl
from certs import der
from certs import ocsp as our_ocsp
from certs.profiles import PROFILES, template

HOUR = dt.timedelta(hours=1)


def findings(validator, root) -> list[str]:
    return [
        f"{found.finding.severity.name} {found.finding.code}: {found.message}"
        for result in validator.validate(root)
        for found in result.finding_descriptions
        if found.finding.severity <= ValidationFindingSeverity.NOTICE
    ]


@cache
def certificate_validator():
    return certificate.create_pkix_certificate_validator_container(
        certificate.create_decoding_validators(name.ATTRIBUTE_TYPE_MAPPINGS, extension.EXTENSION_MAPPINGS),
        [
            certificate.create_issuer_validator_container([]),
            certificate.create_validity_validator_container(),
            certificate.create_subject_validator_container([]),
            certificate.create_extensions_validator_container([]),
            certificate.create_spki_validator_container([]),
        ],
    )


@cache
def crl_validator():
    return crl.create_pkix_crl_validator_container(
        [pkix.create_attribute_decoder(name.ATTRIBUTE_TYPE_MAPPINGS), pkix.create_extension_decoder(extension.EXTENSION_MAPPINGS)],
        [
            crl.create_issuer_validator_container([]),
            crl.create_validity_validator_container([]),
            crl.create_extensions_validator_container([]),
        ],
    )


@cache
def ocsp_validator():
    return ocsp.create_pkix_ocsp_response_validator_container(
        [
            ocsp.create_response_decoder(),
            pkix.create_attribute_decoder(name.ATTRIBUTE_TYPE_MAPPINGS),
            pkix.create_extension_decoder(extension.EXTENSION_MAPPINGS),
        ],
        [],
    )


def lint_certificate(cert) -> list[str]:
    loaded = loader.RFC5280CertificateDocumentLoader().load_der_document(cert.public_bytes(Encoding.DER), "certificate")
    return findings(certificate_validator(), loaded.root)


def lint_crl(der: bytes) -> list[str]:
    return findings(crl_validator(), loader.RFC5280CertificateListDocumentLoader().load_der_document(der, "crl").root)


def lint_ocsp(der: bytes) -> list[str]:
    return findings(ocsp_validator(), loader.RFC6960OCSPResponseDocumentLoader().load_der_document(der, "ocsp").root)


@pytest.mark.parametrize("profile", PROFILES)
def test_certificates_of_every_profile_are_clean(every_house, profile):
    assert lint_certificate(every_house.certificates[profile]) == []


@pytest.mark.parametrize("authority", ["root", "staff"])
@pytest.mark.parametrize("entries", [0, 12])
def test_crls_are_clean(every_house, now, authority, entries):
    ca = getattr(every_house, authority)
    template = our_crl.Template(ca.cert, "http://status.example.gov.cn/crl/staff/0.crl")
    reasons = [*our_crl.REASONS, "", "", ""]
    revoked = [our_crl.entry((1 << 158) + n, now - n * HOUR, reasons[n]) for n in range(entries)]
    tbs = template.tbs(number=7, this_update=now, next_update=now + 24 * HOUR, entries=revoked)
    assert lint_crl(template.assemble(tbs, template.suite.sign(ca.key, tbs))) == []


STATUSES = [our_ocsp.Good(), our_ocsp.Unknown()] + [
    our_ocsp.Revoked(dt.datetime(2026, 2, 1, tzinfo=dt.UTC), reason) for reason in our_crl.REASONS
]


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("nonce", [None, b"n", b"n" * 128])
def test_ocsp_answers_about_every_profile_are_clean(every_house, now, profile, nonce):
    template = our_ocsp.Template(every_house.leaves["ocsp"])
    cert = every_house.certificates[profile]
    for status in STATUSES if profile == "staff-sign" else STATUSES[:3]:
        cert_id = our_ocsp.cert_ids(every_house.staff.cert)["sha256"].encode(cert.serial_number)
        tbs = template.tbs(cert_id, status, now, now + 8 * HOUR, nonce)
        assert lint_ocsp(template.assemble(tbs, template.suite.sign(every_house.key("ocsp"), tbs))) == []


@pytest.mark.parametrize("answer", [our_ocsp.MALFORMED, our_ocsp.INTERNAL, our_ocsp.TRY_LATER, our_ocsp.UNAUTHORIZED])
def test_refusals_are_clean(answer):
    assert lint_ocsp(answer) == []


def test_linter_speaks_up_when_there_is_something(house, now):
    """The silence above means something: the same linter complains of a misplaced policy constraint and of times in the wrong content."""
    content = house.content("device")
    builder = template(PROFILES["device"], issuer=house.staff.issuer, content=content)
    bad = builder.add_extension(x509.PolicyConstraints(None, 0), critical=False).sign(house.staff.key, house.suite.digest)
    assert lint_certificate(bad) != []
    crl_template = our_crl.Template(house.staff.cert, "http://status.example.gov.cn/crl/staff/0.crl")
    tbs = crl_template.tbs(number=1, this_update=now, next_update=now + HOUR, entries=[])
    backwards = tbs.replace(der.time(now + HOUR), der.time(now - HOUR))
    assert lint_crl(crl_template.assemble(backwards, b"")) != []
    answer = our_ocsp.Template(house.leaves["ocsp"])
    cert_id = our_ocsp.cert_ids(house.staff.cert)["sha1"].encode(7)
    assert lint_ocsp(answer.assemble(answer.tbs(cert_id, our_ocsp.Good(), now, now - HOUR), b"")) != []
