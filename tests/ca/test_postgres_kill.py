"""Three nodes that live and die on PostgreSQL, and the server with them: no act that was acknowledged is lost, facts and events are 1:1."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from audit import check
from audit.verifier.errors import Tampered
from audit.verifier.note import Checkpoint
from ca.states import IntentState, ListState, RequestState
from ca.tables import Certificate, Intent, Request, RevocationList
from core.clock import microseconds, system
from tests.ca.town import Town, copy, open_town
from tests.comparing import Compared
from tests.postgres import Cluster

pytestmark = [pytest.mark.component("postgresql"), pytest.mark.slow]

ROOT = Path(__file__).parents[2]
NODES = ("n0", "n1", "n2")

#: Rows that have no event, and events that have no row, each by SQL alone: table side, event side.
SIDES = {
    "request": ("SELECT 'request:' || id FROM ca_request", "code = 'CA1001'"),
    "approval": (
        "SELECT 'request:' || request_id FROM ca_approval WHERE word = 'approve' AND approver LIKE 'p\\_%'",
        "code = 'CA1002'",
    ),
    "intent": ("SELECT 'cert:' || authority || '/' || serial FROM ca_intent", "code = 'CA1005'"),
    "certificate": ("SELECT 'cert:' || authority || '/' || serial FROM ca_certificate", "code = 'CA1004'"),
    "revocation": ("SELECT 'cert:' || authority || '/' || serial FROM ca_revocation", "code IN ('CA1006', 'CA1007')"),
    "swept": ("SELECT 'cert:' || authority || '/' || serial FROM ca_intent WHERE state = 'swept'", "code = 'CA1006'"),
    "session": ("SELECT 'session:' || id FROM authz_session", "code = 'AZ2001'"),
    "end": ("SELECT 'session:' || id FROM authz_session WHERE ended_at IS NOT NULL", "code = 'AZ2004'"),
    "list": (
        "SELECT authority || ' ' || number FROM ca_crl WHERE state = 'published'",
        "code = 'CA3002'",
    ),
}


@dataclass
class Life:
    """One process of one node, everything it said, and when it was killed."""

    folder: Path
    node: str
    mode: str = ""
    killed_at: int = 0
    said: Path = field(init=False)

    def __post_init__(self) -> None:
        self.said = self.folder / f"{self.node}.{random.getrandbits(48):x}.said"
        command = [sys.executable, "-m", "tests.ca.living", str(self.folder), self.node, *([self.mode] if self.mode else [])]
        with self.said.open("wb") as file:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=subprocess.DEVNULL)

    def wait_until_it_said(self, lines: int) -> None:
        until = time.monotonic() + 90
        while self.said.read_bytes().count(b"\n") < lines:
            assert self.process.poll() is None, "the process ended"
            assert time.monotonic() < until, "the process says nothing"
            time.sleep(0.01)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(30)
        self.killed_at = self.killed_at or microseconds(system())

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.said.read_text().split("\n")[:-1] if line.startswith("{")]

    @property
    def boot(self) -> str:
        return next((line["which"] for line in self.lines if line["what"] == "ready"), "")

    @property
    def acknowledged(self) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["what"] != "ready"]


@dataclass
class Story:
    """A database on the server that dies, and the lives that were spent in it."""

    cluster: Cluster
    folder: Path
    name: str
    lives: list[Life] = field(default_factory=list)

    def begin(self, node: str, mode: str = "") -> Life:
        self.lives.append(Life(self.folder, node, mode))
        return self.lives[-1]

    def restart(self, pause: float) -> None:
        self.cluster.stop("immediate")
        time.sleep(pause)
        self.cluster.start()
        self.cluster.wait_until_up(self.name)

    def rows(self, sql: str) -> list[Any]:
        with closing(self.cluster.connect(self.name)) as server:
            return server.execute(sql).fetchall()

    def acknowledged(self) -> list[dict[str, Any]]:
        return [line for life in self.lives for line in life.acknowledged]

    def of(self, what: str) -> set[str]:
        return {str(line["which"]) for line in self.acknowledged() if line["what"] == what}


@pytest.fixture
def story(cluster: Cluster, founded_on_postgresql: Path, tmp_path: Path) -> Iterator[Story]:
    template = (founded_on_postgresql / "postgres").read_text().partition("@/")[2].partition("?")[0]
    folder, name = copy(founded_on_postgresql, tmp_path / "town"), cluster.new_database(template)
    (folder / "postgres").write_text(cluster.url("{role}", name))
    cluster.admin("CHECKPOINT", name)  # or the numbers of a copied database would begin again after a crash
    made = Story(cluster, folder, name)
    yield made
    for life in made.lives:
        life.kill()
    cluster.drop(name)


def settle(town: Town) -> None:
    """The survivor works until the dead ones' leases are judged and everything that was approved is issued."""
    worker = town.worker()
    worker.step()
    town.clock.advance(seconds=8)
    worker.step()
    town.clock.advance(seconds=8)
    worker.step()
    for _ in range(200):
        town.clock.advance(minutes=6)  # also whoever must wait after failures has its turn
        worker.step()
        if not [request for request in town.rows(Request) if request.state in {RequestState.APPROVED, RequestState.ISSUING}]:
            break
    town.clock.advance(seconds=2)
    worker.step()


