"""The import law holds, and each contract sees a violation that is planted in a scratch copy of the rooms."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.shape.rules import ROOT

CONTRACTS = [
    contract["id"] for contract in tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
]

#: What is planted for each contract: (file to which the line is added, the line).
PLANTED: dict[str, list[tuple[str, str]]] = {
    "layers": [("core/clock.py", "import audit.event"), ("ca/states.py", "import web.problems"), ("web/problems.py", "import cli.main")],
    "flask": [
        ("authz/decide.py", "import flask"),
        ("cli/main.py", "from jinja2 import Template"),
        ("ca/states.py", "import werkzeug.exceptions"),
    ],
    "ldap": [("authz/people.py", "import ldap3"), ("web/problems.py", "from ldap3 import Server")],
    "certs": [
        ("certs/chain.py", "import sqlalchemy"),
        ("certs/chain.py", "import socket"),
        ("certs/chain.py", "import core.clock"),
        ("certs/chain.py", "from core.seal import Vault"),
    ],
    "verifier": [("audit/verifier/note.py", "import cryptography"), ("audit/verifier/merkle.py", "from audit.tables import TrailEvent")],
    "keys": [
        ("web/problems.py", "import ca.keys"),
        ("cli/main.py", "from ca.keys import Signers"),
        ("ca/registration.py", "import ca.keys"),
    ],
    "trail": [("ca/states.py", "import audit.tables"), ("ops/node.py", "from audit import append")],
    "permits": [
        ("ca/states.py", "from authz.decide import require"),
        ("ca/states.py", "import authz.policy"),
        ("authz/standing.py", "import authz.decide"),
    ],
    "client": [
        ("cli/client/keys.py", "import core.settings"),
        ("cli/client/keys.py", "import ca.states"),
        ("cli/client/keys.py", "import cli.local"),
    ],
    "cycles": [("core/errors.py", "import core.database"), ("audit/permit.py", "import audit.event"), ("certs/der.py", "import certs.crl")],
}


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the rooms that tests may spoil."""
    folder = tmp_path_factory.mktemp("rooms")
    shutil.copy(ROOT / "pyproject.toml", folder)
    for room in ("core", "certs", "audit", "authz", "ca", "ops", "web", "cli"):
        shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("*.html", "*.css", "*.mo", "__pycache__"))
    return folder


def _lint(folder: Path, *contracts: str) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--cache-dir", folder / ".cache"]
    chosen = [part for contract in contracts for part in ("--contract", contract)]
    return subprocess.run([*command, *chosen], cwd=folder, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(folder)})


def test_the_import_law_is_kept(scratch: Path) -> None:
    result = _lint(scratch)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_contract_has_violations_to_see() -> None:
    assert sorted(PLANTED) == sorted(CONTRACTS)


@pytest.mark.parametrize("contract", PLANTED)
def test_contract_sees_the_violation(scratch: Path, contract: str) -> None:
    honest = {file: (scratch / file).read_text("utf-8") for file, _ in PLANTED[contract]}
    try:
        for file, line in PLANTED[contract]:
            with (scratch / file).open("a", encoding="utf-8") as module:
                module.write(f"\n{line}\n")
        result = _lint(scratch, contract)
    finally:
        for file, text in honest.items():
            (scratch / file).write_text(text, "utf-8")
    assert result.returncode == 1, result.stdout + result.stderr
    assert "BROKEN" in result.stdout
    unseen = [case for case in PLANTED[contract] if not re.search(_named(*case), result.stdout)]
    assert unseen == [], result.stdout


def _named(file: str, line: str) -> str:
    """How a violation is told: the module that imports, and something that its line names."""
    words = "|".join(re.findall(r"\w+", line))
    return rf"\b{Path(file).stem} -> [\w.]*\b(?:{words})\b"
