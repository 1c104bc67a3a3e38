"""A home of production for measurements: on a PostgreSQL of its own, with the application `oa`, served by real processes."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import psycopg

from audit.permit import Action, Actor, ActorKind, Permit
from audit.record import recording
from authz import applications, province
from authz.applications import Draft, Registration
from authz.caller import Caller
from authz.decide import Target, require
from bench import peer
from bench.clients import once
from bench.servers import Postgres, Slapd
from ca import ceremony
from core.settings import Settings, load
from ops import init
from ops.demo_data import APPLICATIONS
from ops.first import KeyFile, first_certificate
from ops.node import Node, open_node

ROOT = Path(__file__).parents[1]
SEED = 7
HOST = "yumen.jiangzhou.example"
#: How long a process may take until it answers.
START_SECONDS = 60.0

_CEREMONY = """
name = "bench"
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


@dataclass
class Process:
    """One running process of ours: where it listens, and what it costs."""

    name: str
    socket: Path
    running: subprocess.Popen[bytes]
    #: Seconds from its start to its first answer.
    ready_after: float

    def resident(self) -> float:
        """MiB of memory that are its own: proportional set size."""
        told = Path(f"/proc/{self.running.pid}/smaps_rollup").read_text("ascii")
        return next(int(line.split()[1]) for line in told.splitlines() if line.startswith("Pss:")) / 1024


@dataclass
class Site:
    """The home, its servers, and what `oa` shows to be known."""

    folder: Path
    postgres: Postgres
    slapd: Slapd | None
    environ: Mapping[str, str]
    certificate: bytes = b""
    _sockets: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="yumen-bench-")))
    _open: ExitStack = field(default_factory=ExitStack)

    def settings(self, role: str) -> Settings:
        """What a process with this role of the database reads."""
        return load({**self.environ, "YUMEN_DATABASE_URL": self.postgres.url(role)})

    def request(self, uid: str, unit: str, times: int = 1) -> bytes:
        """The bytes of a question of `oa`: may this person read a document of that unit? Or of so many such questions in one request."""
        asked = {"subject": {"type": "user", "id": uid}, "action": {"name": "read"}}
        about = [{"resource": {"type": "document", "id": f"plan-{number}", "properties": {"unit": unit}}} for number in range(times)]
        fields = {"Host": HOST, "Client-Cert": f":{base64.b64encode(self.certificate).decode()}:", "X-Real-IP": "127.0.0.1"}
        if times == 1:
            return post("/access/v1/evaluation", fields, orjson.dumps(asked | about[0]))
        return post("/access/v1/evaluations", fields, orjson.dumps(asked | {"evaluations": about}))

    def serve(self, name: str, *kind: str) -> Process:
        """Start `yumen serve`, or a peer of this kind, and wait until it answers."""
        path = self._sockets / f"{name}.sock"
        module = ["bench.peer", *kind] if kind else ["cli.main", "serve"]
        began = time.monotonic()
        running = self._start(name, module, {"YUMEN_DATABASE_URL": self.postgres.url("yumen_web"), "YUMEN_WEB_SOCKET": str(path)})
        while not _answers(path):
            if running.poll() is not None or time.monotonic() - began > START_SECONDS:
                raise RuntimeError(f"{name} does not start: {(self.folder / f'{name}.log').read_text('utf-8', 'replace')[-2000:]}")
            time.sleep(0.02)
        return Process(name, path, running, time.monotonic() - began)

    def work(self) -> None:
        """Start `yumen worker`."""
        self._start("worker", ["cli.main", "worker"], {"YUMEN_DATABASE_URL": self.postgres.url("yumen_worker")})

    def close(self) -> None:
        """End the processes, then the servers."""
        self._open.close()
        if self.slapd:
            self.slapd.close()
        self.postgres.close()
        shutil.rmtree(self._sockets, ignore_errors=True)

    def _start(self, name: str, module: list[str], more: Mapping[str, str]) -> subprocess.Popen[bytes]:
        log = self._open.enter_context((self.folder / f"{name}.log").open("wb"))
        environ = {**os.environ, **self.environ, **more}
        running = subprocess.Popen([sys.executable, "-m", *module], cwd=ROOT, env=environ, stdout=log, stderr=log)
        self._open.callback(end, running)
        return running


