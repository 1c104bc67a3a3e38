"""Each part that needs no server of its own is measured to its end, and finds nothing amiss; what it finds is not judged here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import issuing, ocsp, rounds, servers
from bench.ocsp import KEPT, SIGNED, THEIRS
from ops.demo import make_demo

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a home that all parts measure."""
    found = tmp_path_factory.mktemp("bench")
    make_demo(found / "home", {}, tell=lambda _step: None)
    return found


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(rounds, "ROUNDS", 1)
    monkeypatch.setattr(ocsp, "SECONDS", 0.05)
    monkeypatch.setattr(issuing, "NUMBER", 3)
    monkeypatch.setattr(issuing, "SECONDS", 0.05)
    return


@pytest.mark.component("openssl", "nginx")
def test_every_responder_answers_what_ours_answers(folder: Path) -> None:
    found = {(row.what, row.against): row for row in ocsp.over_http(folder)}
    assert {(KEPT, "openssl ocsp"), (KEPT, "nginx, files"), (SIGNED, THEIRS)} <= found.keys()
    assert all(row.ours.least > 0 for row in found.values() if row.unit == "/s")


@pytest.mark.parametrize(
    ("databases", "rows"), [pytest.param(1, 2), pytest.param(2, 4, marks=[pytest.mark.proof, pytest.mark.component("postgresql")])]
)
def test_approved_requests_become_certificates(folder: Path, monkeypatch: pytest.MonkeyPatch, databases: int, rows: int) -> None:
    if databases == 1:
        monkeypatch.setattr(servers, "missing", lambda: ["postgresql"])
    found = list(issuing.issuance(folder))
    assert len(found) == rows
    assert all(row.ours.median > 0 for row in found)
