"""A request is a sound key and the proof that its sender holds the private half; nothing else is taken from it."""

import math
import subprocess
from functools import cache

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from certs import csr
from certs.suites import SUITES, spki_sha256
from core.errors import Malformed
from tests.certs.hierarchy import key

P = 2**255 - 19


def request(pair, digest=None, name="mallory"):
    digest = digest or (None if isinstance(pair, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey) else hashes.SHA256())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return x509.CertificateSigningRequestBuilder().subject_name(subject).sign(pair, digest)


def rsa_key(n, e=65537):
    return rsa.RSAPublicNumbers(e, n).public_key()


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
def test_request_gives_its_key_in_either_encoding(suite, encoding):
    pair = key(suite, "device")
    made = request(pair)
    found = csr.parse(made.public_bytes(encoding))
    assert found.public_key == pair.public_key()
    assert found.spki_sha256 == spki_sha256(pair.public_key())
    assert found.der == found.encode() == made.public_bytes(Encoding.DER)


def test_request_of_openssl_is_read(tmp_path):
    """With the text before it that `openssl req -text` writes, and a key of its own."""
    keyfile = tmp_path / "key.pem"
    command = [
        "openssl",
        "req",
        "-new",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-keyout",
        keyfile,
        "-subj",
        "/CN=x",
    ]
    made = subprocess.run(command, capture_output=True, check=True).stdout
    assert csr.parse(made) == csr.parse(b"\r\n" + made.replace(b"\n", b"\r\n"))


def test_changed_request_proves_nothing():
    data = bytearray(request(key("ecdsa-p256-sha256", "device"), name="aaaaaaaa").public_bytes(Encoding.DER))
    data[data.index(b"aaaaaaaa")] ^= 1
    with pytest.raises(Malformed, match="does not verify"):
        csr.parse(bytes(data))


def test_key_of_someone_else_is_not_proved():
    """A request about a stranger's public key, signed with one's own."""
    mine, theirs = key("ecdsa-p256-sha256", "device"), key("ecdsa-p256-sha256", "server")
    points = [pair.public_key().public_bytes(Encoding.X962, csr.PublicFormat.UncompressedPoint) for pair in (mine, theirs)]
    with pytest.raises(Malformed, match="does not verify"):
        csr.parse(request(mine).public_bytes(Encoding.DER).replace(*points))


