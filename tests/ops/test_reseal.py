"""A new unsealing secret opens everything that the former one did, and the former one nothing; a kill leaves one of the two."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from audit import history
from audit.event import Kind
from authz import province
from cli.main import main
from core.errors import Unavailable
from core.seal import Vault
from core.settings import load
from ops import homes, init, reseal
from ops.claims import writer_name
from ops.node import open_node
from ops.status import look
from tests.shape.rules import ROOT

pytestmark = pytest.mark.slow

FORMER, NEW = "the former secret of all", "the new secret of a few"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of production with its secrets beside it. Copy it, do not use it."""
    folder = tmp_path_factory.mktemp("sealed")
    home = folder / "home"
    home.mkdir()
    for owner in homes.OWNERS:
        private(folder / f"{owner}.secret", f"{FORMER} {owner}")
    (home / "yumen.toml").write_text('[web]\nhttps_url = "https://yumen.jiangzhou.example"\n')
    province.write(home / "directory.ldif", seed=7, hasher=province.QUICK)
    init.make_home(load(environ(folder)), tell=lambda _: None)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    private(tmp_path / "new.secret", NEW)
    return tmp_path


def private(path: Path, word: str) -> Path:
    path.write_text(word)
    path.chmod(0o600)
    return path


def environ(folder: Path) -> dict[str, str]:
    """The home with the secrets as they lie there."""
    return {"YUMEN_HOME": str(folder / "home")} | {
        f"YUMEN_KEYS_{owner.upper()}_SECRET": str(folder / f"{owner}.secret") for owner in homes.OWNERS
    }


def run(folder: Path, owner: str, secret: str = "new.secret") -> str:
    """What the command says; nothing when it did it."""
    done = CliRunner().invoke(main, ["keys", "reseal", owner, "--json", "--secret", str(folder / secret)], env=environ(folder))
    if done.exit_code:
        return done.output
    told = json.loads(done.stdout)
    assert (told["owner"], told["keys"]) == (owner, len(everything(folder, owner)))
    return ""


def opens(folder: Path, owner: str, secret: str) -> set[str]:
    """Which of the keys this secret opens."""
    vault = Vault(homes.keys_folder(folder / "home", owner), folder / secret)
    return {name for name in vault.names() if _opens(vault, name)}


def _opens(vault: Vault, name: str) -> bool:
    try:
        return bool(vault.get(name))
    except Unavailable:
        return False


def everything(folder: Path, owner: str) -> set[str]:
    keys = homes.keys_folder(folder / "home", owner)
    return {str(path.relative_to(keys).with_suffix("")) for path in keys.rglob("*.sealed")}


def recorded(folder: Path) -> list[str]:
    """Whose keys the trail says were sealed anew; what is read here is opened with the secrets as they are now."""
    node = open_node(load(environ(folder)), role="operator", with_keys=False)
    try:
        with node.database.reading() as session:
            return [told.object for told in history.newest(session, Kind.KEYS_RESEALED, 10)]
    finally:
        node.close()


@pytest.mark.parametrize("owner", ["worker", pytest.param("web", marks=pytest.mark.proof)])
def test_the_new_secret_opens_every_key_and_the_former_one_none(folder: Path, owner: str):
    home = folder / "home"
    before = Vault(homes.keys_folder(home, owner), folder / f"{owner}.secret")
    keys = {name: before.get(name) for name in before.names()}
    modes = {path.relative_to(home): stat.S_IMODE(path.stat().st_mode) for path in homes.keys_folder(home, owner).rglob("*")}
    assert keys
    assert run(folder, owner) == ""
    after = Vault(homes.keys_folder(home, owner), folder / "new.secret")
    assert {name: after.get(name) for name in after.names()} == keys
    assert opens(folder, owner, f"{owner}.secret") == set()
    assert {path.relative_to(home): stat.S_IMODE(path.stat().st_mode) for path in homes.keys_folder(home, owner).rglob("*")} == modes
    assert not homes.resealing_folder(home, owner).exists()
    shutil.copy(folder / "new.secret", folder / f"{owner}.secret")
    assert recorded(folder) == [f"keys:{owner}"]
    assert "former" not in str(look(load(environ(folder))).problems)


def test_a_secret_that_protects_nothing_is_refused_and_nothing_changes(folder: Path):
    weak, same = private(folder / "weak", "123456"), private(folder / "same", f"{FORMER} web\n")
    seen, inside = private(folder / "seen", NEW), private(folder / "home" / "inside", NEW)
    seen.chmod(0o644)
    for secret, said in (
        (weak, "shorter than 16 characters"),
        (same, "opens keys of this home already"),
        (seen, "others may read"),
        (inside, "lies in the home"),
    ):
        assert said in " ".join(run(folder, "worker", secret.name if secret is not inside else "home/inside").split())
    assert opens(folder, "worker", "worker.secret") == everything(folder, "worker")
    assert not homes.resealing_folder(folder / "home", "worker").exists()


def test_a_demonstration_and_a_home_with_one_secret_for_both_are_refused(folder: Path):
    shutil.copy(folder / "worker.secret", folder / "one.secret")
    one = {f"YUMEN_KEYS_{owner.upper()}_SECRET": str(folder / "one.secret") for owner in homes.OWNERS}
    for more, said in ((one, "name one file"), ({"YUMEN_MODE": "demo"}, "keys of a demonstration are public")):
        done = CliRunner().invoke(main, ["keys", "reseal", "worker", "--secret", str(folder / "new.secret")], env=environ(folder) | more)
        assert done.exit_code == 1
        assert said in " ".join(done.output.split())


