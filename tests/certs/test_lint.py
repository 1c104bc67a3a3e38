"""Each rule finds what it is there for, alone: breaking one thing gives exactly the complaints that are expected."""

import datetime as dt
from dataclasses import dataclass, field, replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from certs import der, lint
from certs.names import IDENTITY, Identified, Identity, Kind
from certs.profiles import PROFILES, YEAR, Issuer, template
from certs.suites import SUITES
from core.errors import Malformed
from tests.certs.hierarchy import NOW, URLS, Ca, house_of, key


@dataclass
class Draft:
    """A certificate of a profile that can be spoilt in one place."""

    profile: str = "staff-sign"
    fields: dict = field(default_factory=dict)
    extensions: dict = field(default_factory=dict)
    drop: tuple = ()
    critical: dict = field(default_factory=dict)

    def problems(self) -> list[str]:
        house = house_of("ecdsa-p256-sha256")
        issuer = house.issuer_of(self.profile)
        clean = template(PROFILES[self.profile], issuer=issuer, content=house.content(self.profile)).sign(
            house.staff.key, house.suite.digest
        )
        values = {
            "subject_name": clean.subject,
            "issuer_name": clean.issuer,
            "public_key": clean.public_key(),
            "serial_number": clean.serial_number,
            "not_valid_before": clean.not_valid_before_utc,
            "not_valid_after": clean.not_valid_after_utc,
        } | self.fields
        builder = x509.CertificateBuilder(**values)
        present = {extension.oid: extension.value for extension in clean.extensions} | {
            value.oid: value for value in self.extensions.values()
        }
        for oid, value in present.items():
            if oid not in [kind.oid for kind in self.drop]:
                builder = builder.add_extension(value, critical=self.critical.get(oid, oid in lint._CRITICAL))
        return lint.problems(builder.sign(house.staff.key, house.suite.digest), issuer, PROFILES[self.profile])


def spoilt(profile="staff-sign", *, drop=(), critical=None, extension=None, **fields) -> Draft:
    return Draft(profile, fields, {"": extension} if extension else {}, drop, critical or {})


def usage(**bits) -> x509.KeyUsage:
    names = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
    )
    return x509.KeyUsage(**{name: bits.get(name, False) for name in names}, encipher_only=False, decipher_only=False)


def name(*attributes, rdns=None) -> x509.Name:
    return x509.Name(rdns or [x509.NameAttribute(oid, value) for oid, value in attributes])


def alternatives(*names) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName(list(names))


ME = Identified.encode(Identity(Kind.PERSON, "0d9a3a52-7d1c-4f6e-9b57-6a9f3f0f2c11"))
UID = (NameOID.USER_ID, "0d9a3a52-7d1c-4f6e-9b57-6a9f3f0f2c11")
HTTPS = x509.CRLDistributionPoints([x509.DistributionPoint([x509.UniformResourceIdentifier("https://x.cn/c")], None, None, None)])
BY_NAME = x509.CRLDistributionPoints([x509.DistributionPoint([x509.DirectoryName(name(UID))], None, None, None)])
PLAIN = x509.CRLDistributionPoints([x509.DistributionPoint([x509.UniformResourceIdentifier(URLS.crl)], None, None, None)])

