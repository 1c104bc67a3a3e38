"""A home is its owner's alone, whatever stood there before and however careless the owner's umask is."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import Unavailable
from core.settings import load
from ops import homes, status
from ops.node import open_node
from ops.restore import supply


@pytest.fixture
def careless() -> Iterator[None]:
    """A umask that takes nothing away."""
    former = os.umask(0)
    yield
    os.umask(former)


def modes(home: Path) -> list[int]:
    return [stat.S_IMODE(folder.stat().st_mode) for folder in (home, home / "keys")]


@pytest.mark.usefixtures("careless")
def test_a_new_home_is_open_to_its_owner_alone(tmp_path: Path) -> None:
    homes.make(tmp_path / "home")
    assert modes(tmp_path / "home") == [0o700, 0o700]


@pytest.mark.usefixtures("careless")
@pytest.mark.parametrize(("before", "after"), [(0o777, 0o750), (0o755, 0o750), (0o700, 0o700), (0o770, 0o750)])
def test_a_folder_that_was_there_is_closed_to_strangers_and_to_others_writing(tmp_path: Path, before: int, after: int) -> None:
    (tmp_path / "home" / "keys").mkdir(parents=True)
    for folder in (tmp_path / "home" / "keys", tmp_path / "home"):
        folder.chmod(before)
    homes.make(tmp_path / "home")
    assert modes(tmp_path / "home") == [after, after]


def test_a_home_whose_restore_was_broken_off_is_opened_by_nobody(home: Path) -> None:
    settings = load({"YUMEN_HOME": str(home)})
    homes.restoring_file(home).touch()
    for use in (
        lambda: open_node(settings, role="serve", with_keys=True),
        lambda: status.look(settings),
        lambda: supply(settings, tell=print),
    ):
        with pytest.raises(Unavailable, match="broken off"):
            use()
