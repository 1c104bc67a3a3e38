"""The published document against a live service: nothing that it says is untrue, and nothing sent by it, or against it, breaks anything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile.conftest import demonstration
from tests.web.conftest import AUDITOR, OWNER, REGISTRAR, SECURITY, STAFF, SYSTEM, Service

HERE = Path(__file__).parent
#: Sessions that may be ended on the way.
SPARE = 40

#: Who asks. Those who can switch others off come last.
KEY, CERTIFICATE, NOBODY = "application by key", "application by certificate", "nobody"
CALLERS = (NOBODY, KEY, CERTIFICATE, STAFF, REGISTRAR, AUDITOR, OWNER, SYSTEM, SECURITY)
SHORT = (NOBODY, CERTIFICATE, REGISTRAR)

#: Who logs in with a name over the connection of another caller is refused.
BESIDE_A_CERTIFICATE = """
[[operations]]
include-path = ["/api/v1/sessions", "/api/v1/totp/enrolments", "/api/v1/totp/enrolments/confirm"]
[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", 400, 401, 429]
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A demonstration of its own."""
    with demonstration(tmp_path_factory.mktemp("victim")) as found:
        yield found


def ask(service: Service, caller: str, *options: str) -> None:
    """Let schemathesis ask as `caller`; fails with its report."""
    person = caller not in {NOBODY, KEY, CERTIFICATE}
    spare = service.folder / "spare-tokens"
    spare.write_text("\n".join(service.session(caller) for _ in range(SPARE)) if person else "", "ascii")
    token = service.session(caller) if person else ""
    settings = service.folder / "schemathesis.toml"
    text = (HERE / "schemathesis.toml").read_text("utf-8").replace('"generators.py"', json.dumps(str(HERE / "generators.py")))
    if token or caller == KEY:
        scheme, bearer = ("session", token) if token else ("apiKey", service.files("oa")["api_key"])
        text += f"\n[auth.openapi.{scheme}]\nbearer = {json.dumps(bearer)}\n"
    text += BESIDE_A_CERTIFICATE if caller == CERTIFICATE else ""
    settings.write_text(text, "utf-8")
    command = [
        sys.executable,
        "-m",
        "schemathesis.cli",
        "--config-file",
        str(settings),
        "run",
        f"{service.told['https']}/api/v1/openapi.json",
    ]
    if caller == CERTIFICATE:
        cert, key = service.application_files("oa")
        # These two take the Authorization field away and expect a refusal; here the connection itself says who calls.
        command += [f"--request-cert={cert}", f"--request-cert-key={key}", "--exclude-checks=ignored_auth,missing_required_header"]
    command += ["--checks=all", f"--tls-verify={service.told['ca_file']}", "--warnings=off", *options]
    environ = os.environ | {
        "YUMEN_SPARE_TOKENS": str(spare),
        "YUMEN_OWN_ACCOUNT": caller if person else "",
        "YUMEN_DEMO": str(service.node.settings.home / "demo.json"),
    }
    ended = subprocess.run(command, env=environ, cwd=service.folder, capture_output=True, text=True, check=False)
    (service.folder / "report.txt").write_text(ended.stdout + ended.stderr, "utf-8")
    if ended.returncode:
        pytest.fail("\n".join(line[:1_000] for line in (ended.stdout + ended.stderr).splitlines()), pytrace=False)
    if token:
        assert service.client(token=token).get("/api/v1/me").status_code == 200, "the session ended on the way"


@pytest.mark.parametrize("caller", SHORT)
def test_a_short_look_finds_nothing(victim: Service, caller: str) -> None:
    ask(victim, caller, "--phases=fuzzing", "--max-examples=1", "--seed=1")


@pytest.mark.proof
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("caller", CALLERS)
def test_schemathesis_finds_nothing(victim: Service, caller: str) -> None:
    ask(victim, caller, f"--max-examples={os.environ.get('YUMEN_TESTS_EXAMPLES', '50')}")
