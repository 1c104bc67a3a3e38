"""Requests are read as cryptography reads them, and strictly; answers are what its builder makes, and openssl agrees."""

import datetime as dt
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp as reference
from hypothesis import given
from hypothesis import strategies as st

from certs import der, ocsp
from certs.crl import REASONS
from certs.ocsp import Good, Revoked, Unknown
from core.errors import Malformed
from tests.certs.hierarchy import NOW, house_of

HOURS = dt.timedelta(hours=8)
HASHES = {"sha1": hashes.SHA1(), "sha256": hashes.SHA256()}
NONCE = "1.3.6.1.5.5.7.48.1.2"

serials = st.integers(min_value=1, max_value=(1 << 159) - 1)
nonces = st.none() | st.binary(min_size=1, max_size=128)
moments = st.datetimes(min_value=dt.datetime(1970, 1, 1), max_value=dt.datetime(2100, 1, 1), timezones=st.just(dt.UTC)).map(
    lambda moment: moment.replace(microsecond=0)
)
statuses = st.one_of(
    st.just(Good()), st.just(Unknown()), st.builds(Revoked, moments, st.sampled_from(sorted(REASONS))), st.builds(Revoked, moments)
)


def request(house, serial=5, hash_name="sha256", nonce=None) -> bytes:
    issuer = ocsp.cert_ids(house.staff.cert)[hash_name]
    builder = reference.OCSPRequestBuilder().add_certificate_by_hash(
        issuer.issuer_name_hash, issuer.issuer_key_hash, serial, HASHES[hash_name]
    )
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.build().public_bytes(Encoding.DER)


def requests(*singles, version=b"", requestor=b"", extensions=b"", signature=b"") -> bytes:
    """An OCSPRequest by hand, for what no builder makes."""
    return der.sequence(der.sequence(version, requestor, der.sequence(*singles), extensions), signature)


def cert_id(serial=5, hash_name="sha256"):
    return ocsp.cert_ids(house_of("ecdsa-p256-sha256").staff.cert)[hash_name].encode(serial)


def explicit(tag, *extensions) -> bytes:
    return der.tlv(tag, der.sequence(*extensions))


@given(serials, st.sampled_from(sorted(HASHES)), nonces)
def test_request_is_read_as_it_was_built(serial, hash_name, nonce):
    house = house_of("ecdsa-p256-sha256")
    data = request(house, serial, hash_name, nonce)
    found = ocsp.parse(data)
    assert (found.serial, found.hash_name, found.nonce) == (serial, hash_name, nonce)
    assert ocsp.cert_ids(house.staff.cert)[hash_name].matches(found)
    assert ocsp.cert_ids(house.staff.cert)[hash_name].encode(serial) == found.cert_id
    assert found.cert_id in data


def test_issuer_is_named_as_the_standard_says(every_house):
    """RFC 6960 section 4.1.1: hashes of the subject and of the key's BIT STRING, as cryptography computes them."""
    for name, algorithm in HASHES.items():
        built = reference.OCSPRequestBuilder().add_certificate(every_house.leaves["device"], every_house.staff.cert, algorithm).build()
        found = ocsp.parse(built.public_bytes(Encoding.DER))
        assert ocsp.cert_ids(every_house.staff.cert)[name].matches(found)
        assert not ocsp.cert_ids(every_house.root.cert)[name].matches(found)


def test_right_serial_of_the_wrong_issuer_does_not_match(house):
    found = ocsp.parse(request(house))
    mine = ocsp.cert_ids(house.staff.cert)["sha256"]
    assert mine.matches(found)
    for field in ("issuer_name_hash", "issuer_key_hash"):
        assert not mine.matches(replace(found, **{field: bytes(32)}))
    assert not mine.matches(replace(found, hash_name="sha1"))


def test_parameters_of_the_hash_are_echoed_as_received():
    """With NULL and without: clients compare the CertID with theirs."""
    bare = der.sequence(der.sequence(der.oid("2.16.840.1.101.3.4.2.1")), *der.parts(cert_id())[1:])
    found = ocsp.parse(requests(der.sequence(bare)))
    assert (found.cert_id, found.hash_name) == (bare, "sha256")


