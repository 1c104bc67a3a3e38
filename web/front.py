"""The outermost callable: gives the request its id, refuses what no route may see, and sends hot paths past the framework."""

from __future__ import annotations

import contextlib
import random
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from audit.flusher import Outcome
from core import logs
from core.errors import Error, Malformed, NotFound, TooLarge
from web import callers
from web.answers import LATER, Answer, Aside, Later, Pending
from web.credentials import for_programs, refuse_forged, refuse_nul
from web.declare import Described, Opening
from web.metrics import Metrics
from web.turns import Turns
from web.visit import Visit

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication

    from ops.node import Node

#: What may be taken over as the request's id, into the trail and the log.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._~:/+=@-]{1,64}")
#: What is given back to whoever sent it, and nothing else (AuthZEN 1.0 section 10.1.3).
_ECHO = re.compile(r"[ -~]{1,1024}")


#: Hands an answer to the server that asked.
Send = Callable[[Answer], Iterable[bytes]]


#: Names requests: no secret, so the kernel need not be asked. Our own, because whoever seeds the one of all repeats names.
_NAMES = random.Random()  # noqa: S311


def fresh_id() -> str:
    """A name for a request. Seconds in front keep neighbours together in indexes."""
    return f"{int(time.time()):08x}{_NAMES.getrandbits(96):024x}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """A route that no framework touches."""

    methods: tuple[str, ...]
    #: The address as the OpenAPI document shows it, parameters in `<…>`.
    rule: str
    answer: Callable[[Visit, tuple[str, ...]], Answer | Aside | Pending]
    openings: frozenset[Opening]
    described: Described
    #: Fields, as WSGI names them, that this route judges itself and no other takes.
    takes: frozenset[str] = frozenset()
    #: What a refusal looks like here.
    refuse: Callable[[Visit, Error], Answer] = Visit.refuse
    #: Whether it waits for nothing but the trail, so that few threads may answer many callers; else it says so with `Aside`.
    quick: bool = False
    #: Whether it may take seconds, so that nobody has all threads for it.
    heavy: bool = False
    pattern: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        parts = re.split(r"<(?:path:)?\w+>", self.rule)
        slots = re.findall(r"<(path:)?\w+>", self.rule)
        text = "".join(re.escape(part) + ("(.+)" if slot else "([^/]+)") for part, slot in zip(parts, slots, strict=False))
        object.__setattr__(self, "pattern", re.compile(text + re.escape(parts[-1]), re.DOTALL))


class Front:
    """A WSGI callable: raw routes first, then the framework's application, or 404 when there is none."""

    def __init__(self, node: Node, routes: Sequence[Raw], app: WSGIApplication | None = None) -> None:
        self.node, self.routes, self.metrics = node, tuple(routes), Metrics.of(node)
        self._app, self._turns = app, Turns(node.settings.web.threads)
        self._exact = {(method, route.rule): route for route in routes if "<" not in route.rule for method in route.methods}
        self._refusals = {route.rule: route.refuse for route in routes}
        self._patterns = [route for route in routes if "<" in route.rule]

    def is_quick(self, environ: Mapping[str, Any]) -> bool:
        """Whether the request waits for nothing but the trail; whoever shows a token is looked up in the database."""
        found = self._route(environ["REQUEST_METHOD"], environ["PATH_INFO"])
        return found is not None and found[0].quick and "HTTP_AUTHORIZATION" not in environ

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request; where the server offers `yumen.later`, no thread waits for the trail."""
        given = environ.get("HTTP_X_REQUEST_ID", "")
        environ["yumen.request_id"] = given if given and _REQUEST_ID.fullmatch(given) else fresh_id()
        environ["yumen.echo"] = given if given and _ECHO.fullmatch(given) else environ["yumen.request_id"]
        visit = environ["yumen.visit"] = Visit(self.node, environ)
        token = logs.request_id.set(environ["yumen.request_id"])
        try:
            later: Later | None = environ.get("yumen.later")
            send = partial(self._send, visit, time.perf_counter(), start_response)
            try:
                answer = self._answer(visit, environ)
                if answer is None:
                    assert self._app is not None
                    return self._app(environ, start_response)
                if later and not isinstance(answer, Answer):
                    self._put_off(visit, answer, later, send)
                    return LATER
                return send(self._waited_for(answer))
            except Error as error:
                if later:  # a refusal is recorded as well, and rare enough to wait for
                    later.finish_aside(partial(self._refused, visit, error, send))
                    return LATER
                return self._refused(visit, error, send)
        finally:
            logs.request_id.reset(token)

    def _waited_for(self, answer: Answer | Aside | Pending) -> Answer:
        if isinstance(answer, Answer):
            return answer
        return answer.made() if isinstance(answer, Aside) else answer.told(self.node.trail.append(answer.events))

    def _put_off(self, visit: Visit, answer: Aside | Pending, later: Later, send: Send) -> None:
        """Let another thread give `answer` when what it waits for is there."""
        if isinstance(answer, Aside):
            made = answer.made
            later.finish_aside(lambda: send(made()))
        else:
            self.node.trail.append_later(answer.events, partial(self._recorded, visit, answer, later, send))

    def _recorded(self, visit: Visit, answer: Pending, later: Later, send: Send, outcome: Outcome) -> None:
        """Give `answer`, now that its events are in the trail; a refusal when they are not."""

        def give() -> Iterable[bytes]:
            try:
                if isinstance(outcome, Error):
                    raise outcome
                return send(answer.told(outcome))
            except Error as error:
                return self._refused(visit, error, send)

        later.finish(give)

    def _refused(self, visit: Visit, error: Error, send: Send) -> Iterable[bytes]:
        self._recognise(visit)
        return send(self._refusals.get(visit.environ["PATH_INFO"], Visit.refuse)(visit, error))

    def _send(self, visit: Visit, began: float, start_response: StartResponse, answer: Answer) -> Iterable[bytes]:
        self.metrics.observe(visit.route, answer.status, time.perf_counter() - began)
        return answer.send(visit.environ, start_response)

    def _answer(self, visit: Visit, environ: dict[str, Any]) -> Answer | Aside | Pending | None:
        """The answer of a raw route; None when the framework is to answer.

        Raises:
            Error: the request is refused.
        """
        found = self._route(environ["REQUEST_METHOD"], environ["PATH_INFO"])
        visit.route = found[0].rule if found else ""
        if refusal := environ.get("yumen.refusal"):
            raise refusal
        refuse_forged(environ, found[0].takes if found else ())
        if for_programs(environ["PATH_INFO"]):  # people get a page
            refuse_nul(environ)
        if environ.get("yumen.oversize"):
            raise TooLarge("the body is larger than {limit} bytes; send less", limit=self.node.settings.web.max_body_bytes)
        if found:
            return self._in_turn(visit, *found) if found[0].heavy else found[0].answer(visit, found[1])
        self._require_no_other_method(environ["REQUEST_METHOD"], environ["PATH_INFO"])
        if self._app is None:
            raise NotFound("there is nothing at this address")
        return None

    def _in_turn(self, visit: Visit, route: Raw, parts: tuple[str, ...]) -> Answer | Aside | Pending:
        who = self._turns.take(visit, route.openings)
        try:
            return route.answer(visit, parts)
        finally:
            self._turns.give_back(who)

    def _recognise(self, visit: Visit) -> None:
        """Find out whose request is refused before its route looked, so that a known caller's refusal is recorded."""
        if visit.looked:
            return
        with contextlib.suppress(Error):
            if for_programs(visit.environ["PATH_INFO"]):
                visit.caller = callers.of_program(visit)
            else:
                visit.caller = callers.of_page(visit, quietly=True)

    def _require_no_other_method(self, method: str, path: str) -> None:
        """Refuse a method that the raw route of this address does not take."""
        if others := {other for route in self.routes if route.pattern.fullmatch(path) for other in route.methods}:
            raise Malformed("this address does not take {method}", method=method, reason="method", allow=", ".join(sorted(others)))

    def _route(self, method: str, path: str) -> tuple[Raw, tuple[str, ...]] | None:
        exact = self._exact.get((method, path))
        if exact:
            return exact, ()
        for route in self._patterns:
            if method in route.methods and (match := route.pattern.fullmatch(path)):
                return route, match.groups()
        return None
