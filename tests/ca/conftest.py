from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ca.town import Town, copy, found, open_town


@pytest.fixture(scope="session")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed home after its ceremony: copied by every test."""
    folder = tmp_path_factory.mktemp("founded")
    found(folder).close()
    return folder


@pytest.fixture
def town(founded: Path, tmp_path: Path) -> Iterator[Town]:
    opened = open_town(copy(founded, tmp_path / "town"))
    yield opened
    opened.close()
