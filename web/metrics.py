"""What operators measure of one process, and of its home, in Prometheus' words. One registry per node: several can live in one process.

Labels have few values, all of ours: routes as they are declared, never addresses; no person, serial or address of a caller.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, ClassVar
from weakref import WeakKeyDictionary

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.pool import QueuePool

from ops.measures import State

if TYPE_CHECKING:
    from audit.trail import Trail
    from ops.node import Node

disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each, and nobody asks when a count began
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Metrics:
    """Counts of one node."""

    _known: ClassVar[WeakKeyDictionary[Trail, Metrics]] = WeakKeyDictionary()

    def __init__(self, node: Node) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter("yumen_requests", "Answers by route and status.", ["route", "status"], registry=registry)
        self._seconds = Histogram("yumen_request_seconds", "Time to answer.", ["route"], buckets=_BUCKETS, registry=registry)
        appended = Histogram("yumen_trail_append_seconds", "Time of one commit to the trail.", buckets=_BUCKETS, registry=registry)
        node.trail.watch(appended.observe)
        for name, meaning, value in (
            ("trail_closed", "1 while the trail cannot be written.", lambda: float(node.trail.closed)),
            ("trail_waiting", "Events in the queue of this process.", lambda: node.trail.waiting),
            ("trail_unproved", "Events of this process that are committed and not in the tree yet.", lambda: node.trail.unproved),
            ("directory_age_seconds", "Seconds since the directory was last read well.", lambda: node.world.directory_age),
            ("rows_age_seconds", "Seconds since this process last read the rows it decides on.", lambda: node.world.rows_age),
            ("clock_off_seconds", "Seconds by which the clock was stepped and is not believed.", lambda: node.hour.off_seconds),
            ("snapshot_revision", "Revision that decisions are made on.", lambda: node.world.current().revision),
        ):
            Gauge(f"yumen_{name}", meaning, registry=registry).set_function(value)
        #: Looking a series up costs as much as a decision: those that were used are kept, and there are few.
        self._of = cache(self._series)
        registry.register(_Parts(node))
        registry.register(State(node.settings, node.database, node.clock))
        ProcessCollector(registry=registry)

    @classmethod
    def of(cls, node: Node) -> Metrics:
        """The metrics of `node`, the same for every listener."""
        found = cls._known.get(node.trail)
        if found is None:
            found = cls._known[node.trail] = cls(node)
        return found

    def _series(self, route: str, status: int) -> tuple[Counter, Histogram]:
        return self._requests.labels(route, str(status)), self._seconds.labels(route)

    def observe(self, route: str, status: int, seconds: float) -> None:
        """Count one answer."""
        requests, durations = self._of(route or "-", status)
        requests.inc()
        durations.observe(seconds)

    def text(self) -> bytes:
        """Everything, in the text format."""
        return generate_latest(self._registry)


class _Parts(Collector):
    """What parts of the process count by themselves."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def collect(self) -> Iterable[Metric]:
        """OCSP answers, connections to the database, and what runs."""
        answers = CounterMetricFamily("yumen_ocsp_answers", "OCSP answers, signed for the asker or kept from before.", labels=["made"])
        for made, number in self._node.responder.answered.items():
            answers.add_metric([made], number)
        connections = GaugeMetricFamily("yumen_database_connections", "Connections of this process's pool.", labels=["state"])
        pool = self._node.database.engine.pool
        if isinstance(pool, QueuePool):
            connections.add_metric(["used"], pool.checkedout())
            connections.add_metric(["idle"], pool.checkedin())
        info = GaugeMetricFamily("yumen_info", "1; what runs, and in which form.", labels=["version", "python", "form"])
        form = "embedded" if self._node.settings.embedded else "production"
        info.add_metric([metadata.version("yumen"), platform.python_version(), form], 1)
        return answers, connections, info
