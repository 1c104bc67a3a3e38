"""A certificate that a caller presents: whose it is, and everything that speaks against it now."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from authz.caller import Certificate
from authz.snapshot import Snapshot
from certs import chain, names
from certs.chain import Trust, Verified
from certs.names import Identity
from certs.profiles import Purpose
from core.errors import Malformed

#: Verified chains that are kept: a chain that was good stays good while its dates and its authorities do.
MAX_KEPT = 4096


class Presented(NamedTuple):
    """What a chain shows. It may be believed when `reasons` is empty."""

    #: None when the certificate names nobody known to Yumen.
    identity: Identity | None
    certificate: Certificate
    #: Stable words: those of `certs.chain.Reason`, `revoked`, `suspended`.
    reasons: tuple[str, ...]


class _Read(NamedTuple):
    """What a chain says whenever it is shown: nothing here depends on standing, which is looked up each time."""

    identity: Identity | None
    certificate: Certificate
    #: What may be revoked: issuer's key and serial of each certificate below the root.
    evidence: tuple[tuple[str, int], ...]
    reasons: tuple[str, ...]
    not_before: dt.datetime
    not_after: dt.datetime


class Verifier:
    """Verifies chains against what `trust` gives, remembering those that were good. Safe to share between threads."""

    def __init__(self) -> None:
        self._kept: dict[tuple[bytes, ...], tuple[Trust, _Read]] = {}

    def present(self, sent: Sequence[x509.Certificate], trust: Trust, snapshot: Snapshot, at: dt.datetime) -> Presented:
        """What the chain `sent` (leaf first) shows at the moment `at`.

        Raises:
            Malformed: no certificate, or too many.
        """
        return self.present_der([one.public_bytes(Encoding.DER) for one in sent], trust, snapshot, at)

    def present_der(self, sent: Sequence[bytes], trust: Trust, snapshot: Snapshot, at: dt.datetime) -> Presented:
        """The same for the certificates as they came: of a chain that was verified before not even the leaf is parsed.

        Raises:
            Malformed: no certificate, too many, or one that cannot be read.
        """
        if not sent:
            raise Malformed("no certificate was sent")
        read = self._read(tuple(sent), trust, at)
        reasons = [*read.reasons, *(snapshot.standing[pair] for pair in read.evidence if pair in snapshot.standing)]
        return Presented(read.identity, read.certificate, tuple(dict.fromkeys(reasons)))

    def _read(self, sent: tuple[bytes, ...], trust: Trust, at: dt.datetime) -> _Read:
        kept_for, kept = self._kept.get(sent, (None, None))
        if kept is not None and kept_for is trust and kept.not_before <= at <= kept.not_after:
            return kept
        read = _read(chain.check([_load(one) for one in sent], trust, at=at, purpose=Purpose.CLIENT), sha256(sent[0]).hexdigest())
        if not read.reasons:
            if len(self._kept) >= MAX_KEPT:
                self._kept.clear()
            self._kept[sent] = (trust, read)
        return read


def _load(der: bytes) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(der)
    except (ValueError, x509.InvalidVersion) as error:
        raise Malformed("the certificate cannot be read", reason="malformed") from error


def _read(found: Verified, digest: str) -> _Read:
    reasons, evidence = [str(reason) for reason in found.reasons], found.evidence
    issuer, serial = evidence[0] if evidence else ("", found.leaf.serial_number)
    try:
        identity = names.identity(found.leaf)
    except Malformed:
        identity = None
        reasons.append("malformed")
    certificate = Certificate(issuer, serial, digest)
    begun, ended = max(one.not_valid_before_utc for one in found.chain), min(one.not_valid_after_utc for one in found.chain)
    return _Read(identity, certificate, evidence, tuple(reasons), begun, ended)
