"""Containers hold exactly what was put in, and tolerate nothing else."""

import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7, pkcs12
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import data as draws

from certs import bundles, der
from core.errors import Malformed
from tests.certs.hierarchy import house_of


def chain_of(house):
    return [house.leaves["staff-sign"], house.staff.cert]


def test_chain_is_read_back_in_order(every_house):
    chain = chain_of(every_house)
    assert bundles.pem_chain(bundles.pem(chain)) == chain
    assert bundles.pem_chain(bundles.pem(chain).replace(b"\n", b"\r\n")) == chain
    assert bundles.pem_chain(bundles.pem(chain).rstrip(b"\n")) == chain


@pytest.mark.parametrize(
    "spoil",
    [
        lambda pem: b"# text\n" + pem,
        lambda pem: pem + b"text",
        lambda pem: pem.replace(b"-----END CERTIFICATE-----\n", b"-----END CERTIFICATE-----\nbetween\n", 1),
        lambda pem: pem.replace(b"\n", b"\n ", 1),
        lambda pem: pem.replace(b"CERTIFICATE", b"TRUSTED CERTIFICATE"),
        lambda pem: pem.replace(b"BEGIN CERTIFICATE", b"BEGIN X509 CERTIFICATE").replace(b"END CERTIFICATE", b"END X509 CERTIFICATE"),
        lambda pem: pem[: len(pem) // 2],
        lambda pem: pem * 6,
        lambda pem: pem * 60,
        lambda pem: pem[:0],
    ],
)
def test_anything_beside_the_blocks_is_refused(house, spoil):
    with pytest.raises(Malformed):
        bundles.pem_chain(spoil(bundles.pem(chain_of(house))))


def test_single_certificate_comes_in_either_encoding(house):
    leaf = house.leaves["device"]
    assert bundles.certificate(leaf.public_bytes(Encoding.DER)) == bundles.certificate(leaf.public_bytes(Encoding.PEM)) == leaf
    with pytest.raises(Malformed, match="2 certificates"):
        bundles.certificate(bundles.pem(chain_of(house)))


@given(st.binary(max_size=400))
def test_garbage_is_malformed(data):
    for read in (bundles.certificate, bundles.pem_chain, lambda found: bundles.pem_chain(b"-----BEGIN CERTIFICATE-----\n" + found)):
        with pytest.raises(Malformed):
            read(data)


@given(draws())
def test_damaged_certificate_is_malformed_or_reencodes_to_the_same_bytes(data):
    damaged = bytearray(house_of("ed25519").leaves["server"].public_bytes(Encoding.DER))
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        found = bundles.certificate(bytes(damaged))
    except Malformed:
        return
    assert found.public_bytes(Encoding.DER) == damaged
    assert found.serial_number > 0


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@pytest.mark.parametrize("serial", [0, -5])
def test_serial_that_is_not_positive_is_malformed(house, serial):
    """RFC 5280 section 4.1.2.2; cryptography only warns."""
    whole = der.parts(house.leaves["device"].public_bytes(Encoding.DER))
    tbs = der.parts(whole[0])
    with pytest.raises(Malformed):
        bundles.certificate(der.sequence(der.sequence(tbs[0], der.integer(serial), *tbs[2:]), *whole[1:]))


def test_p7c_holds_the_chain(every_house):
    made = bundles.p7c(chain_of(every_house))
    assert set(pkcs7.load_der_pkcs7_certificates(made)) == set(chain_of(every_house))
    assert made == bundles.p7c(chain_of(every_house))


@pytest.mark.parametrize("name", ["", "张三"])
def test_pkcs12_opens_with_its_password_only(every_house, name):
    key = every_house.key("staff-sign")
    made = bundles.pkcs12(key, every_house.leaves["staff-sign"], [every_house.staff.cert], "口令".encode(), name)
    found = pkcs12.load_pkcs12(made, "口令".encode())
    assert found.key.public_key() == key.public_key()
    assert found.cert.certificate == every_house.leaves["staff-sign"]
    assert [one.certificate for one in found.additional_certs] == [every_house.staff.cert]
    with pytest.raises(ValueError, match="password"):
        pkcs12.load_pkcs12(made, b"wrong")


@pytest.mark.component("openssl")
def test_pkcs12_is_protected_by_current_algorithms(house, tmp_path):
    """PBES2 with PBKDF2 of 200,000 rounds, HMAC-SHA-256 and AES-256-CBC, as openssl sees it."""
    file = tmp_path / "me.p12"
    file.write_bytes(bundles.pkcs12(house.key("staff-sign"), house.leaves["staff-sign"], [house.staff.cert], b"secret"))
    seen = subprocess.run(
        ["openssl", "pkcs12", "-in", file, "-info", "-noout", "-passin", "pass:secret"], capture_output=True, text=True, check=True
    ).stderr
    assert "MAC: sha256, Iteration" in seen
    assert seen.count("PBES2, PBKDF2, AES-256-CBC, Iteration 200000, PRF hmacWithSHA256") == 2


@pytest.mark.component("openssl")
def test_openssl_reads_the_p7c(house, tmp_path):
    file = tmp_path / "ca.p7c"
    file.write_bytes(bundles.p7c(chain_of(house)))
    seen = subprocess.run(["openssl", "pkcs7", "-inform", "DER", "-in", file, "-print_certs"], capture_output=True, check=True).stdout
    assert len(x509.load_pem_x509_certificates(seen)) == 2
