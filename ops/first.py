"""First certificates: what a ceremony hands to the service itself and to the applications that come with it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from audit.permit import Permit
from audit.record import recording
from ca import ceremony, certificates, registration
from ca.registration import Draft
from ca.states import Standing
from ca.subjects import facts
from ca.tables import Certificate
from ca.worker import Worker
from certs import bundles, csr
from certs.suites import spki_sha256
from core.errors import NotFound, Unavailable
from core.seal import Vault, write_durably
from ops.node import Node

#: A signature that this process announced and lost is swept at once; one of a process that was killed after 15 s.
_PATIENCE_SECONDS = 40.0


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A private key in a file of mode 0600, made at first use: for the demonstration's applications."""

    path: Path

    def load(self) -> ec.EllipticCurvePrivateKey:
        """The key."""
        if not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_durably(self.path, _pem(ec.generate_private_key(ec.SECP256R1())))
        return _key(self.path.read_bytes())


@dataclass(frozen=True, slots=True)
class SealedKey:
    """A private key in a vault, made at first use."""

    vault: Vault
    purpose: str

    def load(self) -> ec.EllipticCurvePrivateKey:
        """The key."""
        try:
            return _key(self.vault.get(self.purpose))
        except NotFound:
            self.vault.put(self.purpose, _pem(ec.generate_private_key(ec.SECP256R1())))
            return _key(self.vault.get(self.purpose))


def request_der(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A certificate request of `key` without names."""
    return x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, SHA256()).public_bytes(Encoding.DER)


def first_certificate(node: Node, ref: str, profile: str, key: ec.EllipticCurvePrivateKey, *, permit: Permit) -> Certificate:
    """The certificate of `key` for the asset `ref`, admitted by the ceremony; one that was issued before is found again.

    Raises:
        Unavailable: it could not be issued in time; see the log, then run again.
    """
    assert node.works is not None
    if found := _issued(node, ref, spki_sha256(key.public_key())):
        return found
    with node.database.reading() as session:
        waiting = registration.listing(session, registration.Filter(states=registration.UNDER_WAY, subject=ref))
    if not waiting:
        draft = Draft(profile=profile, csr=csr.parse(request_der(key)), facts=facts(node.world.refresh(), ref))
        with recording(node.trail) as tx:
            ceremony.admit(tx, draft, permit=permit)
    worker, end = Worker(node.works), time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < end:
        worker.step()
        if found := _issued(node, ref, spki_sha256(key.public_key())):
            return found
        time.sleep(0.1)
    raise Unavailable("no certificate was issued for `{ref}` in time; run the command again and read its log", ref=ref)


def chain_pem(node: Node, certificate: Certificate) -> bytes:
    """The chain of `certificate`, leaf first, without the root."""
    with node.database.reading() as session:
        return bundles.pem(certificates.chain(session, certificate))


def _issued(node: Node, ref: str, spki: str) -> Certificate | None:
    which = certificates.Filter(subject=ref, standing=Standing.VALID, unexpired_at=node.clock())
    with node.database.reading() as session:
        mine = (row for row in certificates.listing(session, which) if row.spki_sha256 == spki)
        return max(mine, key=lambda row: row.not_after, default=None)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key
