"""`wsgi.py` under a server that is not ours: granian as its own command runs it, supervisor, TLS and all."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyotp
import pytest

from audit import history
from audit.event import Kind
from core.database import open_sqlite
from ops import homes
from tests.ports import free_ports
from tests.shape.rules import ROOT
from tests.web.pki import make

QUESTION = {
    "subject": {"type": "user", "id": "zhangsan"},
    "action": {"name": "read"},
    "resource": {"type": "document", "id": "plan-2026"},
}


@pytest.fixture
def port() -> int:
    return free_ports(1)[0]


@pytest.fixture
def granian(home: Path, tmp_path: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """granian's own command over the home; ended as its supervisor would be."""
    authority = make("outside")
    cert, key = make("localhost", authority).write(tmp_path, "server")
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    call = [sys.executable, "-m", "granian", "--interface", "wsgi", "--factory", "--host", "127.0.0.1", "--port", str(port)]
    tls = ["--ssl-certificate", str(cert), "--ssl-keyfile", str(key)]
    with (tmp_path / "granian.log").open("wb") as log:
        child = subprocess.Popen(
            [*call, *tls, "wsgi:create"], env={"PATH": os.environ["PATH"], "YUMEN_HOME": str(home)}, cwd=ROOT, stdout=log, stderr=log
        )
    yield child
    child.terminate()
    child.wait(20)


@pytest.fixture
def outside(granian: subprocess.Popen[bytes], tmp_path: Path, port: int) -> Iterator[httpx.Client]:
    context = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    with httpx.Client(base_url=f"https://localhost:{port}", verify=context, trust_env=False) as client:
        _until_it_answers(client, tmp_path / "granian.log")
        yield client


def _until_it_answers(client: httpx.Client, log: Path) -> None:
    end = time.monotonic() + 30
    while True:
        with contextlib.suppress(httpx.TransportError):
            client.get("/healthz")
            return
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.1)


def _told(home: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((home / "demo.json").read_bytes())
    return found


def _login(client: httpx.Client, account: dict[str, Any], **headers: str) -> httpx.Response:
    wanted = {"uid": account["uid"], "password": account["password"], "totp": pyotp.TOTP(account["totp"]).now()}
    return client.post("/api/v1/sessions", json=wanted, headers=headers)


@pytest.mark.slow
def test_people_and_applications_are_served_and_a_certificate_in_a_field_is_not_believed(outside: httpx.Client, home: Path):
    told = _told(home)
    staff, application = told["accounts"][0], told["applications"][0]

    forged = _login(outside, staff, **{"Client-Cert": ":" + "MIIB" * 8 + ":"})
    assert (forged.status_code, forged.json()["reason"]) == (400, "forged-header")

    assert _login(outside, staff).status_code == 201
    assert outside.post("/access/v1/evaluation", json=QUESTION).status_code == 401
    answer = outside.post("/access/v1/evaluation", json=QUESTION, headers={"Authorization": f"Bearer {application['api_key']}"})
    assert (answer.status_code, answer.json()["decision"]) == (200, True)
    assert outside.get("/login").status_code == 200


@pytest.mark.slow
def test_the_server_s_end_is_the_end_of_the_node(outside: httpx.Client, granian: subprocess.Popen[bytes], home: Path):
    assert outside.get("/healthz").status_code == 200
    granian.terminate()
    granian.wait(20)
    database = open_sqlite(homes.database_file(home))
    with database.reading() as session:
        began, ended = (history.newest(session, kind)[0] for kind in (Kind.ACCESS_WRITER_STARTED, Kind.WRITER_ENDED))
    database.engine.dispose()
    assert (ended.object, ended.idx > began.idx) == (began.object, True)


def test_the_composition_does_nothing_else() -> None:
    """`wsgi.py` loads settings and builds the application: functions and imports; no rule, no handling of errors, no state."""
    tree = ast.parse((ROOT / "wsgi.py").read_text("utf-8"))
    allowed = ast.Expr | ast.Import | ast.ImportFrom | ast.FunctionDef
    others = [node for node in tree.body if not isinstance(node, allowed) and not ast.unparse(node).startswith("if TYPE_CHECKING:")]
    assert [ast.unparse(node) for node in others] == []
    loops_and_branches = ast.Try | ast.While | ast.For | ast.ClassDef | ast.Global
    assert [type(node).__name__ for node in ast.walk(tree) if isinstance(node, loops_and_branches)] == []
