"""The one error tree. The door maps `code` to HTTP or an exit status; nothing else does.

Messages are templates with named facts, so that pages can translate the template and fill in the facts:
`raise Conflict("request `{request}` is already {state}", request=id, state=state)`. One lower-case sentence, no full
stop, the caller's input in backticks, what to do next. Bugs and attacks are not in this tree.
"""

from __future__ import annotations

from typing import ClassVar


class Error(Exception):
    """Something a caller must handle. `code` is stable and documented; `detail` may be shown to the caller."""

    code: ClassVar[str] = "internal"

    def __init__(self, template: str, /, **facts: object) -> None:
        self.template = template
        self.facts = facts
        self.detail = template.format(**facts) if facts else template
        super().__init__(self.detail)


class Malformed(Error):
    """The bytes or fields received cannot be read, or break a rule of their format."""

    code = "malformed"


class Unauthenticated(Error):
    """Nobody known is calling, or the proof of identity does not hold."""

    code = "unauthenticated"


class Denied(Error):
    """The caller is known and the policy answered no."""

    code = "denied"


class NotFound(Error):
    """There is no such object, or the caller may not know that there is."""

    code = "not-found"


class Conflict(Error):
    """The object is not in a state that allows this step."""

    code = "conflict"


class TooLarge(Error):
    """The input is larger than the address accepts."""

    code = "too-large"


class RateLimited(Error):
    """Too many attempts; the same call may succeed after `retry_after_seconds`."""

    code = "rate-limited"

    def __init__(self, template: str, /, *, retry_after_seconds: int, **facts: object) -> None:
        super().__init__(template, **facts)
        self.retry_after_seconds = retry_after_seconds


class CodeUsed(RateLimited):
    """A correct password came with a one-time code that was accepted before (RFC 6238 section 5.2)."""

    code = "code-used"


class Unavailable(Error):
    """Something Yumen needs cannot be reached; nothing was done, the same call may be repeated."""

    code = "unavailable"


class NotYetProved(Error):
    """The act stands and its event is kept with it, but the trail could not place the event now; it will, by itself."""

    code = "recorded-not-yet-proved"
