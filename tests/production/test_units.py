"""The units in `deploy/systemd`, read by systemd itself: they are understood whole, and leave a process little to do but its work."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.production.machine import DEPLOY, read_unit

pytestmark = pytest.mark.component("systemd")

SERVICES = ("yumen-web@1.service", "yumen-worker.service")


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The units as an administrator has them, with the program that they name."""
    folder = tmp_path_factory.mktemp("units")
    program = folder / "yumen"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for path in (DEPLOY / "systemd").glob("yumen-*"):
        (folder / path.name.replace("@.", "@1.")).write_text(path.read_text("utf-8").replace("/opt/yumen/.venv/bin/yumen", str(program)))
    return folder


@pytest.mark.parametrize("name", [*SERVICES, "yumen-nginx.path", "yumen-nginx.service"])
def test_systemd_understands_every_line(units: Path, name: str):
    ended = subprocess.run(["systemd-analyze", "verify", "--man=no", str(units / name)], capture_output=True, text=True, check=False)
    objections = [line for line in ended.stderr.splitlines() if name in line or "Unknown" in line]
    assert (ended.returncode, objections) == (0, []), ended.stderr


def test_systemd_understands_the_worker_with_its_targets_of_backups(units: Path):
    folder = units / "yumen-worker.service.d"
    folder.mkdir()
    (folder / "backup.conf").write_text((DEPLOY / "systemd" / "backup.conf").read_text("utf-8"))
    command = ["systemd-analyze", "verify", "--man=no", str(units / "yumen-worker.service")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, [line for line in ended.stderr.splitlines() if "backup.conf" in line or "Unknown" in line]) == (0, [])


@pytest.mark.parametrize("name", SERVICES)
def test_little_is_left_to_a_process_that_was_taken_over(units: Path, name: str):
    """0 is sealed off, 10 is everything; what remains is the network and what the distribution's kernel offers to all."""
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(units / name)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", told)
    assert found, told
    assert float(found[1]) <= 1.5, told


def test_each_process_has_its_own_account_role_and_secrets():
    web, worker = (read_unit(DEPLOY / "systemd" / name, "1") for name in ("yumen-web@.service", "yumen-worker.service"))
    assert {web.one("User"), worker.one("User")} == {"yumen-web", "yumen-worker"}
    assert web.one("Group") == worker.one("Group") == "yumen"
    assert not [line for line in web.lines if "worker.secret" in line[1]]
    assert [line for line in web.all("Environment") if line.startswith("YUMEN_DATABASE_URL=postgresql://yumen_web@")]
    assert [line for line in worker.all("Environment") if line.startswith("YUMEN_DATABASE_URL=postgresql://yumen_worker@")]


def test_no_file_of_the_deployment_holds_a_secret():
    """Secrets are named by path; what looks like one is a mistake."""
    for path in filter(Path.is_file, DEPLOY.rglob("*")):
        text = path.read_text("utf-8")
        assert not re.search(r"(?i)(password|secret|token)\s*=\s*[\"'][^/$\"']{8,}", text), path
        assert "PRIVATE KEY" not in text, path
