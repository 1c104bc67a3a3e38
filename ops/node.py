"""A node: everything that one Yumen process holds open, in one immutable value.

The door takes a `Node` and nothing else. `open_node` opens the home that the settings name, in the order in which the
parts lean on each other, and `close` ends them in the opposite order.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key

import migrations
from audit import history
from audit.checkpoint import LogKey, Publisher
from audit.noise import Noise
from audit.permit import Action, Permit
from audit.trail import LOGS, Trail, Writer, open_trail
from authz import keys as authz_keys
from authz.decide import Target, service_permit
from authz.directory import LdapDirectory
from authz.follower import Follower
from authz.ldif import LdifDirectory, Source
from authz.snapshot import Freshness
from authz.world import World
from ca import certificates
from ca.keys import SealedSigners
from ca.status import Responder
from ca.works import Works
from certs.chain import Trust
from core.clock import Clock, system
from core.database import Database, open_sqlite
from core.errors import NotFound, Unavailable
from core.seal import Vault
from core.settings import Settings
from ops import acceptance, homes, postgres, rights
from ops.claims import writer_name
from ops.hour import Hour
from ops.readiness import LOOK, Lead
from ops.ticker import Ticker

#: Anonymous refusals are written down this often, once their minute is over.
_NOISE_SECONDS = 5.0

#: How long the authorities are kept before they are looked for again.
_ANCHORS_SECONDS = 0.25

#: How long a process that only serves waits at its start for word of the one that follows the directory.
_LEADER_SECONDS = 2.0

#: What is done whatever has become of the directory: it is neither read nor waited for.
CALM = frozenset({"backup", "restore"})

#: How the root of every demonstration is named, and no other.
DEMO = "DEMO"


@dataclass(frozen=True, slots=True)
class Tls:
    """What the HTTPS listener shows: the chain, leaf first, and its private key."""

    chain_pem: bytes
    key: PrivateKeyTypes


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """The open parts of one process. Safe to share between threads."""

    settings: Settings
    clock: Clock
    database: Database
    #: Keys of web processes: OCSP, one-time codes, sessions, API keys, privacy, the listener's own.
    web_vault: Vault
    #: Keys of the worker: authorities and logs. `None` in a process that only serves.
    worker_vault: Vault | None
    trail: Trail
    world: World
    #: Reads the directory for everybody, in the process that leads.
    follower: Follower
    responder: Responder
    noise: Noise
    #: Whether somebody does the jobs.
    lead: Lead
    #: Whether this machine's clock can be believed.
    hour: Hour
    #: Signs checkpoints; `None` in a process that only serves.
    publisher: Publisher | None
    #: What the authority's jobs work with; `None` in a process that only serves.
    works: Works | None
    _open: ExitStack = field(repr=False)

    @property
    def tls(self) -> Tls | None:
        """The listener's certificate as it lies in the home now; `None` until there is one."""
        try:
            chain = homes.tls_file(self.settings.home).read_bytes()
            return Tls(chain, load_pem_private_key(self.web_vault.get("tls/server"), None))
        except (FileNotFoundError, NotFound):
            return None

    @property
    def client_cas(self) -> tuple[x509.Certificate, ...]:
        """Root and issuing authorities: their names are sent when a client certificate is asked for."""
        trust = self.world.trust()
        return (*trust.roots, *trust.intermediates)

    def close(self) -> None:
        """Stop the threads, write what waits, close the database."""
        self._open.close()


def open_node(settings: Settings, *, role: str, with_keys: bool, clock: Clock = system) -> Node:
    """Open the home of `settings` as a process of kind `role` (`serve`, `worker`, `operator`); close what this gives.

    `with_keys` also opens the worker's vault: authorities and logs can sign. Threads that follow the directory and the
    status of certificates are running when this returns.

    Raises:
        Unavailable: a secret, the database, the directory or the trail cannot be opened.
    """
    with ExitStack() as stack:
        node = _open(settings, role, stack, with_keys=with_keys, clock=clock)
        stack.pop_all()
        return node


