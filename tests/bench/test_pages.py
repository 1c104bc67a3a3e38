"""The bench of pages asks for pages that there are, in a home that holds what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import pages


@pytest.mark.slow
def test_every_page_that_is_measured_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pages, "TIMES", 2)
    monkeypatch.setattr(pages, "WAITING", 60)
    rows = list(pages.pages(tmp_path, certificates=120, staff=2_000))
    assert [row.what for row in rows] == [f"page {address}, p95" for addresses in pages.PAGES.values() for address in addresses]
    assert all(0 < row.ours.median < 60_000 for row in rows)
