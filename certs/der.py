"""The few DER encodings (X.690) that templates are made of.

Encoding is ours because concatenations cost a fraction of a builder. Decoding is `cryptography`'s: `content` and
`parts` only cut pieces out of bytes that it has accepted, and are never given anything else.
"""

from __future__ import annotations

import datetime as dt

INTEGER, BIT_STRING, OCTET_STRING, ENUMERATED, SEQUENCE = 0x02, 0x03, 0x04, 0x0A, 0x30
UTF8_STRING, UTC_TIME, GENERALIZED_TIME = 0x0C, 0x17, 0x18


def header(tag: int, length: int) -> bytes:
    """Tag and definite length in the fewest octets (X.690 section 10.1)."""
    if length < 0x80:
        return bytes((tag, length))
    size = (length.bit_length() + 7) // 8
    return bytes((tag, 0x80 | size)) + length.to_bytes(size, "big")


def tlv(tag: int, content: bytes) -> bytes:
    """One element."""
    return header(tag, len(content)) + content


def sequence(*parts: bytes) -> bytes:
    """SEQUENCE (or SEQUENCE OF) the encoded `parts`."""
    content = b"".join(parts)
    return header(SEQUENCE, len(content)) + content


def integer(value: int) -> bytes:
    """INTEGER, two's complement in the fewest octets (X.690 section 8.3)."""
    size = (value if value >= 0 else ~value).bit_length() // 8 + 1
    return tlv(INTEGER, value.to_bytes(size, "big", signed=True))


def octets(content: bytes) -> bytes:
    """OCTET STRING."""
    return tlv(OCTET_STRING, content)


def bits(content: bytes) -> bytes:
    """BIT STRING of whole octets, as signatures are."""
    return tlv(BIT_STRING, b"\0" + content)


def oid(dotted: str) -> bytes:
    """OBJECT IDENTIFIER from its dotted form (X.690 section 8.19)."""
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    return tlv(0x06, b"".join(_base128(arc) for arc in (first * 40 + second, *rest)))


def _base128(arc: int) -> bytes:
    digits = [arc & 0x7F]
    while arc := arc >> 7:
        digits.append(0x80 | arc & 0x7F)
    return bytes(reversed(digits))


def extension(dotted: str, value: bytes, *, critical: bool = False) -> bytes:
    """Extension (RFC 5280 section 4.1) whose extnValue holds the encoded `value`."""
    return sequence(oid(dotted), b"\x01\x01\xff" if critical else b"", octets(value))


def generalized_time(moment: dt.datetime) -> bytes:
    """GeneralizedTime in UTC, with seconds and without fractions (RFC 5280 section 4.1.2.5.2).

    Raises:
        ValueError: `moment` is naive, and would silently be taken for local time.
    """
    return tlv(GENERALIZED_TIME, _utc(moment).strftime("%Y%m%d%H%M%SZ").rjust(15, "0").encode())


def time(moment: dt.datetime) -> bytes:
    """Time: UTCTime through the year 2049, GeneralizedTime from 2050 on (RFC 5280 section 4.1.2.5).

    Raises:
        ValueError: `moment` is naive, or before 1950, which neither form may carry here.
    """
    moment = _utc(moment)
    if moment.year < 1950:
        raise ValueError("times before 1950 have no encoding as Time")
    if moment.year >= 2050:
        return generalized_time(moment)
    return tlv(UTC_TIME, moment.strftime("%y%m%d%H%M%SZ").encode())


def _utc(moment: dt.datetime) -> dt.datetime:
    if moment.tzinfo is None:
        raise ValueError("a time without zone was given")
    return moment.astimezone(dt.UTC)


def content(encoded: bytes) -> bytes:
    """What is inside the element `encoded`, in DER that a parser has already accepted."""
    start = 2 + (encoded[1] & 0x7F if encoded[1] & 0x80 else 0)
    return encoded[start:]


def parts(encoded: bytes) -> list[bytes]:
    """The elements inside the constructed element `encoded`, each whole, in DER that a parser has already accepted."""
    inside, found = content(encoded), []
    while inside:
        size, length = 2, inside[1]
        if length & 0x80:
            size += length & 0x7F
            length = int.from_bytes(inside[2:size], "big")
        found.append(inside[: size + length])
        inside = inside[size + length :]
    return found
