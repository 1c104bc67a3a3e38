"""Lists by template are what cryptography's builder makes, openssl reads them, and the gate holds back the wrong ones."""

import datetime as dt
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from certs import crl, der
from certs.crl import REASONS, Expected
from certs.suites import SUITES
from core.errors import Malformed
from tests.certs.hierarchy import NOW, URLS, house_of

DAY = dt.timedelta(days=1)
HOUR = dt.timedelta(hours=1)

serials = st.integers(min_value=1, max_value=(1 << 159) - 1)
moments = st.datetimes(min_value=dt.datetime(1950, 1, 1), max_value=dt.datetime(2100, 1, 1), timezones=st.just(dt.UTC)).map(
    lambda moment: moment.replace(microsecond=0)
)
revocations = st.dictionaries(serials, st.tuples(moments, st.sampled_from(["", *REASONS])), max_size=30)


def make(house, entries=(), number=7, this_update=NOW, next_update=NOW + DAY, ca="staff", urls=(URLS.crl,)) -> bytes:
    authority = getattr(house, ca)
    template = crl.Template(authority.cert, *urls)
    tbs = template.tbs(number=number, this_update=this_update, next_update=next_update, entries=entries)
    return template.assemble(tbs, template.suite.sign(authority.key, tbs))


def reference(house, revoked, number=7, this_update=NOW, next_update=NOW + DAY, urls=(URLS.crl,)):
    builder = x509.CertificateRevocationListBuilder(issuer_name=house.staff.cert.subject, last_update=this_update, next_update=next_update)
    for serial, (at, reason) in revoked.items():
        one = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(at)
        if reason not in {"", "unspecified"}:
            one = one.add_extension(x509.CRLReason(x509.ReasonFlags(reason)), critical=False)
        builder = builder.add_revoked_certificate(one.build())
    identifier = x509.AuthorityKeyIdentifier(house.staff.issuer.key_identifier, None, None)
    point = x509.IssuingDistributionPoint(
        full_name=[x509.UniformResourceIdentifier(url) for url in urls],
        relative_name=None,
        only_contains_user_certs=False,
        only_contains_ca_certs=False,
        only_some_reasons=None,
        indirect_crl=False,
        only_contains_attribute_certs=False,
    )
    builder = builder.add_extension(identifier, critical=False).add_extension(x509.CRLNumber(number), critical=False)
    return builder.add_extension(point, critical=True).sign(house.staff.key, house.suite.digest)


@given(revocations, st.integers(0, (1 << 159) - 1), moments, st.integers(1, 10**9))
def test_template_makes_the_bytes_that_the_builder_makes(revoked, number, this_update, seconds):
    house = house_of("ecdsa-p256-sha256")
    next_update = this_update + dt.timedelta(seconds=seconds)
    entries = [crl.entry(serial, at, reason) for serial, (at, reason) in revoked.items()]
    made = make(house, entries, number, this_update, next_update)
    assert x509.load_der_x509_crl(made).tbs_certlist_bytes == reference(house, revoked, number, this_update, next_update).tbs_certlist_bytes


def test_template_makes_the_same_bytes_in_every_suite(every_house):
    revoked = {5: (NOW, "keyCompromise"), 1 << 158: (NOW, "")}
    made = x509.load_der_x509_crl(make(every_house, [crl.entry(serial, *rest) for serial, rest in revoked.items()]))
    assert made.tbs_certlist_bytes == reference(every_house, revoked).tbs_certlist_bytes
    assert made.is_signature_valid(every_house.staff.key.public_key())


@given(revocations)
def test_list_is_read_back(revoked):
    house = house_of("ecdsa-p256-sha256")
    data = make(house, [crl.entry(serial, at, reason) for serial, (at, reason) in revoked.items()])
    found = crl.parse(data)
    found.verify(house.staff.cert)
    assert {serial: (one.at, one.reason) for serial, one in found.entries.items()} == {
        serial: (at, reason or "unspecified") for serial, (at, reason) in revoked.items()
    }
    assert (found.number, found.this_update, found.next_update, found.urls) == (7, NOW, NOW + DAY, (URLS.crl,))
    assert found.encode() == data


def test_empty_list_has_no_revoked_certificates(house):
    """RFC 5280 section 5.1.2.6: revokedCertificates MUST be absent."""
    assert len(der.parts(der.parts(make(house))[0])) == 6


@pytest.mark.parametrize("reason", ["removeFromCRL", "none", "KeyCompromise", "7"])
def test_other_reasons_are_refused(reason):
    with pytest.raises(Malformed, match="choose one"):
        crl.entry(5, NOW, reason)


