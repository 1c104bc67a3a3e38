"""The gate for forward-auth: a proxy asks before it lets a request through, and understands 204, 401 and 403.

401 says that nobody known stands before the proxy; everything else that is not yes is 403: a proxy makes an error of its
own of any other answer. The proxy is the authenticated peer. Only the user's certificate comes in a field, from no one but
a registered proxy; what a user could have handed to the application itself, a session or a cookie, is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.parse import quote

import structlog

from audit.trail import Receipt
from authz import gate
from core.errors import Denied, Error, Malformed, Unauthenticated
from web import callers, handover, paths, problems
from web.answers import Answer, Pending
from web.credentials import COOKIE
from web.declare import Described, Opening
from web.front import Raw
from web.visit import Visit

RULE = "/gate"

_SUBJECT = "HTTP_YUMEN_SUBJECT_CERT"
_METHOD = re.compile(r"[A-Z]{1,20}")
#: How much of what cannot be read is recorded.
_TOLD = 255
_APPLICATION = frozenset({Opening.APPLICATION})

log = structlog.get_logger()


@contextmanager
def _no_bug_opens() -> Iterator[None]:
    """A proxy takes a 500 for its own failure: for a bug of ours it is told no, and the operator is told why."""
    try:
        yield
    except Error:
        raise
    except Exception as error:
        log.exception("the gate failed")
        raise Error("something went wrong inside; the operator's log has the reason") from error


def _ask(visit: Visit, _parts: tuple[str, ...]) -> Answer | Pending:
    with _no_bug_opens():
        _know_the_proxy(visit)
        environ, node = visit.environ, visit.node
        passing = _passing(environ)
        with visit.recorded_there(Denied):
            told = gate.decide(node.world, node.trail, visit.caller, passing)
        return Pending([told.event], partial(_answer, visit, passing, told)) if told.event else _answer(visit, passing, told, ())


def _answer(visit: Visit, passing: gate.Passing, told: gate.Told, receipts: Sequence[Receipt]) -> Answer:
    """The answer, whose event is recorded or was only to be counted."""
    with _no_bug_opens():
        visit.recorded = True
        decision = visit.environ["yumen.decision"] = "".join(f"{receipt.log}/{receipt.idx}" for receipt in receipts)
        if not told.verdict.allowed or told.person is None:
            kind = Denied if told.person or passing.against else Unauthenticated
            raise kind("the gate stays closed: {reason}", reason=told.verdict.reason)
        person = told.person
        fields = {"Subject": person.id, "User": quote(person.uid), "Unit": person.unit, "Roles": ",".join(map(quote, told.roles))}
        fields |= {"Rule": told.verdict.grant, "Decision": decision}
        return Answer(204, [("Cache-Control", "no-store"), *((f"Yumen-{name}", value) for name, value in fields.items())], b"")


def _refuse(visit: Visit, error: Error) -> Answer:
    """The refusal of `error`, which is recorded or counted, in the two forms that a proxy understands."""
    if not visit.recorded and not gate.admitted(visit.node.world, visit.caller):
        visit.recorded = True  # counted
    refused, status = visit.refuse(error), 403
    if visit.caller.application is None:
        reason = "proxy-not-accepted"  # what is wrong with the proxy's own credentials is not its users' affair
    elif refused.status == 503:
        reason = "unavailable"
    else:
        reason = problems.reason_of(error) or error.code
        status = 401 if isinstance(error, Unauthenticated) else 403
    code = "unauthenticated" if status == 401 else "denied"
    body = problems.document(code, "the gate stays closed", request_id=visit.environ["yumen.request_id"], reason=reason)
    fields = [("Content-Type", problems.MEDIA_TYPE), ("Cache-Control", "no-store"), ("Yumen-Reason", reason)]
    if decision := visit.environ.get("yumen.decision"):
        fields.append(("Yumen-Decision", decision))
    if status == 401:
        fields.append(("WWW-Authenticate", 'Mutual realm="yumen"'))
    return Answer(status, fields, body)


def _know_the_proxy(visit: Visit) -> None:
    """Find out which application's proxy is asking.

    Raises:
        Denied: it is none, or something was shown that a user could have given to the application.
        Unauthenticated, Malformed: its credentials are not accepted.
    """
    environ, shown = visit.environ, ""
    if COOKIE in environ.get("HTTP_COOKIE", ""):
        shown = "cookie"
    if environ.get("HTTP_AUTHORIZATION", "").lower().startswith("bearer ys_"):
        shown = "session"
        del environ["HTTP_AUTHORIZATION"]  # who else is there shall be known by his own credentials
    visit.caller = callers.of_program(visit)
    if shown:
        raise Denied(
            "the {shown} of a user is not accepted here; hand over the certificate that the user showed", shown=shown, reason=shown
        )
    visit.must_be(_APPLICATION)
    gate.require_proxy(visit.caller)


def _passing(environ: dict[str, Any]) -> gate.Passing:
    method, address = environ.get("HTTP_X_ORIGINAL_METHOD", ""), environ.get("HTTP_X_ORIGINAL_URI", "")
    action = "get" if method == "HEAD" else method.lower()
    try:
        path, against = paths.original(address), "" if _METHOD.fullmatch(method) else "original-method"
    except Malformed as error:
        path, against = address[:_TOLD], problems.reason_of(error)
    return gate.Passing(action[:_TOLD], path, _certificate(environ), against)


def _certificate(environ: dict[str, Any]) -> bytes | None:
    value = environ.get(_SUBJECT, "")
    return handover.certificate(value) if value else None


GATE_ROUTES = (
    Raw(
        methods=("GET", "HEAD"),
        rule=RULE,
        answer=_ask,
        openings=_APPLICATION,
        described=Described(
            summary="May the holder of this certificate do this? For the proxy of an application; the reason of a no is in `Yumen-Reason`",
            status=204,
            only=("unauthenticated", "denied"),
            fields={
                "Yumen-Subject-Cert": "the user's certificate: RFC 9440 `:base64:`, or percent-encoded PEM; left out when there is none",
                "X-Original-Method": "the method that is asked for",
                "X-Original-URI": "the address that is asked for, as it came: path and query, percent-encoded",
            },
        ),
        takes=frozenset({_SUBJECT}),
        refuse=_refuse,
        quick=True,
    ),
)