def test_nothing_is_sealed_anew_while_somebody_works_and_whoever_worked_on_seals_nothing_that_is_lost(folder: Path):
    home = folder / "home"
    name, claim = writer_name(home, "worker")
    assert f"`{name}` runs in this home" in run(folder, "worker")
    claim.release()
    old = Vault(homes.keys_folder(home, "worker"), folder / "worker.secret")
    assert run(folder, "worker") == ""
    with pytest.raises(Unavailable, match="sealed anew while this process ran"):
        old.put("ca/late", b"a key")


def test_a_key_that_is_made_at_that_moment_is_not_lost(folder: Path, monkeypatch: pytest.MonkeyPatch):
    home, exchange = folder / "home", reseal._exchange
    old = Vault(homes.keys_folder(home, "worker"), folder / "worker.secret")

    def late(one: Path, other: Path) -> None:
        monkeypatch.undo()
        old.put("ca/late", b"a key")
        exchange(one, other)

    monkeypatch.setattr(reseal, "_exchange", late)
    assert "meanwhile" in run(folder, "worker")
    assert opens(folder, "worker", "worker.secret") == everything(folder, "worker")
    assert old.get("ca/late") == b"a key"
    assert homes.half_sealed(home) == []


def test_what_could_not_be_recorded_is_recorded_by_the_next_attempt(folder: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise Unavailable("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(reseal, "_record", full)
        assert "the disk is full" in run(folder, "web")
    assert opens(folder, "web", "new.secret") == everything(folder, "web")
    assert "the new secret opens them" in homes.half_sealed(folder / "home")[0]
    shutil.copy(folder / "new.secret", folder / "web.secret")  # the operator goes on; it is told until it is ended
    assert [problem for problem in look(load(environ(folder))).problems if "sealing the keys of web anew was broken off" in problem]
    assert run(folder, "web") == ""
    assert recorded(folder) == ["keys:web"]
    assert homes.half_sealed(folder / "home") == []


#: Dies before the step of that number, or the first one that is called so, among those that change or settle a folder of keys.
VICTIM = """
import os, signal, sys
from pathlib import Path
from core.settings import load
from ops.reseal import reseal
secret, last = Path(sys.argv[1]), sys.argv[2]
steps, kinds = [], {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "shutil.rmtree", "ctypes.dlsym"}

def hook(event, arguments):
    if event not in kinds:
        return
    about = f"{event} {arguments[0]} {arguments[1]}"
    if "resealing" in about or "/home/keys None" in about or "renameat2" in about or (steps and event == "os.remove"):
        steps.append(event)
        if last == str(len(steps)) or (not last.isdigit() and last in about):
            os.kill(os.getpid(), signal.SIGKILL)

settings = load(os.environ)
sys.addaudithook(hook)
reseal(settings, "worker", secret, tell=lambda _: None)
"""


def dies(folder: Path, last: str) -> bool:
    """Let the victim seal the worker's keys anew; whether there was such a step, before which it died."""
    command = [sys.executable, "-c", VICTIM, str(folder / "new.secret"), last]
    ended = subprocess.run(command, cwd=ROOT, env=os.environ | environ(folder), timeout=120, check=False).returncode
    assert ended in {0, -signal.SIGKILL}
    return ended != 0


def opened_by(folder: Path) -> str:
    """Which secret opens all keys of the worker; the other one opens none, and the home says so."""
    found = {"former": opens(folder, "worker", "worker.secret"), "new": opens(folder, "worker", "new.secret")}
    [which] = [name for name, some in found.items() if some]
    assert found[which] == everything(folder, "worker")
    assert all(f"the {which} secret opens them" in sentence for sentence in homes.half_sealed(folder / "home"))
    return which


def goes_on(folder: Path) -> None:
    """The same command ends what was begun, and it is told once."""
    if homes.half_sealed(folder / "home") or opened_by(folder) == "former":
        assert run(folder, "worker") == ""
    assert opened_by(folder) == "new"
    assert homes.half_sealed(folder / "home") == []
    shutil.copy(folder / "new.secret", folder / "worker.secret")
    assert recorded(folder) == ["keys:worker"]


def test_kills_around_the_exchange_leave_a_home_that_one_secret_opens(folder: Path):
    for step, which in (("renameat2", "former"), ("/home/keys None", "new"), ("os.rmdir", "new")):
        assert dies(folder, step)
        assert homes.half_sealed(folder / "home") != []
        assert opened_by(folder) == which
    goes_on(folder)


@pytest.mark.proof
def test_a_kill_at_any_step_leaves_a_home_that_one_secret_opens_and_the_same_command_goes_on(made: Path, tmp_path: Path):
    seen, step = [], 0
    while True:
        step += 1
        folder = shutil.copytree(made, tmp_path / str(step))
        private(folder / "new.secret", NEW)
        if not dies(folder, str(step)):
            break
        seen.append(opened_by(folder))
        goes_on(folder)
    assert step > 30
    assert seen == sorted(seen)  # the former one, and from one step on the new one
    assert set(seen) == {"former", "new"}
