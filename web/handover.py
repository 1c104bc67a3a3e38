"""Certificates and addresses that a proxy hands over in header fields: one certificate, in one of two spellings, or a refusal.

RFC 9440 writes `:base64:` of the DER, nginx (`$ssl_client_escaped_cert`) percent-encoded PEM. Neither holds a comma, which
is what a server puts between two fields of one name, so a second certificate can never pass unseen.
"""

from __future__ import annotations

import base64
import binascii
import re
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import unquote

from core.errors import Malformed

#: Longest value in characters; a certificate of ours has a tenth of it.
MAX_VALUE = 16_384

_RFC9440 = re.compile(r":([A-Za-z0-9+/]+={0,2}):")
_ESCAPED = re.compile(r"[A-Za-z0-9%._~-]+")
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----\n([A-Za-z0-9+/\n]+={0,2})\n-----END CERTIFICATE-----\n?")


@lru_cache(maxsize=256)
def certificate(value: str) -> bytes:
    """The DER of the one certificate that `value` holds; what the certificate says is not looked at.

    Raises:
        Malformed: another spelling, more than one certificate, or bytes beside it.
    """
    if len(value) <= MAX_VALUE:
        found = _RFC9440.fullmatch(value) or (_PEM.fullmatch(unquote(value)) if _ESCAPED.fullmatch(value) else None)
        try:
            der = base64.b64decode(found[1].replace("\n", ""), validate=True) if found else b""
        except binascii.Error:
            der = b""
        if _is_one_sequence(der):
            return der
    raise Malformed("the certificate that the proxy hands over is not one certificate; correct the proxy", reason="bad-handover")


@lru_cache(maxsize=4096)
def address(value: str) -> str:
    """The network address that `value` is.

    Raises:
        Malformed: it is none.
    """
    try:
        return str(ip_address(value))
    except ValueError:
        raise Malformed("the address that the proxy hands over is none; correct the proxy", reason="bad-handover") from None


def _is_one_sequence(der: bytes) -> bool:
    """Whether `der` is a SEQUENCE of two to four length octets and nothing behind it (X.690 section 8.1.3)."""
    if len(der) < 4 or der[0] != 0x30 or der[1] not in {0x81, 0x82}:
        return False
    octets = der[1] - 0x80
    return len(der) == 2 + octets + int.from_bytes(der[2 : 2 + octets])
