"""The closed table of algorithms: what kind of key, which digest, and the bytes of its AlgorithmIdentifier.

A suite is named in settings, plans and intents; a name is never reused for something else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import cast

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from core.errors import Malformed

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """One way to sign. Everything that is signed under it names exactly this AlgorithmIdentifier."""

    name: str
    #: Digest for builders; None where the algorithm brings its own (Ed25519).
    digest: hashes.SHA256 | hashes.SHA384 | None
    #: The signature algorithm's OID, dotted, and the DER of its AlgorithmIdentifier.
    oid: str
    algorithm: bytes
    #: A fresh private key of this kind, unstored.
    generate: Callable[[], PrivateKey]

    def sign(self, key: PrivateKey, data: bytes) -> bytes:
        """The raw signature of `data` as it stands in a BIT STRING."""
        if isinstance(key, ec.EllipticCurvePrivateKey):
            return key.sign(data, ec.ECDSA(self._digest))
        if isinstance(key, rsa.RSAPrivateKey):
            return key.sign(data, padding.PKCS1v15(), self._digest)
        return key.sign(data)

    def verify(self, key: PublicKey, signature: bytes, data: bytes) -> None:
        """Check that `signature` is `key`'s under this suite.

        Raises:
            InvalidSignature: it is not, or `key` is of another kind.
        """
        if not self.fits(key):
            raise InvalidSignature
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, data, ec.ECDSA(self._digest))
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, data, padding.PKCS1v15(), self._digest)
        else:
            key.verify(signature, data)

    def fits(self, key: object) -> bool:
        """Whether `key` is a public key of this suite's kind."""
        if isinstance(key, ec.EllipticCurvePublicKey):
            return self.name == f"ecdsa-{_CURVES.get(key.curve.name, '')}"
        if isinstance(key, rsa.RSAPublicKey):
            return self.name == "rsa-3072-sha256" and key.key_size >= 3072
        return isinstance(key, ed25519.Ed25519PublicKey) and self.name == "ed25519"

    @property
    def _digest(self) -> hashes.HashAlgorithm:
        return cast("hashes.HashAlgorithm", self.digest)


_CURVES = {"secp256r1": "p256-sha256", "secp384r1": "p384-sha384"}

_TABLE = (
    Suite(
        name="ecdsa-p256-sha256",
        digest=hashes.SHA256(),
        oid="1.2.840.10045.4.3.2",
        algorithm=bytes.fromhex("300a06082a8648ce3d040302"),
        generate=lambda: ec.generate_private_key(ec.SECP256R1()),
    ),
    Suite(
        name="ecdsa-p384-sha384",
        digest=hashes.SHA384(),
        oid="1.2.840.10045.4.3.3",
        algorithm=bytes.fromhex("300a06082a8648ce3d040303"),
        generate=lambda: ec.generate_private_key(ec.SECP384R1()),
    ),
    Suite(
        name="rsa-3072-sha256",
        digest=hashes.SHA256(),
        oid="1.2.840.113549.1.1.11",
        algorithm=bytes.fromhex("300d06092a864886f70d01010b0500"),
        generate=lambda: rsa.generate_private_key(65537, 3072),
    ),
    Suite(
        name="ed25519",
        digest=None,
        oid="1.3.101.112",
        algorithm=bytes.fromhex("300506032b6570"),
        generate=ed25519.Ed25519PrivateKey.generate,
    ),
)

#: Every suite by its name.
SUITES: Mapping[str, Suite] = MappingProxyType({suite.name: suite for suite in _TABLE})

#: What the ceremony takes when its file names none: a signature costs a sixth of P-384's.
DEFAULT = "ecdsa-p256-sha256"


def suite_of(key: object) -> Suite:
    """The suite that a holder of the public `key` signs under.

    Raises:
        Malformed: no suite has keys of this kind.
    """
    for suite in _TABLE:
        if suite.fits(key):
            return suite
    raise Malformed("the key is of none of the kinds {suites}; make one of them", suites=", ".join(SUITES))


def spki_sha256(key: PublicKey) -> str:
    """SHA-256 of the key's SubjectPublicKeyInfo, lower-case hex: how Yumen names a key."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
