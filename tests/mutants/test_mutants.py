"""Each promise has a test that fails when its protection is taken out: here the protections are taken out, one by one.

A mutant is one protection, the lines that carry it, what stands there without it, and the test that must notice. The
long form runs every mutant in a scratch copy; the short form keeps the table true to the code.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutants.table import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]
ROOMS = ("core", "certs", "audit", "authz", "ca", "ops", "web", "cli", "migrations", "tests", "docs", "deploy")


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_protection_stands_where_the_table_says(mutant: Mutant):
    assert (ROOT / mutant.path).read_text("utf-8").count(mutant.protection) == 1


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_test_that_guards_the_protection_exists(mutant: Mutant):
    path, _, name = mutant.guard.partition("::")
    assert f"def {name.split('[')[0].split('::')[-1]}(" in (ROOT / path).read_text("utf-8")


@pytest.mark.proof
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_without_its_protection_the_promise_is_seen_to_break(mutant: Mutant, tmp_path: Path):
    for name in ROOMS:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "wsgi.py"):
        shutil.copy(ROOT / name, tmp_path)
    broken = tmp_path / mutant.path
    broken.write_text(broken.read_text("utf-8").replace(mutant.protection, mutant.without), "utf-8")

    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "", mutant.guard]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)

    assert told.returncode == 1, f"the guard did not fail (exit {told.returncode}):\n{told.stdout[-3000:]}{told.stderr[-1000:]}"
    assert "failed" in told.stdout
    assert "SyntaxError" not in told.stdout