def _open(settings: Settings, role: str, stack: ExitStack, *, with_keys: bool, clock: Clock) -> Node:
    homes.must_be_whole(settings.home)
    rights.must_fit(settings, with_keys=with_keys)
    vault = homes.web_vault(settings)
    name, claim = writer_name(settings.home, role)
    stack.callback(claim.release)
    database = open_database(settings)
    stack.callback(database.engine.dispose)
    _must_keep_its_mode(database, settings)
    hour = _hour(database, clock)
    trail = open_trail(database, clock, Writer.fresh(writes_as(name, settings)), vault.secret("privacy"), settings.audit)
    stack.callback(trail.close)
    _watched(hour, trail, clock, stack)
    source = _source(settings)
    stack.callback(source.close)
    world = World(trail, source, authz_keys.open_keys(vault), settings, trust=Anchors(database))
    stack.enter_context(database.listening())
    follower = _followed(world, role, stack)
    world.start()
    stack.callback(world.close)
    responder = Responder(trail, SealedSigners(vault), settings.ca, doubtful=lambda: hour.doubtful)
    responder.start()
    stack.callback(responder.close)
    noise = Noise(trail, clock)
    stack.callback(noise.flush, everything=True)
    counting = Ticker("noise", _NOISE_SECONDS, noise.flush)
    counting.start()
    stack.callback(counting.stop)
    lead = Lead(settings, trail)
    looking = Ticker("lead", LOOK, lead.look)
    looking.start()
    stack.callback(looking.stop)
    keys = homes.worker_vault(settings) if with_keys else None
    return Node(
        settings=settings,
        clock=clock,
        database=database,
        web_vault=vault,
        worker_vault=keys,
        trail=trail,
        world=world,
        follower=follower,
        responder=responder,
        noise=noise,
        lead=lead,
        hour=hour,
        publisher=_publisher(trail, keys, settings) if keys else None,
        works=_works(trail, world, keys, hour) if keys else None,
        _open=stack.pop_all(),
    )


def _hour(database: Database, clock: Clock) -> Hour:
    """The hour, measured by the newest entry before this process writes one of its own."""
    found = Hour(clock)
    with database.reading() as session:
        found.begin(history.newest_at(session) if clock is system else 0)
    return found


def _watched(hour: Hour, trail: Trail, clock: Clock, stack: ExitStack) -> None:
    """Look each second; whoever brings a clock of his own is believed."""
    if clock is system:
        hour.look(trail)
        looking = Ticker("clock", LOOK, lambda: hour.look(trail))
        looking.start()
        stack.callback(looking.stop)


def _followed(world: World, role: str, stack: ExitStack) -> Follower:
    """What follows the directory, after it was seen that there is one.

    In the embedded form, and for the operator, who may be alone, its source is read. Processes that share a database start
    from the rows: until one of them follows the directory they decide nothing, but revocation lists and status go out.

    Raises:
        Unavailable: it cannot be read, or was never.
    """
    follower, alone = Follower(world), world.settings.embedded or role == "operator"
    if role in CALM:
        return follower
    while alone and follower.step():
        pass
    if alone and world.refresh().freshness is not Freshness.FRESH:
        follower.step()  # to read everything, here and from the rows, may take longer than may pass; to look again does not
    end = time.monotonic() + (0 if alone else _LEADER_SECONDS)
    while (found := world.refresh()).freshness is Freshness.STALE and time.monotonic() < end and role == "serve":
        time.sleep(_ANCHORS_SECONDS)
    if found.freshness is Freshness.STALE and (alone or not found.directory.people) and role != "worker":
        raise Unavailable(
            "the directory cannot be read, so nothing starts: {problems}; mend that and start again", problems="; ".join(world.problems())
        )
    if role == "operator":
        following = Ticker("directory", world.settings.authz.poll.total_seconds(), follower.step)
        following.start()
        stack.callback(following.stop)
    return follower


