"""Errors as problem documents (RFC 9457): the one place that maps a code of the tree to an HTTP status."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType

import orjson

from core.errors import Error, RateLimited

#: HTTP status by code of the error tree; a test holds its keys equal to the tree's codes.
STATUS: Mapping[str, int] = MappingProxyType(
    {
        "internal": 500,
        "malformed": 400,
        "unauthenticated": 401,
        "denied": 403,
        "not-found": 404,
        "conflict": 409,
        "too-large": 413,
        "rate-limited": 429,
        "code-used": 429,
        "unavailable": 503,
        "recorded-not-yet-proved": 503,
    }
)

#: What the code means, in a few words (`title` of the document).
TITLES: Mapping[str, str] = MappingProxyType(
    {
        "internal": "something went wrong inside",
        "malformed": "the input cannot be read",
        "unauthenticated": "nobody known is calling",
        "denied": "the policy answered no",
        "not-found": "there is no such object here",
        "conflict": "the object is not in a state that allows this",
        "too-large": "the input is too large",
        "rate-limited": "too many attempts",
        "code-used": "the one-time code was used before",
        "unavailable": "something needed cannot be reached",
        "recorded-not-yet-proved": "it is done and recorded, the proof follows",
    }
)

MEDIA_TYPE = "application/problem+json"

#: Seconds after which a call that met `unavailable` may be repeated.
RETRY_SECONDS = 2


def document(code: str, detail: str, *, status: int | None = None, request_id: str = "", reason: str = "") -> bytes:
    """The problem document of `code` as JSON; `status` where HTTP has a more exact one than `STATUS`."""
    body: dict[str, object] = {
        "type": f"urn:yumen:error:{code}",
        "title": TITLES[code],
        "status": status or STATUS[code],
        "code": code,
        "detail": detail,
    }
    if reason:
        body["reason"] = reason
    if request_id:
        body["instance"] = f"urn:yumen:request:{request_id}"
    return orjson.dumps(body)


def of(error: Error, request_id: str = "") -> bytes:
    """The problem document of `error`: its code, its detail and, where it has one, its machine-readable reason."""
    return document(error.code, error.detail, status=status_of(error), request_id=request_id, reason=reason_of(error))


def status_of(error: Error) -> int:
    """The HTTP status of `error`: its code's, or 405 for a method that the address does not take (RFC 9110 section 15.5.6)."""
    return 405 if error.code == "malformed" and reason_of(error) == "method" else STATUS[error.code]


def reason_of(error: Error) -> str:
    """The machine-readable reason among the facts of `error`, or empty."""
    reason = getattr(error, "reason", None) or error.facts.get("reason", "")
    return reason if isinstance(reason, str) else ""


def headers(error: Error) -> list[tuple[str, str]]:
    """The header fields that go with `error`: media type, when to try again, how to authenticate, which methods there are."""
    fields = [("Content-Type", MEDIA_TYPE), ("Cache-Control", "no-store")]
    if isinstance(error, RateLimited):
        fields.append(("Retry-After", str(error.retry_after_seconds)))
    if error.code == "unavailable":
        fields.append(("Retry-After", str(RETRY_SECONDS)))
    if error.code == "unauthenticated":
        fields.append(("WWW-Authenticate", 'Bearer realm="yumen"'))
    if isinstance(allow := error.facts.get("allow"), str):
        fields.append(("Allow", allow))
    return fields


def status_line(code: int) -> str:
    """The WSGI status line of an HTTP status code."""
    return f"{code} {HTTPStatus(code).phrase}"
