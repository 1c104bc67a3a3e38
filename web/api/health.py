"""For operators: is the process alive, is it ready, how does it fare."""

from __future__ import annotations

from flask import Blueprint, Response

from audit.permit import Action
from audit.trail import waiting_seconds
from authz.decide import Target
from ca import authorities
from core.errors import Error
from ops import reconcile
from ops.status import WAITS
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
@door.described(summary="Whether requests can be served; 503 with the reasons when not", gives="application/json")
def ready() -> Response:
    """What keeps the node from serving, if anything does."""
    found = reasons()
    return door.answer({"status": "not ready" if found else "ready", "reasons": found}, 503 if found else 200)


@routes.get("/metrics")
@door.open_to(door.LOOPBACK, door.PERSON)
@door.described(summary="Measurements in Prometheus' text format; from this machine or for operators", gives="text/plain")
def metrics() -> Response:
    """Everything that is counted."""
    if not door.visit().loopback:
        door.permit(Action.SYSTEM_READ, Target("metrics"))
    return Response(Metrics.of(door.node()).text(), content_type="text/plain; version=0.0.4; charset=utf-8")


def reasons() -> list[str]:
    """What keeps the node from serving, one sentence each; empty when it is ready."""
    node = door.node()
    found = ["the trail cannot be written: acts, logins and decisions are refused"] if node.trail.closed else []
    found += node.world.problems()
    found += node.responder.problems()
    try:
        with node.database.reading() as session:
            found += authorities.problems(session)
            found += reconcile.problems(session)
        if waiting_seconds(node.database, node.clock()) > WAITS:
            found.append("events wait for their place in the trail: acts are answered as not yet proved")
    except Error as error:
        found.append(error.detail)
    return found
