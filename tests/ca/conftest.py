from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ca.town import Town, copy, found, open_town

POSTGRESQL = pytest.param("postgresql", marks=pytest.mark.component("postgresql"))


@pytest.fixture(scope="session")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed home after its ceremony: copied by every test."""
    folder = tmp_path_factory.mktemp("founded")
    found(folder).close()
    return folder


@pytest.fixture(scope="session")
def founded_on_postgresql(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same on PostgreSQL."""
    folder = tmp_path_factory.mktemp("founded-postgresql")
    cluster = request.getfixturevalue("cluster")
    (folder / "postgres").write_text(cluster.url("{role}", cluster.new_database()))
    found(folder).close()
    return folder


@pytest.fixture(params=["sqlite", POSTGRESQL])
def town(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Town]:
    """A town in either database: what is claimed of one is claimed of both."""
    if request.param == "sqlite":
        opened = open_town(copy(request.getfixturevalue("founded"), tmp_path / "town"))
        yield opened
        opened.close()
        return
    cluster = request.getfixturevalue("cluster")
    template = request.getfixturevalue("founded_on_postgresql")
    folder = copy(template, tmp_path / "town")
    name = cluster.new_database((template / "postgres").read_text().partition("@/")[2].partition("?")[0])
    (folder / "postgres").write_text(cluster.url("{role}", name))
    opened = open_town(folder)
    yield opened
    opened.close()
    cluster.drop(name)
