"""The life of one certificate: from the request for it to its end, put together from what was recorded about either."""

from __future__ import annotations

from sqlalchemy.orm import Session

from audit.event import Kind
from audit.query import parse_query
from audit.search import Entry, find

#: Entries of one life that are shown: a certificate that logs in every day has more, and those are found by searching.
MOST = 200

#: What is told of the use of a certificate rather than of its life.
_USE = (Kind.LOGIN, Kind.IDENTITY_VERIFIED, Kind.CERT_LOGIN_REFUSED)


def of_certificate(session: Session, cert: str) -> list[Entry]:
    """Everything about the certificate `cert` (serial, or issuer's key hash with it) and the request it came from, the oldest first."""
    without = " ".join(f"-code:{kind.code}" for kind in _USE)
    found = list(find(session, parse_query(f"cert:{cert} {without}"), limit=MOST).entries)
    for request in sorted({told for one in found if (told := _request(one))}):
        found += find(session, parse_query(f"obj:{request}"), limit=MOST).entries
    once = {(one.log, one.epoch, one.idx): one for one in found}
    return sorted(once.values(), key=lambda one: (one.at, one.log, one.idx))


def uses(session: Session, cert: str, limit: int = 10) -> list[Entry]:
    """When it was last used to log in, or shown to an application, the newest first."""
    found = [one for kind in _USE for one in find(session, parse_query(f"cert:{cert} code:{kind.code}"), limit=limit).entries]
    return sorted(found, key=lambda one: one.at, reverse=True)[:limit]


def _request(found: Entry) -> str:
    """The request that `found` names."""
    about = str(found.body.get("obj", ""))
    told = found.body.get("d", {}).get("request", "")
    return about if about.startswith("request:") else f"request:{told}" if told else ""
