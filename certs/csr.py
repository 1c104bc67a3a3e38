"""Certification requests (RFC 2986): the public key, the proof that its private half is there, and nothing else.

Names and extensions in a request are ignored: they come from the directory. What is checked is the key, because a bad
key harms everybody who trusts the certificate.
"""

from __future__ import annotations

import math
from collections.abc import Container
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certs import reading
from certs.suites import PublicKey, spki_sha256
from core.errors import Malformed

#: Longest request that is looked at; an RSA-8192 request has under 3,000 octets in PEM.
MAX_BYTES = 16_384

RSA_BITS = range(3072, 8192 + 1)
CURVES = ("secp256r1", "secp384r1")

#: Rounds of Fermat's method: finds factors whose difference is below about 2^(bits/4 + 8).
FERMAT_ROUNDS = 100

_PEM = b"-----BEGIN"
_DIGESTS = (hashes.SHA256, hashes.SHA384, hashes.SHA512)


def _primes(limit: int) -> list[int]:
    return [n for n in range(2, limit) if all(n % p for p in range(2, math.isqrt(n) + 1))]


_SMALL_PRIMES = _primes(752)
_SMALL_PRODUCT = math.prod(_SMALL_PRIMES)

#: For each small prime the residues that 65537 generates. An RSALib modulus has all its residues in these sets
#: (CVE-2017-15361); an honest one passes by chance once in 2^27.
_ROCA = {p: frozenset(pow(65537, k, p) for k in range(p)) for p in _SMALL_PRIMES if 2 < p <= 167}

_P25519 = 2**255 - 19
#: y coordinates of the points of order 1, 2, 4 and 8 on edwards25519, also written non-canonically (RFC 8032 section 5.1).
_SMALL_ORDER = frozenset(
    (
        0,
        1,
        _P25519 - 1,
        _P25519,
        _P25519 + 1,
        2707385501144840649318225287225658788936804267575313519463743609750303402022,
        55188659117513257062467267217118295137698188065244968500265048394206261417927,
    )
)


@dataclass(frozen=True, slots=True)
class Csr:
    """A request whose key is sound and whose sender holds the private half."""

    public_key: PublicKey
    #: Name of the key: SHA-256 of its SubjectPublicKeyInfo, lower-case hex.
    spki_sha256: str
    der: bytes

    def encode(self) -> bytes:
        """The request as received, in DER."""
        return self.der


def parse(data: bytes, known_bad: Container[str] = ()) -> Csr:
    """The request in `data`, PEM or DER, checked. `known_bad` holds SPKI hashes of keys known to the world.

    Raises:
        Malformed: unreadable, without proof of possession (RFC 2986 section 4.2), or with a key that is refused.
    """
    if len(data) > MAX_BYTES:
        raise Malformed("the request has {size} octets, more than {limit}; send one PKCS#10 request", size=len(data), limit=MAX_BYTES)
    load = x509.load_pem_x509_csr if data.lstrip().startswith(_PEM) else x509.load_der_x509_csr
    request = reading.read("certification request", lambda: load(data))
    _require_proof(request)
    key = require_sound(reading.read("certification request", request.public_key), known_bad)
    return Csr(key, spki_sha256(key), request.public_bytes(Encoding.DER))


def _require_proof(request: x509.CertificateSigningRequest) -> None:
    digest = reading.read("certification request", lambda: request.signature_hash_algorithm)
    if digest is not None and not isinstance(digest, _DIGESTS):
        raise Malformed("the request is signed with {digest}; sign it with SHA-256", digest=digest.name)
    if not reading.read("certification request", lambda: request.is_signature_valid):
        raise Malformed("the request's signature does not verify with its own key; make a new request")


def require_sound(key: object, known_bad: Container[str] = ()) -> PublicKey:
    """`key`, if certificates may be issued for it.

    Raises:
        Malformed: wrong kind, curve, size or exponent, a weak modulus, a point of small order, or a known bad key.
    """
    if isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.name not in CURVES:
            raise Malformed("curve {curve} is not accepted; use P-256 or P-384", curve=key.curve.name)
    elif isinstance(key, rsa.RSAPublicKey):
        _require_sound_rsa(key)
    elif isinstance(key, ed25519.Ed25519PublicKey):
        y = int.from_bytes(key.public_bytes(Encoding.Raw, PublicFormat.Raw), "little") & (2**255 - 1)
        if y in _SMALL_ORDER:
            raise Malformed("the Ed25519 key is a point of small order, which anyone can sign for; make a new key")
    else:
        raise Malformed("keys of this kind are not accepted; use P-256, P-384, RSA or Ed25519")
    if spki_sha256(key) in known_bad:
        raise Malformed("the private half of this key is known to others; make a new key")
    return key


def _require_sound_rsa(key: rsa.RSAPublicKey) -> None:
    numbers = key.public_numbers()
    if key.key_size not in RSA_BITS or key.key_size % 8:
        raise Malformed("RSA keys of {bits} bits are not accepted; use 3072 to 8192, a multiple of 8", bits=key.key_size)
    if not 65537 <= numbers.e < 1 << 256 or not numbers.e & 1:
        raise Malformed("RSA exponent {exponent} is not accepted; use 65537", exponent=numbers.e)
    if math.gcd(numbers.n, _SMALL_PRODUCT) != 1:
        raise Malformed("the RSA modulus has a small factor; make a new key")
    if all(numbers.n % prime in residues for prime, residues in _ROCA.items()):
        raise Malformed("the RSA key comes from a faulty generator (CVE-2017-15361); make a new key elsewhere")
    if _has_close_factors(numbers.n):
        raise Malformed("the RSA modulus has two primes close together; make a new key")


def _has_close_factors(modulus: int) -> bool:
    """Fermat: n = a² - b² with a just above the square root."""
    middle = math.isqrt(modulus - 1) + 1
    for a in range(middle, middle + FERMAT_ROUNDS):
        difference = a * a - modulus
        if math.isqrt(difference) ** 2 == difference:
            return True
    return False
