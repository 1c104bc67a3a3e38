"""The bench of pages asks for pages that there are, in a home that holds what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import pages, servers

ON_BOTH = pytest.param(("SQLite", "PostgreSQL"), marks=[pytest.mark.proof, pytest.mark.component("postgresql")])


@pytest.mark.slow
@pytest.mark.parametrize("databases", [("SQLite",), ON_BOTH], ids="+".join)
def test_every_page_that_is_measured_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, databases: tuple[str, ...]):
    """On SQLite, and where there is a PostgreSQL on that as well."""
    monkeypatch.setattr(pages, "TIMES", 2)
    monkeypatch.setattr(pages, "WAITING", 60)
    monkeypatch.setattr(pages, "DECIDED", 1_000)
    if "PostgreSQL" not in databases:
        monkeypatch.setattr(servers, "missing", lambda: ["postgresql"])
    rows = list(pages.pages(tmp_path, certificates=120, staff=2_000))
    asked = [address for addresses in pages.PAGES.values() for address in addresses]
    assert [row.what for row in rows] == [f"page {address}, {database}, p95" for database in databases for address in asked]
    assert all(0 < row.ours.median < 60_000 for row in rows)