@pytest.mark.parametrize("reason", REASONS)
def test_reasons_are_those_of_the_standard(reason):
    """RFC 5280 section 5.3.1, as cryptography knows them."""
    assert crl.require_reason(reason) == x509.ReasonFlags(reason).value
    assert crl.entry(5, NOW, reason)[-1] == REASONS[reason] or reason == "unspecified"


@pytest.mark.parametrize("number", [-1, 1 << 159])
def test_number_fits_in_20_octets(house, number):
    """RFC 5280 section 5.2.3."""
    with pytest.raises(ValueError, match="number"):
        make(house, number=number)


def test_times_are_in_order(house):
    with pytest.raises(ValueError, match="nextUpdate"):
        make(house, next_update=NOW)


def test_list_of_another_authority_does_not_verify(house):
    for authority in (house.root.cert, house_of("ed25519").staff.cert):
        with pytest.raises(InvalidSignature):
            crl.parse(make(house)).verify(authority)


def test_list_signed_by_a_namesake_does_not_verify(house):
    """Same name and key identifier, another key."""
    template = crl.Template(house.staff.cert, URLS.crl)
    tbs = template.tbs(number=1, this_update=NOW, next_update=NOW + DAY, entries=[])
    with pytest.raises(InvalidSignature):
        crl.parse(template.assemble(tbs, template.suite.sign(house.key("stranger"), tbs))).verify(house.staff.cert)


def test_list_under_another_algorithm_does_not_verify(house):
    made = make(house)
    swapped = made.replace(SUITES["ecdsa-p256-sha256"].algorithm, SUITES["ecdsa-p384-sha384"].algorithm)
    with pytest.raises(InvalidSignature):
        crl.parse(swapped).verify(house.staff.cert)


def changed(house, *, extensions=None, fields=None):
    """A list with other parts; the signature is right, so that only reading can refuse it."""
    parts = der.parts(der.parts(make(house))[0])
    if fields:
        parts = fields(parts)
    if extensions:
        parts[-1] = der.tlv(0xA0, der.sequence(*extensions(der.parts(der.parts(parts[-1])[0]))))
    tbs = der.sequence(*parts)
    suite = house.suite
    return der.sequence(tbs, suite.algorithm, der.bits(suite.sign(house.staff.key, tbs)))


def entries_with(house, extension):
    return make(house, [der.sequence(der.integer(5), der.time(NOW), der.sequence(extension))])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda house: changed(house, extensions=lambda found: found[1:]),
        lambda house: changed(house, extensions=lambda found: [found[0], found[2]]),
        lambda house: changed(house, extensions=lambda found: [der.extension("2.5.29.35", der.sequence()), *found[1:]]),
        lambda house: changed(house, extensions=lambda found: [*found, der.extension("1.3.6.1.4.1.32473.9", b"\x05\x00", critical=True)]),
        lambda house: changed(house, extensions=lambda found: [*found, found[0]]),
        lambda house: changed(house, fields=lambda parts: [*parts[:4], *parts[5:]]),
        lambda house: entries_with(house, der.extension("2.5.29.29", der.sequence(), critical=True)),
        lambda house: entries_with(house, der.extension("1.3.6.1.4.1.32473.9", b"\x05\x00", critical=True)),
        lambda house: entries_with(house, der.extension("2.5.29.21", b"\x0a\x01\x63")),
    ],
)
def test_incomplete_and_strange_lists_are_malformed(house, spoil):
    """RFC 5280 section 5.2: number and key identifier MUST be there; unknown critical extensions forbid use."""
    with pytest.raises(Malformed):
        crl.parse(spoil(house))


def test_harmless_extensions_are_read_over(house):
    when = der.extension("2.5.29.24", der.generalized_time(NOW))
    assert crl.parse(entries_with(house, when)).entries[5].reason == "unspecified"
    extra = der.extension("1.3.6.1.4.1.32473.9", b"\x05\x00")
    assert crl.parse(changed(house, extensions=lambda found: [*found, extra])).number == 7


def test_list_names_every_address_that_certificates_have(house):
    urls = ("http://new.example.gov.cn/crl/staff/0.crl", URLS.crl, "http://oldest.example.gov.cn/crl/staff/0.crl")
    made = make(house, urls=urls)
    assert crl.parse(made).urls == urls
    assert x509.load_der_x509_crl(made).tbs_certlist_bytes == reference(house, {}, urls=urls).tbs_certlist_bytes


