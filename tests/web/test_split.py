"""Every claim about the door once more, where serving and working have nothing in common but the database: no right is missing."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.shape.rules import ROOT

#: Claims whose tests reach into the one process or its SQLite file.
_OF_ONE_PROCESS = (
    "test_door.py::test_when_the_trail_cannot_be_written_the_answer_is_no",
    "test_metrics.py::test_the_measures_of_a_home_are_written_to_a_file_without_a_process",
    "test_nginx.py::test_an_expired_certificate_gets_a_readable_recorded_refusal",
    "test_nginx.py::test_the_named_location_keeps_method_address_and_body",
)


@pytest.mark.proof
@pytest.mark.component("postgresql", "nginx")
@pytest.mark.timeout(1800)
def test_the_door_needs_no_more_than_the_role_that_serves_has():
    left_out = [f"--deselect=tests/web/{name}" for name in _OF_ONE_PROCESS]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not proof", "-p", "no:cacheprovider", *left_out, "tests/web"]
    ended = subprocess.run(command, cwd=ROOT, env=os.environ | {"YUMEN_TESTS_SPLIT": "1"}, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-4000:]
    assert int(ended.stdout.rpartition(" passed")[0].split()[-1]) > 400
