"""Nodes and callers are killed, and the server with them: nothing acknowledged is lost, no gap, no fork, facts and events 1:1."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from audit.verifier.errors import Tampered
from audit.verifier.note import Checkpoint
from tests.audit.homes import close_home, open_home, stranger
from tests.postgres import Cluster

pytestmark = [
    pytest.mark.component("postgresql"),
    pytest.mark.parametrize("place", ["postgresql"], indirect=True),
    pytest.mark.slow,
]

ROOT = Path(__file__).parents[2]
#: Three nodes, two of which also run callers with transactions of their own.
PROCESSES = (("n0", "node"), ("n1", "node"), ("n2", "node"), ("c0", "caller"), ("c1", "caller"))


class Process:
    """One process, and everything it said, kept in a file that outlives it."""

    def __init__(self, folder: Path, node: str, kind: str) -> None:
        self.said = folder / f"{node}.{random.getrandbits(48):x}.said"
        with self.said.open("wb") as file:
            self.process = subprocess.Popen([sys.executable, "-m", "tests.audit.caller", str(folder), node, kind], cwd=ROOT, stdout=file)

    def wait_until_it_said(self, lines: int) -> None:
        until = time.monotonic() + 60
        while self.said.read_bytes().count(b"\n") < lines:
            assert self.process.poll() is None, "the process ended"
            assert time.monotonic() < until, "the process says nothing"
            time.sleep(0.01)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(30)

    def acknowledged(self) -> list[list[str]]:
        return [line.split() for line in self.said.read_text().split("\n")[1:-1]]  # a last line without its end was not said


def assert_nothing_is_lost(folder: Path, acknowledged: list[list[str]]) -> None:
    """Everything again, as an outsider: each committed root, each acknowledged place, each fact."""
    for node in [name for name, _ in PROCESSES]:  # each node starts once more and declares what died with it
        close_home(open_home(folder, node=node, boot=f"{random.getrandbits(48):x}"))
    home = open_home(folder, node="checker", boot=f"{random.getrandbits(48):x}")
    rows = stranger(folder, "SELECT log || '/' || epoch, idx, encode(leaf, 'hex'), body FROM trail_event")
    leaves = {(log, idx): leaf for log, idx, leaf, _ in rows}
    lost = [one for one in acknowledged if leaves.get((one[0], int(one[1]))) != one[2]]
    assert lost == []
    assert len({(log, idx) for log, idx, *_ in acknowledged}) == len(acknowledged)
    told = [json.loads(body)["obj"].removeprefix("fact:") for *_, body in rows if b'"obj":"fact:' in body]
    facts = {person for (person,) in stranger(folder, "SELECT person FROM authz_account")}
    assert len(told) == len(set(told))
    assert set(told) == facts
    assert {one[3] for one in acknowledged if one[3] != "-"} <= facts
    assert stranger(folder, "SELECT count(*) FROM trail_pending") == [(0,)]
    roots = stranger(folder, "SELECT log, size, root FROM trail_batch")
    home.check([Checkpoint(f"yumen.test/{log}/1", size, bytes(root)) for log, size, root in roots])
    print(f"{len(rows)} entries, {len(roots)} roots, {len(acknowledged)} acknowledged, {len(facts)} facts")
    close_home(home)


def show_kills(cluster: Cluster, folder: Path, rounds: int) -> None:
    [(name,)] = stranger(folder, "SELECT current_database()")
    close_home(open_home(folder))
    acknowledged: list[list[str]] = []
    for number in range(rounds):
        dice = random.Random(number)
        processes = [Process(folder, *each) for each in PROCESSES]
        for process in processes:
            process.wait_until_it_said(3)
        until = time.monotonic() + dice.uniform(0.4, 1.2)
        while time.monotonic() < until:
            time.sleep(0.01)
            if dice.random() < 0.02:
                dice.choice(processes).kill()
        if number % 2 == 0:
            cluster.stop("immediate")
            time.sleep(dice.uniform(0, 0.3))
            cluster.start()
            cluster.wait_until_up(name)
            time.sleep(dice.uniform(0, 0.5))
        for process in processes:
            process.kill()
        acknowledged += [line for process in processes for line in process.acknowledged()]
        assert_nothing_is_lost(folder, acknowledged)
    assert any(one[3] != "-" for one in acknowledged)


def test_nothing_acknowledged_is_lost_when_processes_and_server_are_killed(cluster: Cluster, place: Path) -> None:
    show_kills(cluster, place, 2)


def test_acknowledging_before_the_commit_is_caught(cluster: Cluster, place: Path) -> None:
    """The negative control: the same check fails when the promise is broken."""
    [(name,)] = stranger(place, "SELECT current_database()")
    close_home(open_home(place))
    for _ in range(10):
        process = Process(place, "n0", "early")
        process.wait_until_it_said(40)
        cluster.stop("immediate")
        process.kill()
        cluster.start()
        cluster.wait_until_up(name)
        try:
            assert_nothing_is_lost(place, process.acknowledged())
        except (AssertionError, Tampered):
            return
    pytest.fail("ten kills between acknowledgement and commit went unseen")


@pytest.mark.proof
def test_nothing_acknowledged_is_lost_in_ten_rounds(cluster: Cluster, place: Path) -> None:
    show_kills(cluster, place, 10)
