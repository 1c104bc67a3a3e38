"""The table of algorithms: closed, consistent with what `cryptography` writes, and strict about kinds of keys."""

import hashlib
from itertools import permutations

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certs import der
from certs.suites import DEFAULT, SUITES, spki_sha256, suite_of
from core.errors import Malformed
from tests.certs.hierarchy import house_of, key


@pytest.mark.parametrize("name", SUITES)
def test_signature_verifies_and_a_changed_one_does_not(name):
    suite, pair = SUITES[name], key(name, "root")
    signature = suite.sign(pair, b"tbs")
    suite.verify(pair.public_key(), signature, b"tbs")
    for signed, data in ((signature, b"tbt"), (signature[:-1] + bytes((signature[-1] ^ 1,)), b"tbs"), (b"", b"tbs")):
        with pytest.raises(InvalidSignature):
            suite.verify(pair.public_key(), signed, data)


@pytest.mark.parametrize(("one", "other"), list(permutations(SUITES, 2)))
def test_key_of_another_suite_never_verifies(one, other):
    """The algorithm is the issuer's, never the signature's: no downgrade by an attacker's AlgorithmIdentifier."""
    pair = key(other, "root")
    signature = SUITES[other].sign(pair, b"tbs")
    with pytest.raises(InvalidSignature):
        SUITES[one].verify(pair.public_key(), signature, b"tbs")


@pytest.mark.parametrize("name", SUITES)
def test_algorithm_identifier_is_the_one_that_builders_write(name):
    cert = house_of(name).root.cert
    assert der.parts(cert.public_bytes(Encoding.DER))[1] == SUITES[name].algorithm
    assert cert.signature_algorithm_oid.dotted_string == SUITES[name].oid
    assert suite_of(cert.public_key()) is SUITES[name]


def test_default_is_in_the_table():
    assert DEFAULT in SUITES


@pytest.mark.parametrize(
    "make",
    [
        lambda: ec.generate_private_key(ec.SECP521R1()),
        lambda: ec.generate_private_key(ec.SECP256K1()),
        lambda: rsa.generate_private_key(65537, 2048),
        lambda: dsa.generate_private_key(1024),
        ed448.Ed448PrivateKey.generate,
    ],
)
def test_other_kinds_of_keys_have_no_suite(make):
    with pytest.raises(Malformed, match="make one of them"):
        suite_of(make().public_key())


def test_key_is_named_by_its_spki():
    public = key(DEFAULT, "root").public_key()
    assert spki_sha256(public) == hashlib.sha256(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
