"""The `yumen` command against a running service, as a person at a terminal uses it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.client.api import Api
from cli.story.enrolments import openssl
from cli.story.people import fresh_code
from cli.story.stage import Stage, fresh_service, stage

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("commands")
    with fresh_service(folder / "var", print) as home, stage(home, print) as found:
        yield found


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def yumen(place: Stage) -> Run:
    """Run `yumen …` as a person: each has a session file of their own."""

    def run(uid: str, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        own = {"YUMEN_HOME": str(place.home), "YUMEN_SESSION": str(place.folder / f"{uid}.json"), "YUMEN_URL": place.url}
        command = [sys.executable, "-m", "cli.main", *arguments]
        return subprocess.run(command, env={**os.environ, **own, **environ}, capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="module")
def auditor(place: Stage, yumen: Run) -> str:
    account = place.account("qianyi")
    ended = yumen("qianyi", "login", "--uid", "qianyi", YUMEN_PASSWORD=account["password"], YUMEN_TOTP=fresh_code(account["totp"]))
    assert ended.returncode == 0, ended.stderr
    return "qianyi"


def test_login_keeps_a_private_session(place, auditor):
    path = place.folder / f"{auditor}.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_bytes())["token"].startswith("ys_")


def test_a_wrong_password_is_exit_one_with_its_code(place, yumen):
    ended = yumen("lisi", "login", "--json", "--uid", "lisi", YUMEN_PASSWORD="wrong", YUMEN_TOTP="000000")
    assert ended.returncode == 1
    assert json.loads(ended.stdout)["code"] == "unauthenticated"


def test_without_login_the_command_says_what_to_do(yumen):
    ended = yumen("nobody", "request", "list")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "yumen login" in ended.stderr


@pytest.mark.parametrize("command", ["request list", "cert list", "ca list", "ca show staff", "audit search code:CA*", "audit head ca"])
def test_reading_commands_answer_for_people_and_for_programs(yumen, auditor, command):
    assert yumen(auditor, *command.split()).returncode == 0
    ended = yumen(auditor, *command.split(), "--json")
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)


def test_who_can_approve_in_the_county(place, yumen, auditor):
    me = json.loads(yumen(auditor, "cert", "list", "--json").stdout)["items"]
    unit = next(each["unit"] for each in me if each["subject"] == "application:oa")
    ended = yumen(auditor, "authz", "who-can", "--action", "trail:read", "--unit", unit, "--json")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "钱一" in ended.stdout


def test_explain_names_the_nearest_miss(yumen, auditor):
    ended = yumen(auditor, "authz", "explain", "--person", "zhangsan", "--action", "trail:read", "--json")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told = json.loads(ended.stdout)
    assert (told["allowed"], told["reason"]) == (False, "wrong-role")


def test_a_decision_is_replayed_and_one_with_other_grants_is_simulated(place, yumen, auditor):
    asked = {"subject": {"type": "user", "id": "zhangsan"}, "action": {"name": "approve"}, "resource": {"type": "document", "id": "told"}}
    with Api(place.application("oa")) as application:
        context = application.post("/access/v1/evaluation", asked)["context"]
    receipt = context["receipt"]
    ended = yumen(auditor, "authz", "replay", receipt["log"], str(receipt["idx"]), "--json")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told = json.loads(ended.stdout)
    assert (told["recorded"]["reason"], told["recorded"]["revision"], told["same"]) == ("wrong_role", context["revision"], True)
    assert "wrong_role" in yumen(auditor, "authz", "replay", receipt["log"], str(receipt["idx"])).stdout

    question = ["authz", "simulate", "--application", "oa", "--action", "approve", "--type", "document", "--person", "zhangsan"]
    ended = yumen(auditor, *question, "--permit", "staff", "--json")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told = json.loads(ended.stdout)
    assert (told["now"]["reason"], told["then"]["rule"]) == ("wrong_role", "draft-1")
    text = yumen(auditor, *question, "--permit", "staff", "--forbid", "staff", "--property", "resource.unit=x").stdout
    assert "then\tfalse\tforbidden\tdraft-2" in text
    assert "gaining: 0" in text


def test_a_draft_from_a_file_is_simulated_and_one_that_is_none_is_wrong_usage(yumen, auditor, tmp_path: Path):
    question = ["authz", "simulate", "--application", "oa", "--action", "approve", "--type", "document"]
    (file := tmp_path / "draft.json").write_text('[{"role": "staff", "assurance": 2}]')
    ended = yumen(auditor, *question, "--draft", str(file), "--assurance", "2")
    assert ended.returncode == 0, ended.stderr
    assert "(zhangsan)" in ended.stdout
    for wrong in (["--property", "unit"], ["--draft", str(tmp_path / "absent")], ["--assurance", "9"]):
        assert yumen(auditor, *question, *wrong).returncode == 2
    file.write_text("{}")
    assert yumen(auditor, *question, "--draft", str(file)).returncode == 2
    ended = yumen(auditor, *question, "--withdraw", "g999", "--json")
    assert (ended.returncode, json.loads(ended.stdout)["code"]) == (1, "not-found")


def test_a_proof_verifies_with_the_offline_verifier(place, yumen, auditor, tmp_path):
    found = json.loads(yumen(auditor, "audit", "search", "code:CA2002", "--json").stdout)["items"][0]
    ended = yumen(auditor, "audit", "prove", found["log"], str(found["idx"]))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("c2sp.org/tlog-proof")


def test_the_running_service_verifies_against_a_saved_head(place, yumen, auditor, tmp_path):
    note = tmp_path / "saved.note"
    note.write_text(yumen(auditor, "audit", "head", "ca").stdout)
    key = str(place.home / "notes" / "ca.vkey")
    ended = yumen(auditor, "audit", "verify", place.url, "--trust", str(note), "--key", key, "--json")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told = json.loads(ended.stdout)
    assert told["verified"]
    assert told["size"] >= told["trusted_before"] > 0


def test_another_key_is_not_trusted(place, yumen, auditor):
    key = str(place.home / "notes" / "access.vkey")
    ended = yumen(auditor, "audit", "verify", place.url, "--key", key, "--json")
    assert ended.returncode == 1
    assert not json.loads(ended.stdout)["verified"]


def test_an_export_verifies_without_a_service(place, yumen, auditor, tmp_path):
    out = tmp_path / "story.zip"
    assert yumen(auditor, "audit", "export", "code:CA1*", "--out", str(out)).returncode == 0
    assert out.stat().st_mode & 0o777 == 0o600
    key = str(place.home / "notes" / "ca.vkey")
    ended = yumen("nobody", "audit", "verify", str(out), "--key", key, "--json")
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_status_finds_nothing_wrong(yumen, auditor):
    ended = yumen(auditor, "status", "--json")
    assert ended.returncode == 0, ended.stdout
    assert json.loads(ended.stdout)["problems"] == []


def test_a_later_ceremony_adds_an_authority_and_one_that_names_people_is_refused(place, yumen, auditor, tmp_path: Path):
    plan = 'name = "later"\norganisation = "Yumen DEMO"\nroot = {id = "root", name = "DEMO Yumen Root", suite = "ecdsa-p384-sha384"}\n'
    plan += '[[issuing]]\nid = "staff2"\nname = "DEMO Yumen Staff CA 2"\nprofiles = ["staff-sign"]\n'
    file = tmp_path / "later.toml"
    file.write_text(plan)
    ended = yumen(auditor, "ca", "ceremony", str(file))
    assert ended.returncode == 0, ended.stderr
    assert "authority staff2: certificate" in ended.stdout
    me = json.loads(yumen(auditor, "ca", "list", "--json").stdout)["items"]
    assert "staff2" in [each["id"] for each in me]
    file.write_text(plan + '[[people]]\nperson = "x"\nrole = "auditor"\nunit = "y"\n')
    ended = yumen(auditor, "ca", "ceremony", str(file), "--json")
    assert ended.returncode == 1
    assert json.loads(ended.stdout)["code"] == "denied"
    refused = json.loads(yumen(auditor, "audit", "search", "code:CA2003", "--json").stdout)["items"]
    assert len(refused) == 1


@pytest.mark.component("openssl")
def test_a_person_goes_all_the_way_by_commands(place, yumen):
    """Ask, approve, fetch, log in with the certificate, revoke it; then it opens nothing more."""
    out, pem = place.folder / "zhangsan.p12", place.folder / "zhangsan.pem"
    accounts = {uid: place.account(uid) for uid in ("zhangsan", "zhaoliu")}
    secrets = {uid: {"YUMEN_PASSWORD": each["password"], "YUMEN_TOTP": fresh_code(each["totp"])} for uid, each in accounts.items()}
    enroll = ["enroll", "--uid", "zhangsan", "--out", str(out), "--json"]
    asked = yumen("zhangsan", *enroll, YUMEN_P12_PASSWORD="a password of mine", **secrets["zhangsan"])
    assert asked.returncode == 0, asked.stdout + asked.stderr
    request = str(json.loads(asked.stdout)["request"])
    assert yumen("zhangsan", "request", "approve", request).returncode == 1
    assert yumen("zhaoliu", "login", "--uid", "zhaoliu", **secrets["zhaoliu"]).returncode == 0
    assert yumen("zhaoliu", "request", "approve", request, "--comment", "seen").returncode == 0
    fetched = yumen("zhangsan", *enroll, "--patience", "20", YUMEN_P12_PASSWORD="a password of mine")
    assert fetched.returncode == 0, fetched.stdout + fetched.stderr
    serial = json.loads(fetched.stdout)["serial"]
    openssl("pkcs12", "-in", str(out), "-passin", "pass:a password of mine", "-nodes", "-out", str(pem))
    assert yumen("card", "login", "--cert", str(pem)).returncode == 0
    mine = json.loads(yumen("card", "cert", "list", "--json").stdout)["items"]
    assert serial in [each["serial"] for each in mine]
    assert yumen("card", "cert", "show", serial, "--pem").stdout.count("BEGIN CERTIFICATE") == 2
    assert yumen("card", "cert", "revoke", serial, "--reason", "superseded").returncode == 0
    ended = yumen("card", "login", "--cert", str(pem), "--json")
    assert (ended.returncode, json.loads(ended.stdout)["reason"]) == (1, "revoked")


def test_logout_ends_the_session_and_forgets_it(place, yumen, auditor):
    token = json.loads((place.folder / f"{auditor}.json").read_bytes())["token"]
    assert yumen(auditor, "logout").returncode == 0
    assert not (place.folder / f"{auditor}.json").exists()
    assert token
