"""What operators measure, in Prometheus' words. One registry per node, so that several can live in one process."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar
from weakref import WeakKeyDictionary

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

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
