"""What operators measure, in Prometheus' words. One registry per node, so that several can live in one process."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar
from weakref import WeakKeyDictionary

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from sqlalchemy.exc import SQLAlchemyError

from audit.trail import waiting_seconds
from core.errors import Error
from ops.reconcile import Result, last

if TYPE_CHECKING:
    from audit.trail import Trail
    from ops.node import Node

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Metrics:
    """Counts of one node."""

    _known: ClassVar[WeakKeyDictionary[Trail, Metrics]] = WeakKeyDictionary()

    def __init__(self, node: Node) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter("yumen_requests", "Answers by route and status.", ["route", "status"], registry=self._registry)
        self._seconds = Histogram("yumen_request_seconds", "Time to answer.", ["route"], buckets=_BUCKETS, registry=self._registry)
        closed = Gauge("yumen_trail_closed", "1 while the trail cannot be written.", registry=self._registry)
        closed.set_function(lambda: float(node.trail.closed))
        found = Gauge("yumen_trail_contradictions", "Facts and events that contradict each other now.", registry=self._registry)
        found.set_function(lambda: _compared(node, lambda result: result.open))
        compared = Gauge("yumen_trail_compared_seconds", "Seconds since facts and events were last compared.", registry=self._registry)
        compared.set_function(lambda: _compared(node, lambda result: (node.clock() - result.at).total_seconds()))
        waits = Gauge("yumen_trail_waiting_seconds", "How long the oldest committed event waits for its place.", registry=self._registry)
        waits.set_function(lambda: _or_unknown(lambda: waiting_seconds(node.database, node.clock())))
        age = Gauge("yumen_directory_age_seconds", "Seconds since the directory was last read well.", registry=self._registry)
        age.set_function(lambda: node.world.directory_age)
        revision = Gauge("yumen_snapshot_revision", "Revision that decisions are made on.", registry=self._registry)
        revision.set_function(lambda: node.world.current().revision)

    @classmethod
    def of(cls, node: Node) -> Metrics:
        """The metrics of `node`, the same for every listener."""
        found = cls._known.get(node.trail)
        if found is None:
            found = cls._known[node.trail] = cls(node)
        return found

    def observe(self, route: str, status: int, seconds: float) -> None:
        """Count one answer."""
        self._requests.labels(route or "-", str(status)).inc()
        self._seconds.labels(route or "-").observe(seconds)

    def text(self) -> bytes:
        """Everything, in the text format."""
        return generate_latest(self._registry)


def _or_unknown(measure: Callable[[], float]) -> float:
    """What is measured; no number while the database cannot be read."""
    try:
        return measure()
    except (Error, SQLAlchemyError):
        return math.nan


def _compared(node: Node, measure: Callable[[Result], float]) -> float:
    def look() -> float:
        with node.database.reading() as session:
            result = last(session)
        return measure(result) if result else math.nan

    return _or_unknown(look)
