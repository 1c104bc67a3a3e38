"""A home of production that works until it is lost: what it gave out, what it backed up, and what others had saved of it."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import select

from audit.permit import Action, Actor, ActorKind
from audit.record import recording
from authz import province
from authz.caller import Caller
from authz.decide import Target, require, service_permit
from authz.people import Person
from ca import certificates, crls, registration, revocation
from ca.registration import Draft
from ca.subjects import facts
from ca.tables import Authority, Certificate
from certs import crl, csr
from core.settings import Database, Settings, load
from ops import backup, homes, init, postgres, running
from ops.first import request_der
from ops.node import Node, open_node
from ops.renewal import PORTAL
from tests.ops.test_production import CEREMONY, people
from tests.postgres import Cluster

#: Requests in a second.
RATE = 20


@dataclass
class Disaster:
    """What is left after the end. The third certificate was revoked before the backup, the second and the last after it."""

    settings: Settings
    cluster: Cluster | None
    folder: Path
    made: backup.Made
    #: Serials that were acknowledged before the backup, and such that were issued after it; one of each was revoked after it.
    before: list[str]
    after: list[str]
    revoked_known: str
    revoked_unknown: str
    #: The last published lists by authority, and notes that an auditor saved before and after the backup.
    lists: dict[str, Path]
    old_list: Path
    numbers: dict[str, int]
    early: list[Path]
    late: list[Path]
    issued_meanwhile: int
    databases: list[str] = field(default_factory=list)

    def elsewhere(self, name: str) -> tuple[Settings, str]:
        """Settings of a new home with the same secrets, and the administrator of its empty database."""
        home = self.folder / name
        if self.cluster is None:
            return replace(self.settings, home=home), ""
        database = f"r{secrets.token_hex(6)}"
        self.cluster.admin(f"CREATE DATABASE {database}", "postgres")
        self.databases.append(database)
        url = self.cluster.url("yumen_worker", database)
        return replace(self.settings, home=home, database=Database(url=url)), self.cluster.url("admin", database)

    @property
    def secret(self) -> Path:
        return homes.secrets(self.settings)["worker_secret"]


def found(folder: Path, cluster: Cluster | None) -> Settings:
    """A home of production after its ceremony."""
    home = folder / "home"
    home.mkdir()
    for name in ("web", "worker"):
        secret = folder / f"{name}.secret"
        secret.write_text(name * 8)
        secret.chmod(0o600)
    keys = "".join(f'{name}_secret = "{folder}/{name}.secret"\n' for name in ("web", "worker"))
    (home / "yumen.toml").write_text(f'[web]\nhttps_url = "https://yumen.jiangzhou.example"\n[keys]\n{keys}')
    province.write(home / "directory.ldif", seed=7, hasher=province.QUICK)
    settings = load({"YUMEN_HOME": str(home)})
    if cluster is not None:
        name = cluster.new_database()
        settings = replace(settings, database=Database(url=cluster.url("yumen_worker", name)))
        init.make_home(settings, tell=lambda _: None, admin_url=cluster.url("admin", name))
    init.make_home(settings, tell=lambda _: None)
    init.hold_ceremony(settings, CEREMONY + people(), say=lambda _: None, hand_over=lambda _: None)
    return settings


def until(happened: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def serials(node: Node) -> list[str]:
    """Those of the portal's certificates, in the order of their making."""
    with node.database.reading() as session:
        mine = select(Certificate.serial).where(Certificate.profile == "server").order_by(Certificate.intent_id)
        return list(session.scalars(mine))


def certificate(node: Node, serial: str) -> Certificate:
    with node.database.reading() as session:
        return session.scalars(select(Certificate).where(Certificate.serial == serial)).one()


def officer(node: Node) -> Person:
    """The province's security administrator."""
    account = next(one for one in province.accounts(seed=7) if any(held.role == "security-admin" for held in one.holdings))
    return node.world.refresh().directory.people[account.uuid]


def revoke(node: Node, serial: str) -> None:
    """Revoke a certificate, as the door does."""
    row, person = certificate(node, serial), officer(node)
    caller = Caller(actor=Actor(ActorKind.PERSON, person.id, "password+totp"), person=person)
    permit = require(node.world, node.trail, caller, Action.CERT_REVOKE, certificates.target(row))
    with recording(node.trail) as tx:
        revocation.revoke(tx, row.authority, serial, "keyCompromise", permit=permit)


