"""OCSP (RFC 6960, profile RFC 9919, nonces RFC 9654): reading one request, and answers by DER template.

An answer costs one signature and some concatenations. The CertID is echoed as it was received, byte for byte: clients
compare it with what they sent.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from certs import der, reading
from certs.crl import REASONS, require_reason
from certs.suites import suite_of

#: Answers without a body (RFC 6960 section 4.2.1); they are never signed, and never cached.
MALFORMED = bytes.fromhex("30030a0101")
INTERNAL = bytes.fromhex("30030a0102")
TRY_LATER = bytes.fromhex("30030a0103")
UNAUTHORIZED = bytes.fromhex("30030a0106")

#: Octets of a nonce (RFC 9654 section 2.1).
NONCE_BYTES = range(1, 128 + 1)

_NONCE_OID, _BASIC_OID = "1.3.6.1.5.5.7.48.1.2", "1.3.6.1.5.5.7.48.1.1"
#: How a nonce is named: a request without these octets has none.
NONCE_ID = der.oid(_NONCE_OID)
_SUCCESSFUL = der.tlv(der.ENUMERATED, b"\0")
_BASIC = der.oid(_BASIC_OID)
_HASHES = {der.oid("1.3.14.3.2.26"): "sha1", der.oid("2.16.840.1.101.3.4.2.1"): "sha256"}


@dataclass(frozen=True, slots=True)
class Request:
    """A question about one certificate."""

    #: The CertID as received, for the answer.
    cert_id: bytes
    #: `sha1` or `sha256`; another algorithm by its OID, which no issuer of ours matches.
    hash_name: str
    issuer_name_hash: bytes
    issuer_key_hash: bytes
    serial: int
    nonce: bytes | None


def parse(data: bytes) -> Request:
    """The request in `data` (DER).

    Raises:
        Malformed: unreadable, about no or several certificates, with a nonce outside 1 to 128 octets, or with a
            critical extension that is not understood (RFC 6960 section 4.4).
    """
    return reading.read("OCSP request about one certificate", lambda: _parse(data))


def _parse(data: bytes) -> Request:
    # A request about several certificates raises NotImplementedError here.
    loaded = ocsp.load_der_ocsp_request(data)
    nonce = None
    for extension in loaded.extensions:
        if isinstance(extension.value, x509.OCSPNonce):
            nonce = extension.value.nonce
        elif extension.critical:
            raise ValueError("critical extension")
    # The parser also takes a bare value for a nonce; RFC 9654 section 2.1 says OCTET STRING, and that is what we echo.
    if nonce is not None and (len(nonce) not in NONCE_BYTES or der.octets(der.octets(nonce)) not in data):
        raise ValueError("nonce")
    cert_id = _cert_id(data)
    algorithm = der.parts(cert_id)[0]
    return Request(
        cert_id=cert_id,
        hash_name=_HASHES.get(der.parts(algorithm)[0], "unknown"),
        issuer_name_hash=loaded.issuer_name_hash,
        issuer_key_hash=loaded.issuer_key_hash,
        serial=loaded.serial_number,
        nonce=nonce,
    )


def _cert_id(data: bytes) -> bytes:
    """The reqCert of the only Request in `data`, which a parser has accepted (RFC 6960 section 4.1.1)."""
    tbs = der.parts(data)[0]
    # version [0] and requestorName [1] are optional and come before requestList.
    request_list = next(part for part in der.parts(tbs) if part[0] == der.SEQUENCE)
    cert_id, *explicit = der.parts(der.parts(request_list)[0])
    for extensions in explicit:
        for extension in der.parts(der.parts(extensions)[0]):
            if len(der.parts(extension)) == 3:
                raise ValueError("critical extension")
    return cert_id


@dataclass(frozen=True, slots=True)
class CertIds:
    """How CertIDs name one issuer under one hash (RFC 6960 section 4.1.1)."""

    hash_name: str
    issuer_name_hash: bytes
    issuer_key_hash: bytes

    def encode(self, serial: int) -> bytes:
        """The CertID of this issuer's certificate `serial`, as common clients write it: with NULL parameters."""
        algorithm = der.sequence(next(oid for oid, name in _HASHES.items() if name == self.hash_name), b"\x05\0")
        return der.sequence(algorithm, der.octets(self.issuer_name_hash), der.octets(self.issuer_key_hash), der.integer(serial))

    def matches(self, request: Request) -> bool:
        """Whether `request` is about a certificate of this issuer."""
        mine = (self.hash_name, self.issuer_name_hash, self.issuer_key_hash)
        return mine == (request.hash_name, request.issuer_name_hash, request.issuer_key_hash)


def cert_ids(issuer: x509.Certificate) -> Mapping[str, CertIds]:
    """By hash name, how requests name `issuer`: its subject and its key's BIT STRING without unused bits, hashed."""
    name, key = issuer.subject.public_bytes(), reading.key_bits(issuer)
    return {hash_: CertIds(hash_, hashlib.new(hash_, name).digest(), hashlib.new(hash_, key).digest()) for hash_ in _HASHES.values()}


@dataclass(frozen=True, slots=True)
class Good:
    """Issued, and not revoked."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """Never issued by this authority."""


@dataclass(frozen=True, slots=True)
class Revoked:
    """Revoked or on hold since `at`; `unspecified` is left out of the answer."""

    at: dt.datetime
    reason: str = "unspecified"


Status = Good | Revoked | Unknown


class Template:
    """The fixed parts of one responder's answers, encoded once. Safe to share between threads: it never changes."""

    def __init__(self, responder: x509.Certificate) -> None:
        self.suite = suite_of(responder.public_key())
        # responderID byKey [2] is always SHA-1 of the key (section 4.2.1), whatever hash CertIDs use.
        key_hash = hashlib.sha1(reading.key_bits(responder), usedforsecurity=False).digest()
        self._responder = der.tlv(0xA2, der.octets(key_hash))
        self._certificates = der.tlv(0xA0, der.sequence(responder.public_bytes(Encoding.DER)))

    def tbs(self, cert_id: bytes, status: Status, this_update: dt.datetime, next_update: dt.datetime, nonce: bytes | None = None) -> bytes:
        """ResponseData (section 4.2.1) about `cert_id`; producedAt is `this_update`, since answers are made on demand."""
        now = der.generalized_time(this_update)
        single = der.sequence(cert_id, _status(status), now, der.tlv(0xA0, der.generalized_time(next_update)))
        echo = b"" if nonce is None else der.tlv(0xA1, der.sequence(der.sequence(NONCE_ID, der.octets(der.octets(nonce)))))
        return der.sequence(self._responder, now, der.sequence(single), echo)

    def assemble(self, tbs: bytes, signature: bytes) -> bytes:
        """The successful OCSPResponse of `tbs`, its raw `signature` and the responder's certificate."""
        basic = der.sequence(tbs, self.suite.algorithm, der.bits(signature), self._certificates)
        return der.sequence(_SUCCESSFUL, der.tlv(0xA0, der.sequence(_BASIC, der.octets(basic))))


def _status(status: Status) -> bytes:
    if isinstance(status, Good):
        return b"\x80\0"
    if isinstance(status, Unknown):
        return b"\x82\0"
    code = REASONS[require_reason(status.reason)]
    reason = der.tlv(0xA0, der.tlv(der.ENUMERATED, bytes((code,)))) if code else b""
    return der.tlv(0xA1, der.generalized_time(status.at) + reason)
