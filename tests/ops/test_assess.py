"""An assessment sees what is wrong with a home, says so in both languages, and stands in the trail."""

from __future__ import annotations

import ast
import datetime as dt
import hashlib
import json
import os
import re
import sqlite3
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from audit import history
from audit.event import Event, Kind
from audit.permit import Actor
from audit.rounds import Rounds
from cli.main import main
from core.errors import Unavailable
from core.settings import Settings
from ops import assess, backup, homes, keeping, running
from ops.assess.finding import Check, Finding, Grade
from ops.assess.report import TOPICS
from ops.node import Node
from tests.audit.homes import go_round
from tests.shape.rules import ROOT

CHECKS = {check.id: check for check in assess.CHECKS}
CHINESE = re.compile("[\u4e00-\u9fff]")


def find(node: Node, check: str, *, later: dt.timedelta = dt.timedelta()) -> Finding:
    """What one check finds now, or in some time."""
    (found,) = assess.findings_of(node, node.clock() + later, (CHECKS[check],))
    return found


def said(finding: Finding) -> str:
    """Everything it says in English that is not good."""
    return "\n".join(one.text.en for one in finding.evidence if one.grade is not Grade.GOOD)


@dataclass(frozen=True)
class Fault:
    """Something done to a home, or some time that passed, and what must be found."""

    check: str
    grade: Grade
    words: str
    do: Callable[[Node], object] = lambda _: None
    later: dt.timedelta = dt.timedelta()


def sql(statement: str) -> Callable[[Node], None]:
    """A change behind the service's back."""

    def change(node: Node) -> None:
        database = sqlite3.connect(homes.database_file(node.settings.home))
        database.execute("DROP TRIGGER IF EXISTS trail_event_no_delete")
        database.execute(statement)
        database.commit()
        database.close()
        node.world.refresh()

    return change


def both_offices(node: Node) -> None:
    """The directory gives the auditor a second office."""
    path = node.settings.home / node.settings.directory.ldif
    auditor = re.search(r"dn: cn=auditor,.*\n(?:.+\n)*?(member: .+\n)", path.read_text())
    assert auditor
    path.write_text(re.sub(r"(dn: cn=system-admin,(?:.+\n)+)", rf"\1{auditor[1]}", path.read_text()))
    while node.follower.step():
        pass
    node.world.refresh()


def unneeded_confirmation(node: Node) -> None:
    """The directory takes the auditor's role away; the confirmation is left."""
    path = node.settings.home / node.settings.directory.ldif
    path.write_text(path.read_text().replace("cn=auditor,ou=roles", "cn=reader,ou=roles").replace("cn: auditor", "cn: reader"))
    while node.follower.step():
        pass
    node.world.refresh()


def alarm(node: Node) -> None:
    node.trail.append([Event(kind=Kind.TRAIL_CLOSED, actor=Actor.service("trail"), object="trail", outcome="error")])


def contradiction(node: Node) -> None:
    sql("DELETE FROM authz_confirmation WHERE role = 'auditor'")(node)
    running.compare_everything(node.settings)


def damage(node: Node) -> None:
    sql("DELETE FROM trail_event WHERE log = 'ca' AND idx = 3")(node)
    go_round(Rounds(node.trail, homes.notes_folder(node.settings.home)))


