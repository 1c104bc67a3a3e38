"""What every test lives under: no connection leaves this machine, and a missing component is seen."""

from __future__ import annotations

import functools
import gc
import importlib
import os
import socket
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from core import seal
from tests import components
from tests.postgres import Cluster

# A property speaks of values: a slow machine says nothing of it, and the suite asks for the same values each time.
settings.register_profile("suite", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
# `make proof` asks for other values, and for more of them.
settings.register_profile("proof", settings.get_profile("suite"), derandomize=False, max_examples=2_000)
# `make check` asks for fewer: the first of them, the simplest.
settings.register_profile("check", settings.get_profile("suite"), max_examples=25)
settings.load_profile("suite")

# Homes are opened a thousand times with the same secret: what Argon2id makes of one (a pure function) is worked out once.
seal._master = functools.cache(seal._master)

#: The folders that take longest, longest first: a process that began them last would be waited for.
_LONG = ("pages", "ops", "web", "authz", "ca", "audit", "journey", "hostile")


class _ByFolder(LoadScopeScheduling):
    """Gives each process whole folders: what the tests of a folder share is made once, and they keep their order."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid.partition("::")[0].rpartition("/")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling | None:
    """Make `--dist loadscope` mean folders."""
    return _ByFolder(config, log) if config.getoption("dist") == "loadscope" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let long folders begin first where several processes share the tests."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = {folder: number for number, folder in enumerate(_LONG)}
        items.sort(key=lambda item: place.get(item.path.parent.name, len(place)))


def pytest_collection_finish() -> None:
    """What was imported stays to the end: no collection of garbage need go through it again."""
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a missing component, and say so; with `CI=true` it is a failure."""
    wanted = [name for mark in item.iter_markers("component") for name in mark.args]
    if lacking := components.missing(wanted):
        (pytest.fail if components.must_have_all() else pytest.skip)(f"missing: {', '.join(lacking)}; see tests/components.py")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A running PostgreSQL server for this process of the tests."""
    for room in ("audit", "authz", "ca", "ops"):
        importlib.import_module(f"{room}.tables")
    server = Cluster()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def _stays_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in {socket.AF_INET, socket.AF_INET6} and address[0] != "localhost" and not ip_address(address[0]).is_loopback:
            raise AssertionError(f"a test tried to reach {address[0]}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
