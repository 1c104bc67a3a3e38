"""After a restore: an authority stays on hold until what it had published last is put back into its rows.

Its last list says what was revoked since the backup: certificates that the rows know stand again as it says, and serials
that they do not know are revoked as well. Then the authority goes on behind everything that it may have published. Where
no list is to be found that is said, recorded, and a risk that somebody took: a certificate that was revoked since the
backup is good again.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from sqlalchemy import select
from sqlalchemy.orm import Session

from audit.event import Event, Kind
from audit.permit import Action, Permit
from audit.record import Transaction, recording
from audit.trail import Trail
from ca import crls, intents, revocation
from ca.states import IntentState, Standing
from ca.tables import Authority, Certificate, Intent, Revocation
from certs import crl
from certs.crl import Crl, Entry
from core.errors import Conflict, Malformed

#: Entries of a list that are put back in one transaction.
BATCH = 200
#: Numbers that are left out at least: at one list a minute, those of two years.
LEAST_SKIPPED = 1_000_000


@dataclass(frozen=True, slots=True)
class PutBack:
    """What became of one authority."""

    authority: str
    #: Certificates that stand worse now than in the backup.
    revoked: int = 0
    #: Revoked serials of which the backup knew nothing.
    unrecorded: int = 0
    #: What cannot be known, one sentence each.
    unproved: tuple[str, ...] = ()


def owner(session: Session, found: Crl) -> str:
    """The authority on hold that made the list.

    Raises:
        Malformed: none of them did.
    """
    for row in session.scalars(select(Authority).where(Authority.held != "")):
        try:
            found.verify(x509.load_der_x509_certificate(row.cert or b""))
        except InvalidSignature:
            continue
        return row.id
    raise Malformed("the list was not made by an authority that is on hold; name the list of one that is")


def supply(trail: Trail, authority: str, found: Crl, period: dt.timedelta, *, permit: Permit) -> PutBack:
    """Put back what the last published list of `authority` says, and let it go on. Broken off, it may be called again.

    `period` is the shortest time between two lists.

    Raises:
        Conflict: the list is older than one in the database, or contradicts it.
        Unavailable: the trail or the database cannot be written.
    """
    permit.must_cover(Action.BACKUP_RESTORE, f"ca:{authority}")
    with trail.database.reading() as session:
        known = crls.latest(session, authority)
    if known and found.number < known.number:
        raise Conflict(
            "list `{number}` of `{authority}` is older than list {known} in the backup; find the last one that was published",
            number=found.number,
            authority=authority,
            known=known.number,
        )
    revoked = unrecorded = 0
    left = iter(sorted(found.entries.items()))
    while some := dict(islice(left, BATCH)):
        with recording(trail) as tx:
            told = _put_back(tx, authority, some, permit)
        revoked, unrecorded = revoked + told[0], unrecorded + told[1]
    with recording(trail) as tx:
        crls.adopt(tx, authority, found, permit=permit)
        _release(tx, authority, found.this_update, period, permit)
        return PutBack(authority, revoked, unrecorded, tuple(_unproved(tx, authority, found)))


def go_without(trail: Trail, authority: str, since: dt.datetime, period: dt.timedelta, *, permit: Permit) -> PutBack:
    """Let `authority` go on although nobody has its last list; the backup is of `since`.

    Raises:
        Unavailable: the trail or the database cannot be written.
    """
    permit.must_cover(Action.BACKUP_RESTORE, f"ca:{authority}")
    with recording(trail) as tx:
        _release(tx, authority, since, period, permit, Event.under(permit, Kind.LIST_ABSENT, f"crl:{authority}", outcome="fail"))
    lost = f"authority {authority} goes on without its last list: what it revoked after {since.isoformat()} is not known and may be good"
    return PutBack(authority, unproved=(lost,))


def _put_back(tx: Transaction, authority: str, entries: dict[int, Entry], permit: Permit) -> tuple[int, int]:
    """Entries of a list; how many certificates stand worse now, and how many serials nobody knew."""
    serials = [f"{serial:x}" for serial in entries]
    mine = select(Intent).where(Intent.authority == authority, Intent.serial.in_(serials))
    known = {row.serial: row for row in tx.db.scalars(mine.with_for_update())}
    of_intents = [row.id for row in known.values()]
    issued = {row.serial: row for row in tx.db.scalars(select(Certificate).where(Certificate.intent_id.in_(of_intents)))}
    revoked = unrecorded = 0
    for serial, entry in entries.items():
        intent, certificate = known.get(f"{serial:x}"), issued.get(f"{serial:x}")
        if certificate is not None:
            revoked += revocation.put_back(tx, certificate, entry, permit=permit)
        elif intent is None:
            _record_serial(tx, authority, serial, entry, permit)
            unrecorded += 1
        elif intent.state == IntentState.OPEN:
            intents.sweep_one(tx, intent, permit)
    return revoked, unrecorded


def _record_serial(tx: Transaction, authority: str, serial: int, entry: Entry, permit: Permit) -> None:
    """A serial that was given out and revoked after the backup: it stays on the lists as long as its authority lives."""
    row = tx.db.get_one(Authority, authority)
    node, boot = tx.writer
    intent = Intent(
        authority=authority,
        serial=f"{serial:x}",
        profile="",
        profile_version=0,
        tbs=b"",
        tbs_sha256=hashlib.sha256(b"").hexdigest(),
        not_after=x509.load_der_x509_certificate(row.cert or b"").not_valid_after_utc,
        rule=permit.rule,
        revision=permit.revision,
        node=node,
        boot=boot,
        state=IntentState.SWEPT,
        opened_at=tx.now,
    )
    tx.db.add(intent)
    tx.db.flush()
    revocation.revoke_unrecorded(tx, intent, entry)
    details = {"profile": "", "version": 0, "tbs-sha256": intent.tbs_sha256, "node": node, "boot": boot, "revoked-at": entry.at.isoformat()}
    reason = "unspecified" if entry.reason == crl.HOLD else entry.reason
    more = {"reason": reason, "outcome": "void", "cert": f"{row.spki_sha256}:{serial:x}", "details": details}
    tx.record(Event.under(permit, Kind.CERT_UNRECORDED, f"cert:{authority}/{serial:x}", **more))


def _release(tx: Transaction, authority: str, since: dt.datetime, period: dt.timedelta, permit: Permit, told: Event | None = None) -> None:
    """End the hold; the next list comes behind all that may have been published since then."""
    row = tx.db.get_one(Authority, authority, with_for_update=True, populate_existing=True)
    if not row.held:
        raise Conflict("authority `{authority}` is not on hold; nothing was done", authority=authority)
    backup, row.held = row.held, ""
    last = crls.skip(tx, authority, max(LEAST_SKIPPED, (tx.now - since) // period), permit=permit)
    if told:
        tx.record(told)
    tx.record(Event.under(permit, Kind.AUTHORITY_RELEASED, f"ca:{authority}", details={"backup": backup, "skipped-to": last}))


def _unproved(tx: Transaction, authority: str, found: Crl) -> Sequence[str]:
    """What the list does not tell."""
    said = []
    if found.next_update <= tx.now:
        said.append(f"list {found.number} of {authority} ended on {found.next_update.isoformat()}: a newer one may have been published")
    held = select(Revocation.serial).where(Revocation.authority == authority, Revocation.standing == Standing.SUSPENDED)
    missing = (serial for serial in tx.db.scalars(held) if int(serial, 16) not in found.entries)
    return [*said, *(f"certificate {authority}/{serial} is suspended here and not on the list: was it released?" for serial in missing)]


def since(session: Session, authority: str) -> dt.datetime:
    """From when on what `authority` published is not known."""
    last = crls.latest(session, authority)
    return last.this_update if last else session.get_one(Authority, authority).created_at
