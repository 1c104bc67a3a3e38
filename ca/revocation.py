"""Revoking, suspending and releasing: one row and the standing that logins and decisions read, in one transaction.

CRLs and OCSP answers follow from the row: the worker's next step publishes the list, responders drop what they cached.
"""

from __future__ import annotations

import datetime as dt

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from audit.event import Event, Kind
from audit.permit import Action, Permit
from audit.record import Transaction
from authz import standing
from ca.states import CERTIFICATES, Standing, StandingStep, after
from ca.tables import Authority, Certificate, Intent, Revocation
from certs.crl import HOLD, Entry, require_reason
from certs.profiles import PROFILES
from core.errors import Conflict, Malformed, NotFound


def revoke(tx: Transaction, authority: str, serial: str, reason: str, *, permit: Permit) -> Certificate:
    """Revoke for good. `reason` is a CRLReason name of RFC 5280 section 5.3.1, such as `keyCompromise`.

    Raises:
        Malformed: an unknown reason, or `certificateHold`, which only `suspend` gives.
        NotFound, Conflict: no such certificate, or it is revoked already.
    """
    if require_reason(reason) == HOLD:
        raise Malformed("`{reason}` is what a suspension says; suspend the certificate, or choose another reason", reason=reason)
    certificate, spki = _locked(tx, authority, serial, permit, Action.CERT_REVOKE)
    _step(tx, certificate, StandingStep.REVOKE, reason)
    standing.revoke(tx, spki, int(serial, 16), reason)
    tx.record(_event(permit, Kind.CERT_REVOKED, certificate, spki, reason))
    return certificate


def suspend(tx: Transaction, authority: str, serial: str, *, permit: Permit) -> Certificate:
    """Put on hold until released.

    Raises:
        Conflict: the profile does not allow it, or the certificate is not valid.
        NotFound: no such certificate.
    """
    certificate, spki = _locked(tx, authority, serial, permit, Action.CERT_SUSPEND)
    profile = PROFILES[certificate.profile]
    if not profile.may_suspend:
        raise Conflict("certificates of profile `{profile}` cannot be suspended; revoke it if it must not be used", profile=profile.name)
    _step(tx, certificate, StandingStep.SUSPEND, HOLD)
    standing.suspend(tx, spki, int(serial, 16))
    tx.record(_event(permit, Kind.CERT_SUSPENDED, certificate, spki, HOLD))
    return certificate


def release(tx: Transaction, authority: str, serial: str, *, permit: Permit) -> Certificate:
    """End a suspension; raises as `suspend`."""
    certificate, spki = _locked(tx, authority, serial, permit, Action.CERT_RELEASE)
    _step(tx, certificate, StandingStep.RELEASE, "")
    standing.release(tx, spki, int(serial, 16))
    tx.record(_event(permit, Kind.CERT_RELEASED, certificate, spki, ""))
    return certificate


def revoke_swept(tx: Transaction, intent: Intent) -> None:
    """Revoke the serial of an intent that never became a certificate; the caller records it."""
    reason = "cessationOfOperation"
    standing.in_order(tx)
    tx.db.add(_row(tx, intent.id, intent, Standing.REVOKED, reason))
    spki = tx.db.get_one(Authority, intent.authority).spki_sha256
    standing.revoke(tx, spki, int(intent.serial, 16), reason)


def revoke_unrecorded(tx: Transaction, intent: Intent, entry: Entry) -> None:
    """Revoke a serial that a published list names and no row knows, as that list said; the caller records it."""
    standing.in_order(tx)
    reason = "unspecified" if entry.reason == HOLD else entry.reason  # nobody could ever release it
    tx.db.add(_row(tx, intent.id, intent, Standing.REVOKED, reason, entry.at))
    standing.revoke(tx, tx.db.get_one(Authority, intent.authority).spki_sha256, int(intent.serial, 16), reason)


def put_back(tx: Transaction, certificate: Certificate, entry: Entry, *, permit: Permit) -> bool:
    """Let `certificate` stand as a published list says, if it stands better now; whether it did."""
    permit.must_cover(Action.BACKUP_RESTORE, f"ca:{certificate.authority}")
    hold = entry.reason == HOLD
    if certificate.standing is Standing.REVOKED or (hold and certificate.standing is Standing.SUSPENDED):
        return False
    standing.in_order(tx)
    _step(tx, certificate, StandingStep.SUSPEND if hold else StandingStep.REVOKE, entry.reason, entry.at)
    spki, serial = tx.db.get_one(Authority, certificate.authority).spki_sha256, int(certificate.serial, 16)
    if hold:
        standing.suspend(tx, spki, serial)
    else:
        standing.revoke(tx, spki, serial, entry.reason)
    kind = Kind.CERT_SUSPENDED if hold else Kind.CERT_REVOKED
    tx.record(_event(permit, kind, certificate, spki, entry.reason))
    return True


def last_revision(session: Session) -> int:
    """How many changes of standing there have been: whoever has seen this number has seen them all."""
    return session.scalar(select(func.max(Revocation.revision))) or 0


def _locked(tx: Transaction, authority: str, serial: str, permit: Permit, action: Action) -> tuple[Certificate, str]:
    """The certificate's row, locked, and the hash of its issuer's key."""
    serial = serial.lower()
    permit.must_cover(action, f"cert:{authority}/{serial}")
    standing.in_order(tx)
    query = select(Certificate).where(Certificate.authority == authority, Certificate.serial == serial)
    certificate = tx.db.scalar(query.with_for_update(of=Certificate).execution_options(populate_existing=True))
    if certificate is None:
        raise NotFound("no certificate with serial `{serial}` was issued here", serial=serial)
    if permit.unit != certificate.unit:
        raise Conflict("`{what}` moved to another unit meanwhile; reload and look again", what=certificate.ref)
    return certificate, tx.db.get_one(Authority, authority).spki_sha256


def _step(tx: Transaction, certificate: Certificate, step: StandingStep, reason: str, at: dt.datetime | None = None) -> None:
    result = after(CERTIFICATES, certificate.standing, step, certificate.ref)
    row = tx.db.get(Revocation, certificate.intent_id, with_for_update=True, populate_existing=True)
    if row is None:
        tx.db.add(_row(tx, certificate.intent_id, certificate, result, reason, at))
    else:
        row.standing, row.reason, row.at, row.revision = result, reason, at or tx.now, last_revision(tx.db) + 1
    tx.db.flush()
    tx.db.refresh(certificate, ["revocation"])


def _row(
    tx: Transaction, intent_id: int, of: Certificate | Intent, result: Standing, reason: str, at: dt.datetime | None = None
) -> Revocation:
    return Revocation(
        intent_id=intent_id,
        authority=of.authority,
        serial=of.serial,
        standing=result,
        reason=reason,
        at=at or tx.now,
        not_after=of.not_after,
        revision=last_revision(tx.db) + 1,
    )


def _event(permit: Permit, kind: Kind, certificate: Certificate, spki: str, reason: str) -> Event:
    details = {"subject": certificate.subject, "profile": certificate.profile}
    cert = f"{spki}:{certificate.serial}"
    return Event.under(permit, kind, certificate.ref, reason=reason, cert=cert, scope=certificate.unit, details=details)
