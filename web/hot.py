"""Status for relying parties, raw: OCSP, CRLs and the authorities' certificates, which anyone may ask for."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from email.utils import formatdate
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from core.errors import NotFound
from web.answers import Answer, Aside
from web.declare import Described, Opening
from web.front import Raw
from web.visit import Visit

if TYPE_CHECKING:
    from ca import status
    from ops.node import Node

#: Largest OCSP request; RFC 6960 knows no larger one with a single CertID and a nonce of 128 octets.
MAX_OCSP_BYTES = 4_096

#: How the two forms of a question are addressed.
OCSP_GET, OCSP_POST = "/ocsp/<authority>/<path:request>", "/ocsp/<authority>"

_OCSP = "application/ocsp-response"
_ANYONE = frozenset({Opening.ANYONE})


def _ocsp_get(visit: Visit, parts: tuple[str, ...]) -> Answer | Aside:
    """RFC 6960 appendix A.1: the request in base64 behind the authority's address."""
    return _ocsp(visit, parts[0], question(parts[1]))


def _ocsp_post(visit: Visit, parts: tuple[str, ...]) -> Answer | Aside:
    """RFC 6960 appendix A.1: the request as the body."""
    return _ocsp(visit, parts[0], visit.body(MAX_OCSP_BYTES))


def question(text: str) -> bytes:
    """The question in the address of a GET; empty, and so malformed, when it is not base64."""
    try:
        return base64.b64decode(unquote(text).encode("latin-1"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        return b""


def _ocsp(visit: Visit, authority: str, der: bytes) -> Answer | Aside:
    node = visit.node
    found = node.responder.at_hand(authority, der)
    return told(node, found) if found else Aside(lambda: told(node, node.responder.answer(authority, der)))


def told(node: Node, answer: status.Answer) -> Answer:
    """An OCSP answer as HTTP tells it."""
    return Answer(200, list(fields(answer, int(node.clock().timestamp()))), answer.der)


def fields(answer: status.Answer, now: int) -> tuple[tuple[str, str], ...]:
    """What an OCSP answer is, and what proxies may do with it from this second on (RFC 9919 section 6)."""
    if not answer.cacheable:
        return ("Content-Type", _OCSP), ("Cache-Control", "no-store")
    keep = f"max-age={answer.max_age_seconds}, public, no-transform, must-revalidate"
    return ("Content-Type", _OCSP), ("Cache-Control", keep), ("Expires", date(now + answer.max_age_seconds))


@lru_cache(maxsize=256)
def date(at: int) -> str:
    """A second since 1970 as HTTP tells it (RFC 9110 section 5.6.7)."""
    return formatdate(at, usegmt=True)


def _crl(visit: Visit, parts: tuple[str, ...]) -> Answer:
    """RFC 5280 section 4.2.1.13: the list in DER. There is one shard, `0`."""
    authority, shard = parts
    return _file(visit.node.responder.crl(authority) if shard == "0" else None, "application/pkix-crl", 60)


def _certificate(visit: Visit, parts: tuple[str, ...]) -> Answer:
    """RFC 5280 section 4.2.2.1: the authority's certificate in DER."""
    return _file(visit.node.responder.certificate(parts[0]), "application/pkix-cert", 3600)


def _p7c(visit: Visit, parts: tuple[str, ...]) -> Answer:
    """RFC 5280 section 4.2.2.1: the authority's certificate as certs-only CMS."""
    return _file(visit.node.responder.p7c(parts[0]), "application/pkcs7-mime; smime-type=certs-only", 3600)


def _file(data: bytes | None, media: str, max_age_seconds: int) -> Answer:
    if not data:
        raise NotFound("there is no such authority or list here")
    return Answer(200, [("Content-Type", media), ("Cache-Control", f"max-age={max_age_seconds}, public")], data)


def _raw(methods: str, rule: str, answer: Callable[[Visit, tuple[str, ...]], Answer | Aside], **facts: Any) -> Raw:
    errors = () if "ocsp" in rule else ("not-found",)
    described = Described(**facts, errors=errors)
    return Raw(methods=tuple(methods.split()), rule=rule, answer=answer, openings=_ANYONE, described=described, quick=True)


#: What relying parties ask for; the only routes of the plain HTTP listener.
STATUS_ROUTES = (
    _raw("GET HEAD", OCSP_GET, _ocsp_get, summary="OCSP by GET (RFC 6960)", gives=_OCSP),
    _raw(
        "POST",
        OCSP_POST,
        _ocsp_post,
        summary="OCSP by POST (RFC 6960)",
        takes="application/ocsp-request",
        or_nothing=True,
        gives=_OCSP,
    ),
    _raw("GET HEAD", "/crl/<authority>/<shard>.crl", _crl, summary="The certificate revocation list", gives="application/pkix-crl"),
    _raw("GET HEAD", "/ca/<authority>.cer", _certificate, summary="The authority's certificate", gives="application/pkix-cert"),
    _raw("GET HEAD", "/ca/<authority>.p7c", _p7c, summary="The authority's certificate in CMS", gives="application/pkcs7-mime"),
)