CASES = {
    "issuer_is_the_issuers_subject": spoilt(issuer_name=name((NameOID.COMMON_NAME, "职员签发 CA"))),
    "subject_is_a_name_of_its_own": spoilt("issuing", subject_name=house_of("ecdsa-p256-sha256").root.cert.subject),
    "subject_is_a_name_of_its_own (empty)": spoilt("ocsp", subject_name=x509.Name([])),
    "subject_is_a_name_of_its_own (root)": spoilt("root", subject_name=name((NameOID.COMMON_NAME, "other"))),
    "name_attributes_are_ours (type)": spoilt(subject_name=name((NameOID.TITLE, "x"), UID)),
    "name_attributes_are_ours (length)": spoilt(subject_name=name((NameOID.ORGANIZATION_NAME, "x" * 65), UID)),
    "name_attributes_are_ours (one RDN)": spoilt(
        subject_name=name(
            rdns=[x509.RelativeDistinguishedName([x509.NameAttribute(NameOID.COMMON_NAME, "x"), x509.NameAttribute(*UID)])],
        )
    ),
    "validity_is_the_profiles": spoilt(not_valid_after=NOW + YEAR),
    "validity_is_the_profiles (short)": spoilt(not_valid_after=NOW + dt.timedelta(days=1)),
    "key_is_sound": spoilt(public_key=ec.generate_private_key(ec.SECP521R1()).public_key(), drop=()),
    "basic_constraints_are_the_profiles": spoilt(extension=x509.BasicConstraints(True, 0)),
    "basic_constraints_are_the_profiles (path)": spoilt("issuing", extension=x509.BasicConstraints(True, None)),
    "basic_constraints_are_the_profiles (none)": spoilt(drop=(x509.BasicConstraints,)),
    "key_usage_is_the_profiles": spoilt(extension=usage(digital_signature=True, key_cert_sign=True)),
    "key_usage_is_the_profiles (none)": spoilt(drop=(x509.KeyUsage,)),
    "extended_key_usage_is_the_profiles": spoilt(extension=x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH])),
    "extended_key_usage_is_the_profiles (none)": spoilt(drop=(x509.ExtendedKeyUsage,)),
    "extended_key_usage_is_the_profiles (too many)": spoilt(
        "issuing", extension=x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH])
    ),
    "subject_key_identifier_is_the_keys": spoilt(extension=x509.SubjectKeyIdentifier(bytes(20))),
    "authority_key_identifier_is_the_issuers": spoilt(extension=x509.AuthorityKeyIdentifier(bytes(20), None, None)),
    "authority_key_identifier_is_the_issuers (none)": spoilt(drop=(x509.AuthorityKeyIdentifier,)),
    "policy_is_the_profiles": spoilt(
        extension=x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier(PROFILES["server"].policy_oid), None)])
    ),
    "policy_is_the_profiles (qualified)": spoilt(
        extension=x509.CertificatePolicies(
            [x509.PolicyInformation(x509.ObjectIdentifier(PROFILES["staff-sign"].policy_oid), ["http://x.cn"])]
        )
    ),
    "policy_is_the_profiles (none)": spoilt(drop=(x509.CertificatePolicies,)),
    "names_only_whom_the_profile_is_for (other kind)": spoilt(extension=alternatives(Identified.encode(Identity(Kind.DEVICE, UID[1])))),
    "names_only_whom_the_profile_is_for (other id)": spoilt(
        extension=alternatives(Identified.encode(Identity(Kind.PERSON, "someone-else")))
    ),
    "names_only_whom_the_profile_is_for (nobody)": spoilt(drop=(x509.SubjectAlternativeName,)),
    "names_only_whom_the_profile_is_for (authority)": spoilt("issuing", extension=alternatives(ME)),
    "alternative_names_are_of_allowed_forms": spoilt(extension=alternatives(ME, x509.DNSName("x.cn"))),
    "alternative_names_are_of_allowed_forms (twice)": spoilt(
        extension=alternatives(ME, x509.RFC822Name("a@x.cn"), x509.RFC822Name("a@x.cn"))
    ),
    "alternative_names_are_of_allowed_forms (other arc)": spoilt(
        extension=alternatives(ME, x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c\x01x"))
    ),
    "alternative_names_are_of_allowed_forms (application)": spoilt(
        "application", extension=alternatives(Identified.encode(Identity(Kind.APPLICATION, "oa")), x509.DNSName("x.cn"))
    ),
    "status_is_asked_over_plain_http": spoilt(extension=HTTPS),
    "status_is_asked_over_plain_http (name)": spoilt(extension=BY_NAME),
    "revocable_or_unchecked": spoilt(extension=x509.OCSPNoCheck()),
    "revocable_or_unchecked (none)": spoilt("ocsp", drop=(x509.OCSPNoCheck,)),
    "revocable_or_unchecked (both)": spoilt("ocsp", extension=PLAIN),
    "extensions_are_known_and_rightly_critical": spoilt(extension=x509.PrecertPoison()),
    "extensions_are_known_and_rightly_critical (critical)": spoilt(critical={x509.SubjectAlternativeName.oid: True}),
    "extensions_are_known_and_rightly_critical (not critical)": spoilt(critical={x509.KeyUsage.oid: False}),
}

#: Breaking these breaks a second rule as well.
FOLLOWERS = {
    "key_is_sound": ["subject key identifier is not the key's"],
    "extensions_are_known_and_rightly_critical": [],
    "alternative_names_are_of_allowed_forms (authority)": [],
    "names_only_whom_the_profile_is_for (authority)": [],
}


