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
from web.questions import DECISION, DECISIONS, EVALUATION, EVALUATIONS, FOUND, SEARCHES, Schema
from web.visit import Visit

_APPLICATION = frozenset({Opening.APPLICATION})

#: Answers a parsed question of an application, to be recorded before it is given.
Oracle = Callable[[World, Trail, Caller, Any], authzen.Answered]


def _asking(oracle: Oracle) -> Callable[[Visit, tuple[str, ...]], Pending]:
    def answer(visit: Visit, _parts: tuple[str, ...]) -> Pending:
        visit.caller = callers.of_program(visit)
        visit.must_be(_APPLICATION)
        question = _question(visit)
        try:
            answered = oracle(visit.node.world, visit.node.trail, visit.caller, question)
        except Denied:
            visit.recorded = True  # by whoever denied it
            raise
        return Pending(answered.events, lambda receipts: json(answered.told(receipts)))

    return answer


def _question(visit: Visit) -> Any:
    if not is_json(visit.environ.get("CONTENT_TYPE", "")):
        raise Malformed("send the question as `Content-Type: application/json`", reason="content-type")
    return strict.parse(visit.body(visit.node.settings.web.max_body_bytes))


def _discovery(visit: Visit, _parts: tuple[str, ...]) -> Answer:
    return json(authzen.configuration(visit.node.settings.web.https_url.rstrip("/")))


def _post(rule: str, oracle: Oracle, summary: str, schemas: tuple[Schema, Schema], *, quick: bool = False) -> Raw:
    takes, gives = schemas
    media = "application/json"
    described = Described(summary=f"{summary} (AuthZEN 1.0)", takes=media, takes_schema=takes, gives=media, gives_schema=gives)
    return Raw(
        methods=("POST",), rule=rule, answer=_asking(oracle), openings=_APPLICATION, described=described, quick=quick, heavy=not quick
    )


_SUBJECT, _RESOURCE, _ACTION = ((SEARCHES[wanted], FOUND) for wanted in ("subject", "resource", "action"))

DECISION_ROUTES = (
    _post("/access/v1/evaluation", authzen.evaluation, "May this subject do this to that?", (EVALUATION, DECISION), quick=True),
    _post("/access/v1/evaluations", authzen.evaluations, "Several questions at once", (EVALUATIONS, DECISIONS), quick=True),
    _post("/access/v1/search/subject", search.subject, "Who may do this to that?", _SUBJECT),
    _post("/access/v1/search/resource", search.resource, "To what may this subject do this?", _RESOURCE),
    _post("/access/v1/search/action", search.action, "What may this subject do to that?", _ACTION),
    Raw(
        methods=("GET", "HEAD"),
        rule="/.well-known/authzen-configuration",
        answer=_discovery,
        openings=frozenset({Opening.ANYONE}),
        described=Described(summary="What this decision point offers (AuthZEN 1.0 section 9)", gives="application/json"),
    ),
)
