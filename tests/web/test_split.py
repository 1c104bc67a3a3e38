"""Every claim about the door once more, where serving and working have nothing in common but the database: no right is missing."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.shape.rules import ROOT


@pytest.mark.proof
@pytest.mark.component("postgresql", "nginx")
@pytest.mark.timeout(3600)
def test_the_door_needs_no_more_than_the_role_that_serves_has():
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not proof and not embedded", "-p", "no:cacheprovider", "tests/web"]
    ended = subprocess.run(command, cwd=ROOT, env=os.environ | {"YUMEN_TESTS_SPLIT": "1"}, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-4000:]
    assert int(ended.stdout.rpartition(" passed")[0].split()[-1]) > 400
