"""Certificate revocation lists (RFC 5280 section 5) by DER template: an entry is encoded once, when it is revoked.

The list itself is three concatenations around the joined entries. Readers are `cryptography`'s.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding

from certs import der, reading
from certs.profiles import Issuer
from core.errors import Malformed

#: CRLReason by name (RFC 5280 section 5.3.1), without removeFromCRL, which only delta CRLs may carry.
REASONS: Mapping[str, int] = MappingProxyType(
    {
        "unspecified": 0,
        "keyCompromise": 1,
        "cACompromise": 2,
        "affiliationChanged": 3,
        "superseded": 4,
        "cessationOfOperation": 5,
        "certificateHold": 6,
        "privilegeWithdrawn": 9,
        "aACompromise": 10,
    }
)

HOLD = "certificateHold"

_CRL_NUMBER, _ISSUING_DISTRIBUTION_POINT = "2.5.29.20", "2.5.29.28"
_AUTHORITY_KEY_IDENTIFIER, _REASON_CODE = "2.5.29.35", "2.5.29.21"
_VERSION_2 = der.integer(1)


def require_reason(name: str) -> str:
    """`name`, if it is a CRLReason that a certificate can be revoked for.

    Raises:
        Malformed: it is none.
    """
    if name not in REASONS:
        raise Malformed("reason `{reason}` is not one of {reasons}; choose one", reason=name, reasons=", ".join(REASONS))
    return name


def entry(serial: int, at: dt.datetime, reason: str = "") -> bytes:
    """One element of revokedCertificates. `unspecified` is left out, as section 5.3.1 asks.

    Raises:
        Malformed: an unknown reason.
    """
    code = REASONS[require_reason(reason or "unspecified")]
    extensions = der.sequence(der.extension(_REASON_CODE, der.tlv(der.ENUMERATED, bytes((code,))))) if code else b""
    return der.sequence(der.integer(serial), der.time(at), extensions)


class Template:
    """The fixed parts of one authority's CRLs, encoded once. `urls` are the distribution points its certificates name.

    These are several where the address has moved: a certificate keeps the one that it was issued with, and whoever checks it takes
    a list for one about it only if the list names that address (section 6.3.3 (b)(2)(i)).

    A root's list names no distribution point: the root's own certificate has none, and whoever checks the whole chain
    (`openssl verify -crl_check_all`, nginx `ssl_crl`) would find that the list is not about the root.
    """

    def __init__(self, issuer: x509.Certificate, *urls: str) -> None:
        facts = Issuer.of(issuer)
        self.suite = facts.suite
        self._head = _VERSION_2 + facts.suite.algorithm + facts.name_der
        self._key_identifier = der.extension(_AUTHORITY_KEY_IDENTIFIER, der.sequence(der.tlv(0x80, facts.key_identifier)))
        self._point = b"" if issuer.issuer == issuer.subject else _issuing_distribution_point(urls)

    def tbs(self, *, number: int, this_update: dt.datetime, next_update: dt.datetime, entries: Iterable[bytes]) -> bytes:
        """The tbsCertList with `entries` as `entry` makes them; without any, revokedCertificates is absent (section 5.1.2.6).

        Raises:
            ValueError: `number` does not fit in 20 octets (section 5.2.3), or the times are not in order.
        """
        if not 0 <= number < 1 << 159:
            raise ValueError("the CRL number is out of range")
        if next_update <= this_update:
            raise ValueError("nextUpdate is not after thisUpdate")
        body = b"".join(entries)
        revoked = der.header(der.SEQUENCE, len(body)) + body if body else b""
        extensions = der.sequence(self._key_identifier, der.extension(_CRL_NUMBER, der.integer(number)), self._point)
        return der.sequence(self._head, der.time(this_update), der.time(next_update), revoked, der.tlv(0xA0, extensions))

    def assemble(self, tbs: bytes, signature: bytes) -> bytes:
        """The CertificateList of `tbs` and its raw `signature`."""
        return der.sequence(tbs, self.suite.algorithm, der.bits(signature))


def _issuing_distribution_point(urls: Iterable[str]) -> bytes:
    """Critical, with two explicit tags around the URIs: distributionPoint [0], fullName [0] (section 5.2.5)."""
    point = der.tlv(0xA0, der.tlv(0xA0, b"".join(der.tlv(0x86, url.encode("ascii")) for url in urls)))
    return der.extension(_ISSUING_DISTRIBUTION_POINT, der.sequence(point), critical=True)


@dataclass(frozen=True, slots=True)
class Entry:
    """When and why a serial was revoked; no reason is `unspecified`."""

    at: dt.datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Crl:
    """A list as its readers see it. Nothing in it is trusted before `verify`."""

    number: int
    this_update: dt.datetime
    next_update: dt.datetime
    #: The issuer's name in DER.
    issuer: bytes
    key_identifier: bytes
    #: URIs of the issuing distribution point; empty when the list has none.
    urls: tuple[str, ...]
    entries: Mapping[int, Entry]
    loaded: x509.CertificateRevocationList

    def encode(self) -> bytes:
        """The list as received, in DER."""
        return self.loaded.public_bytes(Encoding.DER)

    @property
    def serials(self) -> frozenset[int]:
        """Every serial on the list."""
        return frozenset(self.entries)

    def verify(self, issuer: x509.Certificate) -> None:
        """Check that `issuer` made this list (RFC 5280 section 6.3.3 (f), (g)).

        Raises:
            InvalidSignature: another name or key identifier, or a signature that does not verify.
        """
        facts = Issuer.of(issuer)
        if (self.issuer, self.key_identifier) != (facts.name_der, facts.key_identifier):
            raise InvalidSignature
        tbs, signature = self.loaded.tbs_certlist_bytes, self.loaded.signature
        reading.require_assembled(self.encode(), tbs, facts.suite.algorithm, signature)
        facts.suite.verify(reading.public_key(issuer), signature, tbs)


def parse(data: bytes) -> Crl:
    """The CRL in `data` (DER), complete and version 2.

    Raises:
        Malformed: unreadable, without number, key identifier or nextUpdate, or with an unknown critical extension.
    """
    return reading.read("certificate revocation list", lambda: _parse(data))


def _parse(data: bytes) -> Crl:
    loaded = x509.load_der_x509_crl(data)
    extensions = loaded.extensions
    known = (x509.CRLNumber, x509.AuthorityKeyIdentifier, x509.IssuingDistributionPoint)
    if any(extension.critical and not isinstance(extension.value, known) for extension in extensions):
        raise ValueError("unknown critical extension")
    try:
        number = extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        key_identifier = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except x509.ExtensionNotFound as reason:
        raise ValueError("required extension is missing") from reason
    if loaded.next_update_utc is None or key_identifier is None:
        raise ValueError("required field is missing")
    return Crl(
        number=number,
        this_update=loaded.last_update_utc,
        next_update=loaded.next_update_utc,
        issuer=loaded.issuer.public_bytes(),
        key_identifier=key_identifier,
        urls=_urls(extensions),
        entries={one.serial_number: Entry(one.revocation_date_utc, _reason(one)) for one in loaded},
        loaded=loaded,
    )


def addresses(data: bytes) -> tuple[str, ...]:
    """Where the list in `data` says that it is found, without reading its entries.

    Raises:
        Malformed: unreadable.
    """
    return reading.read("certificate revocation list", lambda: _urls(x509.load_der_x509_crl(data).extensions))


def _reason(revoked: x509.RevokedCertificate) -> str:
    for extension in revoked.extensions:
        if isinstance(extension.value, x509.CRLReason):
            return extension.value.reason.value
        if extension.critical:
            raise ValueError("unknown critical entry extension")
    return "unspecified"


def _urls(extensions: x509.Extensions) -> tuple[str, ...]:
    try:
        point = extensions.get_extension_for_class(x509.IssuingDistributionPoint).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(name.value for name in point.full_name or () if isinstance(name, x509.UniformResourceIdentifier))


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a new list is measured against."""

    issuer: x509.Certificate
    at: dt.datetime
    #: Serials that must not leave: those of certificates that had not expired when the old list was made.
    unexpired: Container[int]
    #: Serials whose suspension ended; they may leave if the old list had them on hold.
    released: Container[int] = ()