def assert_whole(story: Story) -> None:
    """Everything again: as an outsider of the trail, by SQL, and by the product's own comparison."""
    for node in NODES:  # each node starts once more and declares what died with it
        open_town(story.folder, node=node).close()
    town = open_town(story.folder, node="survivor")
    settle(town)
    assert_receipts_stand(story)
    assert_acts_stand(story, town)
    assert_one_to_one(story)
    assert_sweeps_were_due(story)
    compared = Compared(town.trail, town)
    assert (result := compared.reconciler.turn(whole=True)).open == 0, result.first
    compared.stranger.close()
    roots = story.rows("SELECT log, size, root FROM trail_batch")
    check.evidence(town.trail.database, [Checkpoint(town.trail.origin(log), size, bytes(root)) for log, size, root in roots])
    assert story.rows("SELECT count(*) FROM trail_pending") == [(0,)]
    town.close()
    counted = {what: len(story.of(what)) for what in ("request", "approval", "certificate", "revocation", "session", "end")}
    swept = story.rows("SELECT count(*) FROM ca_intent WHERE state = 'swept'")[0][0]
    print(f"{len(roots)} roots, {sum(len(line['places']) for line in story.acknowledged())} places acknowledged, {counted}, {swept} swept")


def assert_receipts_stand(story: Story) -> None:
    leaves = {
        (f"{log}/{epoch}", idx): leaf
        for log, epoch, idx, leaf in story.rows("SELECT log, epoch, idx, encode(leaf, 'hex') FROM trail_event")
    }
    told = [tuple(place) for line in story.acknowledged() for place in line["places"]]
    assert [place for place in told if leaves.get(place[:2]) != place[2]] == []
    assert len({place[:2] for place in told}) == len(told)


def assert_acts_stand(story: Story, town: Town) -> None:
    requests = {str(request.id): request for request in town.rows(Request)}
    assert story.of("request") | story.of("approval") <= requests.keys()
    assert all(requests[one].state == RequestState.ISSUED and requests[one].certificate is not None for one in story.of("approval"))
    assert story.of("certificate") <= {row.serial for row in town.rows(Certificate)}
    assert story.of("revocation") <= {serial for (serial,) in story.rows("SELECT serial FROM ca_revocation WHERE standing = 'revoked'")}
    assert story.of("session") <= {one for (one,) in story.rows("SELECT id FROM authz_session")}
    assert story.of("end") <= {one for (one,) in story.rows("SELECT id FROM authz_session WHERE ended_at IS NOT NULL")}
    announced = {digest for (digest,) in story.rows("SELECT tbs_sha256 FROM ca_intent UNION SELECT tbs_sha256 FROM ca_crl")}
    assert set(town.signers.signed()) <= announced
    assert {row.state for row in town.rows(Intent)} <= {IntentState.FULFILLED, IntentState.SWEPT}
    assert ListState.INTENDED not in {row.state for row in town.rows(RevocationList)}


def assert_one_to_one(story: Story) -> None:
    for what, (facts, events) in SIDES.items():
        object_ = "substr(object, 5) || ' ' || (convert_from(body, 'UTF8')::jsonb -> 'd' ->> 'number')" if what == "list" else "object"
        told = f"SELECT {object_} FROM trail_event WHERE {events}"
        for left, right in ((facts, told), (told, facts)):
            assert story.rows(f"{left} EXCEPT ALL {right}") == [], what


def assert_sweeps_were_due(story: Story) -> None:
    """Nobody sweeps what another process, that lives, has in its hands."""
    killed = {life.boot: life.killed_at for life in story.lives}
    for (body,) in story.rows("SELECT body FROM trail_event WHERE code IN ('CA1006', 'CA3005')"):
        told = json.loads(body)
        if told["d"]["boot"] != told["w"]["b"]:
            assert killed.get(told["d"]["boot"], told["t"]) <= told["t"], told


def show_kills(story: Story, rounds: int, least: float, most: float) -> None:
    for number in range(rounds):
        dice = random.Random(number)
        living = [story.begin(node) for node in NODES]
        for life in living:
            life.wait_until_it_said(4)
        until = time.monotonic() + dice.uniform(least, most)
        while time.monotonic() < until:
            time.sleep(0.02)
            if dice.random() < 0.01:
                place = dice.randrange(len(living))
                living[place].kill()
                living[place] = story.begin(living[place].node)  # it starts again beside the others
        if number % 2 == 0:
            story.restart(dice.uniform(0, 0.3))
            time.sleep(dice.uniform(0, 1))
        for life in living:
            life.kill()
        assert_whole(story)
    assert all(story.of(what) for what in ("approval", "session"))


def test_no_acknowledged_act_is_lost_when_nodes_and_server_are_killed(story: Story) -> None:
    show_kills(story, 2, 1.0, 2.0)


def test_an_answer_before_the_servers_log_is_on_disk_is_caught(story: Story) -> None:
    """The negative control: `synchronous_commit` is off in the nodes."""
    for _ in range(10):
        life = story.begin("n0", "loose")
        life.wait_until_it_said(30)
        story.restart(0)
        life.kill()
        try:
            assert_whole(story)
        except (AssertionError, Tampered):
            return
    pytest.fail("ten crashes between answer and disk went unseen")


@pytest.mark.proof
@pytest.mark.timeout(3600)
def test_no_acknowledged_act_is_lost_in_ten_rounds(story: Story) -> None:
    show_kills(story, 10, 4.0, 8.0)
