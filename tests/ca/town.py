"""A home of the authority for tests: real SQLite, real trail, real policy and directory; keys kept by the tests' own signers.

The signers write the digest of everything they sign to a file, synced, before the signature leaves them.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from sqlalchemy import event, select

from audit.body import Writer
from audit.permit import Action, Actor, ActorKind, Permit
from audit.record import recording
from audit.search import find, parse_query
from audit.trail import Trail, open_trail
from authz import ldif, province
from authz.caller import Caller
from authz.decide import Target, require, service_permit
from authz.people import Person
from authz.snapshot import Asset, Snapshot
from authz.tree import build
from ca import ceremony, certificates, registration, revocation
from ca.keys import SoftSigner
from ca.registration import Draft
from ca.status import Responder
from ca.subjects import facts
from ca.tables import Certificate, Request
from ca.worker import Worker
from ca.works import Works
from certs import csr
from certs.suites import SUITES, PrivateKey, PublicKey, Suite
from core.database import Database, Model, open_postgres, open_sqlite
from core.errors import NotFound
from core.settings import CA

PLAN = """
name = "first"
organisation = "江州省"
root = {id = "root", name = "Yumen DEMO Root"}
[[issuing]]
id = "staff"
name = "Yumen DEMO Staff"
profiles = ["staff-sign"]
[[issuing]]
id = "servers"
name = "Yumen DEMO Servers"
profiles = ["server"]
[[issuing]]
id = "applications"
name = "Yumen DEMO Applications"
profiles = ["application", "device"]
"""

Boundary = Callable[[str], None]


class RecordingSigner:
    """A signer that leaves a trace of every signature, and tells when it is entered and left."""

    def __init__(self, purpose: str, key: PrivateKey, suite: Suite, log: Path, boundary: Boundary) -> None:
        self._inner = SoftSigner(key, suite)
        self._purpose, self._log, self._boundary = purpose, log, boundary
        self.trouble = ""
        self.twist: Callable[[bytes], bytes] = lambda signature: signature

    @property
    def suite(self) -> Suite:
        return self._inner.suite

    @property
    def public_key(self) -> PublicKey:
        return self._inner.public_key

    @property
    def spki(self) -> bytes:
        return self._inner.spki

    def sign(self, tbs: bytes) -> bytes:
        self._boundary(f"before signature by {self._purpose}")
        with self._log.open("a") as file:
            file.write(f"{self._purpose} {hashlib.sha256(tbs).hexdigest()}\n")
            file.flush()
            os.fsync(file.fileno())
        signature = self._inner.sign(tbs)
        self._boundary(f"after signature by {self._purpose}")
        return self.twist(signature)

    def health(self) -> str:
        return self.trouble


class FileSigners:
    """Keys as plain PEM files in a folder: every test owns its copy."""

    def __init__(self, folder: Path, boundary: Boundary) -> None:
        self.folder, self._boundary = folder, boundary
        self._open: dict[str, RecordingSigner] = {}
        folder.mkdir(exist_ok=True)

    def get(self, purpose: str) -> RecordingSigner:
        if purpose not in self._open:
            path = self._path(purpose)
            if not path.exists():
                raise NotFound("no key `{purpose}`", purpose=purpose)
            name, _, pem = path.read_bytes().partition(b"\n")
            key = cast("PrivateKey", load_pem_private_key(pem, None))
            log = self.folder / "signatures"
            self._open[purpose] = RecordingSigner(purpose, key, SUITES[name.decode()], log, self._boundary)
        return self._open[purpose]

    def make(self, purpose: str, suite: str) -> RecordingSigner:
        path = self._path(purpose)
        if not path.exists():
            pem = SUITES[suite].generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            scratch = path.with_suffix(".new")
            scratch.write_bytes(suite.encode() + b"\n" + pem)
            scratch.replace(path)
        return self.get(purpose)

    def signed(self, room: str = "ca/") -> list[str]:
        """Digests of everything that was signed by keys whose purpose begins so."""
        log = self.folder / "signatures"
        lines = log.read_text().splitlines() if log.exists() else []
        return [digest for purpose, digest in (line.split(" ") for line in lines) if purpose.startswith(room)]

    def _path(self, purpose: str) -> Path:
        return self.folder / f"{purpose.replace('/', '-')}.pem"


@dataclass
class Clock:
    """The machine's clock, moved at will; and seconds that only the test lets pass."""

    ahead: dt.timedelta = dt.timedelta()
    seconds: float = 1000.0

    def now(self) -> dt.datetime:
        return dt.datetime.now(dt.UTC) + self.ahead

    def monotonic(self) -> float:
        return self.seconds

    def advance(self, **duration: float) -> None:
        step = dt.timedelta(**duration)
        self.ahead += step
        self.seconds += step.total_seconds()