def gate(new: bytes, old: bytes | None, expected: Expected) -> list[str]:
    """Why `new` must not be published in the place of `old`; empty means publish.

    It must parse, be the issuer's, be current, have a number strictly greater (section 5.2.3), keep every distribution
    point of `old`, since there are certificates that name it, and every serial until one list after its certificate's end
    (section 3.3).
    """
    try:
        fresh = parse(new)
        fresh.verify(expected.issuer)
    except Malformed:
        return ["the new list cannot be read"]
    except InvalidSignature:
        return ["the new list is not signed by the issuer"]
    found = []
    if not fresh.this_update <= expected.at < fresh.next_update:
        found.append("the new list is not current")
    if old is None:
        return found
    try:
        former = parse(old)
    except Malformed:
        return [*found, "the published list cannot be read"]
    return found + _step(fresh, former, expected)


def _step(fresh: Crl, former: Crl, expected: Expected) -> list[str]:
    found = []
    if fresh.number <= former.number:
        found.append(f"number {fresh.number} is not greater than {former.number}")
    if fresh.this_update < former.this_update:
        found.append("the new list is older than the published one")
    found += [f"the distribution point {url} is missing" for url in former.urls if url not in fresh.urls]
    for serial in sorted(former.serials - fresh.serials):
        released = serial in expected.released and former.entries[serial].reason == HOLD
        if serial in expected.unexpired and not released:
            found.append(f"serial {serial:x} is missing without a reason")
    return found