def make_site(folder: Path, write: Callable[[Path], object], *, over_ldap: bool, flush_ms: float = 0.0) -> Site:
    """A site in `folder` whose directory `write` puts into a file, read from there or from an OpenLDAP that is loaded with it.

    `flush_ms`: by how much each flush of PostgreSQL's disk is made slower.
    """
    home = folder / "home"
    home.mkdir(parents=True, mode=0o700)
    secrets = {name: folder / f"{name}.secret" for name in ("web", "worker")}
    for name, path in secrets.items():
        path.write_text(f"{name} opens its own keys\n")
        path.chmod(0o600)
    write(home / "directory.ldif")
    postgres = Postgres(flush_ms)
    slapd = Slapd(folder, home / "directory.ldif") if over_ldap else None
    keys = {f"YUMEN_KEYS_{name.upper()}_SECRET": str(path) for name, path in secrets.items()}
    named = {f"YUMEN_DIRECTORY_{name.upper()}": value for name, value in slapd.settings.items()} if slapd else {}
    (home / "yumen.toml").write_text(f'[web]\nhttps_url = "https://{HOST}"\n')
    site = Site(folder, postgres, slapd, {"YUMEN_HOME": str(home), **keys, **named})
    try:
        _fill(site)
    except BaseException:
        site.close()
        raise
    return site


def _fill(site: Site) -> None:
    """Schema, ceremony and applications, each by who may."""
    settings = site.settings("yumen_worker")
    init.make_home(settings, tell=_nothing, admin_url=site.postgres.url("admin"))
    init.make_home(settings, tell=_nothing)
    plan = _CEREMONY + _people()
    init.hold_ceremony(settings, plan, say=_nothing, hand_over=_nothing)
    node = open_node(settings, role="operator", with_keys=True)
    try:
        _register(node)
        admitted = init.admission(node, ceremony.parse(plan))
        issued = first_certificate(node, "application:oa", "application", KeyFile(site.folder / "oa.key").load(), permit=admitted)
        site.certificate = issued.der
    finally:
        node.close()
    with psycopg.connect(site.postgres.url("admin"), autocommit=True) as admin:
        admin.execute(peer.TABLES)


def _register(node: Node) -> None:
    people = node.world.current().directory.by_uid
    unit = people["zhangsan"].unit

    def permit(uid: str, action: Action, ref: str) -> Permit:
        person = people[uid]
        caller = Caller(actor=Actor(ActorKind.PERSON, person.id, "cert"), person=person)
        return require(node.world, node.trail, caller, action, Target(ref, unit))

    for wanted in APPLICATIONS:
        ref = f"app:{wanted.id}"
        actions = sorted({action for action, _, _ in wanted.grants})
        told = Registration(id=wanted.id, name=wanted.name, unit=unit, owner=people["fenger"].uuid, actions=actions, types=wanted.types)
        registering, granting = permit("wujiu", Action.APPLICATION_REGISTER, ref), permit("zhengshi", Action.GRANT_CHANGE, ref)
        with recording(node.trail) as tx:
            applications.register(tx, told, permit=registering)
            for action, kind, role in wanted.grants:
                applications.add_grant(tx, Draft(application=wanted.id, action=action, type=kind, role=role), permit=granting)
    node.world.refresh()


def _people() -> str:
    """The first administrators and registrars, as a ceremony's file names them."""
    named = [(account.uuid, held) for account in province.accounts(SEED) for held in account.holdings]
    return "\n".join(
        f'[[people]]\nperson = "{uuid}"\nrole = "{held.role}"\nunit = "{held.unit}"'
        for uuid, held in named
        if held.role not in {"staff", "app-owner"}
    )


def post(path: str, fields: Mapping[str, str], body: bytes) -> bytes:
    """The bytes of a request with a JSON body."""
    fields = {**fields, "Content-Type": "application/json", "Content-Length": str(len(body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body


def _answers(path: Path) -> bool:
    try:
        return b"live" in once(path, f"GET /healthz HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
    except (OSError, RuntimeError):
        return False


def _nothing(*_: object) -> None:
    """Whatever is said is not told further."""


def end(running: subprocess.Popen[bytes]) -> None:
    """End a process, by force when it takes too long."""
    running.terminate()
    try:
        running.wait(15)
    except subprocess.TimeoutExpired:
        running.kill()
        running.wait()
