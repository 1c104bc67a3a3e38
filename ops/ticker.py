"""A small job that every process does again and again, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

log = structlog.get_logger()


class Ticker:
    """Calls `do` every so many seconds until it is stopped; what fails is logged and tried again at the next turn."""

    def __init__(self, name: str, every_seconds: float, do: Callable[[], object]) -> None:
        self._name, self._every, self._do = name, every_seconds, do
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin; the first call comes after one period."""
        self._thread.start()

    def stop(self, patience: float | None = None) -> None:
        """End after the call that is under way; with `patience`, in seconds, do not wait longer for it."""
        self._stop.set()
        self._thread.join(patience)

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            try:
                self._do()
            except Exception:  # whatever it was, the next turn tries again
                log.exception("recurring job failed", job=self._name)
