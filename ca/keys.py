"""Signing keys: the only module of the authority that holds or reaches a private key.

A signer is told the bytes and gives the signature; it knows nothing of what they mean. Software keys lie sealed in a
vault: `ca/<authority>` in the worker's, `ocsp/<authority>` in the web processes'. Signers are safe to share between threads.
"""

from __future__ import annotations

import threading
from typing import Protocol, cast

from cryptography.hazmat.primitives import serialization

from certs.suites import SUITES, PrivateKey, PublicKey, Suite
from core.errors import NotFound
from core.seal import Vault


class Missigned(RuntimeError):
    """Signed bytes are not the linted bytes, or the signature does not verify. Stops that authority and pages somebody."""


class Signer(Protocol):
    """One private key. `sign` is final: what it returned may be out in the world, whatever happens next."""

    @property
    def suite(self) -> Suite:
        """The suite that its signatures follow."""

    @property
    def public_key(self) -> PublicKey:
        """The public half."""

    @property
    def spki(self) -> bytes:
        """DER subjectPublicKeyInfo of the public half."""

    def sign(self, tbs: bytes) -> bytes:
        """The signature over `tbs`, as it stands in the BIT STRING."""

    def health(self) -> str:
        """Why this key cannot sign now, or an empty string."""


class Signers(Protocol):
    """Where signers come from, by purpose: `ca/<authority>` or `ocsp/<authority>`."""

    def get(self, purpose: str) -> Signer:
        """The signer of `purpose`.

        Raises:
            NotFound: there is no such key.
            Unavailable: the key does not open.
        """

    def make(self, purpose: str, suite: str) -> Signer:
        """Generate a key for `purpose`, durable when this returns; one that exists already is taken up again."""


class SoftSigner:
    """A key in this process's memory."""

    def __init__(self, key: PrivateKey, suite: Suite) -> None:
        self.suite = suite
        self._key = key
        self.public_key: PublicKey = key.public_key()
        self.spki = self.public_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)

    def sign(self, tbs: bytes) -> bytes:
        """The signature over `tbs`, as it stands in the BIT STRING."""
        return self.suite.sign(self._key, tbs)

    def health(self) -> str:
        """A key in memory is always at hand."""
        return ""


class SealedSigners:
    """Software keys of one vault, opened at first use and kept open."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._open: dict[str, SoftSigner] = {}
        self._lock = threading.Lock()

    def get(self, purpose: str) -> SoftSigner:
        """The signer of `purpose`; raises as `Signers.get`."""
        with self._lock:
            if purpose not in self._open:
                name, _, pem = self._vault.get(purpose).partition(b"\n")
                self._open[purpose] = _load(pem, name.decode())
            return self._open[purpose]

    def make(self, purpose: str, suite: str) -> SoftSigner:
        """Generate and seal a key; one that a broken-off ceremony left behind is taken up again."""
        try:
            return self.get(purpose)
        except NotFound:
            key = SUITES[suite].generate()
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        self._vault.put(purpose, suite.encode() + b"\n" + pem)
        return self.get(purpose)


def _load(pem: bytes, suite: str) -> SoftSigner:
    return SoftSigner(cast("PrivateKey", serialization.load_pem_private_key(pem, None)), SUITES[suite])
