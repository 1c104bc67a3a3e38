"""Certificates in the containers that people and programs exchange: PEM chains, PKCS#7, PKCS#12."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat, pkcs7
from cryptography.hazmat.primitives.serialization import pkcs12 as _pkcs12

from certs import reading
from certs.suites import PrivateKey
from core.errors import Malformed

#: Certificates in a chain that anybody sends us; ours have three.
MAX_CHAIN = 10

#: Octets of a chain in PEM.
MAX_BYTES = 65_536

#: PBKDF2 iterations of a PKCS#12 key bag.
PKCS12_ITERATIONS = 200_000


def pem(chain: Iterable[x509.Certificate]) -> bytes:
    """`chain` in PEM (RFC 7468), in the given order: leaf first, the root left out by the caller."""
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain)


def certificate(data: bytes) -> x509.Certificate:
    """The certificate in `data`, in DER or as one PEM block, with everything in it readable.

    Raises:
        Malformed: it cannot be read, or has a field or an extension that cannot.
    """
    if data.startswith(b"-----BEGIN"):
        chain = pem_chain(data)
        if len(chain) != 1:
            raise Malformed("{count} certificates were sent where one was expected; send one", count=len(chain))
        return chain[0]
    return reading.read("certificate", lambda: _complete(x509.load_der_x509_certificate(data)))


def pem_chain(data: bytes) -> list[x509.Certificate]:
    """The certificates in `data`, in order. Nothing but PEM blocks may be there; lines may end with CR LF.

    Raises:
        Malformed: unreadable, empty, longer than ten certificates, or with anything between the blocks.
    """
    if len(data) > MAX_BYTES:
        raise Malformed("the chain has {size} octets, more than {limit}; send the leaf and its issuers", size=len(data), limit=MAX_BYTES)
    loaded = reading.read("certificate chain", lambda: [_complete(one) for one in x509.load_pem_x509_certificates(data)])
    if len(loaded) > MAX_CHAIN:
        raise Malformed(
            "the chain has {count} certificates, more than {limit}; send the leaf and its issuers", count=len(loaded), limit=MAX_CHAIN
        )
    if pem(loaded).rstrip(b"\n") != data.replace(b"\r\n", b"\n").rstrip(b"\n"):
        raise Malformed("there is text beside the certificates; send nothing but PEM blocks with lines of 64 characters")
    return loaded


def _complete(loaded: x509.Certificate) -> x509.Certificate:
    """`loaded`, after touching all that is otherwise read late: names, key, extensions."""
    for part in (loaded.subject, loaded.issuer):
        part.public_bytes()
    loaded.public_key()
    if loaded.serial_number <= 0:
        raise ValueError("serial number is not positive")
    for extension in loaded.extensions:
        _ = extension.value
    _ = loaded.signature_hash_algorithm, loaded.not_valid_after_utc
    return loaded


def p7c(certificates: Sequence[x509.Certificate]) -> bytes:
    """A certs-only PKCS#7 in DER (RFC 5751 section 3.7), as `/ca/<ca>.p7c` serves it."""
    return pkcs7.serialize_certificates(list(certificates), Encoding.DER)


def pkcs12(key: PrivateKey, leaf: x509.Certificate, chain: Sequence[x509.Certificate], password: bytes, name: str = "") -> bytes:
    """A PKCS#12 of `key` with its certificate and issuers: PBES2, AES-256-CBC, PBKDF2, HMAC-SHA-256."""
    protection = (
        PrivateFormat.PKCS12.encryption_builder()
        .kdf_rounds(PKCS12_ITERATIONS)
        .key_cert_algorithm(_pkcs12.PBES.PBESv2SHA256AndAES256CBC)
        .hmac_hash(hashes.SHA256())
        .build(password)
    )
    return _pkcs12.serialize_key_and_certificates(name.encode() or None, key, leaf, chain, protection)
