"""A home of production with the processes of two users: as root two real ones without rights, otherwise both are the caller's own."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from authz import province
from ops import postgres
from tests.ops.conftest import addresses
from tests.postgres import Cluster
from tests.shape.rules import ROOT
from web.pages import language

ROOT_USER = os.geteuid() == 0
#: Numbers that no account of the machine has.
WEB, WORKER, GROUP = (61_001, 61_002, 61_000) if ROOT_USER else (os.geteuid(), os.geteuid(), os.getegid())

CEREMONY = """
name = "province"
organisation = "江州省"
root = {id = "root", name = "Jiangzhou Root"}
[[issuing]]
id = "servers"
name = "Jiangzhou Servers"
profiles = ["server"]
[[issuing]]
id = "staff"
name = "Jiangzhou Staff"
profiles = ["staff-sign"]
[[issuing]]
id = "applications"
name = "Jiangzhou Applications"
profiles = ["application"]
"""


def people() -> str:
    """The people that the first ceremony names: the province's administrators and registrars."""
    return "\n".join(
        f'[[people]]\nperson = "{account.uuid}"\nrole = "{held.role}"\nunit = "{held.unit}"'
        for account in province.accounts(seed=7)
        for held in account.holdings
        if held.role in {"registrar", "system-admin", "security-admin", "auditor"}
    )


def password(uid: str) -> str:
    """What this person of the province types."""
    return next(account.password for account in province.accounts(seed=7) if account.uid == uid)


class Place:
    """The folder of a home, its secrets, its database, and the processes that were started in it."""

    def __init__(self, cluster: Cluster, *, copied: Place | None = None) -> None:
        """A new home in a new database, or another machine's copy of a home, in the same database."""
        self.folder = Path(tempfile.mkdtemp(prefix="yumen-place-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.cluster, self.home, self.addresses = cluster, self.folder / "home", addresses()
        self._started: list[subprocess.Popen[str]] = []
        for source in language.FOLDER.glob("*/LC_MESSAGES/*.po"):
            language.compile_catalogue(source)  # no user of the service may write to its code
        self.database = copied.database if copied else cluster.new_database()
        if copied:
            self.addresses["YUMEN_WEB_HTTP_URL"] = copied.addresses["YUMEN_WEB_HTTP_URL"]
            subprocess.run(["cp", "-a", str(copied.home), str(self.home)], check=True)
        else:
            self._make()

    def _make(self) -> None:
        self.home.mkdir()
        for name, owner, mode in (("web", 0, 0o640), ("worker", WORKER, 0o400)):
            secret = self.folder / f"{name}.secret"
            secret.write_text(name * 8)
            secret.chmod(mode)
            _own(secret, owner, GROUP if name == "web" else 0)
        keys = "".join(f'{name}_secret = "{self.folder}/{name}.secret"\n' for name in ("web", "worker"))
        (self.home / "yumen.toml").write_text(f"[keys]\n{keys}")
        province.write(self.home / "directory.ldif", seed=7, hasher=province.QUICK)
        for path in (self.home / "yumen.toml", self.home / "directory.ldif"):
            path.chmod(0o640)
            _own(path, 0, GROUP)
        self.home.chmod(0o2750)
        _own(self.home, WORKER, GROUP)

    def prepare(self) -> None:
        """The database, as its administrator."""
        postgres.prepare(self.cluster.url("admin", self.database))

    def environ(self, role: str) -> dict[str, str]:
        """What a process that connects as `role` is told."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        own = {"YUMEN_HOME": str(self.home), "YUMEN_DATABASE_URL": self.cluster.url(role, self.database), "HOME": "/nonexistent"}
        return kept | self.addresses | own | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}

    def run(self, *arguments: str, user: int = WORKER) -> subprocess.CompletedProcess[str]:
        """`yumen …` as this user, to its end."""
        return subprocess.run(
            [*as_user(user), sys.executable, "-m", "cli.main", *arguments],
            env=self.environ("yumen_web" if user == WEB != WORKER else "yumen_worker"),
            cwd="/",
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def start(self, command: str, *, user: int, role: str, **environ: str) -> subprocess.Popen[str]:
        """`yumen serve` or `yumen worker` as this user and role; ready when this returns, its output in `told`."""
        call = [*as_user(user), sys.executable, "-m", "cli.main", command, "--json"]
        with (self.folder / f"{command}-{len(self._started)}.log").open("w") as log:
            child = subprocess.Popen(call, env=self.environ(role) | environ, cwd="/", stdout=subprocess.PIPE, stderr=log, text=True)
        self._started.append(child)
        assert child.stdout is not None
        ready, _, _ = select.select([child.stdout], [], [], 60)
        if not ready or not child.stdout.readline():
            child.kill()
            child.wait()
            raise AssertionError(f"`yumen {command}` did not start: {self.log(child)}")
        return child

    def serve(self, **environ: str) -> subprocess.Popen[str]:
        """`yumen serve` as in production."""
        return self.start("serve", user=WEB, role="yumen_web", **environ)

    def work(self, **environ: str) -> subprocess.Popen[str]:
        """`yumen worker` as in production."""
        return self.start("worker", user=WORKER, role="yumen_worker", **environ)

    def child(self, pid: int) -> subprocess.Popen[str]:
        """The process of this number that was started here."""
        return next(child for child in self._started if child.pid == pid)

    def log(self, child: subprocess.Popen[str]) -> str:
        """What a process has told on standard error."""
        (path,) = self.folder.glob(f"*-{self._started.index(child)}.log")
        return path.read_text()

    def close(self) -> None:
        """End every process and remove everything."""
        for child in self._started:
            if child.poll() is None:
                child.terminate()
        for child in self._started:
            child.wait(30)
            assert child.stdout is not None
            child.stdout.close()
        shutil.rmtree(self.folder)


def as_user(user: int) -> list[str]:
    """What to put before a command that shall run as this user, of the home's group and no other."""
    return ["setpriv", f"--reuid={user}", f"--regid={GROUP}", "--clear-groups", "--no-new-privs"] if ROOT_USER else []


def may(user: int, what: str, path: Path) -> bool:
    """Whether `test -r`, `-w` or `-x` of this path succeeds for this user."""
    return subprocess.run([*as_user(user), "test", what, str(path)], check=False).returncode == 0


def wait_for(happened: object, seconds: float = 60.0) -> float:
    """Wait until `happened()` is true, however busy the machine, unless `seconds` are the claim; how long it took."""
    assert callable(happened)
    began = time.monotonic()
    while not happened():
        assert time.monotonic() - began < seconds, "it did not happen in time"
        time.sleep(0.02)
    return time.monotonic() - began


def _own(path: Path, user: int, group: int) -> None:
    if ROOT_USER:
        os.chown(path, user, group)


def problems(ended: subprocess.CompletedProcess[str], words: Iterable[str]) -> list[str]:
    """Those of `words` that a refused command did not say."""
    assert ended.returncode == 1, ended.stdout + ended.stderr
    return [word for word in words if word not in ended.stderr]
