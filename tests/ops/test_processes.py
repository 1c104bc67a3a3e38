"""Production: a process that serves and one that works, each its own user, its own role in the database, its own secret."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import components
from tests.ops.processes import CEREMONY, GROUP, ROOT_USER, WEB, WORKER, Place, may, people, problems
from tests.postgres import Cluster

pytestmark = [pytest.mark.slow, pytest.mark.component("postgresql")]


@pytest.fixture
def _two_users() -> None:
    """Only root can become somebody else, and somebody else must be able to read the product."""
    if not ROOT_USER:
        pytest.skip("needs root: processes of two users")
    if not may(WEB, "-r", Path(__file__)):
        (pytest.fail if components.must_have_all() else pytest.skip)("the checkout cannot be read by other users")


two_users = pytest.mark.usefixtures("_two_users")


@pytest.fixture(scope="module")
def place(cluster: Cluster) -> Iterator[Place]:
    found = Place(cluster)
    found.prepare()
    try:
        assert (made := found.run("init")).returncode == 0, made.stderr
        (found.folder / "ceremony.toml").write_text(CEREMONY + people())
        held = found.run("ca", "ceremony", str(found.folder / "ceremony.toml"), "--codes", str(found.home / "codes.txt"))
        assert held.returncode == 0, held.stderr
        yield found
    finally:
        found.close()


@pytest.fixture
def mended(place: Place) -> Iterator[Place]:
    """The place, with modes and owners put back when the test is over."""
    paths = [place.home, *place.home.rglob("*"), *place.folder.glob("*.secret")]
    before = {path: path.lstat() for path in paths}
    yield place
    for path, was in before.items():
        if ROOT_USER:
            os.chown(path, was.st_uid, was.st_gid)
        path.chmod(stat.S_IMODE(was.st_mode))


@two_users
def test_the_user_that_serves_reads_what_serving_needs_and_no_key_of_the_worker(place: Place):
    shared = [place.home / "keys" / "web" / "privacy.sealed", place.home / "keys" / "web" / "tls" / "server.sealed"]
    shared += [place.home / "notes" / "ca.note", place.home / "tls" / "server.pem", place.folder / "web.secret"]
    assert [path for path in shared if not may(WEB, "-r", path)] == []
    hidden = [place.home / "keys" / "worker", place.folder / "worker.secret"]
    hidden += list((place.home / "keys" / "worker").rglob("*.sealed"))
    assert len(hidden) > 5
    assert [path for path in hidden if may(WEB, "-r", path)] == []


@two_users
def test_the_user_that_serves_writes_nothing_but_its_name(place: Place):
    everything = [place.home, *place.home.rglob("*")]
    assert {path for path in everything if may(WEB, "-w", path)} <= {place.home / "writers", *(place.home / "writers").glob("serve-*")}


@two_users
def test_strangers_see_nothing(place: Place):
    stranger = 61_003
    everything = [place.home, *place.home.rglob("*"), *place.folder.glob("*.secret")]
    assert everything
    enter = ["setpriv", f"--reuid={stranger}", f"--regid={stranger}", "--clear-groups"]
    seen = [path for path in everything if subprocess.run([*enter, "test", "-r", str(path)], check=False).returncode == 0]
    assert seen == []


@two_users
@pytest.mark.parametrize(
    ("path", "mode", "told"),
    [
        ("home", 0o2755, "has mode 2755"),
        ("home", 0o2770, "chmod 2750"),
        ("home/keys/worker", 0o750, "chmod 700"),
        ("home/keys/web", 0o2770, "has mode 2770"),
        ("worker.secret", 0o404, "chmod 400"),
        ("web.secret", 0o660, "chmod 640"),
    ],
)
def test_a_wrong_mode_is_named_at_start_with_what_to_do(mended: Place, path: str, mode: int, told: str):
    (mended.folder / path).chmod(mode)
    assert problems(mended.run("worker"), [told, str(mended.folder / path)]) == []
    assert problems(mended.run("serve", user=WEB), [told]) == []


@two_users
def test_a_secret_of_the_worker_that_the_group_may_read_stops_both(mended: Place):
    secret = mended.folder / "worker.secret"
    secret.chmod(0o440)
    os.chown(secret, WORKER, GROUP)
    for ended in (mended.run("worker"), mended.run("serve", user=WEB)):
        assert problems(ended, ["the group of the home may read", "chmod 400"]) == []


@two_users
def test_serving_is_refused_to_a_user_who_can_read_the_workers_secret_otherwise(mended: Place):
    os.chown(mended.folder / "worker.secret", WEB, GROUP)
    assert problems(mended.run("serve", user=WEB), ["this process serves and may read", "worker.secret"]) == []


@two_users
def test_serving_is_refused_in_a_home_of_its_own_user(mended: Place):
    os.chown(mended.home, WEB, GROUP)
    assert problems(mended.run("serve", user=WEB), ["this process serves and may write to"]) == []


@two_users
def test_the_other_user_cannot_work(place: Place):
    assert problems(place.run("worker", user=WEB), [f"belongs to user {WORKER}", "run this as that user"]) == []


@two_users
@pytest.mark.parametrize("command", [("init",), ("worker",), ("ca", "first-codes", "--codes", "/tmp/never-made")])
def test_root_leaves_nothing_in_the_home_that_the_worker_could_not_read(place: Place, command: tuple[str, ...]):
    assert problems(place.run(*command, user=0), [f"belongs to user {WORKER}"]) == []
    assert {path.stat().st_uid for path in (place.home / "keys").rglob("*")} == {WORKER}


@two_users
def test_a_folder_that_is_missing_is_named(mended: Place):
    away = mended.folder / "notes-away"
    shutil.move(mended.home / "notes", away)
    try:
        assert problems(mended.run("worker"), ["notes` is missing", "yumen init"]) == []
    finally:
        shutil.move(away, mended.home / "notes")


@two_users
def test_a_name_that_another_users_process_left_is_passed_over(place: Place):
    left = place.home / "writers" / "worker-1.lock"
    left.touch(mode=0o600)
    os.chown(left, 0, 0)
    child = place.work()
    assert (place.home / "writers" / "worker-2.lock").exists()
    child.terminate()
    child.wait(20)
    left.unlink()


def led(place: Place) -> bool:
    return json.loads(place.run("status", "--json").stdout)["worker"]


def test_serving_alone_works_at_nothing_and_status_tells(place: Place):
    serve = place.serve()
    assert not led(place)
    worker = place.work()
    assert led(place)
    for child in (worker, serve):
        child.terminate()
        assert child.wait(20) == 0
    assert not led(place)
