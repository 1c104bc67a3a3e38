"""The door as views use it: who is calling, may they, what did they send, what do they get.

A view parses with `body`, asks with `permit`, calls one use case inside `changing`, and renders with `answer`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import orjson
from flask import Response, current_app, request
from werkzeug.wrappers import Response as AnyResponse

from audit.permit import Action, Permit
from audit.record import Transaction, recording
from authz import decide
from authz.caller import Caller
from authz.decide import Target
from authz.people import Person
from core.errors import Error, Malformed, Unauthenticated
from web import callers, strict
from web.credentials import COOKIE, for_programs, is_json, refuse_nul
from web.declare import Described, Opening, described, description, open_to, openings
from web.visit import Visit

if TYPE_CHECKING:
    from ops.node import Node

__all__ = ["ANYONE", "APPLICATION", "LOOPBACK", "PERSON", "described", "for_programs", "open_to"]

ANYONE, PERSON, APPLICATION, LOOPBACK = Opening.ANYONE, Opening.PERSON, Opening.APPLICATION, Opening.LOOPBACK

_Shape = TypeVar("_Shape")


def visit() -> Visit:
    """The door's notes on the present request."""
    found: Visit = request.environ["yumen.visit"]
    return found


def node() -> Node:
    """The node that serves the present request."""
    return visit().node


def caller() -> Caller:
    """Who is calling."""
    return visit().caller


def person() -> Person:
    """The person who is calling.

    Raises:
        Unauthenticated: no person is.
    """
    found = visit().caller.person
    if found is None:
        raise Unauthenticated("log in first")
    return found


def resolve() -> None:
    """Find out who is calling at an address for programs that is open to strangers as well."""
    visit().caller = callers.of_program(visit())


def permit(action: Action, target: Target) -> Permit:
    """The caller's permit for `action` on `target`; ask while no transaction is open.

    Raises:
        Denied, Unauthenticated, Unavailable: as `authz.decide.require`; a refusal is recorded already.
    """
    return visit().permit(action, target)


def may(action: Action, target: Target) -> bool:
    """Whether the caller would get that permit: for what a page offers. Nothing is recorded."""
    return decide.decide(node().world.current(), caller(), action, target).allowed


@contextmanager
def changing() -> Iterator[Transaction]:
    """The recorded write transaction of one use case; what it changes counts in this process as soon as it is left.

    Raises:
        Unavailable: the trail cannot be written; nothing was changed.
    """
    with recording(node().trail) as tx:
        yield tx
    node().world.refresh()


def body(kind: type[_Shape]) -> _Shape:
    """The JSON body of the present request as the shape `kind`.

    Raises:
        Malformed: another media type, not JSON, or not of that shape.
    """
    if not is_json(request.content_type or ""):
        raise Malformed("send the body as `Content-Type: application/json`", reason="content-type")
    return strict.read(kind, strict.parse(request.get_data()))


def has_body() -> bool:
    """Whether the present request says anything: an empty body and an empty JSON object do not."""
    return request.get_data(cache=True).strip() not in {b"", b"{}"}


def answer(shape: object, status: int = 200) -> Response:
    """`shape` as JSON."""
    return Response(orjson.dumps(strict.plain(shape)), status, mimetype="application/json")


def query(*known: str) -> dict[str, str]:
    """The query parameters of the present request, each as the route describes it.

    Raises:
        Malformed: one is not among `known`, is given twice, is missing, or is not what the route takes.
    """
    found: dict[str, str] = {}
    said = description(current_app.view_functions[request.endpoint or ""]) or Described(summary="")
    for name, values in request.args.lists():
        if name not in known or len(values) > 1:
            raise Malformed("the query parameter `{name}` is not known here or is given twice", name=name[:80])
        found[name] = strict.read(said.asked(name).kind, values[0], name)
    for name in known:
        if said.asked(name).needed and name not in found:
            raise Malformed("the query parameter `{name}` is missing", name=name)
    return found


def number(text: str | None, name: str) -> int | None:
    """A whole number from a query parameter, or None when it was not given.

    Raises:
        Malformed: it is no number.
    """
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise Malformed("`{name}` must be a whole number", name=name)
    return int(text)


def admit() -> None:
    """Find out who is calling and refuse whom the route is not open to. Runs before every view.

    Raises:
        Malformed, Unauthenticated, Denied: as `callers` and `Visit.must_be` say, or a form with U+0000.
    """
    seen = visit()
    if request.url_rule is None or request.endpoint is None:
        return

    seen.route = request.url_rule.rule
    wanted = openings(current_app.view_functions[request.endpoint])
    if for_programs(request.path):
        if wanted != {ANYONE}:
            seen.caller = callers.of_program(seen)
    else:
        seen.caller = callers.of_page(seen, quietly=ANYONE in wanted)
        refuse_nul(request.environ)
        if any("\0" in text for pair in request.form.items(multi=True) for text in pair):
            raise Malformed("the request holds the character U+0000, which no text here may have", reason="nul")
    seen.must_be(wanted)


def refuse(error: Error) -> Response:
    """The problem document of `error`, after it was recorded or counted."""
    refusal = visit().refuse(error)
    return Response(refusal.body, refusal.status, refusal.fields)


def set_cookie(response: AnyResponse, token: str) -> None:
    """Let the browser keep the session token: the login page alone does this."""
    response.set_cookie(COOKIE, token, path="/", secure=True, httponly=True, samesite="Strict")


def drop_cookie(response: AnyResponse) -> None:
    """Let the browser forget the session token."""
    response.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="Strict")
