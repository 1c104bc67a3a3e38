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


class Verifier:
    """Verifies chains against what `trust` gives, remembering those that were good. Safe to share between threads."""

    def __init__(self) -> None:
        self._kept: dict[bytes, tuple[Trust, Verified]] = {}

    def present(self, sent: Sequence[x509.Certificate], trust: Trust, snapshot: Snapshot, at: dt.datetime) -> Presented:
        """What the chain `sent` (leaf first) shows at the moment `at`.

        Raises:
            Malformed: no certificate, or too many.
        """
        if not sent:
            raise Malformed("no certificate was sent")
        found = self._verified(sent, trust, at)
        reasons = [str(reason) for reason in found.reasons]
        reasons += [snapshot.standing[pair] for pair in found.evidence if pair in snapshot.standing]
        issuer, serial = found.evidence[0] if found.evidence else ("", found.leaf.serial_number)
        digest = sha256(sent[0].public_bytes(Encoding.DER)).hexdigest()
        return Presented(_identity(sent[0], reasons), Certificate(issuer, serial, digest), tuple(dict.fromkeys(reasons)))

    def _verified(self, sent: Sequence[x509.Certificate], trust: Trust, at: dt.datetime) -> Verified:
        key = sha256(b"".join(sha256(one.public_bytes(Encoding.DER)).digest() for one in sent)).digest()
        kept = self._kept.get(key)
        if kept and kept[0] is trust and all(one.not_valid_before_utc <= at <= one.not_valid_after_utc for one in kept[1].chain):
            return kept[1]
        found = chain.check(sent, trust, at=at, purpose=Purpose.CLIENT)
        if not found.reasons:
            if len(self._kept) >= MAX_KEPT:
                self._kept.clear()
            self._kept[key] = (trust, found)
        return found


def _identity(leaf: x509.Certificate, reasons: list[str]) -> Identity | None:
    try:
        return names.identity(leaf)
    except Malformed:
        reasons.append("malformed")
        return None