def test_other_hashes_are_read_and_match_nobody(house):
    other = reference.OCSPRequestBuilder().add_certificate(house.leaves["device"], house.staff.cert, hashes.SHA512()).build()
    found = ocsp.parse(other.public_bytes(Encoding.DER))
    assert found.hash_name == "unknown"
    assert not any(one.matches(found) for one in ocsp.cert_ids(house.staff.cert).values())


@pytest.mark.parametrize("length", [1, 16, 32, 33, 128])
def test_nonce_of_1_to_128_octets_is_read(house, length):
    """RFC 9654 section 2.1; its predecessor allowed 32."""
    assert ocsp.parse(request(house, nonce=bytes(length))).nonce == bytes(length)


@pytest.mark.parametrize("length", [0, 129, 200])
def test_other_nonces_are_malformed(length):
    nonce = explicit(0xA2, der.extension(NONCE, der.octets(bytes(length))))
    with pytest.raises(Malformed):
        ocsp.parse(requests(der.sequence(cert_id()), extensions=nonce))


def test_nonce_that_is_no_octet_string_is_malformed():
    with pytest.raises(Malformed):
        ocsp.parse(requests(der.sequence(cert_id()), extensions=explicit(0xA2, der.extension(NONCE, b"raw"))))


@pytest.mark.parametrize("count", [0, 2, 3])
def test_other_than_one_certificate_is_malformed(count):
    """RFC 9919 section 3.1.1: clients MUST include only one."""
    with pytest.raises(Malformed):
        ocsp.parse(requests(*[der.sequence(cert_id(serial)) for serial in range(1, count + 1)]))


def test_optional_fields_are_read_over():
    """Version, requestor's name, signature and harmless extensions (RFC 6960 section 4.1.1)."""
    requestor = der.tlv(0xA1, der.tlv(0x82, b"client.example.cn"))
    harmless = der.extension("1.3.6.1.5.5.7.48.1.4", der.sequence(der.oid("1.3.6.1.5.5.7.48.1.1")))
    single = der.sequence(cert_id(), explicit(0xA0, harmless))
    found = ocsp.parse(requests(single, requestor=requestor, extensions=explicit(0xA2, harmless)))
    assert (found.serial, found.nonce) == (5, None)


def test_critical_extension_that_nobody_knows_is_malformed():
    """RFC 6960 section 4.4: unrecognised extensions are ignored, unless critical."""
    strange = der.extension("1.3.6.1.4.1.32473.9", b"\x05\x00", critical=True)
    with pytest.raises(Malformed):
        ocsp.parse(requests(der.sequence(cert_id()), extensions=explicit(0xA2, strange)))
    with pytest.raises(Malformed):
        ocsp.parse(requests(der.sequence(cert_id(), explicit(0xA0, strange))))


def test_repeated_extension_is_malformed():
    nonce = der.extension(NONCE, der.octets(b"n"))
    with pytest.raises(Malformed):
        ocsp.parse(requests(der.sequence(cert_id()), extensions=explicit(0xA2, nonce, nonce)))


def test_trailing_bytes_are_malformed(house):
    with pytest.raises(Malformed):
        ocsp.parse(request(house) + b"\x00")


@given(st.binary(max_size=200))
def test_garbage_is_malformed(data):
    with pytest.raises(Malformed):
        ocsp.parse(data)


@given(at=st.integers(0, 160), change=st.integers(1, 255), nonce=nonces)
def test_damaged_request_is_malformed_or_read_as_the_other_parser_reads_it(at, change, nonce):
    damaged = bytearray(request(house_of("ecdsa-p256-sha256"), nonce=nonce))
    damaged[at % len(damaged)] ^= change
    try:
        found = ocsp.parse(bytes(damaged))
    except Malformed:
        return
    other = reference.load_der_ocsp_request(bytes(damaged))
    assert (found.serial, found.issuer_name_hash, found.issuer_key_hash) == (
        other.serial_number,
        other.issuer_name_hash,
        other.issuer_key_hash,
    )
    parts = der.parts(found.cert_id)
    assert parts[1:] == [der.octets(found.issuer_name_hash), der.octets(found.issuer_key_hash), der.integer(found.serial)]