class Asking(threading.Thread):
    """Asks for certificates of the portal at a steady rate until it is told to stop."""

    def __init__(self, node: Node) -> None:
        super().__init__(daemon=True)
        self._node, self._ended = node, threading.Event()
        with node.database.reading() as session:
            self._first = registration.listing(session, registration.Filter(subject=PORTAL))[-1].certificate.ref
        self.asked = 0
        self.failure: Exception | None = None

    def run(self) -> None:
        began = time.monotonic()
        try:
            while not self._ended.wait(max(0.0, began + self.asked / RATE - time.monotonic())):
                self._ask()
                self.asked += 1
        except Exception as error:  # noqa: BLE001 - told by the test
            self.failure = error

    def stop(self) -> None:
        self._ended.set()
        self.join()
        assert self.failure is None, self.failure

    def _ask(self) -> None:
        node = self._node
        about = facts(node.world.current(), PORTAL)
        permit = service_permit(node.world, node.trail, "renewal", Action.REQUEST_SUBMIT, Target(PORTAL, unit=about.unit))
        draft = Draft(profile="server", csr=csr.parse(request_der(ec.generate_private_key(ec.SECP256R1()))), facts=about)
        with recording(node.trail) as tx:
            registration.renew(tx, permit=permit, draft=draft, previous=self._first)


def notes(node: Node, folder: Path) -> list[Path]:
    """What an auditor saves."""
    folder.mkdir()
    saved = []
    for log in ("ca", "access"):
        saved.append(folder / f"{log}.note")
        saved[-1].write_bytes((homes.notes_folder(node.settings.home) / f"{log}.note").read_bytes())
    return saved


def play(folder: Path, cluster: Cluster | None) -> Disaster:
    """Issue, back up meanwhile, go on, revoke, publish; then everything is lost."""
    settings = found(folder, cluster)
    with running.working(settings):
        node = open_node(settings, role="serve", with_keys=True)
        asking = Asking(node)
        try:
            asking.start()
            until(lambda: len(serials(node)) >= 12)
            old_list = lists_of(node, folder / "old")["servers"]
            revoke(node, serials(node)[2])
            until(lambda: is_listed(node, serials(node)[2]))
            early = notes(node, folder / "early")
            meanwhile = 0
            while not meanwhile:  # a small home is written in no time: until certificates were issued while it was
                known = serials(node)
                made = backup.make(node, folder / "backups", tell=lambda _: None)
                meanwhile = len(serials(node)) - len(known)
            until(lambda: len(serials(node)) >= len(known) + meanwhile + 12)
            asking.stop()
            after = serials(node)[-6:]
            revoke(node, known[1])
            revoke(node, after[-1])
            until(lambda: is_listed(node, known[1], after[-1]))
            assert node.publisher is not None
            node.publisher.publish()
            return Disaster(
                settings=settings,
                cluster=cluster,
                folder=folder,
                made=made,
                before=known,
                after=after,
                revoked_known=known[1],
                revoked_unknown=after[-1],
                old_list=old_list,
                lists=lists_of(node, folder / "lists"),
                numbers=_numbers(node),
                early=early,
                late=notes(node, folder / "late"),
                issued_meanwhile=meanwhile,
            )
        finally:
            asking.stop()
            node.close()


def is_listed(node: Node, *wanted: str) -> bool:
    """Whether the published list of the servers' authority names all of these."""
    with node.database.reading() as session:
        latest = crls.latest(session, "servers")
        return latest is not None and {int(serial, 16) for serial in wanted} <= crl.parse(latest.der or b"").serials


def lists_of(node: Node, folder: Path) -> dict[str, Path]:
    """The published lists, as somebody keeps them in `folder`."""
    made = {}
    folder.mkdir()
    with node.database.reading() as session:
        for authority in session.scalars(select(Authority.id)):
            latest = crls.latest(session, authority)
            made[authority] = folder / f"{authority}.crl"
            made[authority].write_bytes(latest.der or b"")
    return made


def _numbers(node: Node) -> dict[str, int]:
    with node.database.reading() as session:
        return {authority: crls.latest(session, authority).number for authority in session.scalars(select(Authority.id))}


def put_back(lost: Disaster) -> tuple[Settings, str]:
    """The home as it was lost, with the database of the backup under it, put there by somebody who knows his tools and not ours."""
    settings, admin_url = lost.elsewhere("put-back")
    shutil.copytree(lost.settings.home, settings.home)
    for path in settings.home.glob("yumen.db*"):
        path.unlink()
    kept = lost.folder / "database"
    with backup.opened(lost.made.path, lost.secret) as opened, kept.open("wb") as file:
        for entry, piece in opened.pieces():
            if entry.name in {backup.SQLITE, backup.POSTGRES}:
                file.write(piece)
    if admin_url:
        subprocess.run(["pg_restore", f"--dbname={admin_url}", "--no-owner", "--no-privileges", str(kept)], check=True)
        postgres.prepare(admin_url)
    else:
        kept.rename(homes.database_file(settings.home))
    return settings, admin_url
