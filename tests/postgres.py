"""A PostgreSQL server of the tests' own: private data, a socket and no port, run by an account without rights.

Databases are copied from one that was prepared as `yumen init` does; a test gets a database of its own in a tenth of a second.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psycopg
from sqlalchemy import create_engine

TEMPLATE = "yumen_template"


def _bin() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return (found[-1] if found else Path(shutil.which("initdb") or "initdb")).parent


class Cluster:
    """One running server."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="yumen-pg-", dir="/tmp"))
        self.folder.chmod(0o711)  # the socket is for every user of the tests; the data folder is closed by itself
        self.data, self.bin = self.folder / "data", _bin()
        self._as: list[str] = []
        if os.geteuid() == 0:  # the server refuses to run as root
            account = next(one for one in (_account("postgres"), _account("nobody")) if one)
            os.chown(self.folder, account.pw_uid, account.pw_gid)
            self._as = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
        self._run("initdb", "--pgdata", self.data, "--username", "admin", "--auth", "trust", "--encoding", "UTF8", "--locale", "C.UTF-8")
        self.start()
        self.admin("CREATE DATABASE " + TEMPLATE, database="postgres")
        from migrations import rights

        engine = create_engine(self.url("admin", TEMPLATE).replace("postgresql:", "postgresql+psycopg:"))
        rights.prepare(engine)
        engine.dispose()

    def start(self, more: str = "") -> None:
        options = f"-c listen_addresses='' -c unix_socket_directories={self.folder} -c max_connections=200 -c fsync=on {more}"
        self._run("pg_ctl", "--pgdata", self.data, "--wait", "--silent", "--log", self.folder / "log", "--options", options, "start")

    def take(self, folder: Path) -> None:
        """Make a folder that the server may write to."""
        folder.mkdir()
        if self._as:
            owner = self.folder.stat()
            os.chown(folder, owner.st_uid, owner.st_gid)

    def signal_recovery(self) -> None:
        """Let the next start follow the archived log."""
        signal = self.data / "recovery.signal"
        signal.touch()
        owner = self.folder.stat()
        os.chown(signal, owner.st_uid, owner.st_gid)

    def is_recovering(self) -> bool:
        """Whether the server still follows the archived log."""
        with suppress(psycopg.OperationalError), self.connect("postgres") as connection:
            return bool(connection.execute("SELECT pg_is_in_recovery()").fetchone()[0])
        return True

    def stop(self, mode: str = "immediate") -> None:
        self._run("pg_ctl", "--pgdata", self.data, "--wait", "--silent", "--mode", mode, "stop")

    def close(self) -> None:
        with suppress(subprocess.CalledProcessError):
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, role: str, database: str) -> str:
        return f"postgresql://{role}@/{database}?host={self.folder}"

    def connect(self, database: str, role: str = "admin") -> psycopg.Connection:
        return psycopg.connect(self.url(role, database), autocommit=True, options="-c search_path=pg_catalog,yumen,audit,pg_temp")

    def admin(self, statement: str, database: str) -> None:
        with self.connect(database) as connection:
            connection.execute(statement)

    def new_database(self, template: str = TEMPLATE) -> str:
        """A copy of `template`, to which nobody may be connected."""
        name = f"t{secrets.token_hex(6)}"
        self.admin(f"CREATE DATABASE {name} TEMPLATE {template}", "postgres")
        self.admin(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC", "postgres")  # a copy has not the rights of the database itself
        self.admin(f"GRANT CONNECT ON DATABASE {name} TO yumen_web, yumen_worker, audit_reader", "postgres")
        return name

    def drop(self, name: str) -> None:
        self.admin(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", "postgres")

    def wait_until_up(self, database: str) -> None:
        for _ in range(200):
            with suppress(psycopg.OperationalError):
                self.connect(database).close()
                return
            time.sleep(0.05)
        raise AssertionError("the server does not come up")

    def _run(self, program: str, *arguments: object) -> None:
        command = [*self._as, str(self.bin / program), *map(str, arguments)]
        subprocess.run(command, check=True, cwd=self.folder, stdout=subprocess.DEVNULL, env={"PATH": os.environ["PATH"], "LC_ALL": "C"})


def _account(name: str) -> pwd.struct_passwd | None:
    with suppress(KeyError):
        return pwd.getpwnam(name)
    return None
