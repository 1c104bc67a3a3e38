"""One production form for all tests of this folder: it takes a while to build, and nothing of it is shared with other folders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.province import Size
from tests.production.stage import Production, build

_FOLDER = Path(__file__).parent
_built: list[Production] = []


@pytest.fixture(scope="session")
def production(request: pytest.FixtureRequest) -> Iterator[Production]:
    """The province, running: 200 units and 3,000 staff, of which nobody has to wait long; `make proof` takes all of it."""
    whole = any(item.get_closest_marker("proof") for item in request.session.items)
    _built.append(build(Size() if whole else Size(units=200, staff=3000)))
    yield _built[0]
    _end()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """End it after the last test of the folder: a session's end is far, and eight processes are not free."""
    if nextitem is None or _FOLDER not in nextitem.path.parents:
        _end()


def _end() -> None:
    while _built:
        _built.pop().machine.close()