def nothing(_where: str) -> None:
    """No boundary is of interest."""


@dataclass
class Town:
    """One home with its authority. `snapshot` may be replaced at any time, as the directory would."""

    folder: Path
    trail: Trail
    snapshot: Snapshot
    signers: FileSigners
    clock: Clock
    accounts: Mapping[str, province.Account]
    settings: CA = field(default_factory=CA)
    #: The status address, as the operator has set it by now.
    http_url: str = "http://127.0.0.1:8080"

    def current(self) -> Snapshot:
        return self.snapshot

    @property
    def works(self) -> Works:
        return Works(
            trail=self.trail,
            signers=self.signers,
            snapshot=self.current,
            permits=lambda action, ref: self.service("issuance", action, ref),
            http_url=self.http_url,
            settings=self.settings,
            monotonic=self.clock.monotonic,
        )

    def worker(self) -> Worker:
        return Worker(self.works)

    def responder(self) -> Responder:
        """A responder that has looked at the database once."""
        made = Responder(self.trail, self.signers, self.settings, self.clock.monotonic)
        made.poll()
        return made

    def service(self, name: str, action: Action, ref: str, unit: str = "") -> Permit:
        return service_permit(self, self.trail, name, action, Target(ref, unit))

    def person(self, uid: str) -> Person:
        return self.snapshot.directory.by_uid[uid]

    def permit(self, uid: str, action: Action, about: tuple[str, ...]) -> Permit:
        person = self.person(uid)
        caller = Caller(actor=Actor(ActorKind.PERSON, person.id, "password+totp"), person=person)
        return require(self, self.trail, caller, action, Target(*about))

    def submit(self, uid: str, profile: str = "staff-sign", ref: str = "", key: PrivateKey | None = None) -> int:
        """A request by this person, for themselves or for an asset."""
        about = facts(self.snapshot, ref or f"person:{self.person(uid).id}")
        draft = Draft(profile=profile, csr=csr.parse(make_csr(key)), facts=about)
        permit = self.permit(uid, Action.REQUEST_SUBMIT, (about.ref, about.unit, about.owner, self.person(uid).id))
        with recording(self.trail) as tx:
            return registration.submit(tx, permit=permit, draft=draft).id

    def decide(self, uid: str, request_id: int, action: Action = Action.REQUEST_APPROVE) -> Request:
        """Approve or refuse as the door does: look, ask, act."""
        permit = self.permit(uid, action, registration.target(self.request(request_id)))
        act = registration.approve if action is Action.REQUEST_APPROVE else registration.refuse
        with recording(self.trail) as tx:
            return act(tx, request_id, permit=permit, comment="looked at")

    def issued(self, uid: str = "zhangsan", approver: str = "zhaoliu", **more: str) -> Certificate:
        """A certificate all the way."""
        request_id = self.submit(uid, **more)
        self.decide(approver, request_id)
        self.worker().step()
        found = self.request(request_id).certificate
        assert found is not None, self.request(request_id).state
        return found

    def revoke(self, uid: str, certificate: Certificate, reason: str = "keyCompromise") -> None:
        permit = self.permit(uid, Action.CERT_REVOKE, certificates.target(certificate))
        with recording(self.trail) as tx:
            revocation.revoke(tx, certificate.authority, certificate.serial, reason, permit=permit)

    def request(self, request_id: int) -> Request:
        with self.trail.database.reading() as session:
            return registration.get(session, request_id)

    def rows(self, table: type) -> list:
        with self.trail.database.reading() as session:
            return list(session.scalars(select(table)))

    def row(self, table: type, key: object):
        with self.trail.database.reading() as session:
            return session.get(table, key)

    def events(self, query: str) -> list[dict]:
        """Bodies of the events that match, oldest first."""
        bodies, after = [], ""
        with self.trail.database.reading() as session:
            while True:
                page = find(session, parse_query(query), after, limit=1000)
                bodies += [dict(entry.body) for entry in page.entries]
                if not (after := page.after):
                    return bodies[::-1]

    def chain(self, certificate: Certificate) -> list[x509.Certificate]:
        """Leaf, issuing, root."""
        with self.trail.database.reading() as session:
            root = certificates.authorities(session)[0]
            return [*certificates.chain(session, certificate), x509.load_der_x509_certificate(root.cert or b"")]

    def move(self, uid: str, **changes: object) -> None:
        """Change a person in the directory."""
        old = self.person(uid)
        new = replace(old, **changes)
        directory = replace(
            self.snapshot.directory,
            people={**self.snapshot.directory.people, old.uuid: new},
            by_uid={**self.snapshot.directory.by_uid, uid: new},
            by_id={**self.snapshot.directory.by_id, old.id: new},
        )
        self.snapshot = replace(self.snapshot, directory=directory, revision=self.snapshot.revision + 1, _roles={})

    def close(self) -> None:
        self.trail.close()
        self.trail.database.engine.dispose()