def test_list_of_the_root_names_no_distribution_point(house):
    """Its own certificate has none, and would not be covered."""
    assert crl.parse(make(house, ca="root")).urls == ()


def test_list_without_distribution_point_has_no_urls(house):
    assert crl.parse(changed(house, extensions=lambda found: found[:2])).urls == ()


@given(st.binary(max_size=300))
def test_garbage_is_malformed(data):
    with pytest.raises(Malformed):
        crl.parse(data)


@given(at=st.integers(0, 600), change=st.integers(1, 255))
def test_damaged_list_is_never_published(at, change):
    house = house_of("ecdsa-p256-sha256")
    damaged = bytearray(make(house, [crl.entry(5, NOW, "keyCompromise")]))
    damaged[at % len(damaged)] ^= change
    assert crl.gate(bytes(damaged), None, expected(house)) != []


def expected(house, **more) -> Expected:
    return Expected(**{"issuer": house.staff.cert, "at": NOW, "unexpired": ()} | more)


def test_gate_passes_the_first_list_and_the_next(house):
    old, new = make(house, number=1), make(house, [crl.entry(5, NOW)], number=2)
    assert crl.gate(old, None, expected(house)) == []
    assert crl.gate(new, old, expected(house, unexpired={5})) == []


@pytest.mark.parametrize("number", [6, 7])
def test_gate_holds_back_a_number_that_is_not_greater(house, number):
    """RFC 5280 section 5.2.3; a switched signer made numbers go backwards elsewhere."""
    assert crl.gate(make(house, number=number), make(house), expected(house)) == [f"number {number} is not greater than 7"]


def test_gate_holds_back_a_list_that_forgets(house):
    """RFC 5280 section 3.3: an entry stays until one list after the end of its certificate."""
    old = make(house, [crl.entry(serial, NOW, "superseded") for serial in (5, 0x1F, 9)])
    new = make(house, [crl.entry(9, NOW, "superseded")], number=8)
    assert crl.gate(new, old, expected(house, unexpired={5, 0x1F, 9})) == [
        "serial 5 is missing without a reason",
        "serial 1f is missing without a reason",
    ]
    assert crl.gate(new, old, expected(house, unexpired={9})) == []


def test_gate_lets_a_released_suspension_go_and_nothing_else(house):
    old = make(house, [crl.entry(5, NOW, "certificateHold"), crl.entry(6, NOW, "keyCompromise"), crl.entry(7, NOW, "certificateHold")])
    new = make(house, number=8)
    found = crl.gate(new, old, expected(house, unexpired={5, 6, 7}, released={5, 6}))
    assert found == ["serial 6 is missing without a reason", "serial 7 is missing without a reason"]


def test_gate_holds_back_a_list_that_is_not_current(house):
    new = make(house)
    for at in (NOW - HOUR, NOW + DAY, NOW + 2 * DAY):
        assert crl.gate(new, None, expected(house, at=at)) == ["the new list is not current"]


def test_gate_holds_back_a_list_that_is_older(house):
    new = make(house, number=8, this_update=NOW - HOUR)
    assert crl.gate(new, make(house), expected(house)) == ["the new list is older than the published one"]


def test_gate_holds_back_a_list_for_another_address(house):
    """A client that follows the address in its certificate would find a list that does not apply to it."""
    other = "http://status.example.gov.cn/crl/staff/1.crl"
    new = make(house, number=8, urls=[other])
    assert crl.gate(new, make(house), expected(house)) == [f"the distribution point {URLS.crl} is missing"]
    assert crl.gate(new, make(house, urls=[other, URLS.crl]), expected(house)) == [f"the distribution point {URLS.crl} is missing"]
    assert crl.gate(make(house, number=8, urls=[other, URLS.crl]), make(house), expected(house)) == []
    plain = changed(house, extensions=lambda found: found[:2])
    assert crl.gate(make(house, number=8), plain, expected(house)) == []


def test_gate_holds_back_what_it_cannot_read_or_did_not_sign(house):
    assert crl.gate(b"", None, expected(house)) == ["the new list cannot be read"]
    assert crl.gate(make(house, ca="root"), None, expected(house)) == ["the new list is not signed by the issuer"]


def test_gate_does_not_stumble_over_a_ruined_predecessor(house):
    """What is published may be damaged on disk; that must not stop its replacement silently, nor pass unseen."""
    assert crl.gate(make(house), b"ruined", expected(house)) == ["the published list cannot be read"]


def test_expected_is_a_value(house):
    assert replace(expected(house), released={5}).released == {5}
    assert house.staff.cert.public_bytes(Encoding.DER)
