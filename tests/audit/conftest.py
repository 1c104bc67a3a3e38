from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.audit.homes import Home, close_home, open_home


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """A fresh home with an open trail."""
    home = open_home(tmp_path)
    yield home
    close_home(home)
