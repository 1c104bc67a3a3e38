"""One certificate on its way: what is to be made, and what was rehearsed. Values only."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from audit.permit import Action, Permit
from ca.authorities import Issuer
from certs.names import Subject
from certs.profiles import Profile
from certs.suites import PublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One certificate to be made, under a permit of its own."""

    authority: str
    profile: str
    subject: Subject
    public_key: PublicKey
    permit: Permit
    #: What the permit must cover: `request:42`, `ocsp:staff`, `ceremony:…`.
    resource: str
    action: Action = Action.CERT_ISSUE
    request_id: int | None = None
    #: Who approved and under which rule.
    approvals: tuple[tuple[str, str], ...] = ()
    #: `person:…`, `server:…`, `ca:…`, `ocsp:…`.
    subject_ref: str
    owner: str = ""
    unit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsed:
    """An order whose exact bytes were built, signed with a throw-away key and linted."""

    order: Order
    issuer: Issuer
    profile: Profile
    serial: int
    tbs: bytes
    not_before: dt.datetime
    not_after: dt.datetime
