"""A province on a real database with a real trail; the clock belongs to the test."""

from __future__ import annotations

import datetime as dt
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pyotp
import pytest
from sqlalchemy import func, select

from audit.permit import Action, Actor, ActorKind
from audit.record import recording
from audit.tables import TrailEvent
from audit.trail import Trail, Writer, open_trail
from authz import confirm, ldif, province, totp
from authz.caller import Caller
from authz.decide import Target, require, service_permit
from authz.directory import LdapDirectory
from authz.follower import Follower
from authz.keys import Keys
from authz.people import Entry, Person
from authz.world import World
from core.database import Model, open_postgres, open_sqlite
from core.settings import Settings
from tests.authz import slapd
from tests.authz.sources import LdapSide, LdifSide

START = dt.datetime(2026, 11, 20, 1, 0, tzinfo=dt.UTC)
KEYS = Keys(session=b"s" * 32, api_key=b"a" * 32, otp=b"o" * 32)


@dataclass
class Time:
    """A clock and a monotonic clock that only the test moves."""

    now: dt.datetime = START
    beat: float = 1000.0

    def __call__(self) -> dt.datetime:
        return self.now

    def monotonic(self) -> float:
        return self.beat

    def pass_(self, **more) -> None:
        self.now += dt.timedelta(**more)
        self.beat += dt.timedelta(**more).total_seconds()


@dataclass
class Place:
    """Everything a test of this room needs, with the words in which tests speak."""

    world: World
    trail: Trail
    #: That of the process that follows the directory: on PostgreSQL with another role, on SQLite the same.
    leading: Trail
    time: Time
    path: Path
    accounts: dict[str, province.Account]
    secrets: dict[str, str] = field(default_factory=dict)

    def person(self, uid: str) -> Person:
        return self.world.current().directory.by_uid[uid]

    def caller(self, uid: str, auth: str = "password+totp") -> Caller:
        person = self.person(uid)
        return Caller(actor=Actor(ActorKind.PERSON, person.id, auth), person=person, source="10.1.2.3", request_id="r-1")

    def permit(self, who: str, action: Action, target: Target):
        caller = self.caller(who) if not who.startswith("service:") else None
        if caller:
            return require(self.world, self.trail, caller, action, target)
        return service_permit(self.world, self.trail, who.removeprefix("service:"), action, target)

    def unit(self, place: str) -> str:
        return province.entry_uuid(1, f"unit {place}")

    def count(self, code: str) -> int:
        with self.trail.database.reading() as db:
            return db.scalar(select(func.count()).select_from(TrailEvent).where(TrailEvent.code == code))

    def bodies(self, code: str) -> list[bytes]:
        with self.trail.database.reading() as db:
            return list(db.scalars(select(TrailEvent.body).where(TrailEvent.code == code).order_by(TrailEvent.idx)))

    def stored(self) -> bytes:
        """Everything that the database holds."""
        if self.trail.database.lock:
            return b"".join(file.read_bytes() for file in self.path.parent.glob("yumen.db*"))
        with self.trail.database.reading() as db:
            ours = [table for table in Model.metadata.sorted_tables if not table.name.startswith("test_")]
            values = [value for table in ours for row in db.execute(select(table)) for value in row]
        return b"\n".join(value if isinstance(value, bytes) else str(value).encode() for value in values)

    def edit(self, change) -> None:
        """Rewrite the LDIF file: `change(entry)` gives the new entry, or None to drop it."""
        entries = ldif.parse(self.path.read_bytes())
        ldif.write(self.path, [made for entry in entries if (made := change(entry)) is not None])

    def without_member(self, group: str, member: str) -> None:
        def change(entry: Entry) -> Entry | None:
            if entry.dn != group:
                return entry
            left = tuple(dn for dn in entry.attributes["member"] if dn != member)
            return Entry(entry.dn, {**entry.attributes, "member": left}) if left else None

        self.edit(change)

    def with_member(self, group: str, member: str) -> None:
        def change(entry: Entry) -> Entry:
            return Entry(entry.dn, {**entry.attributes, "member": (*entry.attributes["member"], member)}) if entry.dn == group else entry

        self.edit(change)

    def code(self, uid: str, steps: int = 0) -> str:
        return pyotp.TOTP(self.secrets[uid]).at(self.time.now, steps)


@dataclass
class Leader:
    """What follows the directory for a world: on PostgreSQL another role writes the rows."""

    world: World
    trail: Trail

    @property
    def database(self):
        return self.trail.database

    def __getattr__(self, name: str):
        return getattr(self.world, name)


class Following(World):
    """The one process of a home: it looks at the directory whenever a test asks for what is current."""

    follower: Follower | None = None

    def refresh(self):
        while self.follower.step():
            pass
        return super().refresh()

    def current(self):
        if self.monotonic() - self._tried_at > 0.5 and not self.database.in_write:
            self.refresh()
        return super().current()


def open_place(folder: Path) -> Place:
    """Open the home in `folder`, with all its tables."""
    time = Time()
    address = folder / "postgres"
    database = open_postgres(address.read_text()) if address.exists() else open_sqlite(folder / "yumen.db")
    trail = leading = open_trail(database, time, Writer.fresh("test"), b"p" * 32)
    if address.exists():
        worker = open_postgres(address.read_text().replace("yumen_web@", "yumen_worker@"))
        leading = open_trail(worker, time, Writer.fresh("worker"), b"p" * 32)
    path = folder / "directory.ldif"
    settings = Settings(home=folder, mode="demo")
    world = Following(trail, ldif.LdifDirectory(path, hasher=province.QUICK), KEYS, settings, monotonic=time.monotonic)
    world.follower = Follower(Leader(world, leading))
    place = Place(world, trail, leading, time, path, {account.uid: account for account in province.accounts()})
    world.refresh()
    return place


