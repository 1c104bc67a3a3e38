"""A missing component is seen: a skip with its reason, a failure where everything must be there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import components
from tests.shape.rules import ROOT


def _run(arguments: list[str], path: Path, **more: str) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if name not in {"CI", "PYTEST_ADDOPTS"}} | {"PATH": str(path)} | more
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environ, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_missing_component_is_a_visible_skip_and_with_ci_a_failure(tmp_path: Path) -> None:
    tests = ["-m", "pytest", "-p", "no:cacheprovider", "tests/certs/test_openssl.py"]
    skipped = _run(tests, tmp_path)
    assert skipped.returncode == 0
    assert "missing: openssl" in skipped.stdout
    assert " passed" not in skipped.stdout
    failed = _run(tests, tmp_path, CI="true")
    assert failed.returncode == 1
    assert "missing: openssl" in failed.stdout


def test_what_is_missing_is_named_with_the_package_that_brings_it(tmp_path: Path) -> None:
    named = _run(["tests/components.py"], tmp_path)
    assert named.returncode == 0
    assert "missing: openssl" in named.stdout
    assert "apt-get install openssl" in named.stdout
    assert _run(["tests/components.py"], tmp_path, CI="true").returncode == 1


def test_the_table_holds_what_tests_ask_for_and_no_more() -> None:
    asked = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        for line in path.read_text("utf-8").splitlines():
            if "mark.component(" in line and path.name != Path(__file__).name:
                asked |= set(line.split("mark.component(", 1)[1].split(")", 1)[0].replace('"', "").replace(" ", "").split(","))
    assert asked == set(components.COMPONENTS) - components.FOR_PROOF
