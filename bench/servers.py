"""Private servers for measurements: PostgreSQL and OpenLDAP in folders of their own, started by any user, ended with us."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psycopg

from authz import ldif
from authz.people import Entry
from bench import disk

SUFFIX = "dc=yumen,dc=demo"
READER, PASSWORD = f"cn=reader,{SUFFIX}", "reads and nothing else"
_SLAPD = "/usr/sbin/slapd"

_CONF = """
modulepath /usr/lib/ldap
moduleload back_mdb.la
moduleload syncprov.la
moduleload argon2.la
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
pidfile {folder}/pid
argsfile {folder}/args
TLSCertificateFile {folder}/tls.pem
TLSCertificateKeyFile {folder}/tls.key
authz-regexp "^gidNumber=.*$" "cn=admin,{suffix}"
database mdb
suffix "{suffix}"
rootdn "cn=admin,{suffix}"
directory {folder}/db
maxsize 4294967296
index objectClass,uid,entryUUID,member eq
limits dn.exact="{reader}" size=unlimited
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="{reader}" read by * none
overlay syncprov
"""


def missing() -> list[str]:
    """What of the system these servers need and is not there."""
    needed = {"postgresql": _postgresql() / "initdb", "pgbench": _postgresql() / "pgbench", "slapd": Path(_SLAPD)}
    return [name for name, path in needed.items() if not path.exists()]


def version() -> str:
    """The version of PostgreSQL, or nothing where there is none."""
    server = _postgresql() / "postgres"
    return subprocess.run([server, "--version"], check=True, capture_output=True, text=True).stdout.split()[2] if server.exists() else ""


def _postgresql() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return (found[-1] if found else Path(shutil.which("initdb") or "initdb")).parent


class Postgres:
    """One PostgreSQL on a socket, as durable as it comes: `fsync` and all else as the package has it."""

    def __init__(self, flush_ms: float = 0.0) -> None:
        """With each flush of its disk made so many milliseconds slower; that needs a C compiler."""
        # On a disk that is one, where the server's own account may go, and with a short path: a socket's has a limit.
        self.folder = Path(tempfile.mkdtemp(prefix="yumen-bench-", dir="/var/tmp"))
        self.data, self._as = self.folder / "data", list[str]()
        self._disk: Mapping[str, str] = {}
        if flush_ms:
            slowness = self.folder / "milliseconds"
            slowness.write_text(str(flush_ms))
            library = self.folder / "slow_fsync.so"
            self._disk = disk.slow(library, library, slowness)
        if os.geteuid() == 0:  # the server refuses to run as root
            account = pwd.getpwnam("postgres")
            os.chown(self.folder, account.pw_uid, account.pw_gid)
            self._as = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
        self._run("initdb", "--pgdata", self.data, "--username", "admin", "--auth", "trust", "--encoding", "UTF8", "--locale", "C.UTF-8")
        options = f"-c listen_addresses='' -c unix_socket_directories={self.folder} -c max_connections=200"
        self._run("pg_ctl", "--pgdata", self.data, "--wait", "--silent", "--log", self.folder / "log", "--options", options, "start")
        with psycopg.connect(self.url("admin", "postgres"), autocommit=True) as admin:
            admin.execute("CREATE DATABASE yumen")

    def url(self, role: str, database: str = "yumen") -> str:
        """Where it is, for `role`."""
        return f"postgresql://{role}@/{database}?host={self.folder}"

    @property
    def pid(self) -> int:
        """The process whose children answer."""
        return int((self.data / "postmaster.pid").read_text("ascii").split()[0])

    def one_row_commits(self, clients: int, seconds: float) -> float:
        """How many transactions of one row of a kilobyte `pgbench` commits a second, with as many clients."""
        script = self.folder / "insert.sql"
        if not script.exists():
            with psycopg.connect(self.url("admin"), autocommit=True) as admin:
                admin.execute("CREATE TABLE public.one (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body bytea NOT NULL)")
            script.write_text("INSERT INTO public.one (body) VALUES (decode(repeat('ab', 1024), 'hex'));\n")
        facts = ["-n", "-f", script, "-M", "prepared", "-c", clients, "-j", 2, "-T", max(1, round(seconds))]
        told = self._run("pgbench", *facts, "-h", self.folder, "-U", "admin", "yumen")
        return next(float(line.split()[2]) for line in told.splitlines() if line.startswith("tps"))

    def close(self) -> None:
        """End it and remove its data."""
        with suppress(subprocess.CalledProcessError):
            self._run("pg_ctl", "--pgdata", self.data, "--wait", "--silent", "--mode", "immediate", "stop")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *arguments: object) -> str:
        command = [*self._as, str(_postgresql() / program), *map(str, arguments)]
        environ = {"PATH": os.environ["PATH"], "LC_ALL": "C", **(self._disk if program == "pg_ctl" else {})}
        quiet = subprocess.DEVNULL if program == "pg_ctl" else subprocess.PIPE  # the server would keep a pipe open
        told = subprocess.run(command, check=True, cwd=self.folder, stdout=quiet, stderr=quiet, env=environ)
        return (told.stdout or b"").decode()


class Slapd:
    """One OpenLDAP below `folder` with the entries of an LDIF file, and an account that reads them."""

    def __init__(self, folder: Path, directory: Path) -> None:
        self.folder = folder / "slapd"
        (self.folder / "db").mkdir(parents=True)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", "tls.key", "-out", "tls.pem"]
        self._run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", *names)
        (self.folder / "slapd.conf").write_text(_CONF.format(folder=self.folder, suffix=SUFFIX, reader=READER))
        reader = {"objectclass": ("organizationalRole", "simpleSecurityObject"), "cn": ("reader",), "userpassword": (PASSWORD,)}
        with (self.folder / "reader.ldif").open("w") as file:
            file.write(ldif.record(Entry(READER, reader)) + "\n")
        for path in (directory, self.folder / "reader.ldif"):
            self._run("/usr/sbin/slapadd", "-q", "-w", "-f", "slapd.conf", "-l", str(path))
        address = f"ldaps://localhost:{self.port} {self._socket}"
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen([_SLAPD, "-d", "0", "-f", self.folder / "slapd.conf", "-h", address], stdout=quiet, stderr=quiet)
        self._wait()

    @property
    def settings(self) -> dict[str, str]:
        """The section `directory` of the settings."""
        password = self.folder / "reader.password"
        password.write_text(PASSWORD)
        password.chmod(0o600)
        here = {"urls": f"ldaps://localhost:{self.port}", "base": SUFFIX, "bind_dn": READER}
        return here | {"password_file": str(password), "ca_file": str(self.folder / "tls.pem")}

    def change(self, records: str) -> None:
        """Apply change records; they count on the server when this returns."""
        self._run("ldapmodify", "-Q", "-Y", "EXTERNAL", "-H", self._socket, stdin=records)

    def close(self) -> None:
        """End it and remove its data."""
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _socket(self) -> str:
        return "ldapi://" + str(self.folder / "ldapi").replace("/", "%2F")

    def _wait(self) -> None:
        for _ in range(1000):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.01)
        raise RuntimeError("slapd does not start")

    def _run(self, *command: str, stdin: str = "") -> None:
        environ = {"PATH": os.environ["PATH"] + ":/usr/sbin", "LDAPNOINIT": "1"}
        subprocess.run(command, input=stdin.encode(), capture_output=True, check=True, cwd=self.folder, env=environ)
