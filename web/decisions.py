"""OpenID AuthZEN 1.0 for applications: evaluation, evaluations, the three searches, discovery. Raw, for speed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from audit.trail import Trail
from authz import authzen, search
from authz.caller import Caller
from authz.world import World
from core.errors import Denied, Malformed
from web import callers, strict
from web.answers import Answer, Pending, json
from web.credentials import is_json
from web.declare import Described, Opening
from web.front import Raw
from web.visit import Visit

_APPLICATION = frozenset({Opening.APPLICATION})

#: Answers a parsed question of an application, to be recorded before it is given.
Oracle = Callable[[World, Trail, Caller, Any], authzen.Answered]


def _asking(oracle: Oracle) -> Callable[[Visit, tuple[str, ...]], Pending]:
    def answer(visit: Visit, _parts: tuple[str, ...]) -> Pending:
        visit.caller = callers.of_program(visit)
        visit.must_be(_APPLICATION)
        question = _question(visit)
        with visit.recorded_there(Denied):
            answered = oracle(visit.node.world, visit.node.trail, visit.caller, question)
        return Pending(answered.events, lambda receipts: json(answered.told(receipts)))

    return answer


def _question(visit: Visit) -> Any:
    if not is_json(visit.environ.get("CONTENT_TYPE", "")):
        raise Malformed("send the question as `Content-Type: application/json`", reason="content-type")
    return strict.parse(visit.body(visit.node.settings.web.max_body_bytes))


def _discovery(visit: Visit, _parts: tuple[str, ...]) -> Answer:
    return json(authzen.configuration(visit.node.settings.web.https_url.rstrip("/")))


def _post(rule: str, oracle: Oracle, summary: str, *, quick: bool = False) -> Raw:
    described = Described(summary=summary, takes="application/json", gives="application/json")
    return Raw(methods=("POST",), rule=rule, answer=_asking(oracle), openings=_APPLICATION, described=described, quick=quick)


DECISION_ROUTES = (
    _post("/access/v1/evaluation", authzen.evaluation, "May this subject do this to that? (AuthZEN 1.0 section 6)", quick=True),
    _post("/access/v1/evaluations", authzen.evaluations, "Several questions at once (AuthZEN 1.0 section 7)", quick=True),
    _post("/access/v1/search/subject", search.subject, "Who may do this to that? (AuthZEN 1.0 section 8)"),
    _post("/access/v1/search/resource", search.resource, "To what may this subject do this? (AuthZEN 1.0 section 8)"),
    _post("/access/v1/search/action", search.action, "What may this subject do to that? (AuthZEN 1.0 section 8)"),
    Raw(
        methods=("GET", "HEAD"),
        rule="/.well-known/authzen-configuration",
        answer=_discovery,
        openings=frozenset({Opening.ANYONE}),
        described=Described(summary="What this decision point offers (AuthZEN 1.0 section 9)", gives="application/json"),
    ),
)
