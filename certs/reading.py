"""Reading what others wrote: every complaint of a parser becomes `Malformed`, whatever it was called there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certs import der
from certs.suites import PublicKey
from core.errors import Malformed

#: What `cryptography` raises on bytes that it cannot read. It has no common base class; under `-W error` its warnings
#: about old sins are raised as well.
UNREADABLE = (
    ValueError,
    TypeError,
    NotImplementedError,
    OverflowError,
    Warning,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)

_Read = TypeVar("_Read")
_Value = TypeVar("_Value", bound=x509.ExtensionType)


def read(what: str, parse: Callable[[], _Read]) -> _Read:
    """The result of `parse`.

    Raises:
        Malformed: `parse` could not read its bytes as a `what`.
    """
    try:
        return parse()
    except UNREADABLE as reason:
        raise Malformed("the bytes are not a readable {what}; send one DER or PEM encoding of it", what=what) from reason


def value(certificate: x509.Certificate, kind: type[_Value]) -> _Value | None:
    """The extension of this kind in `certificate`, or None."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def public_key(certificate: x509.Certificate) -> PublicKey:
    """The key in `certificate`, for use with a suite, which refuses kinds that it does not know."""
    return cast("PublicKey", certificate.public_key())


def key_bits(certificate: x509.Certificate) -> bytes:
    """The content of subjectPublicKey without tag, length and unused bits: what key identifiers and OCSP hash."""
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return der.content(der.parts(spki)[1])[1:]


def require_assembled(whole: bytes, tbs: bytes, algorithm: bytes, signature: bytes) -> None:
    """Check that `whole` is exactly what its signer put together, under exactly this AlgorithmIdentifier.

    A parser accepts unused bits in the signature and other spellings of the algorithm, which nobody signed.

    Raises:
        InvalidSignature: it is not (RFC 5280 sections 4.1.1.2 and 5.1.1.2: both identifiers MUST be the same).
    """
    # The inner identifier comes second or third: version is optional.
    if algorithm not in der.parts(tbs)[1:3] or whole != der.sequence(tbs, algorithm, der.bits(signature)):
        raise InvalidSignature