def answer(house, about, status, this_update=NOW, next_update=NOW + HOURS, nonce=None) -> bytes:
    template = ocsp.Template(house.leaves["ocsp"])
    tbs = template.tbs(about, status, this_update, next_update, nonce)
    return template.assemble(tbs, template.suite.sign(house.key("ocsp"), tbs))


def built(house, serial, hash_name, status, this_update, next_update, nonce):
    """The same answer by cryptography's builder, which takes its own clock for producedAt."""
    issuer = ocsp.cert_ids(house.staff.cert)[hash_name]
    kind = {Good: reference.OCSPCertStatus.GOOD, Unknown: reference.OCSPCertStatus.UNKNOWN, Revoked: reference.OCSPCertStatus.REVOKED}
    reason = getattr(status, "reason", "unspecified")
    builder = reference.OCSPResponseBuilder().add_response_by_hash(
        issuer_name_hash=issuer.issuer_name_hash,
        issuer_key_hash=issuer.issuer_key_hash,
        serial_number=serial,
        algorithm=HASHES[hash_name],
        cert_status=kind[type(status)],
        this_update=this_update,
        next_update=next_update,
        revocation_time=getattr(status, "at", None),
        revocation_reason=None if reason == "unspecified" else x509.ReasonFlags(reason),
    )
    builder = builder.responder_id(reference.OCSPResponderEncoding.HASH, house.leaves["ocsp"]).certificates([house.leaves["ocsp"]])
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.sign(house.key("ocsp"), house.suite.digest)


@given(serials, st.sampled_from(sorted(HASHES)), statuses, moments, st.integers(1, 10**7), nonces)
def test_template_makes_the_bytes_that_the_builder_makes(serial, hash_name, status, this_update, seconds, nonce):
    """All but producedAt, which the builder reads from the machine's clock."""
    house = house_of("ecdsa-p256-sha256")
    next_update = this_update + dt.timedelta(seconds=seconds)
    about = ocsp.parse(request(house, serial, hash_name)).cert_id
    made = reference.load_der_ocsp_response(answer(house, about, status, this_update, next_update, nonce))
    wanted = built(house, serial, hash_name, status, this_update, next_update, nonce)
    parts, others = der.parts(made.tbs_response_bytes), der.parts(wanted.tbs_response_bytes)
    assert parts[1] == der.generalized_time(this_update)
    assert [parts[0], *parts[2:]] == [others[0], *others[2:]]


def test_answer_is_whole_in_every_suite(every_house):
    made = answer(every_house, cert_id(), Revoked(NOW, "keyCompromise"), nonce=b"n" * 128)
    found = reference.load_der_ocsp_response(made)
    assert found.response_status is reference.OCSPResponseStatus.SUCCESSFUL
    assert found.certificates == [every_house.leaves["ocsp"]]
    every_house.suite.verify(every_house.key("ocsp").public_key(), found.signature, found.tbs_response_bytes)
    assert found.signature_algorithm_oid.dotted_string == every_house.suite.oid
    assert found.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == b"n" * 128
    wanted = built(every_house, 5, "sha256", Revoked(NOW, "keyCompromise"), NOW, NOW + HOURS, None)
    ours = [
        der.parts(der.content(der.parts(der.content(der.parts(data)[1]))[1]))[1:2] for data in (made, wanted.public_bytes(Encoding.DER))
    ]
    assert ours[0] == ours[1]


@pytest.mark.parametrize(
    ("constant", "status"),
    [
        (ocsp.MALFORMED, reference.OCSPResponseStatus.MALFORMED_REQUEST),
        (ocsp.INTERNAL, reference.OCSPResponseStatus.INTERNAL_ERROR),
        (ocsp.TRY_LATER, reference.OCSPResponseStatus.TRY_LATER),
        (ocsp.UNAUTHORIZED, reference.OCSPResponseStatus.UNAUTHORIZED),
    ],
)
def test_refusals_are_what_the_builder_makes(constant, status):
    assert constant == reference.OCSPResponseBuilder.build_unsuccessful(status).public_bytes(Encoding.DER)


def test_unknown_reason_is_refused(house):
    with pytest.raises(Malformed):
        answer(house, cert_id(), Revoked(NOW, "removeFromCRL"))
