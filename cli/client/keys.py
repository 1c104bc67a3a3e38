"""Keys of people: made here, kept encrypted here, never sent. Only the certificate request leaves this machine."""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat, load_pem_private_key

from core.errors import Malformed


def new_key() -> ec.EllipticCurvePrivateKey:
    """A fresh P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def request_pem(key: ec.EllipticCurvePrivateKey) -> str:
    """The certificate request of `key` (RFC 2986), PEM. Its subject is empty: names come from the directory."""
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, SHA256())
    return csr.public_bytes(Encoding.PEM).decode()


def lock_key(key: ec.EllipticCurvePrivateKey, password: str) -> str:
    """The key as encrypted PKCS#8, PEM."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password.encode())).decode()


def unlock_key(pem: str, password: str) -> ec.EllipticCurvePrivateKey:
    """The key that `lock_key` wrote.

    Raises:
        Malformed: the password is wrong or the text is damaged.
    """
    try:
        key = load_pem_private_key(pem.encode(), password.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Malformed("the waiting key does not open; give the password that you chose when you began") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise Malformed("the waiting key is not a P-256 key; delete the file and begin again")
    return key
