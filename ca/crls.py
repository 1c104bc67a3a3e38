"""Revocation lists: one per authority, announced like certificates, and through the publish gate before anyone sees them.

A list is due when none was published, when a revocation is newer than it, at half of its life, and after a restore. A serial stays on
the lists until one that was made after its certificate's end (RFC 5280 section 3.3). When the status address moves, lists name the new
one and keep those before it: each certificate tells its readers the address of the day it was issued.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from structlog import get_logger

from audit.event import Event, Kind
from audit.permit import Action, Permit
from audit.record import Transaction, recording
from ca import authorities
from ca.authorities import Issuer
from ca.intents import Leases
from ca.keys import Missigned
from ca.states import LISTS, ListState, ListStep, Standing, after
from ca.tables import Authority, Certificate, Intent, Revocation, RevocationList
from ca.works import Works, status_urls
from certs import crl
from core.errors import Conflict, Malformed, Unavailable

_log = get_logger()

#: A list that the gate held back is tried again after this long, since it will not get better by itself; after failed
#: signatures the waits grow up to it.
LONGEST_WAIT = dt.timedelta(seconds=45)
#: A list that is due is published within this time.
PROMPT = dt.timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class _Planned:
    """A list to be signed: its bytes, and what it is measured against."""

    issuer: Issuer
    certificate: x509.Certificate
    template: crl.Template
    number: int
    tbs: bytes
    revision: int
    entries: int
    this_update: dt.datetime
    next_update: dt.datetime
    previous: bytes | None


def latest(session: Session, authority: str) -> RevocationList | None:
    """The published list of `authority`, or nothing."""
    query = select(RevocationList).where(RevocationList.authority == authority, RevocationList.state == ListState.PUBLISHED)
    return session.scalar(query.order_by(RevocationList.number.desc()).limit(1))


def addresses(row: RevocationList | None) -> tuple[str, ...]:
    """Where this list says that it is found; of one that cannot be read the gate says so."""
    try:
        return crl.addresses(row.der) if row is not None and row.der is not None else ()
    except Malformed:
        return ()


def former_addresses(session: Session, http_url: str, now: dt.datetime) -> dict[str, dt.datetime]:
    """Status addresses from before `http_url` that are named by certificates which are valid still, and until when the last of them is."""
    rows = [latest(session, authority) for authority in session.scalars(select(Authority.id))]
    known = {url.rpartition("/crl/")[0] for row in rows for url in addresses(row)} - {http_url.rstrip("/")}
    return {place: ends for place in sorted(known) if (ends := _last_that_names(session, place, now))}


def _last_that_names(session: Session, place: str, now: dt.datetime) -> dt.datetime | None:
    query = select(Certificate.not_after, Certificate.der).where(Certificate.not_after > now).order_by(Certificate.not_after.desc())
    with session.execute(query.execution_options(yield_per=500)) as found:
        return next((ends for ends, der in found if f"{place}/crl/".encode() in der), None)


def due(session: Session, authority: str, now: dt.datetime) -> str:
    """Why a new list must be made now: `first`, `restored`, `revoked` or `half-life`; empty when none is due."""
    last = latest(session, authority)
    if _must_wait(session, authority, last.number if last else 0, now):
        return ""
    if last is None:
        return "first"
    if is_left_behind(session, last):
        return "restored"
    newest = session.scalar(select(func.max(Revocation.revision)).where(Revocation.authority == authority)) or 0
    if newest > last.revision:
        return "revoked"
    return "half-life" if now >= last.this_update + (last.next_update - last.this_update) / 2 else ""


def is_left_behind(session: Session, row: RevocationList) -> bool:
    """Whether numbers were left out behind this list: newer ones may have been published, and nobody must be shown this one."""
    skipped = (RevocationList.authority == row.authority, RevocationList.number > row.number, RevocationList.tbs_sha256 == "")
    return session.scalar(select(RevocationList.id).where(*skipped).limit(1)) is not None


def _must_wait(session: Session, authority: str, published: int, now: dt.datetime) -> bool:
    """Whether lists after the published one failed so lately or so often that the next attempt must wait."""
    newer = (RevocationList.authority == authority, RevocationList.number > published)
    failed = list(session.scalars(select(RevocationList).where(*newer).order_by(RevocationList.number)))
    if not failed:
        return False
    refused = failed[-1].state == ListState.REFUSED
    wait = LONGEST_WAIT if refused else min(dt.timedelta(seconds=2 ** min(len(failed), 10) - 2), LONGEST_WAIT)
    return now < failed[-1].this_update + wait


def problems(session: Session, now: dt.datetime) -> list[str]:
    """Lists that relying parties miss, or that tell too little, one sentence each; readiness tells them."""
    return list(trouble(session, now).values())


def trouble(session: Session, now: dt.datetime) -> dict[str, str]:
    """The same by authority."""
    found = {}
    for authority in session.scalars(select(Authority.id).where(Authority.cert.is_not(None)).order_by(Authority.id)):
        last = latest(session, authority)
        if last is None or last.next_update <= now:
            found[authority] = f"the revocation list of {authority} is missing or over; run the worker"
        elif now > last.this_update + (last.next_update - last.this_update) / 2 + PROMPT:
            found[authority] = f"the revocation list of {authority} was not renewed at half of its life; read the worker's log"
        elif _untold(session, last, now - PROMPT):
            found[authority] = f"the revocation list of {authority} lacks a revocation for more than a minute; read the worker's log"
    return found


def _untold(session: Session, last: RevocationList, before: dt.datetime) -> bool:
    late = (Revocation.authority == last.authority, Revocation.revision > last.revision, Revocation.at < before)
    return session.scalar(select(Revocation.intent_id).where(*late).limit(1)) is not None


def publish(works: Works, authority: str, *, permit: Permit) -> bool:
    """Make and publish the next list of `authority`; False when its key is not at hand or the gate held it back.

    Raises:
        Unavailable: the trail or the database cannot be written.
    """
    permit.must_cover(Action.STATUS_PUBLISH, f"crl:{authority}")
    try:
        with works.database.reading() as session:
            planned = _plan(works, session, authority)
    except Unavailable as error:
        _log.warning("no list can be signed", authority=authority, reason=error.detail)
        return False
    with recording(works.trail) as tx:  # announced before the key moves
        row_id = _announce(works, tx, planned, permit)
    try:
        der = _sign(planned)
    except Missigned as error:
        authorities.stop(works.trail, authority, str(error), permit=permit)
        return False
    except Exception as error:  # noqa: BLE001 - a signer's trouble is not the other authorities'; what was announced is swept
        _log.error("signer failed", authority=authority, reason=repr(error))
        return False
    with works.database.reading() as session:
        problems = _gate(session, planned, der)
    with recording(works.trail) as tx:
        return _finish(tx, row_id, der, problems, permit)


def sweep(works: Works, leases: Leases) -> list[int]:
    """Give up lists that were announced and never completed; their numbers are not used again."""
    mine = tuple(works.trail.writer)
    with works.database.reading() as session:
        orphans = [
            (row.id, row.authority)
            for row in session.scalars(select(RevocationList).where(RevocationList.state == ListState.INTENDED))
            if (row.node, row.boot) == mine or leases.is_dead(session, row.node, row.boot)
        ]
    for row_id, authority in orphans:
        permit = works.permits(Action.CERT_SWEEP, f"crl:{authority}")
        permit.must_cover(Action.CERT_SWEEP, f"crl:{authority}")
        with recording(works.trail) as tx:
            row = tx.db.get_one(RevocationList, row_id, with_for_update=True, populate_existing=True)
            if row.state == ListState.INTENDED:
                row.state = after(LISTS, ListState.INTENDED, ListStep.ABANDON, f"crl:{authority}/{row.number}")
                tx.record(_event(permit, Kind.CRL_ABANDONED, row, "void"))
    return [row_id for row_id, _ in orphans]


def adopt(tx: Transaction, authority: str, found: crl.Crl, *, permit: Permit) -> None:
    """Take over a list of ours that was published, of which a restored database may know nothing.

    Raises:
        Conflict: another one has its number.
    """
    tbs_sha256 = hashlib.sha256(found.loaded.tbs_certlist_bytes).hexdigest()
    row = tx.db.scalar(select(RevocationList).where(RevocationList.authority == authority, RevocationList.number == found.number))
    if row is not None and row.tbs_sha256 != tbs_sha256:
        raise Conflict(
            "there are two lists `{number}` of `{authority}`; keep both and call an auditor", number=row.number, authority=authority
        )
    if row is not None and row.state == ListState.INTENDED:
        row.state, row.der = after(LISTS, ListState.INTENDED, ListStep.PUBLISH, f"crl:{authority}/{row.number}"), found.encode()
    if row is None:
        node, boot = tx.writer
        row = RevocationList(
            authority=authority,
            number=found.number,
            state=ListState.PUBLISHED,
            tbs_sha256=tbs_sha256,
            der=found.encode(),
            this_update=found.this_update,
            next_update=found.next_update,
            revision=0,  # whatever is revoked makes the next list due at once
            entries=len(found.entries),
            node=node,
            boot=boot,
        )
        tx.db.add(row)
        tx.db.flush()
    tx.record(_event(permit, Kind.LIST_SUPPLIED, row, "ok"))


def skip(tx: Transaction, authority: str, numbers: int, *, permit: Permit) -> int:
    """Leave out as many numbers; gives the last one of them, behind which the next list comes."""
    node, boot = tx.writer
    newest = tx.db.scalar(select(func.max(RevocationList.number)).where(RevocationList.authority == authority)) or 0
    row = RevocationList(
        authority=authority,
        number=newest + numbers,
        state=ListState.ABANDONED,
        tbs_sha256="",
        this_update=tx.now,
        next_update=tx.now,
        revision=0,
        entries=0,
        node=node,
        boot=boot,
    )
    tx.db.add(row)
    tx.record(_event(permit, Kind.CRL_ABANDONED, row, "void"))
    return row.number


def _plan(works: Works, session: Session, authority: str) -> _Planned:
    issuer = authorities.issuer(session, works.signers, authority)
    assert issuer.certificate is not None  # authorities.issuer gives only completed ones
    last = latest(session, authority)
    now = works.now()
    rows = _entries(session, authority, last.this_update if last else None)
    root = authorities.get(session, authority).parent is None
    urls = [] if root else [status_urls(works.http_url, authority).crl, *addresses(last)]
    template = crl.Template(issuer.certificate, *dict.fromkeys(urls))
    number = (session.scalar(select(func.max(RevocationList.number)).where(RevocationList.authority == authority)) or 0) + 1
    next_update = now + works.settings.crl_lifetime
    entries = [crl.entry(int(row.serial, 16), row.at, row.reason) for row in rows]
    return _Planned(
        issuer=issuer,
        certificate=issuer.certificate,
        template=template,
        number=number,
        tbs=template.tbs(number=number, this_update=now, next_update=next_update, entries=entries),
        revision=session.scalar(select(func.max(Revocation.revision)).where(Revocation.authority == authority)) or 0,
        entries=len(entries),
        this_update=now,
        next_update=next_update,
        previous=last.der if last else None,
    )


def _entries(session: Session, authority: str, last_made_at: dt.datetime | None) -> list[Revocation]:
    query = select(Revocation).where(Revocation.authority == authority, Revocation.standing != Standing.VALID)
    if last_made_at is not None:
        query = query.where(Revocation.not_after >= last_made_at)
    return list(session.scalars(query.order_by(Revocation.intent_id)))


def _announce(works: Works, tx: Transaction, planned: _Planned, permit: Permit) -> int:
    node, boot = works.trail.writer
    row = RevocationList(
        authority=planned.issuer.id,
        number=planned.number,
        tbs_sha256=hashlib.sha256(planned.tbs).hexdigest(),
        this_update=planned.this_update,
        next_update=planned.next_update,
        revision=planned.revision,
        entries=planned.entries,
        node=node,
        boot=boot,
    )
    tx.db.add(row)
    tx.db.flush()
    tx.record(_event(permit, Kind.CRL_INTENDED, row, "ok"))
    return row.id


def _sign(planned: _Planned) -> bytes:
    signature = planned.issuer.signer.sign(planned.tbs)
    try:
        planned.issuer.suite.verify(planned.issuer.signer.public_key, signature, planned.tbs)
    except InvalidSignature:
        raise Missigned(f"signature of CRL {planned.issuer.id}/{planned.number} does not verify") from None
    return planned.template.assemble(planned.tbs, signature)


def _gate(session: Session, planned: _Planned, der: bytes) -> list[str]:
    """What the publish gate says. Ends are read from the intents, not from the rows that made the list."""
    authority, missing, expired, released = planned.issuer.id, set[int](), set[int](), set[int]()
    if planned.previous is not None:
        former = crl.parse(planned.previous)
        missing = set(former.serials - crl.parse(der).serials)
        for serial in missing:
            intent = session.scalar(select(Intent).where(Intent.authority == authority, Intent.serial == f"{serial:x}"))
            if intent is not None and intent.not_after < former.this_update:
                expired.add(serial)
            row = session.get(Revocation, intent.id) if intent is not None else None
            if row is not None and row.standing == Standing.VALID:
                released.add(serial)
    expected = crl.Expected(issuer=planned.certificate, at=planned.this_update, unexpired=missing - expired, released=released)
    return crl.gate(der, planned.previous, expected)


def _finish(tx: Transaction, row_id: int, der: bytes, problems: list[str], permit: Permit) -> bool:
    row = tx.db.get_one(RevocationList, row_id, with_for_update=True, populate_existing=True)
    if row.state != ListState.INTENDED:
        return False
    step = ListStep.REFUSE if problems else ListStep.PUBLISH
    row.state = after(LISTS, ListState.INTENDED, step, f"crl:{row.authority}/{row.number}")
    row.der = der
    if problems:
        _log.critical("list held back", authority=row.authority, number=row.number, problems=problems)
        tx.record(_event(permit, Kind.CRL_REFUSED, row, "fail", problems))
        return False
    tx.record(_event(permit, Kind.CRL_PUBLISHED, row, "ok"))
    return True


def _event(permit: Permit, kind: Kind, row: RevocationList, outcome: str, problems: list[str] | None = None) -> Event:
    details: dict[str, object] = {
        "number": row.number,
        "entries": row.entries,
        "tbs-sha256": row.tbs_sha256,
        "next-update": row.next_update.isoformat(),
        "node": row.node,
        "boot": row.boot,
    }
    if problems:
        details["problems"] = problems[:20]
    if row.der is not None:
        details["sha256"] = hashlib.sha256(row.der).hexdigest()
    return Event.under(permit, kind, f"crl:{row.authority}", outcome=outcome, details=details)
