"""Four processes on one home: nothing acknowledged is lost, no gap, no fork, fast enough; also under `kill -9`."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from audit.verifier.errors import Tampered
from audit.verifier.note import Checkpoint
from tests.audit.homes import close_home, open_home

pytestmark = [pytest.mark.alone, pytest.mark.slow]

#: An acknowledgement may take this many milliseconds, for 99 of 100 events.
P99 = 50
#: Of the machine's processor time: what others may take before an attempt says nothing about us.
CROWDED = 0.25

NODES = ("n0", "n1", "n2", "n3")
ROOT = Path(__file__).parents[2]


class Acknowledged(NamedTuple):
    idx: int
    leaf: str
    milliseconds: float


class Load(NamedTuple):
    """What was acknowledged, and the share of the machine that others took meanwhile."""

    acknowledged: list[Acknowledged]
    others: float

    @property
    def crowded(self) -> bool:
        return self.others > CROWDED


class Process:
    """A writer whose acknowledgements go to a file of their own, so that nothing it said is lost when it is killed."""

    def __init__(self, folder: Path, node: str, rate: int, seconds: float, mode: str = "") -> None:
        self.said = folder / f"{node}.{random.getrandbits(48):x}.said"
        command = [sys.executable, "-m", "tests.audit.writer", str(folder), node, str(rate), str(seconds), *([mode] if mode else [])]
        with self.said.open("wb") as file:
            self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=file)

    def wait_until_ready(self) -> None:
        while not self.said.read_bytes().startswith(b"ready\n"):
            assert self.process.poll() is None, "the writer did not start"
            time.sleep(0.01)

    def go(self) -> None:
        assert self.process.stdin
        self.process.stdin.write(b"go\n")
        self.process.stdin.close()

    def kill(self) -> None:
        self.process.kill()
        self.wait()

    def used(self) -> float:
        """Seconds of processor time so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def wait(self) -> int:
        if self.process.stdin and not self.process.stdin.closed:
            self.process.stdin.close()
        return self.process.wait(120)

    def acknowledged(self) -> list[Acknowledged]:
        lines = self.said.read_text().split("\n")[1:-1]  # a last line without its end was not said
        return [Acknowledged(int(idx), leaf, float(took)) for idx, leaf, took in (line.split() for line in lines)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    close_home(open_home(tmp_path))
    return tmp_path


def stored(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / "yumen.db")) as db:
        return [leaf.hex() for (leaf,) in db.execute("SELECT leaf FROM trail_event WHERE log = 'access' ORDER BY idx")]


def roots(folder: Path) -> list[Checkpoint]:
    """Every root that was ever committed, as heads to be proved: a fork or a gap could not satisfy them all."""
    with closing(sqlite3.connect(folder / "yumen.db")) as db:
        return [Checkpoint(f"yumen.test/{log}/1", size, root) for log, size, root in db.execute("SELECT log, size, root FROM trail_batch")]


def assert_nothing_is_lost(folder: Path, acknowledged: list[Acknowledged]) -> None:
    home = open_home(folder, node="checker", boot=f"{random.getrandbits(48):x}")
    for node in NODES:  # each node starts once more and declares what died with it
        close_home(open_home(folder, node=node, boot=f"{random.getrandbits(48):x}"))
    leaves = stored(folder)
    lost = [one for one in acknowledged if one.idx >= len(leaves) or leaves[one.idx] != one.leaf]
    assert lost == []
    assert len({one.idx for one in acknowledged}) == len(acknowledged)
    home.check(roots(folder))
    close_home(home)


def busy() -> float:
    """Seconds of processor time that the machine has spent on anybody, or lost to its host."""
    user, nice, system, _idle, _waiting, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split(maxsplit=9)[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def own() -> float:
    """Seconds of processor time of this process and of the children that have ended."""
    return sum(os.times()[:4])


def four_under_load(folder: Path, rate: int, seconds: float) -> Load:
    processes = [Process(folder, node, rate // 4, seconds) for node in NODES]
    for process in processes:
        process.wait_until_ready()
    began, before, ours = time.monotonic(), busy(), own() + sum(process.used() for process in processes)
    for process in processes:
        process.go()
    assert [process.wait() for process in processes] == [0, 0, 0, 0]
    others = (busy() - before - (own() - ours)) / ((time.monotonic() - began) * (os.cpu_count() or 1))
    return Load([one for process in processes for one in process.acknowledged()], others)


def percentile(acknowledged: list[Acknowledged], share: float) -> float:
    return sorted(one.milliseconds for one in acknowledged)[int(len(acknowledged) * share)]


def show_load(folder: Path, seconds: float, attempts: int) -> None:
    """Load, then check. Nothing may ever spoil the record; the latency is judged on a machine that is ours.

    One good attempt shows it. Two bad ones on a quiet machine deny it; less than that is no verdict, and says so.
    """
    found, quiet = [], 0
    for _ in range(attempts):
        load = four_under_load(folder, 2000, seconds)
        acknowledged = load.acknowledged
        assert_nothing_is_lost(folder, acknowledged)
        half, most = percentile(acknowledged, 0.5), percentile(acknowledged, 0.99)
        found.append(f"{len(acknowledged)} events, p50 {half:.1f} ms, p99 {most:.1f} ms, others took {load.others:.0%} of the machine")
        print(found[-1])
        if most <= P99 and len(acknowledged) >= 2000 * seconds * 0.99:
            return
        quiet += not load.crowded
    told = "; ".join(found)
    if quiet >= 2:
        pytest.fail(f"p99 stayed above {P99} ms: {told}")
    pytest.skip(f"nothing was lost, but the machine was too busy to judge the latency: {told}")


def show_kills(folder: Path, rounds: int) -> None:
    acknowledged = []
    for number in range(rounds):
        dice = random.Random(number)
        processes = [Process(folder, node, 200, 60) for node in NODES]
        for process in processes:
            process.wait_until_ready()
            process.go()
        time.sleep(dice.uniform(0.1, 0.5))
        dice.shuffle(processes)
        for process in processes:
            process.kill()
            time.sleep(dice.uniform(0, 0.05))
        acknowledged += [one for process in processes for one in process.acknowledged()]
    assert acknowledged
    assert_nothing_is_lost(folder, acknowledged)


def test_four_processes_at_2000_events_a_second(folder: Path) -> None:
    show_load(folder, 2, attempts=4)


def test_nothing_acknowledged_is_lost_when_writers_are_killed(folder: Path) -> None:
    show_kills(folder, 2)


def test_acknowledging_before_the_commit_is_caught(folder: Path) -> None:
    """The negative control: the same check fails when the promise is broken."""
    for _ in range(10):
        process = Process(folder, "n0", 400, 60, "early")
        process.wait_until_ready()
        before = process.said.stat().st_size
        while process.said.stat().st_size < before + 500:
            time.sleep(0.0005)
        process.kill()
        acknowledged = process.acknowledged()
        try:
            assert_nothing_is_lost(folder, acknowledged)
        except (AssertionError, Tampered):
            return
    pytest.fail("ten kills between acknowledgement and commit went unseen")


@pytest.mark.proof
def test_four_processes_at_2000_events_a_second_for_a_minute(folder: Path) -> None:
    show_load(folder, 60, attempts=2)


@pytest.mark.proof
def test_nothing_acknowledged_is_lost_in_forty_rounds_of_kills(folder: Path) -> None:
    show_kills(folder, 40)
