from __future__ import annotations

import json
from collections.abc import Iterator

from core.errors import CodeUsed, Denied, Error, RateLimited, Unauthenticated, Unavailable
from web import problems


def tree(kind: type[Error] = Error) -> Iterator[type[Error]]:
    yield kind
    for child in kind.__subclasses__():
        yield from tree(child)


def test_every_code_of_the_tree_has_a_status_and_a_title() -> None:
    codes = {kind.code for kind in tree() if kind.__module__ == "core.errors"}
    assert set(problems.STATUS) == codes
    assert set(problems.TITLES) == codes


def test_a_problem_tells_code_detail_reason_and_request() -> None:
    error = Denied("`{who}` may not", who="x", reason="own-request")
    assert json.loads(problems.of(error, "r1")) == {
        "type": "urn:yumen:error:denied",
        "title": "the policy answered no",
        "status": 403,
        "code": "denied",
        "detail": "`x` may not",
        "reason": "own-request",
        "instance": "urn:yumen:request:r1",
    }


def test_who_must_wait_is_told_how_long_and_who_is_unknown_how_to_authenticate() -> None:
    assert ("Retry-After", "7") in problems.headers(RateLimited("wait", retry_after_seconds=7))
    assert ("Retry-After", "9") in problems.headers(CodeUsed("wait", retry_after_seconds=9))
    assert ("Retry-After", str(problems.RETRY_SECONDS)) in problems.headers(Unavailable("later"))
    assert any(name == "WWW-Authenticate" for name, _ in problems.headers(Unauthenticated("who")))
