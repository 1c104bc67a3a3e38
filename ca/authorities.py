"""The authorities as they stand: who issues a profile, whose key is at hand, who was stopped."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509
from sqlalchemy import select
from sqlalchemy.orm import Session
from structlog import get_logger

from audit import search
from audit.event import Event, Kind
from audit.permit import Action, Permit
from audit.record import Transaction, recording
from audit.search import Entry
from audit.trail import Trail
from ca.keys import Signer, Signers
from ca.states import Standing
from ca.tables import Authority, Revocation
from certs.suites import SUITES, Suite
from core.errors import Conflict, Error, NotFound, Unavailable

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
        Unavailable: it was stopped, is on hold, or its key is not healthy.
    """
    row = get(session, id)
    if row.cert is None:
        raise NotFound("authority `{authority}` has no certificate yet; complete its ceremony", authority=id)
    if row.stopped:
        raise Unavailable("authority `{authority}` was stopped: {reason}; call its officers", authority=id, reason=row.stopped)
    if row.held:
        raise Unavailable("authority `{authority}` is on hold since its restore; supply its last published list", authority=id)
    signer = signers.get(f"ca/{id}")
    if trouble := signer.health():
        raise Unavailable("the key of authority `{authority}` cannot sign: {trouble}; call the operator", authority=id, trouble=trouble)
    certificate = x509.load_der_x509_certificate(row.cert)
    return Issuer(row.id, SUITES[row.suite], row.spki_sha256, certificate, signer)


def ready(session: Session, signers: Signers) -> tuple[dict[str, str], frozenset[str]]:
    """The authorities that can sign now by the profiles they issue, the newest first, none that is revoked; and what keeps the others."""
    found: dict[str, str] = {}
    troubles = set()
    for row in session.scalars(select(Authority).where(Authority.profiles != "").order_by(Authority.created_at.desc())):
        if _is_revoked(session, row):  # it still signs lists, but nobody would believe a certificate
            continue
        try:
            issuer(session, signers, row.id)
        except Error as error:
            troubles.add(error.detail)
            continue
        found = dict.fromkeys(row.profiles.split(), row.id) | found
    return found, frozenset(troubles)


def _is_revoked(session: Session, row: Authority) -> bool:
    if row.cert is None:
        return False
    serial = f"{x509.load_der_x509_certificate(row.cert).serial_number:x}"
    standing = select(Revocation.standing).where(Revocation.authority == row.parent, Revocation.serial == serial)
    return session.scalar(standing) in {Standing.REVOKED, Standing.SUSPENDED}


def stop(trail: Trail, id: str, reason: str, *, permit: Permit) -> None:  # noqa: A002 - the standard's word
    """Let an authority whose key misbehaved sign nothing more; readiness tells it, the process goes on."""
    _log.critical("authority stopped", authority=id, reason=reason)
    with recording(trail) as tx:
        tx.db.get_one(Authority, id, with_for_update=True).stopped = reason
        tx.record(Event.under(permit, Kind.CERT_MISSIGNED, f"ca:{id}", outcome="error", details={"problem": reason}))


def clear(tx: Transaction, id: str, *, permit: Permit) -> None:  # noqa: A002 - the standard's word
    """A security administrator's word that a stopped authority may sign again. The worker, who alone may write that, then lets it.

    Raises:
        NotFound: there is no such authority.
        Conflict: it was not stopped.
    """
    permit.must_cover(Action.AUTHORITY_RESUME, f"ca:{id}")
    if not get(tx.db, id).stopped:
        raise Conflict("authority `{authority}` was not stopped; reload the page", authority=id)
    tx.record(Event.under(permit, Kind.AUTHORITY_CLEARED, permit.resource))


def cleared(session: Session) -> dict[str, Entry]:
    """Stopped authorities that were cleared since they were stopped, each with the entry that says so."""
    found = {}
    for row in session.scalars(select(Authority).where(Authority.stopped != "")):
        said, stopped = (_newest(session, kind, row.id) for kind in (Kind.AUTHORITY_CLEARED, Kind.CERT_MISSIGNED))
        if said and stopped and (said.epoch, said.idx) > (stopped.epoch, stopped.idx):
            found[row.id] = said
    return found


def resume(trail: Trail, id: str, said: Entry, *, permit: Permit) -> None:  # noqa: A002 - the standard's word
    """Let a stopped authority sign again; each signature is compared as ever, and stops it again when it is wrong."""
    permit.must_cover(Action.AUTHORITY_RESUME, f"ca:{id}")
    with recording(trail) as tx:
        tx.db.get_one(Authority, id, with_for_update=True).stopped = ""
        details = {"cleared": {"log": said.place, "idx": said.idx}}
        tx.record(Event.under(permit, Kind.AUTHORITY_RESUMED, f"ca:{id}", details=details))


def _newest(session: Session, kind: Kind, id: str) -> Entry | None:  # noqa: A002 - the standard's word
    page = search.find(session, search.parse_query(f"code:{kind.code} obj:ca:{id}"), limit=1)
    return page.entries[0] if page.entries else None


def hold(tx: Transaction, backup: str, *, permit: Permit) -> list[str]:
    """Let no authority sign or vouch for anything until what it had published last is known; gives their ids."""
    permit.must_cover(Action.BACKUP_RESTORE, f"backup:{backup}")
    found = list(tx.db.scalars(select(Authority).where(Authority.cert.is_not(None)).order_by(Authority.id).with_for_update()))
    for row in found:
        row.held = backup
        tx.record(Event.under(permit, Kind.AUTHORITY_HELD, f"ca:{row.id}", details={"backup": backup}))
    return [row.id for row in found]


def held(session: Session) -> list[str]:
    """The authorities that are on hold."""
    return list(session.scalars(select(Authority.id).where(Authority.held != "").order_by(Authority.id)))


def problems(session: Session) -> list[str]:
    """What keeps authorities from working, one sentence each; readiness tells them."""
    stopped = session.scalars(select(Authority).where(Authority.stopped != ""))
    waits = "supply its last published list with `yumen restore --crl FILE`"
    return [
        *(f"authority {row.id} was stopped: {row.stopped}" for row in stopped),
        *(f"authority {id} is on hold since its restore: {waits}" for id in held(session)),  # noqa: A001 - the standard's word
    ]