@pytest.mark.parametrize("digest", ["sha1", "sha224", "md5"])
def test_weak_digest_is_refused(tmp_path, digest):
    keyfile = tmp_path / "key.pem"
    keyfile.write_bytes(key("rsa-3072-sha256", "device").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    made = subprocess.run(
        ["openssl", "req", "-new", f"-{digest}", "-key", keyfile, "-subj", "/CN=x"], capture_output=True, check=True
    ).stdout
    with pytest.raises(Malformed, match="SHA-256"):
        csr.parse(made)


def test_known_bad_key_is_refused():
    pair = key("ecdsa-p256-sha256", "device")
    with pytest.raises(Malformed, match="known to others"):
        csr.parse(request(pair).public_bytes(Encoding.DER), known_bad={spki_sha256(pair.public_key())})


@pytest.mark.parametrize("curve", [ec.SECP521R1(), ec.SECP224R1(), ec.SECP256K1(), ec.BrainpoolP256R1()])
def test_other_curves_are_refused(curve):
    with pytest.raises(Malformed, match="use P-256 or P-384"):
        csr.parse(request(ec.generate_private_key(curve)).public_bytes(Encoding.DER))


@pytest.mark.slow
@pytest.mark.parametrize("make", [ed448.Ed448PrivateKey.generate, lambda: dsa.generate_private_key(2048)])
def test_other_kinds_are_refused(make):
    with pytest.raises(Malformed, match="kind"):
        csr.parse(request(make()).public_bytes(Encoding.DER))


def test_point_off_the_curve_is_malformed():
    pair = key("ecdsa-p256-sha256", "device")
    point = pair.public_key().public_bytes(Encoding.X962, csr.PublicFormat.UncompressedPoint)
    with pytest.raises(Malformed):
        csr.parse(request(pair).public_bytes(Encoding.DER).replace(point, point[:-1] + bytes((point[-1] ^ 1,))))


@pytest.mark.slow
@pytest.mark.parametrize("bits", [1024, 2048, 3072 - 8])
def test_short_rsa_is_refused(bits):
    with pytest.raises(Malformed, match="3072 to 8192"):
        csr.require_sound(rsa.generate_private_key(65537, bits).public_key())


def test_long_and_odd_sized_rsa_is_refused():
    for n in ((1 << 8199) + 1, (1 << 3072) + 1):
        with pytest.raises(Malformed, match="3072 to 8192"):
            csr.require_sound(rsa_key(n))


@pytest.mark.parametrize("exponent", [3, 17, 65535, (1 << 256) + 1])
def test_exponent_out_of_range_is_refused(exponent):
    with pytest.raises(Malformed, match="exponent"):
        csr.require_sound(rsa_key(key("rsa-3072-sha256", "device").public_key().public_numbers().n, exponent))


def test_even_exponent_is_refused():
    class Numbers:
        n, e = key("rsa-3072-sha256", "device").public_key().public_numbers().n, 65538

    class Even:
        key_size = 3072

        def public_numbers(self):
            return Numbers

    with pytest.raises(Malformed, match="exponent"):
        csr._require_sound_rsa(Even())


@pytest.mark.parametrize("factor", [3, 5, 751])
def test_small_factor_is_refused(factor):
    n = (1 << 3071) + 1
    while n % factor or not n & 1:
        n += 1
    with pytest.raises(Malformed, match="small factor"):
        csr.require_sound(rsa_key(n))


def test_close_factors_are_refused():
    """Fermat's method; the factors need not be prime for it, only without small factors of their own."""
    middle = 3 << 1534
    while math.gcd(middle * middle - 81, csr._SMALL_PRODUCT) != 1:
        middle += 1
    with pytest.raises(Malformed, match="close together"):
        csr.require_sound(rsa_key((middle - 9) * (middle + 9)))


def test_faulty_generator_is_recognised():
    """CVE-2017-15361: every prime factor of such keys is a power of 65537 modulo the product of small primes."""
    product = math.prod(p for p in csr._SMALL_PRIMES if 2 < p <= 167)
    n = pow(65537, 12345, product)
    n += product * (((1 << 3071) + (1 << 3060) - n) // product)
    while not n & 1 or math.gcd(n, csr._SMALL_PRODUCT) != 1:
        n += product
    with pytest.raises(Malformed, match="CVE-2017-15361"):
        csr.require_sound(rsa_key(n))


@pytest.mark.parametrize("y", [*sorted(csr._SMALL_ORDER)])
@pytest.mark.parametrize("sign", [0, 1 << 255])
def test_points_of_small_order_are_refused(y, sign):
    with pytest.raises(Malformed, match="small order"):
        csr.require_sound(ed25519.Ed25519PublicKey.from_public_bytes((y | sign).to_bytes(32, "little")))


def test_points_of_small_order_are_all_there():
    """RFC 8032 section 5.1: eight times such a point is the neutral element; its y are these, reduced."""
    d = -121665 * pow(121666, -1, P) % P

    def double(x, y):
        xx, yy, xy = x * x % P, y * y % P, d * x * x * y * y % P
        return 2 * x * y * pow(1 + xy, -1, P) % P, (yy + xx) * pow(1 - xy, -1, P) % P

    def root(square):
        x = pow(square, (P + 3) // 8, P)
        return x if x * x % P == square else x * pow(2, (P - 1) // 4, P) % P

    for y in csr._SMALL_ORDER:
        square = (y * y - 1) * pow(d * y * y + 1, -1, P) % P
        point = (root(square), y % P)
        assert point[0] ** 2 % P == square
        assert double(*double(*double(*point))) == (0, 1)


def test_oversized_request_is_not_looked_at():
    with pytest.raises(Malformed, match="octets"):
        csr.parse(bytes(csr.MAX_BYTES + 1))


@given(st.binary(max_size=400))
def test_garbage_is_malformed(data):
    with pytest.raises(Malformed):
        csr.parse(data)
    with pytest.raises(Malformed):
        csr.parse(b"-----BEGIN CERTIFICATE REQUEST-----\n" + data)


@cache
def whole_request() -> bytes:
    return request(key("ecdsa-p256-sha256", "device")).public_bytes(Encoding.DER)


@given(at=st.integers(0, 180), change=st.integers(1, 255))
def test_damaged_requests_are_malformed_or_the_same_key(at, change):
    """One octet changed anywhere: never another exception, never another key."""
    damaged = bytearray(whole_request())
    damaged[at] ^= change
    try:
        found = csr.parse(bytes(damaged))
    except Malformed:
        return
    assert found.public_key == key("ecdsa-p256-sha256", "device").public_key()
