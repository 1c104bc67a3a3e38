"""Profiles are data with versions; templates follow them, and never depend on the key that signs."""

import datetime as dt
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from certs.names import Kind
from certs.profiles import PROFILES, YEAR, Issuer, StatusUrls, last_second, profile_of, template
from certs.suites import SUITES
from core.errors import Malformed
from tests.certs.hierarchy import NOW, SUBJECTS, house_of

DOCUMENT = Path("docs/profiles.md")


def row(profile) -> str:
    """One row of the table in the documentation."""
    usages = {
        "1.3.6.1.5.5.7.3.1": "serverAuth",
        "1.3.6.1.5.5.7.3.2": "clientAuth",
        "1.3.6.1.5.5.7.3.4": "emailProtection",
        "1.3.6.1.5.5.7.3.9": "OCSPSigning",
    }
    cells = [
        f"`{profile.name}`",
        str(profile.version),
        profile.kind,
        f"{profile.lifetime.days} days",
        " ".join(profile.key_usage),
        " ".join(usages[usage] for usage in profile.extended_key_usage) or "none",
        f"`{profile.policy_oid}`" if not profile.authority else "anyPolicy",
        str(profile.approvals),
        "yes" if profile.may_suspend else "no",
    ]
    return f"| {' | '.join(cells)} |"


@pytest.mark.parametrize("profile", PROFILES.values(), ids=list(PROFILES))
def test_profile_is_documented_as_it_is(profile):
    assert row(profile) in DOCUMENT.read_text("utf-8").splitlines()


def test_policies_are_never_shared():
    assert len({profile.policy for profile in PROFILES.values()}) == len(PROFILES)


@pytest.mark.parametrize("profile", PROFILES)
def test_rehearsal_has_the_same_bytes_as_the_signature(every_house, profile):
    """A throw-away key of the same kind signs the same tbsCertificate; otherwise nothing could be linted before."""
    content, issuer = every_house.content(profile), every_house.issuer_of(profile)
    real, throw_away = every_house.staff.key, every_house.key("throw-away")
    signed = [template(PROFILES[profile], issuer=issuer, content=content).sign(key, issuer.suite.digest) for key in (real, throw_away)]
    assert signed[0].tbs_certificate_bytes == signed[1].tbs_certificate_bytes


@pytest.mark.parametrize("profile", [name for name in PROFILES if name not in {"root", "issuing"}])
def test_certificate_names_its_profile(house, profile):
    assert profile_of(house.leaves[profile]) is PROFILES[profile]


def test_authorities_and_strangers_name_no_profile(house):
    assert profile_of(house.staff.cert) is None
    content = house.content("device")
    builder = (
        x509.CertificateBuilder().issuer_name(house.staff.cert.subject).subject_name(content.subject.name()).public_key(content.public_key)
    )
    builder = builder.serial_number(7).not_valid_before(NOW).not_valid_after(NOW + YEAR)
    assert profile_of(builder.sign(house.staff.key, house.suite.digest)) is None
    broken = builder.add_extension(x509.UnrecognizedExtension(x509.CertificatePolicies.oid, b"\xff"), critical=False)
    assert profile_of(broken.sign(house.staff.key, house.suite.digest)) is None


@given(
    st.datetimes(min_value=dt.datetime(2020, 1, 1), max_value=dt.datetime(2060, 1, 1), timezones=st.just(dt.UTC)),
    st.sampled_from(sorted(PROFILES)),
)
def test_lifetime_includes_its_last_second(not_before, name):
    """RFC 5280 section 4.1.2.5; 90 days and one second were a public incident."""
    assert last_second(not_before, PROFILES[name].lifetime) - not_before + dt.timedelta(seconds=1) == PROFILES[name].lifetime


@given(st.integers(0, 3650 * 86_400), st.integers(0, 999_999))
def test_certificate_never_outlives_its_issuer(late, microsecond):
    house = house_of("ed25519")
    content = house.content("device", not_before=NOW + dt.timedelta(seconds=late, microseconds=microsecond))
    end = house.staff.cert.not_valid_after_utc
    if content.not_before.replace(microsecond=0) >= end:
        with pytest.raises(Malformed, match="renew it"):
            template(PROFILES["device"], issuer=house.staff.issuer, content=content)
        return
    cert = house.staff.issue("device", content)
    assert cert.not_valid_before_utc == content.not_before.replace(microsecond=0)
    assert cert.not_valid_after_utc == min(end, cert.not_valid_before_utc + PROFILES["device"].lifetime - dt.timedelta(seconds=1))


def test_nothing_is_issued_under_an_issuer_that_has_ended(house):
    content = house.content("device", not_before=house.staff.cert.not_valid_after_utc)
    with pytest.raises(Malformed, match="renew it"):
        template(PROFILES["device"], issuer=house.staff.issuer, content=content)


@pytest.mark.parametrize("profile", PROFILES)
def test_profile_is_only_for_its_kind_of_subject(house, profile):
    for subject in SUBJECTS.values():
        if subject.kind is not PROFILES[profile].kind:
            with pytest.raises(Malformed, match="is for subjects of kind"):
                template(PROFILES[profile], issuer=house.staff.issuer, content=house.content(profile, subject=subject))


def test_status_addresses_are_written_where_given(house):
    def found(urls):
        cert = house.staff.issue("device", house.content("device", urls=urls))
        return {type(extension.value) for extension in cert.extensions} & {x509.CRLDistributionPoints, x509.AuthorityInformationAccess}

    assert found(StatusUrls()) == set()
    assert found(StatusUrls(crl="http://x.cn/c")) == {x509.CRLDistributionPoints}
    assert found(StatusUrls(ocsp="http://x.cn/o")) == found(StatusUrls(ca="http://x.cn/a")) == {x509.AuthorityInformationAccess}


def test_issuer_without_key_identifier_is_refused(house):
    content = house.content("issuing")
    builder = (
        x509.CertificateBuilder().issuer_name(content.subject.name()).subject_name(content.subject.name()).public_key(content.public_key)
    )
    bare = builder.serial_number(7).not_valid_before(NOW).not_valid_after(NOW + YEAR).sign(house.key("issuing"), house.suite.digest)
    with pytest.raises(Malformed, match="subject key identifier"):
        Issuer.of(bare)


def test_issuer_takes_what_children_quote(every_house):
    facts = Issuer.of(every_house.staff.cert)
    assert (facts.name, facts.suite) == (every_house.staff.cert.subject, SUITES[every_house.suite.name])
    assert facts.name_der == every_house.leaves["device"].issuer.public_bytes()


def test_server_may_have_no_host_in_the_template_but_is_caught_by_lint(house):
    from certs.lint import problems

    content = house.content("server", subject=replace(SUBJECTS["server"], hosts=()))
    cert = house.staff.issue("server", content)
    assert problems(cert, house.staff.issuer, PROFILES["server"]) == ["a server certificate names no host"]
    assert PROFILES["server"].kind is Kind.SERVER
