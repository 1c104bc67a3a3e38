"""Group commit: request threads hand their entries to one thread, which commits whatever waits when it becomes free.

There is no timer: under load the batches grow by themselves. The queue is bounded, waiting inside a write transaction
is refused, and nothing that goes wrong kills the thread: those who wait get the error and the next batch is tried.
"""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from audit.append import Receipt
from audit.body import Entry
from core.errors import Unavailable

#: Entries that one commit takes at most, so that a full queue does not become one long transaction.
MAX_BATCH = 1024
#: How long a caller waits at most; a disk that hangs must not hang every request with it.
PATIENCE = dt.timedelta(seconds=10)

Write = Callable[[Sequence[Entry]], list[Receipt]]


class _Waiting:
    __slots__ = ("done", "entries", "error", "receipts")

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = entries
        self.receipts: list[Receipt] = []
        self.error: BaseException | None = None
        self.done = threading.Lock()
        self.done.acquire()


class Flusher:
    """One thread that writes. `submit` returns when the entries are in the tree, durably."""

    def __init__(self, write: Write, limit: int, idle: Callable[[], None], pause: Callable[[], float]) -> None:
        """`write` commits a batch; after `pause()` seconds without work `idle` is called."""
        self._write, self._limit, self._idle, self._pause = write, limit, idle, pause
        self._queue: deque[_Waiting] = deque()
        self._size = 0
        self._wake = threading.Condition()
        self._stopped = False
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
        waiting = _Waiting(entries)
        with self._wake:
            if self._stopped or self._size + len(entries) > self._limit:
                raise Full("the trail cannot take more events now; try again in a moment")
            self._queue.append(waiting)
            self._size += len(entries)
            self._wake.notify()
        if not waiting.done.acquire(timeout=PATIENCE.total_seconds()):
            raise Silent("the trail does not answer; nothing was allowed, try again and tell the operator if it stays")
        if waiting.error is not None:
            raise Unavailable("the trail cannot be written now; try again, and tell the operator if it stays") from waiting.error
        return waiting.receipts

    def close(self) -> None:
        """Write what waits, then stop."""
        with self._wake:
            self._stopped = True
            self._wake.notify()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._next():
            entries = [entry for waiting in batch for entry in waiting.entries]
            began = time.perf_counter()
            try:
                receipts = iter(self._write(entries))
                for waiting in batch:
                    waiting.receipts = [next(receipts) for _ in waiting.entries]
            except BaseException as error:  # noqa: BLE001 - those who wait must get an answer, whatever happened
                for waiting in batch:
                    waiting.error = error
            for waiting in batch:
                waiting.done.release()
            self.written(time.perf_counter() - began)

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
