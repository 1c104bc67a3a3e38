"""What a request shows of its sender: bearer token, cookie, the certificate of its TLS connection. No judgement here.

A certificate counts only when the client proved in our own TLS handshake that it holds the key. Header fields by which
proxies usually hand certificates over are refused, from anybody: nobody can put himself behind another's name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from core.errors import Malformed, Unauthenticated

COOKIE = "__Host-yumen"

#: Addresses that programs call: they get problem documents, and no cookie counts there.
_PROGRAMS = ("/api/", "/access/", "/log/", "/gate", "/.well-known/", "/healthz", "/readyz", "/metrics", "/ocsp/", "/crl/", "/ca/")

_FORGED = re.compile(
    r"HTTP_(?:X_)?(?:"
    r"(?:SSL|TLS)_.*|.*CLIENT_?CERT.*|.*CLIENT_?(?:VERIFY|DN|SUBJECT|ISSUER|SERIAL|FINGERPRINT).*|.*SUBJECT_CERT.*|"
    r"YUMEN_.*|REMOTE_?USER|FORWARDED_(?:USER|EMAIL|GROUPS|TLS.*)|SUBJECT|VERIFIED)"
)
_BEARER = re.compile(r"[Bb]earer ([!-~]{1,512})")
_COOKIE = re.compile(r"(?:^|;\s*)__Host-yumen=([!-:<-~]{0,512})")
_STATE_CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class Presented(NamedTuple):
    """The credentials of one request, as they came."""

    #: `ys_…` or `yk_…`, or empty.
    bearer: str = ""
    #: Session token of the login page's cookie, or empty.
    cookie: str = ""
    #: DER of the TLS peer's certificate.
    certificate: bytes | None = None
    #: Network address of the connection.
    source: str = ""
    request_id: str = ""
    method: str = "GET"
    content_type: str = ""
    #: The Origin field; None when absent.
    origin: str | None = None

    @property
    def changes_state(self) -> bool:
        """Whether the method may change anything (RFC 9110 section 9.2.1)."""
        return self.method in _STATE_CHANGING


def shown_at(environ: Mapping[str, Any]) -> str:
    """What the request of this WSGI environ shows where it matters, as a name that tells callers apart; empty for nothing."""
    if not for_programs(environ["PATH_INFO"]):
        return "".join(_COOKIE.findall(environ.get("HTTP_COOKIE", ""))[:1])
    certificate: bytes | None = environ.get("yumen.peer_certificate")
    return environ.get("HTTP_AUTHORIZATION", "") or (certificate or b"").hex()


def presented(environ: Mapping[str, Any]) -> Presented:
    """What the request of this WSGI environ shows.

    Raises:
        Unauthenticated: an Authorization field that is no bearer token.
    """
    bearer = ""
    if (authorization := environ.get("HTTP_AUTHORIZATION")) is not None:
        match = _BEARER.fullmatch(authorization)
        if not match or not match[1].startswith(("ys_", "yk_")):
            raise Unauthenticated("the Authorization field must be `Bearer` with a session token or an API key")
        bearer = match[1]
    cookies = _COOKIE.findall(environ["HTTP_COOKIE"]) if "HTTP_COOKIE" in environ else ()
    return Presented(
        bearer=bearer,
        cookie=cookies[0] if len(cookies) == 1 else "",
        certificate=environ.get("yumen.peer_certificate"),
        source=environ.get("REMOTE_ADDR", ""),
        request_id=environ.get("yumen.request_id", ""),
        method=environ.get("REQUEST_METHOD", "GET"),
        content_type=environ.get("CONTENT_TYPE", ""),
        origin=environ.get("HTTP_ORIGIN"),
    )


def refuse_nul(environ: Mapping[str, Any]) -> None:
    """Refuse an address with U+0000: PostgreSQL stores no such text and finds none.

    Raises:
        Malformed: path or query has one.
    """
    if "\0" in environ["PATH_INFO"] or "%00" in environ.get("QUERY_STRING", ""):
        raise Malformed("the request holds the character U+0000, which no text here may have", reason="nul")


def refuse_forged(environ: Mapping[str, Any], taken: Collection[str] = ()) -> None:
    """Refuse header fields that claim what only our own TLS may say, but for those that the route has taken upon itself to judge.

    Raises:
        Malformed: there is one.
    """
    for name in _forged(tuple(environ)):
        if name not in taken:
            field = name.removeprefix("HTTP_").replace("_", "-").lower()
            raise Malformed("the header field `{field}` is not accepted from clients; leave it out", field=field, reason="forged-header")


@lru_cache(maxsize=256)
def _forged(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if _FORGED.fullmatch(name))


def for_programs(path: str) -> bool:
    """Whether programs call this address, rather than people with a browser."""
    return path.startswith(_PROGRAMS)


@lru_cache(maxsize=64)
def is_json(content_type: str) -> bool:
    """Whether a Content-Type is `application/json` (a charset, if given, must be UTF-8)."""
    media, _, parameters = content_type.partition(";")
    return media.strip().lower() == "application/json" and parameters.strip().lower() in {"", "charset=utf-8", 'charset="utf-8"'}


def require_same_origin(seen: Presented, own: str) -> None:
    """Refuse a state change that another site's page sends with this browser's certificate.

    Raises:
        Malformed: the Origin is given and is not `own` (`null` is never our own).
    """
    if seen.changes_state and seen.origin is not None and not _same(seen.origin, own):
        raise Malformed(
            "the request comes from another origin; send it from `{own}` or without an Origin field", own=own, reason="foreign-origin"
        )


def require_json(seen: Presented) -> None:
    """Refuse a state change by certificate that a plain HTML form could send.

    Raises:
        Malformed: the Content-Type is not `application/json`.
    """
    if seen.changes_state and not is_json(seen.content_type):
        raise Malformed("state changes by certificate need `Content-Type: application/json`, also without a body", reason="content-type")


def _same(origin: str, own: str) -> bool:
    left, right = urlsplit(origin), urlsplit(own)
    return (left.scheme, left.hostname, left.port or 443) == (right.scheme, right.hostname, right.port or 443) and not left.path.strip("/")
