"""For operators: is the process alive, is it ready, how does it fare."""

from __future__ import annotations

from flask import Blueprint, Response

from audit.permit import Action
from authz.decide import Target
from ops import readiness
from web import door
from web.metrics import Metrics

routes = Blueprint("api_health", __name__)


@routes.get("/healthz")
@door.open_to(door.ANYONE)
@door.described(summary="Whether the process answers at all", gives="application/json")
def live() -> Response:
    """Always yes, when it comes."""
    return door.answer({"status": "live"})


@routes.get("/readyz")
@door.open_to(door.ANYONE)
@door.described(summary="Whether requests can be served; 503 with the reasons when not", also=503, gives="application/json")
def ready() -> Response:
    """What keeps the node from serving, if anything does."""
    node = door.node()
    found = readiness.reasons(node, node.lead)
    return door.answer({"status": "not ready" if found else "ready", "reasons": found}, 503 if found else 200)


@routes.get("/metrics")
@door.open_to(door.LOOPBACK, door.PERSON)
@door.described(summary="Measurements in Prometheus' text format; from this machine or for operators", gives="text/plain")
def metrics() -> Response:
    """Everything that is counted."""
    if not door.visit().loopback:
        door.permit(Action.SYSTEM_READ, Target("metrics"))
    return Response(Metrics.of(door.node()).text(), content_type="text/plain; version=0.0.4; charset=utf-8")
