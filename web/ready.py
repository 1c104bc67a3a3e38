"""OCSP over plain HTTP, answered where it is read: a question that needs no database costs no thread and no framework.

Only the plainest requests are taken, those that clients send: everything else goes the long way, whose answers these equal
but for the id.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from ca.status import Answer
from web.front import fresh_id
from web.hot import MAX_OCSP_BYTES, OCSP_GET, OCSP_POST, date, fields, question
from web.metrics import Metrics
from web.wire import Ready

if TYPE_CHECKING:
    from ops.node import Node

_POST = re.compile(r"POST /ocsp/([a-z0-9-]{1,64}) HTTP/1\.1")
_GET = re.compile(r"GET /ocsp/([a-z0-9-]{1,64})/((?:[A-Za-z0-9+/=]|%2[BbFf]|%3[Dd])+) HTTP/1\.1")
_FIELD = re.compile(r"([A-Za-z-]{1,32}):[ \t]*([\x20-\x7e]{0,512}?)[ \t]*")
#: Fields that change nothing about an answer, beside those that are looked at.
_HARMLESS = {"host", "connection", "content-length", "content-type", "user-agent", "accept", "accept-encoding", "accept-language"}
_CLOSES = {"": False, "keep-alive": False, "close": True}
#: Heads that need not be read again: a client sends the same one each time.
_HEADS = 1024


class _Head(NamedTuple):
    route: str
    authority: str
    #: The question of a GET.
    der: bytes | None
    body_bytes: int
    closes: bool


def ocsp(node: Node) -> Callable[[bytes], Ready | None]:
    """Gives the answer to a whole request, or None when it must go the long way."""
    responder, metrics = node.responder, Metrics.of(node)

    def at_once(request: bytes) -> Ready | None:
        began = time.perf_counter()
        end = request.find(b"\r\n\r\n")
        head = _read(request[:end]) if end <= MAX_OCSP_BYTES else None  # what is remembered has a size
        if head is None or len(request) - end - 4 != head.body_bytes:
            return None
        found = responder.at_hand(head.authority, request[end + 4 :] if head.der is None else head.der)
        if found is None:
            return None
        text = _fields(found._replace(der=b""), len(found.der), int(time.time()), head.closes)
        metrics.observe(head.route, 200, time.perf_counter() - began)
        return Ready(f"{text}X-Request-ID: {fresh_id()}\r\n\r\n".encode("ascii") + found.der, head.closes)

    return at_once


@lru_cache(maxsize=_HEADS)
def _fields(answer: Answer, length: int, now: int, closes: bool) -> str:  # noqa: FBT001 - as the head says
    """The head of an answer without its id; in one second many are the same."""
    more = [("Connection", "close")] if closes else []
    told = [*fields(answer, now), ("Content-Length", str(length)), ("X-Content-Type-Options", "nosniff"), *more]
    lines = [f"{name}: {value}\r\n" for name, value in (*told, ("Date", date(now)), ("Server", "yumen"))]
    return "HTTP/1.1 200 OK\r\n" + "".join(lines)


@lru_cache(maxsize=_HEADS)
def _read(head: bytes) -> _Head | None:
    """What the head of a request asks for, when it is one of the plainest."""
    first, *lines = head.decode("latin-1").split("\r\n")
    found = [_FIELD.fullmatch(line) for line in lines]
    given = {match[1].lower(): match[2] for match in found if match}
    if len(given) != len(lines) or not given.keys() <= _HARMLESS or not given.get("host"):
        return None
    length, closes = given.get("content-length", "0"), _CLOSES.get(given.get("connection", "").lower())
    if closes is None or not length.isdigit() or not 0 <= int(length) <= MAX_OCSP_BYTES:
        return None
    if post := _POST.fullmatch(first):
        return _Head(OCSP_POST, post[1], None, int(length), closes)
    if (get := _GET.fullmatch(first)) and int(length) == 0:
        return _Head(OCSP_GET, get[1], question(get[2]), 0, closes)
    return None
