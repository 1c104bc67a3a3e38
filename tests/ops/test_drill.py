"""A rehearsal restores the newest backup beside the running service, and sees what a restore would have to show."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from audit import history
from audit.event import Kind
from audit.permit import Action
from audit.record import recording
from authz.decide import Target, service_permit
from ca import certificates, revocation
from ca.states import Standing
from cli.main import main
from core.settings import Settings
from ops import assess, backup, homes
from ops.assess.finding import Grade
from ops.drill import Wanted, drill
from ops.drill.course import STEPS, Course
from ops.node import Node

pytestmark = pytest.mark.slow


def quiet(_: str) -> None:
    pass


@pytest.fixture
def saved(node: Node) -> backup.Made:
    """A backup in the home itself."""
    return backup.make(node, node.settings.home / "backups", tell=quiet)


def rehearse(settings: Settings, tmp_path: Path, **wanted: object) -> Course:
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    done = drill(settings, Wanted(scratch=scratch, **wanted), tell=quiet)
    assert list(scratch.iterdir()) == [], "nothing of a rehearsal stays"
    return done


def said(course: Course, step: str, *, wrong: bool = False) -> str:
    return "\n".join(one.text.en for one in course.evidence[step] if (one.grade is Grade.WRONG) is wrong)


def test_a_rehearsal_proves_every_step_and_stands_in_the_trail(node: Node, saved: backup.Made, tmp_path: Path):
    report = tmp_path / "drill.md"
    files = {path: path.read_bytes() for path in (*node.settings.home.glob("notes/*"), *node.settings.home.rglob("*.sealed"))}
    done = rehearse(node.settings, tmp_path, report=report)
    assert done.passed, done.evidence
    assert {path: path.read_bytes() for path in files} == files, "the running service is not touched"
    assert rehearsed(node) is Grade.GOOD
    assert list(done.evidence) == list(STEPS)
    assert saved.name in said(done, "backup")
    assert "goes on as ca/2" in said(done, "trail")
    assert "good" in said(done, "status")
    assert "nobody issued: unknown" in said(done, "status")
    assert "11 certificates are equal" in said(done, "certificates")
    with node.database.reading() as session:
        (told,) = history.newest(session, Kind.DRILLED)
    assert told.body["out"] == "ok"
    assert told.details["sha256"] == hashlib.sha256(report.read_bytes()).hexdigest()
    assert told.details["backup"] == saved.name
    assert stat.S_IMODE(report.stat().st_mode) == 0o600
    text = report.read_text("utf-8")
    assert [words for shown in done.evidence.values() for one in shown for words in one.text if words not in text] == []
    assert "恢复演练报告" in text


def test_what_was_revoked_after_the_backup_is_revoked_in_the_restored_home(node: Node, saved: backup.Made, tmp_path: Path, published):
    """The lists that are published now are supplied, as they would be on the day itself."""
    serial = published(node)
    done = rehearse(node.settings, tmp_path)
    assert done.passed, done.evidence
    assert "1 serials are refused there as here" in said(done, "revocations")
    assert "revoked" in said(done, "status")
    assert serial


@pytest.fixture
def published():
    """Revoke a certificate and publish the list that says so; its serial."""

    def act(node: Node) -> str:
        from ca.worker import Worker as Authority

        with node.database.reading() as session:
            which = certificates.Filter(profile="application", standing=Standing.VALID)
            victim = certificates.listing(session, which)[0]
        permit = service_permit(node.world, node.trail, "issuance", Action.CERT_SWEEP, Target("*"))
        permit = replace(permit, action=Action.CERT_REVOKE, resource=victim.ref, unit=victim.unit)
        with recording(node.trail) as tx:
            revocation.revoke(tx, victim.authority, victim.serial, "keyCompromise", permit=permit)
        assert node.works is not None
        Authority(node.works).step()
        return victim.serial

    return act


def test_a_certificate_that_is_missing_in_the_backup_fails_the_rehearsal(node: Node, saved: backup.Made, tmp_path: Path):
    """As if a backup had been made of other data: whoever adds a certificate here behind the back of the trail is seen there."""
    database = sqlite3.connect(homes.database_file(node.settings.home))
    database.execute("UPDATE ca_certificate SET der = CAST(der || x'00' AS BLOB), issued_at = '2026-01-01 00:00:00' WHERE intent_id = 3")
    database.commit()
    database.close()
    done = rehearse(node.settings, tmp_path)
    assert not done.passed
    assert "1 are missing" in said(done, "certificates", wrong=True)
    assert "1 are not ours" in said(done, "certificates", wrong=True)


@pytest.mark.parametrize("fault", ["damaged", "cut"])
def test_a_backup_that_is_not_the_recorded_one_fails_and_that_is_recorded(node: Node, saved: backup.Made, tmp_path: Path, fault: str):
    whole = bytearray(saved.path.read_bytes())
    whole[len(whole) // 2] ^= 1
    saved.path.write_bytes(whole if fault == "damaged" else whole[: saved.size // 2])
    done = rehearse(node.settings, tmp_path)
    assert not done.passed
    assert "its SHA-256 is not the recorded one" in said(done, "backup", wrong=True)
    with node.database.reading() as session:
        (told,) = history.newest(session, Kind.DRILLED)
    assert (told.body["out"], told.details["steps"]) == ("fail", ["backup", "restore"])


def test_without_a_backup_the_rehearsal_fails_and_says_what_to_do(node: Node, tmp_path: Path):
    assert rehearsed(node) is Grade.WRONG
    done = rehearse(node.settings, tmp_path)
    assert "run `yumen backup`" in said(done, "backup", wrong=True)
    assert not done.passed
    assert rehearsed(node) is Grade.WRONG


def rehearsed(node: Node) -> Grade:
    """What an assessment says of rehearsals."""
    (check,) = (one for one in assess.CHECKS if one.id == "backup.rehearsed")
    (found,) = assess.findings_of(node, node.clock(), (check,))
    return found.grade


def test_the_newest_backup_of_all_targets_is_taken(home: Path, tmp_path: Path):
    """With the command, as it is typed."""
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    urls = " ".join(f"file://{folder}" for folder in folders)
    run = CliRunner(env={"YUMEN_HOME": str(home), "YUMEN_SETTINGS": "", "YUMEN_BACKUP_TARGETS": urls})
    ended = run.invoke(main, ["drill", "restore", "--json"])
    assert (ended.exit_code, json.loads(ended.stdout)["passed"]) == (1, False)
    assert run.invoke(main, ["backup"]).exit_code == 0
    (made,) = folders[0].iterdir()
    made.unlink()
    ended = run.invoke(main, ["drill", "restore", "--language", "zh"])
    assert ended.exit_code == 0, ended.output
    assert f"{made.name}，来自 file://{folders[1]}" in ended.stdout
    assert ended.stdout.splitlines()[-1] == "通过"