def open_town(folder: Path, *, node: str = "a", boundary: Boundary = nothing, clock: Clock | None = None) -> Town:
    """Open the home in `folder`, as a process that starts now; the directory and assets are always the same."""
    clock = clock or Clock()
    database = _open_database(folder, boundary)
    trail = open_trail(database, clock.now, Writer.fresh(node), b"p" * 32)
    ldif_file = folder / "directory.ldif"
    accounts = province.write(ldif_file, hasher=province.QUICK) if not ldif_file.exists() else province.accounts()
    directory = build(ldif.LdifDirectory(ldif_file).read().entries, trail.pseudonym)
    by_uid = {account.uid: account for account in accounts}
    county = by_uid["zhangsan"].unit
    owner = by_uid["fenger"].uuid
    assets = [
        Asset("server:portal", "server", "portal", "Portal", owner, county, ("portal.jiangzhou.example", "127.0.0.1"), True),
        Asset("application:oa", "application", "oa", "OA", owner, county, (), True),
    ]
    snapshot = Snapshot(
        revision=1,
        directory=directory,
        confirmed=frozenset((account.uuid, *holding) for account in accounts for holding in account.holdings),
        assets={asset.ref: asset for asset in assets},
    )
    return Town(folder, trail, snapshot, FileSigners(folder / "keys", boundary), clock, by_uid)


def _open_database(folder: Path, boundary: Boundary) -> Database:
    if (folder / "postgres").exists():
        return open_postgres((folder / "postgres").read_text().format(role="yumen_worker"))
    database = open_sqlite(folder / "town.db")
    event.listen(database.engine, "connect", lambda connection, _: connection.set_trace_callback(partial(_statement, boundary)))
    Model.metadata.create_all(database.engine)
    return database


def _statement(boundary: Boundary, sql: str) -> None:
    """Every statement that writes is a boundary, also those of the trail, which go past the engine."""
    if sql.startswith(("BEGIN IMMEDIATE", "INSERT", "UPDATE", "DELETE", "COMMIT")):
        boundary(f"before {sql[:60]}")


def found(folder: Path) -> Town:
    """A home after its ceremony, with its first lists."""
    town = open_town(folder)
    plan = ceremony.parse(PLAN)
    permit = town.service("operator", Action.CEREMONY_PERFORM, plan.resource)
    ceremony.perform(town.works, plan, responders=town.signers, permit=permit, say=nothing)
    town.worker().step()
    return town


def copy(template: Path, folder: Path) -> Path:
    """A home of one's own from a closed one."""
    shutil.copytree(template, folder, dirs_exist_ok=True)
    return folder


def make_csr(key: PrivateKey | None = None) -> bytes:
    """A request with a name that nobody must look at."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ignored.example")])
    return x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
