"""The API about itself."""

from __future__ import annotations

from collections.abc import Iterable

from flask import Blueprint, Flask, Response, current_app

from web import door, openapi
from web.decisions import DECISION_ROUTES
from web.declare import description, openings
from web.gate import GATE_ROUTES
from web.hot import STATUS_ROUTES
from web.openapi import Operation

routes = Blueprint("api_meta", __name__, url_prefix="/api/v1")

_NO_OPERATIONS = frozenset({"HEAD", "OPTIONS"})


@routes.get("/openapi.json")
@door.open_to(door.ANYONE)
@door.described(summary="This document", gives="application/json")
def document() -> Response:
    """The OpenAPI document of everything that programs call."""
    return door.answer(openapi.document(operations(current_app), door.node().settings.web.https_url.rstrip("/")))


def operations(app: Flask) -> Iterable[Operation]:
    """Every route for programs: those of the framework and the raw ones in front of it."""
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        said = description(view)
        if said is None:
            continue
        for method in sorted((rule.methods or set()) - _NO_OPERATIONS):
            epochless = "_current" if rule.defaults else ""
            yield Operation(method, rule.rule, f"{rule.endpoint}{epochless}".removeprefix("api_"), openings(view), said)
    for route in (*STATUS_ROUTES, *DECISION_ROUTES, *GATE_ROUTES):
        for method in sorted(set(route.methods) - _NO_OPERATIONS):
            name = f"{method.lower()}_{route.rule.split('/<')[0].strip('/').replace('/', '_').replace('.', '').replace('-', '_')}"
            kind = route.rule.rpartition(".")[2] if "<" in route.rule and "." in route.rule else ""
            yield Operation(method, route.rule, f"{name}_{kind}".rstrip("_"), route.openings, route.described)
