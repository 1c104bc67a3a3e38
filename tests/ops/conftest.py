from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.settings import Settings, load
from ops.demo import make_demo
from ops.node import Node, open_node
from tests.ports import free_ports


def addresses() -> dict[str, str]:
    """Environment that puts a home on ports of its own."""
    https, http = free_ports(2)
    return {
        "YUMEN_WEB_HTTPS": f"127.0.0.1:{https}",
        "YUMEN_WEB_HTTP": f"127.0.0.1:{http}",
        "YUMEN_WEB_HTTPS_URL": f"https://localhost:{https}",
        "YUMEN_WEB_HTTP_URL": f"http://127.0.0.1:{http}",
    }


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demonstration as `yumen init --demo` leaves it. Copy it, do not use it."""
    home = tmp_path_factory.mktemp("demo") / "var"
    make_demo(home, addresses(), tell=lambda _: None)
    return home


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    """A copy of the demonstration, with its secret beside it."""
    copy = tmp_path / "var"
    shutil.copytree(made, copy)
    shutil.copy(made.with_name("var.secret"), tmp_path / "var.secret")
    return copy


@pytest.fixture
def settings(home: Path) -> Settings:
    return load({"YUMEN_HOME": str(home)})


@pytest.fixture
def node(settings: Settings) -> Iterator[Node]:
    opened = open_node(settings, role="operator", with_keys=True)
    yield opened
    opened.close()
