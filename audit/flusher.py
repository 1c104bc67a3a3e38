"""Group commit: request threads hand their entries to one thread, which commits whatever waits when it becomes free.

Under load the batches grow by themselves, and a short rest between them lets them grow further: a batch costs the database
as much as ten entries before its first. A caller alone waits for nobody. Whoever hands over waits, or is told later without
holding a thread. The queue is bounded, waiting inside a write transaction is refused, and nothing that goes wrong kills the thread:
those who wait get the error and the next batch is tried.
"""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

import structlog

from audit.append import Receipt
from audit.body import Entry
from core.errors import Unavailable

#: Entries that one commit takes at most, so that a full queue does not become one long transaction.
MAX_BATCH = 1024
#: After a batch of more callers than this the thread rests for so many seconds.
FEW, REST = 2, 0.001
#: How long a caller waits at most; a disk that hangs must not hang every request with it.
PATIENCE = dt.timedelta(seconds=10)

_SILENT = "the trail does not answer; nothing was allowed, try again and tell the operator if it stays"

Write = Callable[[Sequence[Entry]], list[Receipt]]
#: What became of entries: their places, or why they are not known to be in the tree.
Outcome = list[Receipt] | Unavailable

_log = structlog.get_logger()


class _Waiting:
    """Entries under way, and who is to be told, once."""

    __slots__ = ("_then", "_untold", "entries", "since")

    def __init__(self, entries: Sequence[Entry], then: Callable[[Outcome], object]) -> None:
        self.entries = entries
        self.since = time.monotonic()
        self._then, self._untold = then, threading.Lock()

    def tell(self, outcome: Outcome) -> None:
        """Tell, unless it is told already: a written batch and lost patience may come at once."""
        if self._untold.acquire(blocking=False):
            try:
                self._then(outcome)
            except Exception:  # noqa: BLE001 - one caller's bug must not keep the others of a batch waiting
                _log.exception("an answer failed after its event was written")


class Flusher:
    """One thread that writes. `submit` returns when the entries are in the tree, durably."""

    def __init__(self, write: Write, limit: int, idle: Callable[[], None], pause: Callable[[], float]) -> None:
        """`write` commits a batch; after `pause()` seconds without work `idle` is called."""
        self._write, self._limit, self._idle, self._pause = write, limit, idle, pause
        self._queue: deque[_Waiting] = deque()
        self._size = 0
        self._wake = threading.Condition()
        self._stopped = False
        #: The batch that is being written, and whether a thread looks for those who waited too long.
        self._writing: list[_Waiting] = []
        self._watched = False
        #: Told how many seconds each commit took, whether it succeeded or not.
        self.written: Callable[[float], None] = lambda _: None
        self._thread = threading.Thread(target=self._run, name="trail-flusher", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Entries in the queue."""
        return self._size

    def submit(self, entries: Sequence[Entry]) -> list[Receipt]:
        """Wait until `entries` are in the tree and give their places.

        Raises:
            Full: the queue is full or closed; the entries were not taken.
            Silent: the outcome is not known in time.
            Unavailable: they could not be written.
        """
        if threading.current_thread() is self._thread:
            raise RuntimeError("the thread that writes the trail cannot wait for itself; let another one record this")
        woken, found = threading.Lock(), list[Outcome]()
        woken.acquire()

        def wake(outcome: Outcome) -> None:
            found.append(outcome)
            woken.release()

        self._take_in(_Waiting(entries, wake))
        if not woken.acquire(timeout=PATIENCE.total_seconds()):
            raise Silent(_SILENT)
        [outcome] = found
        if isinstance(outcome, Unavailable):
            raise outcome
        return outcome

    def hand_over(self, entries: Sequence[Entry], then: Callable[[Outcome], object]) -> None:
        """As `submit`, without waiting: another thread calls `then`, once, which must be quick.

        Raises:
            Full: as `submit`; `then` is not called.
        """
        self._take_in(_Waiting(entries, then))
        if not self._watched:
            self._watch()

    def _take_in(self, waiting: _Waiting) -> None:
        number = len(waiting.entries)
        with self._wake:
            if self._stopped or self._size + number > self._limit:
                raise Full("the trail cannot take more events now; try again in a moment")
            self._queue.append(waiting)
            self._size += number
            self._wake.notify()

    def close(self) -> None:
        """Write what waits, then stop."""
        with self._wake:
            self._stopped = True
            self._wake.notify()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._next():
            self._writing = batch
            entries = [entry for waiting in batch for entry in waiting.entries]
            outcomes: list[Outcome]
            began = time.perf_counter()
            try:
                receipts = iter(self._write(entries))
                outcomes = [[next(receipts) for _ in waiting.entries] for waiting in batch]
            except BaseException as error:  # noqa: BLE001 - those who wait must get an answer, whatever happened
                outcomes = [_unwritten(error) for _ in batch]
            self.written(time.perf_counter() - began)
            for waiting, outcome in zip(batch, outcomes, strict=True):
                waiting.tell(outcome)
            if len(batch) > FEW:
                time.sleep(REST)

    def _watch(self) -> None:
        """Let a thread tell those who cannot lose patience themselves that they waited too long."""
        with self._wake:
            if self._watched:
                return
            self._watched = True
        threading.Thread(target=self._lose_patience, name="trail-patience", daemon=True).start()

    def _lose_patience(self) -> None:
        while self._thread.is_alive():
            time.sleep(PATIENCE.total_seconds() / 20)
            too_early = time.monotonic() - PATIENCE.total_seconds()
            with self._wake:
                late = [waiting for waiting in (*self._writing, *self._queue) if waiting.since < too_early]
            for waiting in late:
                waiting.tell(Silent(_SILENT))

    def _next(self) -> list[_Waiting]:
        """Everything that waits, up to the batch limit; empty when closed and drained."""
        idle_since = time.monotonic()
        with self._wake:
            while not self._queue:
                if self._stopped:
                    return []
                left = idle_since + self._pause() - time.monotonic()
                if left > 0:
                    self._wake.wait(left)
                    continue
                self._wake.release()
                try:
                    self._idle()
                finally:
                    self._wake.acquire()
                idle_since = time.monotonic()
            return self._take()

    def _take(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        size = 0
        while self._queue and (not batch or size + len(self._queue[0].entries) <= MAX_BATCH):
            waiting = self._queue.popleft()
            batch.append(waiting)
            size += len(waiting.entries)
        self._size -= size
        return batch


class Silent(Unavailable):
    """The flusher has the entries and does not answer: whether they will be written is not known."""


class Full(Unavailable):
    """The queue did not take the entries: they will never be written."""


def _unwritten(error: BaseException) -> Unavailable:
    told = Unavailable("the trail cannot be written now; try again, and tell the operator if it stays")
    told.__cause__ = error
    return told
