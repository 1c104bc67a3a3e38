"""The authorities as they stand: who issues a profile, whose key is at hand, who was stopped."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509
from sqlalchemy import select
from sqlalchemy.orm import Session
from structlog import get_logger

from audit.event import Event, Kind
from audit.permit import Permit
from audit.record import recording
from audit.trail import Trail
from ca.keys import Signer, Signers
from ca.tables import Authority
from certs.suites import SUITES, Suite
from core.errors import Error, NotFound, Unavailable

_log = get_logger()


@dataclass(frozen=True, slots=True)
class Issuer:
    """An authority with its key at hand. `certificate` is None only while a root signs itself."""

    id: str
    suite: Suite
    spki_sha256: str
    certificate: x509.Certificate | None
    signer: Signer

    def event_cert(self, serial: str) -> str:
        """How events name a certificate of this issuer: hash of its key and serial."""
        return f"{self.spki_sha256}:{serial}"


def get(session: Session, id: str) -> Authority:  # noqa: A002 - the standard's word
    """The authority called `id`.

    Raises:
        NotFound: there is none.
    """
    if row := session.get(Authority, id):
        return row
    raise NotFound("there is no authority `{authority}`", authority=id)


def issuer(session: Session, signers: Signers, id: str) -> Issuer:  # noqa: A002 - the standard's word
    """The authority called `id`, ready to sign.

    Raises:
        NotFound: there is none, or its ceremony was not completed.
        Unavailable: it was stopped, or its key is not healthy.
    """
    row = get(session, id)
    if row.cert is None:
        raise NotFound("authority `{authority}` has no certificate yet; complete its ceremony", authority=id)
    if row.stopped:
        raise Unavailable("authority `{authority}` was stopped: {reason}; call its officers", authority=id, reason=row.stopped)
    signer = signers.get(f"ca/{id}")
    if trouble := signer.health():
        raise Unavailable("the key of authority `{authority}` cannot sign: {trouble}; call the operator", authority=id, trouble=trouble)
    certificate = x509.load_der_x509_certificate(row.cert)
    return Issuer(row.id, SUITES[row.suite], row.spki_sha256, certificate, signer)


def ready(session: Session, signers: Signers) -> tuple[dict[str, str], frozenset[str]]:
    """The authorities that can sign now by the profiles they issue, the newest first; and what keeps the others."""
    found: dict[str, str] = {}
    troubles = set()
    for row in session.scalars(select(Authority).where(Authority.profiles != "").order_by(Authority.created_at.desc())):
        try:
            issuer(session, signers, row.id)
        except Error as error:
            troubles.add(error.detail)
            continue
        found = dict.fromkeys(row.profiles.split(), row.id) | found
    return found, frozenset(troubles)


def stop(trail: Trail, id: str, reason: str, *, permit: Permit) -> None:  # noqa: A002 - the standard's word
    """Let an authority whose key misbehaved sign nothing more; readiness tells it, the process goes on."""
    _log.critical("authority stopped", authority=id, reason=reason)
    with recording(trail) as tx:
        tx.db.get_one(Authority, id, with_for_update=True).stopped = reason
        tx.record(Event.under(permit, Kind.CERT_MISSIGNED, f"ca:{id}", outcome="error", details={"problem": reason}))


def problems(session: Session) -> list[str]:
    """What keeps authorities from working, one sentence each; readiness tells them."""
    return [f"authority {row.id} was stopped: {row.stopped}" for row in session.scalars(select(Authority).where(Authority.stopped != ""))]