def _source(settings: Settings) -> Source:
    """The directory that the settings name: servers, or the file of the home."""
    if settings.directory.urls:
        return LdapDirectory(settings.directory)
    return LdifDirectory(settings.home / settings.directory.ldif)


def open_database(settings: Settings) -> Database:
    """The database of the home with today's schema.

    Raises:
        Unavailable: PostgreSQL cannot be reached, or is not fit.
    """
    if settings.database.url:
        return postgres.opened(settings.database.url)
    path = homes.database_file(settings.home)
    path.touch(mode=0o600)  # SQLite would let others read it, and gives its journal the same rights
    database = open_sqlite(path)
    migrations.upgrade(database.engine)
    return database


def writes_as(name: str, settings: Settings) -> str:
    """The name in the trail: where several machines write one trail, the machine belongs to it."""
    return f"{name}@{socket.gethostname()}"[:64] if settings.database.url else name


def _must_keep_its_mode(database: Database, settings: Settings) -> None:
    """A demonstration is one for ever, and a home of production never becomes one."""
    with database.reading() as session:
        roots = [row.name for row in certificates.authorities(session) if row.parent is None]
    if any(name.startswith(DEMO) is not settings.demo for name in roots):
        was = "production" if settings.demo else "demo"
        raise Unavailable("this home was made with mode `{was}` and keeps it; put it back, or make another home", was=was)


class Anchors:
    """The roots and issuing authorities of a home; the same value as long as they are the same. Safe to share between threads."""

    def __init__(self, database: Database, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._database, self._monotonic = database, monotonic
        self._looking = threading.Lock()
        self._kept: tuple[float, list[tuple[bool, bytes]], Trust] = (-_ANCHORS_SECONDS, [], Trust(roots=()))

    def __call__(self) -> Trust:
        """What chains are measured against; an authority that was just made counts after a quarter of a second."""
        now, (looked_at, known, trust) = self._monotonic(), self._kept
        if known and now - looked_at < _ANCHORS_SECONDS:
            return trust
        if not self._looking.acquire(blocking=not known):
            return trust  # another thread looks: a database that hangs holds one request, not all of them
        try:
            return self._look(now, known, trust)
        finally:
            self._looking.release()

    def _look(self, now: float, known: list[tuple[bool, bytes]], trust: Trust) -> Trust:
        with self._database.reading() as session:
            rows = [(row.parent is None, row.cert) for row in certificates.authorities(session) if row.cert and not row.held]
        if rows != known:
            loaded = [(is_root, x509.load_der_x509_certificate(der)) for is_root, der in rows]
            trust = Trust(roots=tuple(one for root, one in loaded if root), intermediates=tuple(one for root, one in loaded if not root))
        self._kept = (now, rows, trust)
        return trust


def responder_signers(node: Node) -> SealedSigners:
    """Where the keys of the OCSP responders lie: with the web processes, which answer."""
    return SealedSigners(node.web_vault)


def _publisher(trail: Trail, keys: Vault, settings: Settings) -> Publisher:
    return Publisher(trail, {log: LogKey.load(keys, log) for log in LOGS}, homes.notes_folder(settings.home))


def _works(trail: Trail, world: World, keys: Vault, hour: Hour) -> Works:
    def permits(action: Action, resource: str) -> Permit:
        return service_permit(world, trail, "issuance", action, Target(resource))

    def damaged() -> bool:
        with trail.database.reading() as session:
            return acceptance.holds_issuance(session)

    return Works(
        trail=trail,
        signers=SealedSigners(keys),
        snapshot=world.current,
        permits=permits,
        http_url=world.settings.web.http_url,
        settings=world.settings.ca,
        doubtful=lambda: hour.doubtful,
        damaged=damaged,
    )
