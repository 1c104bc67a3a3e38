from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pyotp
import pytest
from click.testing import CliRunner
from cryptography import x509

from authz import totp
from cli.main import main
from core.errors import Conflict, Unavailable
from core.settings import BadSettings, load
from ops.demo import make_demo, refresh_accounts
from ops.node import Node, open_node

from .conftest import addresses

pytestmark = pytest.mark.slow


def quiet(_: str) -> None:
    pass


def told(home: Path) -> dict:
    return json.loads((home / "demo.json").read_bytes())


def test_demo_json_is_as_the_contract_says(home):
    value = told(home)
    assert set(value) == {"https", "http", "ca_file", "accounts", "applications"}
    assert value["https"].startswith("https://localhost:")
    assert value["http"].startswith("http://localhost:")
    assert all(set(account) == {"uid", "name", "password", "totp", "roles", "unit"} for account in value["accounts"])
    assert all(set(application) == {"id", "cert", "key", "api_key"} for application in value["applications"])
    assert value["applications"][0]["id"] == "oa"
    assert len(value["applications"]) == 2


def test_the_cast_is_complete(home):
    by_role: dict[str, list[dict]] = {}
    for account in told(home)["accounts"]:
        for role in account["roles"]:
            by_role.setdefault(role, []).append(account)
    assert set(by_role) == {"staff", "registrar", "system-admin", "security-admin", "auditor", "app-owner"}
    assert len({account["unit"] for account in by_role["staff"]}) == 3
    county = by_role["staff"][0]["unit"]
    assert [account["unit"] == county for account in by_role["registrar"]] == [True, True, False]


@pytest.mark.parametrize("name", ["demo.json", "demo.seed", "yumen.toml", "certs/oa.key", "yumen.db"])
def test_files_with_secrets_are_private(home, name):
    assert stat.S_IMODE((home / name).stat().st_mode) == 0o600


def test_home_and_its_secret_are_private(made):
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert stat.S_IMODE(made.with_name("var.secret").stat().st_mode) == 0o600


def test_unsealing_secret_lies_outside_the_home(home):
    word = home.with_name("var.secret").read_bytes().strip()
    assert all(word not in path.read_bytes() for path in home.rglob("*") if path.is_file())


def test_root_is_named_demo(home):
    root = x509.load_pem_x509_certificate((home / "root.pem").read_bytes())
    assert "DEMO" in root.subject.rfc4514_string()


def test_one_time_codes_are_enrolled_with_the_secrets_that_are_told(node: Node, home):
    people = node.world.current().directory.by_uid
    for account in told(home)["accounts"]:
        with node.database.reading() as session:
            row = totp.active(session, people[account["uid"]].uuid)
        code = pyotp.TOTP(account["totp"]).at(node.clock())
        assert row is not None
        assert totp.step_of(node.world.keys, row, code, node.clock()) is not None


def test_administrators_and_registrars_count_from_the_start(node: Node, home):
    snapshot = node.world.current()
    for account in told(home)["accounts"]:
        person = snapshot.directory.by_uid[account["uid"]]
        assert {holding.role for holding in snapshot.roles(person.uuid)} >= set(account["roles"])


def test_every_asset_has_a_registrar_who_may_approve_for_it(node: Node, home):
    snapshot = node.world.current()
    people = (snapshot.directory.by_uid[account["uid"]].uuid for account in told(home)["accounts"])
    covered = {held.unit for person in people for held in snapshot.roles(person) if held.role == "registrar"}
    wanted = {ref: asset.unit for ref, asset in snapshot.assets.items() if ref in {"application:oa", "application:hr", "server:files"}}
    assert len(wanted) == 3
    assert set(wanted.values()) <= covered


def test_a_second_run_leaves_everything_as_it_is(made):
    before = {path: path.read_bytes() for path in made.rglob("*") if path.is_file()}
    make_demo(made, {}, tell=quiet)
    assert {path: path.read_bytes() for path in made.rglob("*") if path.is_file()} == before


def test_a_demonstration_is_not_made_again_as_a_home_of_production(home):
    refused = CliRunner().invoke(main, ["init"], env={"YUMEN_HOME": str(home)})
    assert refused.exit_code == 1
    assert "stays one" in refused.output


STEPS = ("schema", "keys of the logs", "ceremony", "certificate of the portal", "one-time codes", "application oa", "application hr")

VICTIM = """
import os, signal, sys
from pathlib import Path
from ops.demo import make_demo
def tell(step):
    if step == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)
make_demo(Path(sys.argv[1]), os.environ, tell=tell)
"""


@pytest.mark.parametrize(
    "steps", [("ceremony", "application oa"), pytest.param(STEPS, marks=pytest.mark.proof)], ids=["short", "every step"]
)
def test_killed_again_and_again_it_is_completed_by_the_next_run(tmp_path, steps):
    home = tmp_path / "var"
    environ = {**os.environ, **addresses()}
    for step in steps:
        ended = subprocess.run([sys.executable, "-c", VICTIM, str(home), step], env=environ, check=False)
        assert ended.returncode == -signal.SIGKILL, step
        assert not (home / "yumen.toml").exists()
    make_demo(home, environ, tell=quiet)
    node = open_node(load({"YUMEN_HOME": str(home)}), role="operator", with_keys=True)
    try:
        assert node.tls is not None
        assert set(node.world.current().applications) == {"oa", "hr"}
        assert len(told(home)["accounts"]) == 10
    finally:
        node.close()


def test_a_demonstration_refuses_any_address_but_loopback(tmp_path):
    with pytest.raises(BadSettings, match="loopback only"):
        make_demo(tmp_path / "var", {"YUMEN_WEB_HTTPS": "0.0.0.0:8443"}, tell=quiet)
    assert not (tmp_path / "var").exists()


def test_a_demonstration_never_becomes_a_home_of_production(home, tmp_path):
    secret = tmp_path / "var.secret"
    settings = (home / "yumen.toml").read_text().replace('mode = "demo"', 'mode = "production"')
    (home / "yumen.toml").write_text(f'{settings}\n[keys]\nweb_secret = "{secret}"\nworker_secret = "{secret}"\n')
    with pytest.raises(Unavailable, match="made with mode `demo`"):
        open_node(load({"YUMEN_HOME": str(home)}), role="serve", with_keys=True)


def test_a_home_of_production_is_not_made_a_demonstration(tmp_path):
    home = tmp_path / "var"
    home.mkdir()
    (tmp_path / "secret").write_text("x" * 32)
    (home / "yumen.toml").write_text(
        f'mode = "production"\n[keys]\nweb_secret = "{tmp_path}/secret"\nworker_secret = "{tmp_path}/secret"\n'
    )
    with pytest.raises(Conflict, match="never becomes a demonstration"):
        make_demo(home, {}, tell=quiet)


def test_a_moved_home_tells_its_new_place(home):
    moved = home.with_name("elsewhere")
    home.rename(moved)
    home.with_name("var.secret").rename(home.with_name("elsewhere.secret"))
    refresh_accounts(load({"YUMEN_HOME": str(moved)}))
    value = told(moved)
    assert value["ca_file"] == str(moved / "root.pem")
    assert value["applications"][0]["key"] == str(moved / "certs" / "oa.key")
