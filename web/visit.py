"""One request as the door sees it: what it shows, who it turned out to come from, and whether its end is recorded.

Acts and refusals by policy are recorded where they happen. What else goes wrong for a known caller is recorded here,
before the answer leaves; what goes wrong for strangers is counted.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from audit.event import Event, Kind
from audit.permit import Action, Permit
from authz import decide
from authz.caller import Caller
from authz.decide import Target
from core.errors import Denied, Error, TooLarge, Unauthenticated, Unavailable
from web import problems
from web.answers import Answer
from web.credentials import Presented
from web.declare import Opening

if TYPE_CHECKING:
    from ops.node import Node

_NOBODY, _NOTHING = Caller(), Presented()


@dataclass(slots=True)
class Visit:
    """The door's notes on one request. Belongs to one thread."""

    node: Node
    environ: dict[str, Any]
    #: The route as it was declared, such as `/api/v1/requests/<int:id>`; paths themselves may hold personal data.
    route: str = ""
    caller: Caller = _NOBODY
    #: Whether the trail already tells how this request ended.
    recorded: bool = False
    seen: Presented = _NOTHING
    #: Whether the request's credentials were looked at.
    looked: bool = False

    @property
    def loopback(self) -> bool:
        """Whether the caller sits on this machine; whoever comes through a proxy does not."""
        if any(name in self.environ for name in ("HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_X_REAL_IP")):
            return False
        try:
            return ipaddress.ip_address(self.environ.get("REMOTE_ADDR", "")).is_loopback
        except ValueError:
            return False

    def must_be(self, openings: frozenset[Opening]) -> None:
        """Refuse a caller of another kind than the route is open to.

        Raises:
            Unauthenticated, Denied: nobody known is calling, or somebody else than the route is for.
        """
        caller = self.caller
        welcome = (
            Opening.ANYONE in openings
            or (Opening.PERSON in openings and caller.person is not None)
            or (Opening.APPLICATION in openings and caller.application is not None)
            or (Opening.LOOPBACK in openings and self.loopback)
        )
        if welcome:
            return
        if not caller.known:
            raise Unauthenticated("log in first, or call with the certificate or key of a registered application")
        raise Denied("this address is for {kinds}, not for you", kinds=" or ".join(sorted(openings)), reason="wrong-kind")

    def permit(self, action: Action, target: Target) -> Permit:
        """The permit of this caller for `action` on `target`; a refusal is recorded before it is raised.

        Raises:
            Denied, Unauthenticated, Unavailable: as `authz.decide.require`.
        """
        with self.recorded_there(Denied):
            return decide.require(self.node.world, self.node.trail, self.caller, action, target)

    def body(self, at_most: int) -> bytes:
        """The body of a raw route's request.

        Raises:
            TooLarge: it has more than `at_most` bytes.
        """
        length = int(self.environ.get("CONTENT_LENGTH") or 0)
        if length > at_most:
            raise TooLarge("the body is larger than {limit} bytes; send less", limit=at_most)
        data: bytes = self.environ["wsgi.input"].read(length)
        return data

    @contextmanager
    def recorded_there(self, *kinds: type[Error]) -> Iterator[None]:
        """Inside, errors of these kinds (all, when none is named) have been recorded by whoever raised them."""
        expected = kinds or (Error,)
        try:
            yield
        except expected:
            self.recorded = True
            raise

    def refuse(self, error: Error) -> Answer:
        """The problem document of `error`, after it was recorded or counted; 503 when that cannot be done."""
        try:
            self.note(error)
        except Unavailable as unavailable:
            error = unavailable
        body = problems.of(error, self.environ["yumen.request_id"])
        return Answer(problems.status_of(error), problems.headers(error), body)

    def note(self, error: Error) -> None:
        """Record the error of a known caller, count a stranger's; nothing when it was recorded already.

        Raises:
            Unavailable: it could not be recorded.
        """
        if self.recorded or isinstance(error, Unavailable):
            return
        self.recorded = True
        reason = problems.reason_of(error) or error.code
        if not self.caller.known:
            self.node.noise.count(reason, self.environ.get("REMOTE_ADDR", ""), f"{self.environ['REQUEST_METHOD']} {self.route or '-'}")
            return
        self.node.trail.append(
            [
                Event(
                    kind=Kind.INPUT_REFUSED,
                    actor=self.caller.actor,
                    object=f"route:{self.route or '-'}",
                    outcome="fail",
                    reason=reason,
                    source=self.caller.source,
                    request_id=self.caller.request_id,
                    details={"code": error.code, "method": self.environ["REQUEST_METHOD"]},
                )
            ]
        )
