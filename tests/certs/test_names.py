"""Names are made from the directory or refused, and an identity is read back exactly as it was written."""

from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from certs import der, names
from certs.names import IDENTIFIED, Identified, Identity, Kind, Subject, host_name, identity
from core.errors import Malformed
from tests.certs.hierarchy import PERSON, SUBJECTS, house_of

ids = st.from_regex(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?", fullmatch=True)


def test_name_goes_from_the_organisation_down_to_the_person():
    assert PERSON.name().rfc4514_string() == f"UID={PERSON.id},CN=张三,OU=财政局,OU=城关区,OU=兰州市,O=甘肃省"


def test_authority_has_no_uid_and_no_alternative_names():
    assert SUBJECTS["root"].name().rfc4514_string() == "CN=甘肃根 CA,O=甘肃省"
    assert SUBJECTS["root"].alternative_names() is None
    assert Subject(kind=Kind.AUTHORITY, id="x", common_name="X").name().rfc4514_string() == "CN=X"


def test_namesakes_in_one_unit_have_different_names():
    """RFC 5280 section 4.1.2.6: one name, one entity."""
    assert PERSON.name() != replace(PERSON, id="ffffffff-7d1c-4f6e-9b57-6a9f3f0f2c11").name()


@pytest.mark.parametrize("bad", ["", " x", "x ", "x" * 65, "a\x00b", "a\nb", "a\u202eb", "e\u0301", "\ue000", "\ud800"])
@pytest.mark.parametrize("field", ["common_name", "unit_names", "organisation"])
def test_unprintable_and_oversized_names_are_refused(field, bad):
    if field == "organisation" and not bad:
        return
    with pytest.raises(Malformed):
        replace(PERSON, **{field: (bad,) if field == "unit_names" else bad}).name()


@given(st.text(max_size=70) | st.text("门户张三", max_size=70))
def test_any_name_is_written_as_it_is_or_refused(text):
    try:
        name = replace(PERSON, common_name=text).name()
    except Malformed:
        return
    assert name.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == text
    assert x509.Name(name.rdns).public_bytes() == name.public_bytes()


def test_common_name_has_at_most_64_octets():
    """And the others 64 characters: `cryptography` counts so."""
    assert replace(PERSON, common_name="门" * 21, unit_names=("门" * 64,)).name()
    with pytest.raises(Malformed, match="octets"):
        replace(PERSON, common_name="门" * 22).name()


def test_alternative_names_come_in_a_fixed_order():
    found = SUBJECTS["server"].alternative_names()
    assert [type(name).__name__ for name in found] == ["DNSName", "IPAddress", "IPAddress", "OtherName"]
    assert [type(name).__name__ for name in PERSON.alternative_names()] == ["RFC822Name", "OtherName"]


@given(st.sampled_from(sorted(IDENTIFIED)), ids)
def test_identity_is_read_back(kind, id_):
    who = Identity(kind, id_)
    assert Identified.parse(Identified.encode(who)) == who


@given(st.binary(max_size=80) | st.text(max_size=80).map(lambda text: der.tlv(der.UTF8_STRING, text.encode())))
def test_any_identity_is_reencoded_to_the_same_bytes_or_malformed(value):
    name = x509.OtherName(names.IDENTITY, value)
    try:
        who = Identified.parse(name)
    except Malformed:
        return
    assert Identified.encode(who).value == value


@pytest.mark.parametrize(
    "value", [b"", b"\x0c", b"\x13\x0eapplication:oa", b"\x0c\x0capplication:", b"\x0c\x0cauthority:oa", b"\x0c\x0eapplication:oa\0"]
)
def test_strange_identity_is_malformed(value):
    with pytest.raises(Malformed):
        Identified.parse(x509.OtherName(names.IDENTITY, value))


@pytest.mark.parametrize("bad", ["", "UPPER", "a b", "-a", "a-", "é", "a:b", "x" * 64])
def test_id_that_cannot_be_read_back_is_refused(bad):
    with pytest.raises(Malformed, match="lower-case"):
        replace(SUBJECTS["application"], id=bad).alternative_names()


@pytest.mark.parametrize("profile", ["staff-sign", "server", "application", "device"])
def test_certificate_says_whom_it_is_for(house, profile):
    subject = SUBJECTS[profile]
    assert identity(house.leaves[profile]) == Identity(subject.kind, subject.id)


@pytest.mark.parametrize("profile", ["root", "issuing", "ocsp"])
def test_authorities_and_responders_are_nobody(house, profile):
    with pytest.raises(Malformed, match="names nobody"):
        identity(house.certificates[profile])


def test_two_identities_are_nobody(house):
    builder = x509.CertificateBuilder(
        issuer_name=house.staff.cert.subject,
        subject_name=house.staff.cert.subject,
        public_key=house.key("device").public_key(),
        serial_number=5,
        not_valid_before=house.staff.cert.not_valid_before_utc,
        not_valid_after=house.staff.cert.not_valid_after_utc,
    )
    two = [Identified.encode(Identity(Kind.PERSON, "a")), Identified.encode(Identity(Kind.PERSON, "b"))]
    cert = builder.add_extension(x509.SubjectAlternativeName(two), critical=False).sign(house.staff.key, house.suite.digest)
    with pytest.raises(Malformed, match="names nobody"):
        identity(cert)


@pytest.mark.parametrize(
    ("host", "kind"),
    [("portal.example.gov.cn", x509.DNSName), ("localhost", x509.DNSName), ("10.0.0.1", x509.IPAddress), ("fe80::1", x509.IPAddress)],
)
def test_hosts_are_names_or_addresses(host, kind):
    assert isinstance(host_name(host), kind)


@pytest.mark.parametrize(
    "bad",
    [
        "",
        ".",
        "a..b",
        "*.example.cn",
        "UPPER.cn",
        "under_score.cn",
        "a.cn.",
        "-a.cn",
        "a-.cn",
        "门户.cn",
        "1.2.3",
        "10.0.0.256",
        "x" * 64 + ".cn",
        "a." * 127 + "cn",
    ],
)
def test_other_hosts_are_refused(bad):
    with pytest.raises(Malformed, match="neither"):
        host_name(bad)


def test_domain_of_a_mail_address_is_written_in_lower_case():
    assert replace(PERSON, mail="Zhang.San@GS.Example.CN").alternative_names().get_values_for_type(x509.RFC822Name) == [
        "Zhang.San@gs.example.cn"
    ]


@pytest.mark.parametrize(
    "bad", ["zhangsan", "@x.cn", "a@", "a@10.0.0.1", "a b@x.cn", "a@b@x.cn", ".a@x.cn", "张三@x.cn", "x" * 65 + "@x.cn", "a@x_y.cn"]
)
def test_other_mail_addresses_are_refused(bad):
    with pytest.raises(Malformed):
        replace(PERSON, mail=bad).alternative_names()


def test_identity_survives_in_every_suite():
    assert identity(house_of("ed25519").leaves["application"]).id == "oa"
