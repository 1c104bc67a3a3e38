"""Answers of the raw paths, which no framework touches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import orjson

from audit.event import Event
from audit.trail import Receipt
from web import problems

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse


class Answer(NamedTuple):
    """Status code, header fields and body."""

    status: int
    fields: list[tuple[str, str]]
    body: bytes

    def send(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Hand the answer to the server; a HEAD gets the fields only."""
        length = [] if self.status == 204 else [("Content-Length", str(len(self.body)))]  # RFC 9110 section 8.6
        fields = [*self.fields, *length, *common(environ)]
        start_response(problems.status_line(self.status), fields)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [self.body]


class Pending(NamedTuple):
    """An answer that may be given when these events are in the trail, and not before."""

    events: Sequence[Event]
    told: Callable[[Sequence[Receipt]], Answer]


class Aside(NamedTuple):
    """An answer that waits for the database: not in a thread that many callers share."""

    made: Callable[[], Answer]


#: What an application gives that answers through `yumen.later`.
LATER: Iterable[bytes] = ()


class Later(Protocol):
    """What stands under `yumen.later` where no thread has to wait for an answer: where the answer goes when it is there."""

    def finish(self, answer: Callable[[], Iterable[bytes]], /) -> None:
        """Send what `answer` gives, called here and now."""

    def finish_aside(self, answer: Callable[[], Iterable[bytes]], /) -> None:
        """The same in another thread, which may wait."""


def common(environ: dict[str, Any]) -> list[tuple[str, str]]:
    """The fields that every answer carries."""
    return [("X-Request-ID", environ["yumen.echo"]), ("X-Content-Type-Options", "nosniff")]


def json(value: object, status: int = 200) -> Answer:
    """`value` as JSON that nobody stores."""
    return Answer(status, [("Content-Type", "application/json"), ("Cache-Control", "no-store")], orjson.dumps(value))
