"""The path that an application will see, from the address as a client wrote it: read in one way, or refused.

Percent-encoding is undone once and dot segments are removed once (RFC 3986 sections 2.4 and 5.2.4). What proxies and
applications are known to read differently is refused: empty segments, encoded slashes, backslashes and dot segments,
encodings of encodings, path parameters, control characters, and anything that is not UTF-8.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from core.errors import Malformed

#: Longest address in characters.
MAX_ADDRESS = 8_192

#: An absolute path (RFC 3986 section 3.3), without the semicolon that begins a parameter for some and nothing for others.
_PATH = re.compile(r"/(?:[A-Za-z0-9._~!$&'()*+,=:@/-]|%[0-9A-Fa-f]{2})*")
#: Delimiters, an encoded percent sign, and dot segments: what decoding must not bring about.
_HIDDEN = re.compile(r"%(?:2f|5c|25|3b|3f|23)|/(?:\.|%2e)*%2e(?:\.|%2e)*(?=/|$)", re.IGNORECASE)


def original(address: str) -> str:
    """The path of `address`, decoded and without dot segments or query.

    Raises:
        Malformed: it can be read in more than one way, or not at all.
    """
    path = address.partition("?")[0]
    if len(address) > MAX_ADDRESS or not (address.isascii() and address.isprintable()) or not _PATH.fullmatch(path):
        raise _ambiguous()
    if "//" in path or ",/" in address or _HIDDEN.search(path):  # two fields of one name arrive joined by a comma
        raise _ambiguous()
    try:
        decoded = unquote_to_bytes(path).decode("utf-8")
    except UnicodeDecodeError:
        raise _ambiguous() from None
    if not decoded.isprintable():
        raise _ambiguous()
    return _without_dots(decoded)


def _without_dots(path: str) -> str:
    kept: list[str] = []
    *inner, last = path.split("/")[1:]
    for segment in inner:
        _walk(kept, segment)
    if last in {".", ".."}:
        _walk(kept, last)
        last = ""
    return "/".join(["", *kept, last])


def _walk(kept: list[str], segment: str) -> None:
    if segment == "..":
        if not kept:
            raise _ambiguous()
        kept.pop()
    elif segment != ".":
        kept.append(segment)


def _ambiguous() -> Malformed:
    return Malformed("`X-Original-URI` is missing, or can be read in more than one way", reason="ambiguous-path")
