"""Standing: which certificates and accounts must not be trusted now. `ca` writes it in the revoking transaction.

A certificate without a row is in good standing as far as this table knows; whether it was ever issued is `ca`'s to say.
None of the functions records an event: the act that calls them does.
"""

from __future__ import annotations

from audit.event import Event, Kind
from audit.permit import Action, Permit
from audit.record import Transaction
from authz import tables
from authz.tables import Account, Standing, changed
from core.errors import Conflict


def in_order(tx: Transaction) -> None:
    """From here to the commit nobody else changes a standing; call it before counting changes of one's own."""
    tables.in_order(tx.db)


def revoke(tx: Transaction, issuer: str, serial: int, reason: str) -> None:
    """For ever: `reason` is an RFC 5280 CRLReason name. `issuer` is the SHA-256 of the issuer's SubjectPublicKeyInfo, hex."""
    _set(tx, issuer, serial, "revoked", reason)


def suspend(tx: Transaction, issuer: str, serial: int) -> None:
    """Until released; a revoked certificate stays revoked."""
    _set(tx, issuer, serial, "suspended", "certificateHold")


def release(tx: Transaction, issuer: str, serial: int) -> None:
    """End a suspension.

    Raises:
        Conflict: it is not suspended.
    """
    in_order(tx)
    row = tx.db.get(Standing, (issuer, f"{serial:x}"))
    if row is None or row.state != "suspended":
        raise Conflict("certificate `{serial}` is not suspended; reload the page", serial=f"{serial:x}")
    _set(tx, issuer, serial, "released", "")


def block(tx: Transaction, person: str, pseudonym: str, reason: str, *, permit: Permit) -> None:
    """Let the person with this entryUUID do nothing, by any login, until unblocked."""
    permit.must_cover(Action.ACCOUNT_BLOCK, f"person:{pseudonym}")
    in_order(tx)
    if tx.db.get(Account, person):
        raise Conflict("the account is blocked already; reload the page")
    tx.db.add(Account(person=person, reason=reason, at=tx.now))
    changed(tx.db)
    tx.record(Event.under(permit, Kind.ACCOUNT_BLOCKED, permit.resource, personal={"reason": reason}))


def unblock(tx: Transaction, person: str, pseudonym: str, *, permit: Permit) -> None:
    """End a block."""
    permit.must_cover(Action.ACCOUNT_BLOCK, f"person:{pseudonym}")
    in_order(tx)
    row = tx.db.get(Account, person)
    if row is None:
        raise Conflict("the account is not blocked; reload the page")
    tx.db.delete(row)
    changed(tx.db)
    tx.record(Event.under(permit, Kind.ACCOUNT_UNBLOCKED, permit.resource))


def _set(tx: Transaction, issuer: str, serial: int, state: str, reason: str) -> None:
    revision = changed(tx.db)
    row = tx.db.get(Standing, (issuer, f"{serial:x}"))
    if row is None:
        tx.db.add(Standing(issuer=issuer, serial=f"{serial:x}", state=state, reason=reason, at=tx.now, revision=revision))
        return
    if row.state == "revoked":
        raise Conflict("certificate `{serial}` is revoked already; reload the page", serial=f"{serial:x}")
    row.state, row.reason, row.at, row.revision = state, reason, tx.now, revision
