"""Status for relying parties, raw: OCSP, CRLs and the authorities' certificates, which anyone may ask for."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from email.utils import formatdate
from typing import Any
from urllib.parse import unquote

from core.errors import NotFound
from web.answers import Answer
from web.declare import Described, Opening
from web.front import Raw
from web.visit import Visit

#: Largest OCSP request; RFC 6960 knows no larger one with a single CertID and a nonce of 128 octets.
MAX_OCSP_BYTES = 4_096

_OCSP = "application/ocsp-response"
_ANYONE = frozenset({Opening.ANYONE})


def _ocsp_get(visit: Visit, parts: tuple[str, ...]) -> Answer:
    """RFC 6960 appendix A.1: the request in base64 behind the authority's address."""
    authority, text = parts
    try:
        der = base64.b64decode(unquote(text).encode("latin-1"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        der = b""
    return _ocsp(visit, authority, der)


def _ocsp_post(visit: Visit, parts: tuple[str, ...]) -> Answer:
    """RFC 6960 appendix A.1: the request as the body."""
    return _ocsp(visit, parts[0], visit.body(MAX_OCSP_BYTES))


def _ocsp(visit: Visit, authority: str, der: bytes) -> Answer:
    answer = visit.node.responder.answer(authority, der)
    if not answer.cacheable:
        return Answer(200, [("Content-Type", _OCSP), ("Cache-Control", "no-store")], answer.der)
    keep = f"max-age={answer.max_age_seconds}, public, no-transform, must-revalidate"
    expires = formatdate(visit.node.clock().timestamp() + answer.max_age_seconds, usegmt=True)
    return Answer(200, [("Content-Type", _OCSP), ("Cache-Control", keep), ("Expires", expires)], answer.der)


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


def _raw(methods: str, rule: str, answer: Callable[[Visit, tuple[str, ...]], Answer], **facts: Any) -> Raw:
    errors = () if "ocsp" in rule else ("not-found",)
    described = Described(**facts, errors=errors)
    return Raw(methods=tuple(methods.split()), rule=rule, answer=answer, openings=_ANYONE, described=described)


#: What relying parties ask for; the only routes of the plain HTTP listener.
STATUS_ROUTES = (
    _raw("GET HEAD", "/ocsp/<authority>/<path:request>", _ocsp_get, summary="OCSP by GET (RFC 6960)", gives=_OCSP),
    _raw(
        "POST",
        "/ocsp/<authority>",
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
