"""Reading what was issued: one certificate, its chain, lists. Nothing is changed here."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from dataclasses import dataclass

from cryptography import x509
from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from ca.registration import About
from ca.states import Standing
from ca.tables import Authority, Certificate, Revocation
from core.errors import Conflict, NotFound

#: Rows that one page of a list may hold.
PAGE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which certificates to list; what is None does not matter, an empty collection matches nothing."""

    units: Collection[str] | None = None
    #: Pseudonym of the person who answers for them.
    owner: str | None = None
    subject: str | None = None
    profile: str | None = None
    authority: str | None = None
    #: `valid`, `suspended`, `revoked`; expired ones keep their standing.
    standing: str | None = None
    #: Only those that are still within their dates at this moment.
    unexpired_at: dt.datetime | None = None
    #: Part of the common name.
    name: str | None = None


def find(session: Session, serial: str, authority: str | None = None) -> Certificate | None:
    """The certificate of this serial (hex, any case), or nothing. Without `authority` the serial must be the only one."""
    query = select(Certificate).where(Certificate.serial == serial.lower().lstrip("0"))
    found = list(session.scalars(query if authority is None else query.where(Certificate.authority == authority)))
    if len(found) > 1:
        raise Conflict("several authorities have issued serial `{serial}`; name one", serial=serial)
    return found[0] if found else None


def get(session: Session, serial: str, authority: str | None = None) -> Certificate:
    """The certificate of this serial.

    Raises:
        NotFound: none was issued.
        Conflict: several authorities have one, and none was named.
    """
    if certificate := find(session, serial, authority):
        return certificate
    raise NotFound("no certificate with serial `{serial}` was issued here", serial=serial)


def target(certificate: Certificate) -> About:
    """What the policy is asked about before anything is done with the certificate."""
    return About(certificate.ref, certificate.unit, certificate.owner, "")


def listing(session: Session, which: Filter, *, before: int | None = None, limit: int = PAGE) -> list[Certificate]:
    """Certificates, newest first; give the last one's `intent_id` as `before` for the next page."""
    query = select(Certificate).where(*_conditions(which)).order_by(Certificate.intent_id.desc()).limit(min(limit, PAGE))
    return list(session.scalars(query if before is None else query.where(Certificate.intent_id < before)))


def chain(session: Session, certificate: Certificate) -> list[x509.Certificate]:
    """Leaf first, then issuing authorities, without the root."""
    found = [x509.load_der_x509_certificate(certificate.der)]
    authority = session.get(Authority, certificate.authority)
    while authority is not None and authority.parent is not None:
        if authority.cert is not None:
            found.append(x509.load_der_x509_certificate(authority.cert))
        authority = session.get(Authority, authority.parent)
    return found


def authorities(session: Session) -> list[Authority]:
    """Every authority that has its certificate, root first, in the order of their making."""
    query = select(Authority).where(Authority.cert.is_not(None))
    return list(session.scalars(query.order_by(Authority.parent.is_not(None), Authority.created_at, Authority.id)))


def _conditions(which: Filter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if which.units is not None:
        found.append(Certificate.unit.in_(which.units))
    if which.name is not None:
        found.append(Certificate.common_name.contains(which.name, autoescape=True))
    if which.unexpired_at is not None:
        found.append(Certificate.not_after > which.unexpired_at)
    exact = ("owner", "subject", "profile", "authority")
    found += [getattr(Certificate, name) == value for name in exact if (value := getattr(which, name)) is not None]
    if which.standing is not None:
        bad = select(Revocation.intent_id).where(Revocation.standing != Standing.VALID)
        such = select(Revocation.intent_id).where(Revocation.standing == which.standing)
        valid = which.standing == Standing.VALID
        found.append(Certificate.intent_id.not_in(bad) if valid else Certificate.intent_id.in_(such))
    return found
