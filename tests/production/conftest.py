"""One production form for all tests of this folder: it takes a while to build, and nothing of it is shared with other folders."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from bench.province import Size
from tests.production.stage import Production, build

_FOLDER = Path(__file__).parent
_built: list[Production] = []


@pytest.fixture(scope="session")
def production() -> Iterator[Production]:
    """The province, running: 1,378 units, 20,000 staff."""
    _built.append(build(Size()))
    yield _built[0]
    _end()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """End it after the last test of the folder: a session's end is far, and eight processes are not free."""
    if nextitem is None or _FOLDER not in nextitem.path.parents:
        _end()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show beside a failure what the services said."""
    report = yield
    if report.failed and _FOLDER in item.path.parents:
        report.sections += [("the machine", made.machine.last_words()) for made in _built]
    return report


def _end() -> None:
    while _built:
        _built.pop().machine.close()
