"""`kill -9` at every step boundary: whatever was signed had been announced, and what was not completed is revoked."""

from __future__ import annotations

import multiprocessing
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from audit.verifier.database import check_database
from audit.verifier.merkle import EMPTY_ROOT
from audit.verifier.note import Checkpoint
from authz.tables import Standing as StandingRow
from ca.crls import latest
from ca.states import IntentState, ListState, RequestState, Standing
from ca.tables import Authority, Certificate, Intent, Request, Revocation, RevocationList
from certs import crl
from tests.ca import victim
from tests.ca.town import Town, copy, open_town

pytestmark = pytest.mark.slow

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.ca.victim"])


#: A kill between two statements of one transaction is a kill before its commit: all of them only in the long form.
_LONG = pytest.param(True, id="long", marks=[pytest.mark.proof, pytest.mark.timeout(1800)])
long_form = pytest.mark.parametrize("every", [pytest.param(False, id="short"), _LONG])


def kill(act: str, folder: Path, at: int, every: bool) -> bool:
    """Let a process do `act` and die at boundary `at`; False when it got through."""
    process = _CONTEXT.Process(target=victim.main, args=(act, folder, at, every))
    process.start()
    process.join(60)
    assert process.exitcode in {0, -signal.SIGKILL}, process.exitcode
    return process.exitcode != 0


def lives(template: Path, scratch: Path, act: str, every: bool, stride: int = 1) -> Iterator[tuple[str, Town]]:
    """The home after a death at each boundary, opened by a survivor that has swept and gone on."""
    for at in range(1, 2000, stride):
        folder = copy(template, scratch / f"{act}-{at}")
        died = kill(act, folder, at, every)
        town = open_town(folder, node="survivor")
        try:
            yield (folder / "killed").read_text() if died else "survived", town
        finally:
            town.close()
            shutil.rmtree(folder)
        if not died:
            return
    raise AssertionError("the act never ended")


def settle(town: Town) -> None:
    """Let the survivor work until the dead one's lease is judged and everything is done."""
    worker = town.worker()
    town.clock.advance(seconds=2)  # a list made now must not have the dead one's bytes by chance
    worker.step()
    town.clock.advance(seconds=16)
    for _ in range(3):
        worker.step()
        town.clock.advance(seconds=1)


def assert_whole(town: Town, where: str) -> None:
    """What must hold after any crash."""
    announced = [event["d"]["tbs-sha256"] for code in ("CA1005", "CA3001") for event in town.events(f"code:{code}")]
    signed = town.signers.signed()
    assert set(signed) <= set(announced), where
    assert len(set(announced)) == len(announced), where
    intents = town.rows(Intent)
    assert {intent.state for intent in intents} <= {IntentState.FULFILLED, IntentState.SWEPT}, where
    stored = {row.intent_id for row in town.rows(Certificate)}
    assert stored == {intent.id for intent in intents if intent.state == IntentState.FULFILLED}, where
    revoked = {row.intent_id for row in town.rows(Revocation) if row.standing == Standing.REVOKED}
    swept = [intent for intent in intents if intent.state == IntentState.SWEPT]
    assert {intent.id for intent in swept} <= revoked, where
    standing = {row.serial for row in town.rows(StandingRow) if row.state == "revoked"}
    assert {row.serial for row in town.rows(Revocation)} <= standing, where
    assert len(town.events("code:CA1006")) == len(swept), where
    for intent in swept:
        assert int(intent.serial, 16) in published(town, intent.authority).serials, where
    assert ListState.INTENDED not in {row.state for row in town.rows(RevocationList)}, where
    check_database(town.folder / "town.db", [Checkpoint(town.trail.origin(log), 0, EMPTY_ROOT) for log in ("ca", "access")])


def published(town: Town, authority: str) -> crl.Crl:
    with town.trail.database.reading() as session:
        row = latest(session, authority)
    assert row is not None
    assert row.der is not None
    return crl.parse(row.der)


@pytest.fixture(scope="module")
def waiting(founded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with two approved requests."""
    folder = copy(founded, tmp_path_factory.mktemp("waiting"))
    town = open_town(folder)
    for uid, approver in (("zhangsan", "zhaoliu"), ("wangwu", "zhouba")):
        town.decide(approver, town.submit(uid))
    town.close()
    return folder


@pytest.fixture(scope="module")
def standing(waiting: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with two certificates."""
    folder = copy(waiting, tmp_path_factory.mktemp("standing"))
    town = open_town(folder)
    town.worker().step()
    town.close()
    return folder


@long_form
def test_a_kill_at_any_boundary_of_issuance_leaves_no_signature_without_record(waiting: Path, tmp_path: Path, every: bool) -> None:
    deaths, orphans = set(), 0
    for where, town in lives(waiting, tmp_path, "issue", every):
        settle(town)
        assert_whole(town, where)
        for request in town.rows(Request):
            assert request.state == RequestState.ISSUED, where
            mine = [row for row in town.rows(Certificate) if row.request_id == request.id]
            assert len(mine) == 1, where
            assert mine[0].standing is Standing.VALID, where
        orphans += len([intent for intent in town.rows(Intent) if intent.state == IntentState.SWEPT])
        deaths.add(where.split(" ca_")[0])
    assert {"before signature by ca/staff", "after signature by ca/staff", "before COMMIT", "survived"} <= deaths
    assert orphans >= 4


@long_form
def test_a_kill_at_any_boundary_of_revocation_leaves_it_whole_or_undone(standing: Path, tmp_path: Path, every: bool) -> None:
    outcomes = set()
    for where, town in lives(standing, tmp_path, "revoke", every):
        settle(town)
        assert_whole(town, where)
        rows, told = town.rows(Revocation), town.events("code:CA1007")
        assert len(rows) == len(told) == len(town.rows(StandingRow)), where
        if rows:
            assert int(rows[0].serial, 16) in published(town, "staff").serials, where
        outcomes.add(bool(rows))
    assert outcomes == {False, True}


@long_form
def test_a_ceremony_that_was_killed_is_performed_again(tmp_path: Path, every: bool) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    open_town(empty).close()
    for where, town in lives(empty, tmp_path, "ceremony", every, stride=1 if every else 9):
        if where != "survived":
            town.clock.advance(seconds=1)
            victim.ceremonial(town)
        settle(town)
        assert_whole(town, where)
        authorities = town.rows(Authority)
        assert len(authorities) == 4, where
        assert all(row.cert and row.responder for row in authorities), where
        assert len(town.events("code:CA2002")) == (2 if where == "end" else 1), where  # killed when all was done
