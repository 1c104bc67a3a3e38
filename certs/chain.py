"""Is this certificate one of ours, at this hour, for this purpose? With the reasons when it is not.

A chain is good only when two verifiers accept it: the walk below (RFC 5280 section 6.1), which can name its reasons,
and `cryptography`'s, which was written by others. That one does not know Ed25519: such chains are judged by the walk
alone, and refused when an authority in them has name constraints, which only it applies.

Revocation is the caller's: `evidence` names what must be looked up, for every certificate below the root.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID

from certs import bundles, reading
from certs.profiles import Purpose
from certs.suites import spki_sha256, suite_of
from core.errors import Denied, Malformed

#: Certificates in a path, root and leaf included.
MAX_DEPTH = 5

#: Paths that are tried when authorities are cross-certified.
MAX_PATHS = 16

_UNDERSTOOD = {
    kind.oid
    for kind in (
        x509.BasicConstraints,
        x509.KeyUsage,
        x509.ExtendedKeyUsage,
        x509.SubjectAlternativeName,
        x509.CertificatePolicies,
        x509.NameConstraints,
    )
}
_PURPOSES = {
    Purpose.CLIENT: ExtendedKeyUsageOID.CLIENT_AUTH,
    Purpose.SERVER: ExtendedKeyUsageOID.SERVER_AUTH,
    Purpose.OCSP: ExtendedKeyUsageOID.OCSP_SIGNING,
}

_CA_POLICY = verification.ExtensionPolicy.webpki_defaults_ca()
#: The purpose of the leaf is judged by the walk: this verifier knows only clients and servers.
_LEAF_POLICY = verification.ExtensionPolicy.permit_all()


class Reason(StrEnum):
    """Why a chain is not good. Stable: applications read them."""

    EXPIRED = "expired"
    NOT_YET_VALID = "not-yet-valid"
    UNKNOWN_ISSUER = "unknown-issuer"
    BAD_SIGNATURE = "bad-signature"
    WRONG_PURPOSE = "wrong-purpose"
    NAME_CONSTRAINT = "name-constraint"
    MALFORMED = "malformed"


@dataclass(frozen=True, slots=True)
class Verified:
    """A path, leaf first and root last, as far as it could be built; good when `reasons` is empty."""

    chain: tuple[x509.Certificate, ...]
    reasons: tuple[Reason, ...] = ()

    @property
    def leaf(self) -> x509.Certificate:
        """The certificate in question."""
        return self.chain[0]

    @property
    def evidence(self) -> tuple[tuple[str, int], ...]:
        """(SHA-256 of the issuer's SPKI in hex, serial) of each certificate below the root: what may be revoked."""
        pairs = zip(self.chain, self.chain[1:], strict=False)
        return tuple((spki_sha256(reading.public_key(issuer)), child.serial_number) for child, issuer in pairs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What a chain is measured against. Names are compared as DER, signatures decide among namesakes."""

    roots: Sequence[x509.Certificate]
    #: Authorities that we know ourselves; whoever calls need not send them.
    intermediates: Sequence[x509.Certificate] = ()


def verify(presented: bytes | Sequence[x509.Certificate], trust: Trust, *, at: dt.datetime, purpose: Purpose) -> Verified:
    """The good path from `presented` (leaf first; PEM, one DER certificate, or loaded) to a root.

    Raises:
        Malformed: `presented` cannot be read.
        Denied: no good path; the fact `reason` has the first reason, `reasons` all of them.
    """
    found = check(presented, trust, at=at, purpose=purpose)
    if found.reasons:
        raise Denied("the certificate is not accepted: {reason}; get a new one", reason=found.reasons[0], reasons=list(found.reasons))
    return found


def check(presented: bytes | Sequence[x509.Certificate], trust: Trust, *, at: dt.datetime, purpose: Purpose) -> Verified:
    """As `verify`, with the reasons in the answer instead of raised.

    Raises:
        Malformed: `presented` cannot be read.
    """
    sent = _loaded(presented)
    store = [*trust.roots, *trust.intermediates, *sent[1:]]
    judged = [_judged(path, trust, store, at, purpose) for path in islice(_paths((sent[0],), trust.roots, store), MAX_PATHS)]
    return min(judged, key=lambda found: (len(found.reasons), found.chain[-1] not in trust.roots))


def _loaded(presented: bytes | Sequence[x509.Certificate]) -> list[x509.Certificate]:
    if not isinstance(presented, bytes):
        found = list(presented)
    elif presented.startswith(b"-----BEGIN"):
        found = bundles.pem_chain(presented)
    else:
        found = [bundles.certificate(presented)]
    if not 0 < len(found) <= bundles.MAX_CHAIN:
        raise Malformed("send 1 to {limit} certificates, the leaf first", limit=bundles.MAX_CHAIN)
    return found


Path = tuple[x509.Certificate, ...]


def _paths(path: Path, roots: Sequence[x509.Certificate], store: Sequence[x509.Certificate]) -> Iterator[Path]:
    """Every path from the leaf that ends in a root, or cannot go on."""
    if path[-1] in roots:
        yield path
        return
    parents = [one for one in dict.fromkeys(store) if one not in path and _issued(one, path[-1])]
    if not parents or len(path) == MAX_DEPTH:
        yield path
        return
    for parent in parents:
        yield from _paths((*path, parent), roots, store)


def _issued(issuer: x509.Certificate, child: x509.Certificate) -> bool:
    """Whether the key in `issuer` signed `child`, under the names that they say (RFC 5280 section 6.1.3 (a)(1), (4))."""
    if issuer.subject.public_bytes() != child.issuer.public_bytes():
        return False
    try:
        suite = suite_of(issuer.public_key())
        whole, tbs = child.public_bytes(Encoding.DER), child.tbs_certificate_bytes
        reading.require_assembled(whole, tbs, suite.algorithm, child.signature)
        suite.verify(reading.public_key(issuer), child.signature, tbs)
    except (InvalidSignature, Malformed, *reading.UNREADABLE):
        return False
    return True


def _judged(path: Path, trust: Trust, store: Sequence[x509.Certificate], at: dt.datetime, purpose: Purpose) -> Verified:
    try:
        reasons = [] if path[-1] in trust.roots else [_why_no_root(path, store)]
        reasons += _reasons(path, at.replace(microsecond=0), purpose)
        reasons = reasons or _second_opinion(path, at)
    except reading.UNREADABLE:
        reasons = [Reason.MALFORMED]
    return Verified(path, tuple(dict.fromkeys(reasons)))


def _why_no_root(path: Path, store: Sequence[x509.Certificate]) -> Reason:
    """A namesake of the missing issuer is known, so it did not sign; or nobody has that name, or nobody so far up."""
    if len(path) == MAX_DEPTH:
        return Reason.UNKNOWN_ISSUER
    wanted = path[-1].issuer.public_bytes()
    namesake = any(one.subject.public_bytes() == wanted for one in store if one not in path)
    return Reason.BAD_SIGNATURE if namesake else Reason.UNKNOWN_ISSUER


def _reasons(path: Path, at: dt.datetime, purpose: Purpose) -> list[Reason]:
    """RFC 5280 sections 6.1.3 (a)(2), 6.1.4 (k) to (o), and the purpose of the leaf (section 4.2.1.12)."""
    found = []
    for certificate in path:
        if at < certificate.not_valid_before_utc:
            found.append(Reason.NOT_YET_VALID)
        if at > certificate.not_valid_after_utc:
            found.append(Reason.EXPIRED)
        if any(extension.critical and extension.oid not in _UNDERSTOOD for extension in certificate.extensions):
            found.append(Reason.MALFORMED)
    if not _serves(path[0], purpose) or not all(_may_issue(one, below) for below, one in enumerate(path[1:])):
        found.append(Reason.WRONG_PURPOSE)
    return found


def _serves(leaf: x509.Certificate, purpose: Purpose) -> bool:
    constraints, usage = reading.value(leaf, x509.BasicConstraints), reading.value(leaf, x509.KeyUsage)
    if purpose is Purpose.AUTHORITY:
        return _may_issue(leaf, 0)
    if (constraints is not None and constraints.ca) or usage is None or not usage.digital_signature:
        return False
    return _PURPOSES[purpose] in (reading.value(leaf, x509.ExtendedKeyUsage) or ())


def _may_issue(authority: x509.Certificate, below: int) -> bool:
    """Whether `authority` may stand above `below` other authorities."""
    constraints, usage = reading.value(authority, x509.BasicConstraints), reading.value(authority, x509.KeyUsage)
    if constraints is None or not constraints.ca or usage is None or not usage.key_cert_sign:
        return False
    return constraints.path_length is None or below <= constraints.path_length


def _second_opinion(path: Path, at: dt.datetime) -> list[Reason]:
    """What the other verifier says of a path that the walk accepts; it alone applies name constraints."""
    constrained = any(reading.value(one, x509.NameConstraints) for one in path)
    if any(isinstance(one.public_key(), ed25519.Ed25519PublicKey) for one in path):
        return [Reason.NAME_CONSTRAINT] if constrained else []
    policy = verification.PolicyBuilder().store(verification.Store([path[-1]])).time(at).max_chain_depth(MAX_DEPTH)
    verifier = policy.extension_policies(ca_policy=_CA_POLICY, ee_policy=_LEAF_POLICY).build_client_verifier()
    try:
        verifier.verify(path[0], list(path[1:-1]))
    except verification.VerificationError:
        return [Reason.NAME_CONSTRAINT if constrained else Reason.MALFORMED]
    return []
