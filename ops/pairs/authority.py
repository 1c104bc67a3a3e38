"""What the authority's rows and the events of the log `ca` say of requests, certificates, revocations and lists."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from cryptography import x509
from sqlalchemy import ColumnElement, exists, select
from sqlalchemy.orm import InstrumentedAttribute

from audit.event import Kind
from audit.history import Told
from authz import tables as authz
from ca import tables as ca
from ca.states import IntentState, ListState, RequestState, Standing
from certs.profiles import PROFILES
from ops.pairs.pair import Claim, Key, Pair, among, fixed, number, numbers, refs, sha256, texts
from ops.pairs.people import People

# Requests


def _request_asked(told: Told) -> Claim:
    details = told.details
    asked = (
        details.get("subject"),
        told.body["actor"]["id"],
        told.body.get("scope", ""),
        details.get("profile"),
        details.get("spki-sha256"),
    )
    return (told.object,), tuple(map(str, asked))


def _request_went(told: Told) -> Claim | None:
    if told.kind is Kind.CERT_FAILED and not told.object.startswith("request:"):
        return None
    details = told.details
    if told.kind is Kind.REQUEST_SUBMITTED:
        profile = PROFILES.get(str(details.get("profile")))
        whole = "renews" in details or "admitted-by" in details or (profile is not None and not profile.approvals)
    elif told.kind is Kind.REQUEST_APPROVED:
        whole = details.get("given", 0) >= details.get("needed", 1)
    else:
        return (told.object,), (_ENDS[told.kind],) if told.kind else None
    return (told.object,), (RequestState.APPROVED if whole else RequestState.SUBMITTED,)


_ENDS: Mapping[Kind | None, str] = {
    Kind.REQUEST_REFUSED: RequestState.REFUSED,
    Kind.REQUEST_RETURNED: RequestState.RETURNED,
    Kind.CERT_FAILED: RequestState.FAILED,
}
#: What comes after the approvals is told by the intents and certificates.
_AFTER_APPROVAL = (RequestState.ISSUING, RequestState.ISSUED)


def _approval(told: Told) -> Claim | None:
    if told.kind is not Kind.REQUEST_SUBMITTED:
        return (told.object, told.body["actor"]["id"]), ("approve" if told.kind is Kind.REQUEST_APPROVED else "refuse",)
    by = told.details.get("renews") or told.details.get("admitted-by")
    return ((told.object, str(by)), ("approve",)) if by else None


_REQUESTS = (
    Pair(
        name="request",
        table="ca_request",
        kinds=frozenset({Kind.REQUEST_SUBMITTED}),
        once=frozenset({Kind.REQUEST_SUBMITTED}),
        said=_request_asked,
        rows=select(ca.Request.id, ca.Request.subject, ca.Request.requester, ca.Request.unit, ca.Request.profile, ca.Request.spki),
        shown=lambda row, _: ((f"request:{row[0]}",), (*row[1:5], sha256(row[5]))),
        walk=(ca.Request.id,),
        having=numbers(ca.Request.id, 0, "request:"),
    ),
    Pair(
        name="state of a request",
        table="ca_request",
        kinds=frozenset({Kind.REQUEST_SUBMITTED, Kind.REQUEST_APPROVED, *filter(None, _ENDS)}),
        once=frozenset(filter(None, _ENDS)),
        said=_request_went,
        rows=select(ca.Request.id, ca.Request.state),
        shown=lambda row, _: ((f"request:{row[0]}",), (RequestState.APPROVED if row[1] in _AFTER_APPROVAL else row[1],)),
        walk=(ca.Request.id,),
        having=numbers(ca.Request.id, 0, "request:"),
    ),
    Pair(
        name="approval",
        table="ca_approval",
        kinds=frozenset({Kind.REQUEST_SUBMITTED, Kind.REQUEST_APPROVED, Kind.REQUEST_REFUSED}),
        once=frozenset({Kind.REQUEST_APPROVED, Kind.REQUEST_REFUSED}),
        said=_approval,
        rows=select(ca.Approval.request_id, ca.Approval.approver, ca.Approval.word),
        shown=lambda row, _: ((f"request:{row[0]}", row[1]), (row[2],)),
        walk=(ca.Approval.id,),
        having=numbers(ca.Approval.request_id, 0, "request:"),
    ),
)

# Certificates


def _tbs(der: bytes) -> bytes:
    try:
        return x509.load_der_x509_certificate(der).tbs_certificate_bytes
    except ValueError:
        return b""


def _certificate(row: Any, _: People) -> Claim:
    authority, serial, profile, subject, not_after, der, tbs = row[:7]
    told = (profile, subject, not_after.isoformat()) if _tbs(der) == tbs else ("other bytes than were announced",)
    return (f"cert:{authority}/{serial}",), told


_REVOKED = ("revoked", "cessationOfOperation")


def _revocation(released: str) -> Callable[[Told], Claim]:
    def said(told: Told) -> Claim:
        words = {
            Kind.CERT_SWEPT: _REVOKED,
            Kind.CERT_REVOKED: ("revoked", str(told.body.get("rsn", ""))),
            Kind.CERT_UNRECORDED: ("revoked", str(told.body.get("rsn", ""))),
            Kind.CERT_SUSPENDED: ("suspended", "certificateHold"),
            Kind.CERT_RELEASED: (released, ""),
        }
        return (told.object,), words[told.kind] if told.kind else None

    return said


_STANDING = frozenset({Kind.CERT_SWEPT, Kind.CERT_REVOKED, Kind.CERT_UNRECORDED, Kind.CERT_SUSPENDED, Kind.CERT_RELEASED})
_FOR_GOOD = frozenset({Kind.CERT_SWEPT, Kind.CERT_REVOKED, Kind.CERT_UNRECORDED})

_CERTIFICATES = (
    Pair(
        name="announced signature",
        table="ca_intent",
        kinds=frozenset({Kind.CERT_INTENDED, Kind.CERT_UNRECORDED}),
        once=frozenset({Kind.CERT_INTENDED, Kind.CERT_UNRECORDED}),
        said=lambda told: ((told.object,), tuple(str(told.details.get(name)) for name in ("tbs-sha256", "profile", "version", "boot"))),
        rows=select(ca.Intent.authority, ca.Intent.serial, ca.Intent.tbs, ca.Intent.profile, ca.Intent.profile_version, ca.Intent.boot),
        shown=lambda row, _: ((f"cert:{row[0]}/{row[1]}",), (sha256(row[2]), row[3], str(row[4]), row[5])),
        walk=(ca.Intent.id,),
        having=refs(ca.Intent.authority, ca.Intent.serial),
    ),
    Pair(
        name="end of an announced signature",
        table="ca_intent",
        kinds=frozenset({Kind.CERT_INTENDED, Kind.CERT_ISSUED, Kind.CERT_SWEPT, Kind.CERT_UNRECORDED}),
        once=frozenset({Kind.CERT_ISSUED, Kind.CERT_SWEPT, Kind.CERT_UNRECORDED}),
        said=fixed(
            {
                Kind.CERT_INTENDED: (IntentState.OPEN,),
                Kind.CERT_ISSUED: (IntentState.FULFILLED,),
                Kind.CERT_SWEPT: (IntentState.SWEPT,),
                Kind.CERT_UNRECORDED: (IntentState.SWEPT,),
            }
        ),
        rows=select(ca.Intent.authority, ca.Intent.serial, ca.Intent.state),
        shown=lambda row, _: ((f"cert:{row[0]}/{row[1]}",), (row[2],)),
        walk=(ca.Intent.id,),
        having=refs(ca.Intent.authority, ca.Intent.serial),
    ),
    Pair(
        name="certificate",
        table="ca_certificate",
        kinds=frozenset({Kind.CERT_ISSUED}),
        once=frozenset({Kind.CERT_ISSUED}),
        said=lambda told: ((told.object,), tuple(str(told.details.get(name)) for name in ("profile", "subject", "not-after"))),
        rows=select(
            *(ca.Certificate.authority, ca.Certificate.serial, ca.Certificate.profile, ca.Certificate.subject),
            *(ca.Certificate.not_after, ca.Certificate.der, ca.Intent.tbs),
        ).join_from(ca.Certificate, ca.Intent, ca.Intent.id == ca.Certificate.intent_id, isouter=True),
        shown=_certificate,
        walk=(ca.Certificate.intent_id,),
        having=refs(ca.Certificate.authority, ca.Certificate.serial),
    ),
    Pair(
        name="revocation",
        table="ca_revocation",
        kinds=_STANDING,
        once=_FOR_GOOD,
        said=_revocation(Standing.VALID),
        rows=select(ca.Revocation.authority, ca.Revocation.serial, ca.Revocation.standing, ca.Revocation.reason),
        shown=lambda row, _: ((f"cert:{row[0]}/{row[1]}",), (row[2], row[3])),
        walk=(ca.Revocation.intent_id,),
        having=refs(ca.Revocation.authority, ca.Revocation.serial),
    ),
    Pair(
        name="standing",
        table="authz_standing",
        kinds=_STANDING,
        once=_FOR_GOOD,
        said=_revocation("released"),
        rows=select(ca.Authority.id, authz.Standing.serial, authz.Standing.state, authz.Standing.reason).join_from(
            authz.Standing, ca.Authority, ca.Authority.spki_sha256 == authz.Standing.issuer, isouter=True
        ),
        shown=lambda row, _: ((f"cert:{row[0]}/{row[1]}",), (row[2], row[3])),
        walk=(authz.Standing.issuer, authz.Standing.serial),
        having=refs(ca.Authority.id, authz.Standing.serial),
    ),
)

# Revocation lists and authorities

_LISTS: Mapping[Kind, str] = {
    Kind.CRL_INTENDED: ListState.INTENDED,
    Kind.CRL_PUBLISHED: ListState.PUBLISHED,
    Kind.CRL_REFUSED: ListState.REFUSED,
    Kind.CRL_ABANDONED: ListState.ABANDONED,
    Kind.LIST_SUPPLIED: ListState.PUBLISHED,
}


def _list(told: Told) -> Claim:
    details = told.details
    value = (_LISTS[told.kind], str(details.get("tbs-sha256")), str(details.get("sha256", ""))) if told.kind else None
    return (told.object, str(details.get("number"))), value


def _crl_keys(keys: Collection[Key], _: People) -> ColumnElement[bool]:
    wanted = [(key[0].removeprefix("crl:"), number(key[1])) for key in keys]
    return among(ca.RevocationList.authority, ca.RevocationList.number, wanted)


def _key_made(told: Told) -> Claim | None:
    details = told.details
    if details.get("purpose") != f"ca/{told.object.removeprefix('ca:')}":
        return None
    return (told.object,), (str(details.get("spki-sha256")), str(details.get("suite")))


def _authority(row: Any, _: People) -> Claim:
    authority, spki, suite, strange = row[:4]
    return (f"ca:{authority}",), ("bears a certificate that was not issued",) if strange else (spki, suite)


def _unknown(column: InstrumentedAttribute[bytes | None], kind: str) -> ColumnElement[bool]:
    """Whether an authority bears a certificate that is not among those issued for it."""
    of_it = (ca.Certificate.subject == kind + ca.Authority.id, ca.Certificate.der == column)
    return column.is_not(None) & ~exists(select(ca.Certificate.intent_id).where(*of_it))


_AUTHORITIES = (
    Pair(
        name="revocation list",
        table="ca_crl",
        kinds=frozenset(_LISTS),
        once=frozenset(_LISTS),
        said=_list,
        rows=select(
            *(ca.RevocationList.authority, ca.RevocationList.number, ca.RevocationList.state),
            *(ca.RevocationList.tbs_sha256, ca.RevocationList.der, ca.RevocationList.this_update),
        ),
        shown=lambda row, _: ((f"crl:{row[0]}", str(row[1])), (row[2], row[3], sha256(row[4]) if row[4] else "")),
        walk=(ca.RevocationList.id,),
        having=_crl_keys,
        at=lambda row: row[5],
    ),
    Pair(
        name="authority",
        table="ca_authority",
        kinds=frozenset({Kind.KEY_GENERATED}),
        once=frozenset({Kind.KEY_GENERATED}),
        said=_key_made,
        rows=select(
            *(ca.Authority.id, ca.Authority.spki_sha256, ca.Authority.suite),
            _unknown(ca.Authority.cert, "ca:") | _unknown(ca.Authority.responder, "ocsp:"),
        ),
        shown=_authority,
        walk=(ca.Authority.id,),
        having=texts(ca.Authority.id, 0, "ca:"),
    ),
    Pair(
        name="stopped authority",
        table="ca_authority",
        kinds=frozenset({Kind.CERT_MISSIGNED, Kind.AUTHORITY_RESUMED}),
        once=frozenset(),
        said=fixed({Kind.CERT_MISSIGNED: ("stopped",), Kind.AUTHORITY_RESUMED: None}),
        rows=select(ca.Authority.id, ca.Authority.stopped),
        shown=lambda row, _: ((f"ca:{row[0]}",), ("stopped",) if row[1] else None),
        walk=(ca.Authority.id,),
        having=texts(ca.Authority.id, 0, "ca:"),
    ),
)

_ON_HOLD = Pair(
    name="authority on hold",
    table="ca_authority",
    kinds=frozenset({Kind.AUTHORITY_HELD, Kind.AUTHORITY_RELEASED}),
    once=frozenset(),
    said=fixed({Kind.AUTHORITY_HELD: ("held",), Kind.AUTHORITY_RELEASED: None}),
    rows=select(ca.Authority.id, ca.Authority.held),
    shown=lambda row, _: ((f"ca:{row[0]}",), ("held",) if row[1] else None),
    walk=(ca.Authority.id,),
    having=texts(ca.Authority.id, 0, "ca:"),
)

PAIRS = (*_REQUESTS, *_CERTIFICATES, *_AUTHORITIES, _ON_HOLD)
