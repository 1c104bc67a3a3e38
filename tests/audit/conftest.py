from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.audit.homes import Home, close_home, open_home


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.component("postgresql"))])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A folder whose home is in either database: what is claimed of one is claimed of both."""
    if request.param == "sqlite":
        yield tmp_path
        return
    cluster = request.getfixturevalue("cluster")
    name = cluster.new_database()
    (tmp_path / "postgres").write_text(cluster.url("{role}", name))
    yield tmp_path
    cluster.drop(name)


@pytest.fixture
def home(place: Path) -> Iterator[Home]:
    """A fresh home with an open trail."""
    home = open_home(place)
    yield home
    close_home(home)
