"""Faults that are real, and a witness who asks all the time: what he was told is in the trail, or nobody told him."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cli.story.ending import question
from core.errors import Error
from tests.production.machine import Machine
from tests.production.stage import Production

#: Nobody waits longer for an answer; whoever does counts as not answered.
PATIENCE = 12.0


@dataclass
class Witness:
    """What callers of both instances were told, in the order of time: seconds since the beginning, instance, answer."""

    production: Production
    told: list[tuple[float, int, str]] = field(default_factory=list)
    receipts: list[dict[str, Any]] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    _stop: threading.Event = field(default_factory=threading.Event)

    def ask(self, number: int, asked: dict[str, Any]) -> None:
        """Ask instance `number` until told to stop."""
        with self.production.application(number, timeout_seconds=PATIENCE) as oa:
            while not self._stop.is_set():
                since = time.monotonic()
                try:
                    answer = oa.post("/access/v1/evaluation", asked)
                    self.receipts.append(answer["context"]["receipt"])
                    word = "yes" if answer["decision"] else answer["context"]["reason"]
                except Error as error:
                    word = error.code
                if time.monotonic() - since > PATIENCE - 0.5:
                    word = "silence"
                self.told.append((since - self.began, number, word))
                self._stop.wait(0.05)

    def answers(self, number: int, since: float = 0.0, until: float = 1e9) -> list[str]:
        """The answers of one instance in a span of time (monotonic)."""
        return [word for at, who, word in self.told if who == number and since <= at + self.began <= until]

    def lost(self) -> list[dict[str, Any]]:
        """Receipts whose entry is not in the trail as it was told: there must be none."""
        rows = self.production.sql("SELECT log || '/' || epoch || ' ' || idx || ' ' || encode(leaf, 'hex') FROM audit.trail_event")
        known = set(rows)
        return [each for each in self.receipts if f"{each['log']} {each['idx']} {each['leaf']}" not in known]


@contextmanager
def witnessed(production: Production) -> Iterator[Witness]:
    """Callers at both instances while the block runs; at its end nothing that they were told may be lost."""
    witness = Witness(production)
    asked = question("zhaoliu", "read", "plan-2026")
    threads = [threading.Thread(target=witness.ask, args=(number, asked)) for number in (1, 2)]
    for thread in threads:
        thread.start()
    try:
        yield witness
    finally:
        witness._stop.set()
        for thread in threads:
            thread.join()
    assert witness.receipts
    assert witness.lost() == []


@contextmanager
def frozen(machine: Machine, name: str) -> Iterator[float]:
    """Stop a service and its children as they stand; gives the moment."""
    family = list(_family(machine.running[name].pid))
    try:
        for pid in family:
            os.kill(pid, signal.SIGSTOP)
        yield time.monotonic()
    finally:
        for pid in reversed(family):
            os.kill(pid, signal.SIGCONT)


@contextmanager
def unplugged(machine: Machine, network: str) -> Iterator[float]:
    """Take out a cable; gives the moment."""
    try:
        machine.networks[network].plug(connected=False)
        yield time.monotonic()
    finally:
        machine.networks[network].plug(connected=True)


@contextmanager
def full(machine: Machine, folder: str) -> Iterator[float]:
    """Fill the disk of `folder` to the last byte; gives the moment."""
    filler = machine.inside(f"{folder}/filler")
    try:
        with filler.open("wb", buffering=0) as file, _enough():
            while file.write(bytes(1 << 20)):
                pass
        yield time.monotonic()
    finally:
        filler.unlink()


@contextmanager
def slow(machine: Machine, milliseconds: int) -> Iterator[float]:
    """Let each flush of the database's disk wait so long; gives the moment."""
    switch = machine.root / "var/tmp/milliseconds"
    try:
        switch.write_text(str(milliseconds))
        switch.chmod(0o644)
        yield time.monotonic()
    finally:
        switch.unlink()


@contextmanager
def _enough() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        assert error.errno == 28, error


def _family(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from _family(int(child))


def eventually(probe: Callable[[], object], patience: float, what: str) -> float:
    """Seconds until `probe` is true; it may raise what a service that recovers raises."""
    began = time.monotonic()
    last: object = None
    while time.monotonic() - began < patience:
        try:
            if probe():
                return time.monotonic() - began
        except (Error, OSError) as error:
            last = error
        time.sleep(0.05)
    raise AssertionError(f"{what} ({last!r})")