def grown(node: Node) -> None:
    """A database that has taken half of the disk in a day."""
    path = homes.database_file(node.settings.home)
    os.truncate(path, os.statvfs(path).f_bavail * os.statvfs(path).f_frsize // 2)


def secret(mode: int) -> Callable[[Node], None]:
    return lambda node: homes.secret_file(node.settings.home).chmod(mode)


DAYS = dt.timedelta(days=1)
WRONG, ADVICE = Grade.WRONG, Grade.ADVICE
FAULTS = (
    Fault("settings.mode", WRONG, "public"),
    Fault("settings.addresses", WRONG, "http://127.0.0.1"),
    Fault("settings.running", WRONG, "no worker runs"),
    Fault("keys.custody", WRONG, "ca/staff is missing", lambda node: (node.settings.home / "keys/worker/ca/staff.sealed").unlink()),
    Fault("keys.custody", WRONG, "ocsp/root is missing", lambda node: (node.settings.home / "keys/web/ocsp/root.sealed").unlink()),
    Fault("keys.secrets", WRONG, "mode 644", secret(0o644)),
    Fault("keys.secrets", WRONG, "mode 640", secret(0o640)),
    Fault("keys.secrets", WRONG, "could not be looked at", lambda node: homes.secret_file(node.settings.home).unlink()),
    Fault("algorithms.tls", WRONG, "no certificate", lambda node: homes.tls_file(node.settings.home).unlink()),
    Fault("certificates.own", WRONG, "staff OCSP", later=80 * DAYS),
    Fault("certificates.own", WRONG, "TLS", later=360 * DAYS),
    Fault("certificates.assets", ADVICE, "application:oa", later=340 * DAYS),
    Fault("certificates.authorities", ADVICE, "authority staff", later=9.2 * 365 * DAYS),
    Fault("certificates.authorities", WRONG, "authority staff", later=9.8 * 365 * DAYS),
    Fault("roles.offices", WRONG, "0 hold the role auditor", sql("DELETE FROM authz_confirmation WHERE role = 'auditor'")),
    Fault("roles.apart", WRONG, "auditor, system-admin", both_offices),
    Fault("roles.confirmed", ADVICE, "nobody confirmed", sql("DELETE FROM authz_confirmation WHERE role = 'auditor'")),
    Fault("roles.confirmed", ADVICE, "gives no more: auditor", unneeded_confirmation),
    Fault("roles.factors", ADVICE, "cannot sign in", sql("DELETE FROM authz_totp")),
    Fault("roles.keys", ADVICE, "older than a year", later=366 * DAYS),
    Fault("roles.grants", ADVICE, "nobody holds: ghost", sql("UPDATE authz_grant SET role = 'ghost' WHERE id = 1")),
    Fault("trail.compared", ADVICE, "not yet compared"),
    Fault("trail.compared", WRONG, "contradictions", contradiction),
    Fault("trail.verified", ADVICE, "not yet verified"),
    Fault("trail.verified", WRONG, "damaged from entry 3", damage),
    Fault("trail.alarms", ADVICE, "AZ9005", alarm),
    Fault("retention.kept", WRONG, "lost its beginning", sql("DELETE FROM trail_event WHERE log = 'access' AND idx = 0")),
    Fault("retention.room", WRONG, "room for", grown),
    Fault("backup.age", WRONG, "no backup was ever made"),
    Fault("backup.age", WRONG, "is 3d old", lambda node: backup.make(node, node.settings.home / "backups", tell=lambda _: None), 3 * DAYS),
    Fault("backup.places", ADVICE, "backup.targets is empty"),
    Fault("clock.agrees", WRONG, "it was set back", later=-1 * DAYS),
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.check}: {fault.words}")
def test_a_fault_is_found_with_its_evidence(node: Node, fault: Fault):
    if fault.do is not Fault.do:
        assert fault.words not in said(find(node, fault.check)), "it is found already in a home that nobody touched"
    fault.do(node)
    _see_rows_again(node)
    found = find(node, fault.check, later=fault.later)
    assert fault.words in said(found), found
    assert found.grade is fault.grade
    assert CHINESE.search(found.check.do.zh)


def _see_rows_again(node: Node) -> None:
    """Rows changed behind the back raise no revision: let the snapshot be built anew."""
    node.world._keep(replace(node.world._kept[0], revision=-1))
    node.world.refresh()


def test_what_others_write_meanwhile_is_not_from_the_future(node: Node):
    """An assessment takes its time, and the service goes on."""
    began = node.clock()
    checks = (CHECKS["settings.software"], CHECKS["clock.agrees"])
    found = assess.findings_of(node, began, checks)
    next(found)
    time.sleep(2.5)
    alarm(node)
    assert next(found).grade is Grade.GOOD


def test_whether_anybody_keeps_the_clock_is_told(node: Node):
    found = find(node, "clock.kept")
    assert found.grade is not WRONG
    assert found.evidence


def test_a_home_of_production_with_limits_of_its_own_is_told_what_differs(node: Node):
    settings = replace(
        node.settings,
        mode="production",
        web=replace(node.settings.web, http_url="http://status.jiangzhou.example", https_url="https://yumen.jiangzhou.example"),
        authz=replace(node.settings.authz, session_idle=dt.timedelta(hours=2)),
        ca=replace(node.settings.ca, crl_lifetime=7 * DAYS),
    )
    changed = replace(node, settings=settings)
    assert find(changed, "settings.mode").grade is Grade.GOOD
    before, origin = said(find(changed, "settings.addresses")).splitlines()
    assert before.startswith(f"certificates that were issued before name `{node.settings.web.http_url}` until 20")
    assert origin == "audit.origin is `yumen.local`"
    assert said(find(changed, "settings.sessions")) == "authz.session_idle is 2h, at most 30m"
    assert said(find(changed, "settings.freshness")) == "ca.crl_lifetime is 7d, at most 1d"


def test_targets_are_looked_at_one_by_one(node: Node, tmp_path: Path):
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    own = replace(node.settings.backup, targets=f"file://{shelf} file:///nowhere/at/all")
    changed = replace(node, settings=replace(node.settings, backup=own))
    keeping.keep(changed, by="operator", tell=lambda _: None)
    found = find(changed, "backup.places")
    assert said(found).splitlines() == [
        "every target is a folder of this machine",
        "`file:///nowhere/at/all` has no backup that is young enough",
    ]
    assert found.grade is WRONG


def test_an_assessment_is_recorded_with_its_report(node: Node, settings: Settings, tmp_path: Path):
    report = tmp_path / "report.md"
    made = assess.assess(settings, report)
    text = report.read_text("utf-8")
    assert stat.S_IMODE(report.stat().st_mode) == 0o600
    assert made.at.date().isoformat() in text
    for finding in made.findings:
        assert [language for language in finding.check.asks if language not in text] == []
        assert [words for one in finding.evidence for words in one.text if words not in text] == []
    with node.database.reading() as session:
        (told,) = history.newest(session, Kind.ASSESSED)
    assert told.details["sha256"] == hashlib.sha256(report.read_bytes()).hexdigest()
    assert told.details["failed"] == [finding.check.id for finding in made.of(WRONG)]
    assert told.body["pol"]["rule"] == "system-assess.operator"
    assert (told.log, told.idx) == ("ca", made.receipt.idx)


def test_a_report_that_could_not_be_recorded_is_not_left(settings: Settings, tmp_path: Path):
    database = sqlite3.connect(homes.database_file(settings.home))
    database.execute("CREATE TRIGGER full BEFORE INSERT ON trail_event WHEN NEW.code = 'CA5024' BEGIN SELECT RAISE(ABORT, 'no room'); END")
    database.close()
    with pytest.raises(Unavailable):
        assess.assess(settings, tmp_path / "report.md")
    assert list(tmp_path.glob("*report*")) == []


def test_where_no_report_can_be_written_nothing_is_recorded(node: Node, settings: Settings, tmp_path: Path):
    with pytest.raises(Unavailable):
        assess.assess(settings, tmp_path / "nowhere" / "report.md")
    with node.database.reading() as session:
        assert history.newest(session, Kind.ASSESSED) == []


def test_the_command_ends_with_one_when_something_must_be_put_right(home: Path, tmp_path: Path):
    run = CliRunner(env={"YUMEN_HOME": str(home), "YUMEN_SETTINGS": ""})
    ended = run.invoke(main, ["assess", "--json"])
    assert ended.exit_code == 1, ended.output
    told = json.loads(ended.stdout)
    assert {each["check"] for each in told["findings"]} == set(CHECKS)
    assert {each["check"] for each in told["findings"] if each["grade"] == "wrong"} == {
        "settings.mode",
        "settings.addresses",
        "settings.running",
        "backup.age",
        "backup.rehearsed",
    }
    chinese = run.invoke(main, ["assess", "--language", "zh"])
    assert "[须整改] settings.mode: 系统以正式模式运行。" in chinese.stdout
    (tmp_path / "taken.md").touch()
    assert run.invoke(main, ["assess", "--report", str(tmp_path / "taken.md")]).exit_code == 2


@pytest.mark.parametrize("check", assess.CHECKS, ids=lambda check: check.id)
def test_a_check_asks_and_advises_in_both_languages(check: Check):
    assert check.id.partition(".")[0] in TOPICS
    assert check.clauses
    for text in (check.asks, check.do):
        assert CHINESE.search(text.zh), text
        assert not CHINESE.search(text.en), text
        assert text.en.endswith(".")
        assert text.zh.endswith("。")


def test_checks_have_names_of_their_own():
    assert len(CHECKS) == len(assess.CHECKS)


def test_evidence_states_the_same_facts_in_both_languages():
    pairs = []
    for path in sorted((ROOT / "ops" / "assess").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in {"good", "advice", "wrong", "fits", "named"}
            ):
                assert all(isinstance(each, ast.Constant) for each in node.args), f"{path.name}:{node.lineno}"
                pairs.append([str(each.value) for each in node.args if isinstance(each, ast.Constant)])
    assert len(pairs) > 40
    facts = [[set(re.findall(r"{(\w+)}", text)) - {"name", "said"} for text in pair] for pair in pairs]
    assert [pair for pair, (en, zh) in zip(pairs, facts, strict=True) if en != zh] == []
    assert [pair for pair in pairs if re.search("[a-z]{3} [a-z]{3}", pair[0]) and not CHINESE.search(pair[1])] == []
