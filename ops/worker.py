"""The jobs of a home: signing, sweeping, revocation lists, checkpoints, renewal of the service's own certificates, notices.

One process does them: the one that leads. In embedded form this is a thread of the one process, in production
`yumen worker`, of which several may stand by. A job that fails is logged and tried again at its next turn; the others go on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog

from audit import rounds
from ca.keys import Missigned
from ca.worker import Worker as Authority
from ops import homes
from ops.leadership import leadership
from ops.node import Node
from ops.notices.rounds import Notices, channels
from ops.pairs.people import Directory
from ops.reconcile import Reconciler, Stopped
from ops.renewal import renew_listener
from ops.schedule import Schedule
from ops.schedule import Stopped as Unfinished
from ops.ticker import Ticker

log = structlog.get_logger()

#: A standing-by worker tries for the lock this often, in seconds.
_STANDBY_SECONDS = 0.5
#: A leader tells the server that it lives this often, in seconds; a job may take longer.
_KEEP_SECONDS = 1.0
#: A worker that stands by takes over the published heads this often, in seconds.
_FOLLOW_SECONDS = 1.0
#: After a failure a job is tried again no sooner than this, in seconds: the log must stay readable.
_AFTER_FAILURE_SECONDS = 2.0
#: How often it is looked whether a committed event still waits for its place, in seconds.
_WAITING_SECONDS = 2.0
#: How often it is looked whether SQLite's journal has grown, in seconds.
_JOURNAL_SECONDS = 2.0
#: How often the service's own certificates are looked at, in seconds.
_RENEWAL_SECONDS = 5.0
#: How often it is looked whether somebody must be told something, in seconds.
_NOTICES_SECONDS = 5.0
#: A worker that ends waits so long for a backup on its way, in seconds; what it leaves is swept.
_PATIENCE_SECONDS = 5.0


@dataclass(slots=True)
class _Job:
    name: str
    every_seconds: float
    do: Callable[[], object]
    due: float = 0.0


class Worker:
    """The loop. `start` and `stop` it; `leading` tells whether this process has the jobs."""

    def __init__(self, node: Node) -> None:
        if node.works is None or node.publisher is None:
            raise RuntimeError("the worker needs a node with keys")
        self._claim = leadership(node.settings)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)
        # The directory has a thread of its own: what is slow here must not age it.
        self._reading = threading.Thread(
            target=node.follower.follow, args=(self._stop, lambda: self.leading), name="directory", daemon=True
        )
        authority = Authority(node.works)
        self._jobs = [
            _Job("authority", node.settings.ca.period.total_seconds(), authority.step),
            _Job("checkpoint", node.settings.audit.checkpoint_period.total_seconds(), node.publisher.publish),
            _Job("waiting events", _WAITING_SECONDS, node.trail.settle_late),
            _Job("journal", _JOURNAL_SECONDS, node.database.shorten),
            _Job("renewal", _RENEWAL_SECONDS, lambda: renew_listener(node)),
        ]
        self._keeping = Ticker("leadership", _KEEP_SECONDS, self._claim.keep)
        self._following = _Job("notes", _FOLLOW_SECONDS, node.publisher.follow)
        self._reconciler = Reconciler(node.trail, Directory(node.trail, node.world))
        self._schedule = Schedule(node)
        self._backing_up = Ticker("backup", self._schedule.every_seconds, self._back_up)
        self._reconciling = Ticker("reconcile", node.settings.audit.reconcile_period.total_seconds(), self._reconcile)
        self._rounds = rounds.Rounds(node.trail, homes.notes_folder(node.settings.home))
        self._verifying = Ticker("verify", rounds.EVERY, self._verify)
        # Mail servers are slow, and what is above must not wait for them.
        self._notices = Notices(node, channels(node.settings))
        self._noticing = Ticker("notices", _NOTICES_SECONDS, lambda: self._notices.turn(leads=self.leading))

    @property
    def leading(self) -> bool:
        """Whether this process does the jobs now."""
        return self._claim.held

    def start(self) -> None:
        """Begin to work, or to stand by while another process works."""
        self._claim.take()
        self._thread.start()
        self._keeping.start()
        self._reading.start()
        self._reconciling.start()
        self._verifying.start()
        self._noticing.start()
        self._backing_up.start()

    def stop(self) -> None:
        """Finish the job at hand, then let another process lead."""
        self._stop.set()
        self._schedule.stop()
        self._reconciler.stop()
        self._rounds.stop()
        self._notices.stop()
        self._reconciling.stop()
        self._verifying.stop()
        self._noticing.stop()
        self._backing_up.stop(_PATIENCE_SECONDS)
        self._thread.join()
        self._reading.join()
        self._keeping.stop()
        self._claim.release()

    def _run(self) -> None:
        while not self._stop.is_set():
            if not self._claim.take():
                if self._following.due <= time.monotonic():
                    _attempt(self._following)
                self._stop.wait(_STANDBY_SECONDS)
                continue
            for job in self._jobs:
                if job.due <= time.monotonic() and not self._stop.is_set() and self._claim.take():
                    _attempt(job)
            self._stop.wait(max(0.01, min(job.due for job in self._jobs) - time.monotonic()))

    def _reconcile(self) -> None:
        """In a thread of its own: lists and heads must not wait for it."""
        if self.leading:
            with suppress(Stopped):
                self._reconciler.turn()

    def _verify(self) -> None:
        """In a thread of its own as well: a turn may take a second."""
        if self.leading:
            self._rounds.turn()
        else:
            self._rounds.rest()

    def _back_up(self) -> None:
        """In a thread of its own: it may take an hour."""
        if self.leading:
            with suppress(Unfinished):
                self._schedule.turn()


def _attempt(job: _Job) -> None:
    pause = job.every_seconds
    try:
        job.do()
    except Missigned:
        log.critical("signed bytes are not the linted bytes; the authority is stopped", exc_info=True)
    except Exception:  # one job's failure must not stop revocation lists and checkpoints
        log.exception("job failed", job=job.name)
        pause = max(pause, _AFTER_FAILURE_SECONDS)
    job.due = time.monotonic() + pause