@pytest.mark.parametrize("profile", PROFILES)
def test_template_is_clean(every_house, profile):
    """Every profile in every suite, as signed and as rehearsed."""
    issuer = every_house.issuer_of(profile)
    assert lint.problems(every_house.certificates[profile], issuer, PROFILES[profile]) == []


@pytest.mark.parametrize("case", CASES)
def test_rule_finds_what_it_is_there_for(case):
    found = CASES[case].problems()
    rule = getattr(lint, case.split(" ")[0])
    own = [text for text in found if text not in FOLLOWERS.get(case, [])]
    assert rule in lint.LINTS
    assert len(own) == 1, found


def test_every_rule_has_a_case_that_it_finds():
    """The rules that builders cannot break have tests of their own below."""
    by_hand = {"version_is_3", "serial_is_positive_and_short", "signature_algorithm_is_the_issuers", "times_are_encoded_by_their_year"}
    assert {case.split(" ")[0] for case in CASES} | by_hand == {rule.__name__ for rule in lint.LINTS}


def test_every_rule_cites_its_law():
    unlawful = [rule.__name__ for rule in lint.LINTS if "RFC" not in (rule.__doc__ or "")]
    assert unlawful == ["names_only_whom_the_profile_is_for"]


def resigned(cert, change, suite="ecdsa-p256-sha256"):
    """`cert` with its tbsCertificate changed and signed again, as a careless library would."""
    tbs = change(cert.tbs_certificate_bytes)
    algorithm = SUITES[suite].algorithm
    signature = SUITES[suite].sign(house_of("ecdsa-p256-sha256").staff.key, tbs)
    return x509.load_der_x509_certificate(der.sequence(tbs, algorithm, der.bits(signature)))


def problems_of(cert, profile="staff-sign"):
    return lint.problems(cert, house_of("ecdsa-p256-sha256").issuer_of(profile), PROFILES[profile])


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@pytest.mark.parametrize("serial", [0, -1, 1 << 159, 1 << 160])
def test_serial_is_positive_and_short(house, serial):
    def change(tbs):
        parts = der.parts(tbs)
        return der.sequence(parts[0], der.integer(serial), *parts[2:])

    assert problems_of(resigned(house.leaves["staff-sign"], change)) == ["serial out of range"]


def test_version_is_3(house):
    """A version 1 certificate has no extensions: everything else is missing too."""

    def change(tbs):
        return der.sequence(*der.parts(tbs)[1:7])

    assert "version is not 3" in problems_of(resigned(house.leaves["staff-sign"], change))


def test_signature_algorithm_is_the_issuers(house):
    other = Ca(house.staff.cert, key("ecdsa-p384-sha384", "issuing"))
    builder = template(PROFILES["device"], issuer=house.staff.issuer, content=house.content("device"))
    cert = builder.sign(other.key, SUITES["ecdsa-p384-sha384"].digest)
    assert lint.problems(cert, house.staff.issuer, PROFILES["device"]) == ["signature algorithm is not the issuer's suite"]


def test_times_are_encoded_by_their_year(house):
    def change(tbs):
        return tbs.replace(der.time(NOW), der.generalized_time(NOW), 1)

    def fixed(tbs):
        parts = der.parts(tbs)
        parts[4] = change(b"\x30\x00" + parts[4])[2:]
        return der.sequence(*parts[:4], der.sequence(*[change(part) for part in der.parts(der.parts(tbs)[4])]), *parts[5:])

    assert problems_of(resigned(house.leaves["staff-sign"], fixed)) == ["a time of the validity is not encoded as its year demands"]


def test_unreadable_extension_is_a_problem_not_an_exception():
    broken = spoilt(extension=x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\xff\xff"))
    assert [text.split(":")[0] for text in broken.problems()] == ["the certificate cannot be read"]


def test_issuer_that_ends_first_shortens_the_certificate(house):
    issuer = replace(house.staff.issuer, not_after=NOW + dt.timedelta(days=3))
    cert = template(PROFILES["device"], issuer=issuer, content=house.content("device")).sign(house.staff.key, house.suite.digest)
    assert lint.problems(cert, issuer, PROFILES["device"]) == []
    assert lint.problems(cert, house.staff.issuer, PROFILES["device"]) == ["validity is not the profile's"]


def test_identity_is_ours(house):
    assert house.leaves["staff-sign"].extensions.get_extension_for_class(x509.SubjectAlternativeName).value[-1].type_id == IDENTITY
    assert isinstance(Issuer.of(house.staff.cert), Issuer)
    assert issubclass(Malformed, Exception)