def close(place: Place) -> None:
    for trail in {place.trail, place.leading}:
        trail.close()
        trail.database.engine.dispose()


def prepare(fresh: Path, ready: Path, moved) -> tuple[Path, Path]:
    """Two homes that tests copy: before its first ceremony, and with everybody confirmed; `moved` gives the second its own database."""
    accounts = province.write(fresh / "directory.ldif", hasher=province.QUICK)
    close(open_place(fresh))
    shutil.copytree(fresh, ready, dirs_exist_ok=True)
    moved(ready)
    place = open_place(ready)
    permit = place.permit("service:operator", Action.CEREMONY_PERFORM, Target("ceremony:test"))
    privileged = [account for account in accounts if account.roles[0] not in {"staff", "app-owner"}]
    with recording(place.trail) as tx:
        named = [confirm.Named(account.uuid, *holding) for account in privileged for holding in account.holdings]
        confirm.first(tx, place.world.current().directory, named, permit=permit)
    close(place)
    return fresh, ready


@pytest.fixture(scope="session")
def homes(tmp_path_factory):
    """The two homes on SQLite."""
    fresh, ready = tmp_path_factory.mktemp("fresh"), tmp_path_factory.mktemp("ready")
    database = open_sqlite(fresh / "yumen.db")
    Model.metadata.create_all(database.engine)
    database.engine.dispose()
    return prepare(fresh, ready, lambda _: None)


def move(cluster, folder: Path) -> str:
    """Give the home in `folder` a copy of its PostgreSQL database."""
    address = folder / "postgres"
    name = cluster.new_database(address.read_text().partition("@/")[2].partition("?")[0])
    address.write_text(cluster.url("yumen_web", name))
    return name


@pytest.fixture(scope="session")
def homes_on_postgresql(cluster, tmp_path_factory):
    """The same on PostgreSQL, where the role of the web processes must be enough."""
    fresh, ready = tmp_path_factory.mktemp("fresh-postgresql"), tmp_path_factory.mktemp("ready-postgresql")
    (fresh / "postgres").write_text(cluster.url("yumen_web", cluster.new_database()))
    return prepare(fresh, ready, lambda folder: move(cluster, folder))


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.component("postgresql"))])
def storage(request):
    """Of which database: what is claimed of one is claimed of both. Modules that are about servers of directories name one."""
    return request.param


@pytest.fixture
def copied(storage, request, tmp_path):
    """Gives an open copy of one of the two homes."""
    opened, databases = [], []

    def copy(which: int) -> Place:
        homes = request.getfixturevalue("homes" if storage == "sqlite" else "homes_on_postgresql")
        shutil.copytree(homes[which], tmp_path, dirs_exist_ok=True)
        if storage == "postgresql":
            databases.append(move(request.getfixturevalue("cluster"), tmp_path))
        opened.append(open_place(tmp_path))
        return opened[-1]

    yield copy
    for place in opened:
        close(place)
    for name in databases:
        request.getfixturevalue("cluster").drop(name)


@pytest.fixture
def place(copied):
    return copied(1)


@pytest.fixture
def unconfirmed(copied):
    """A home before its first ceremony."""
    return copied(0)


@pytest.fixture
def enrolled(place):
    """Zhang San and the registrars with one-time codes."""
    for uid in ("zhangsan", "zhaoliu", "zhengshi"):
        person = place.person(uid)
        permit = place.permit("service:demo", Action.TOTP_ENROL, Target(f"person:{person.id}", owner=person.id))
        place.secrets[uid] = pyotp.random_base32()
        with recording(place.trail) as tx:
            totp.enrol_known(tx, KEYS, person, place.secrets[uid], permit=permit)
    return place


@pytest.fixture(scope="session")
def pki(tmp_path_factory):
    return slapd.make_pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="session")
def jiangzhou(tmp_path_factory):
    """The province's entries and the one that reads them."""
    path = tmp_path_factory.mktemp("jiangzhou") / "directory.ldif"
    province.write(path, hasher=province.QUICK)
    return [*ldif.parse(path.read_bytes()), slapd.reader()]


@pytest.fixture
def servers(pki, jiangzhou):
    """Gives running servers with the province, or with other entries."""
    made = []

    def serve(entries=None, **conf):
        made.append(slapd.Slapd.load(pki, entries or jiangzhou, **conf))
        return made[-1]

    yield serve
    for server in made:
        server.remove()


@pytest.fixture
def reading(pki):
    """Gives directories that are read from servers."""
    made = []

    def read(*urls, **more):
        made.append(LdapDirectory(slapd.settings(pki, *urls, **more)))
        return made[-1]

    yield read
    for directory in made:
        directory.close()


@pytest.fixture(params=["ldif", pytest.param("ldap", marks=pytest.mark.component("slapd"))])
def side(request, tmp_path):
    """The same directory behind each of the sources."""
    if request.param == "ldif":
        province.write(tmp_path / "directory.ldif", hasher=province.QUICK)
        yield LdifSide(tmp_path / "directory.ldif")
        return
    server = request.getfixturevalue("servers")()
    yield LdapSide(server, request.getfixturevalue("reading")(server.url))
