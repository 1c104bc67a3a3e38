"""From approved requests to stored certificates, as the worker makes them, beside the two signatures that cannot be left out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from audit.permit import Action, Actor, ActorKind, Permit
from audit.record import recording
from authz.caller import Caller
from authz.decide import Target, require
from authz.province import QUICK
from bench import servers
from bench.limits import a_second
from bench.province import Size, write
from bench.rounds import Row, Spread, compared, in_turn
from bench.site import SEED, make_site
from ca import registration
from ca.registration import Draft
from ca.subjects import facts
from ca.worker import BATCH, Worker
from certs import csr
from core.settings import Settings, load
from ops.demo import make_demo
from ops.first import request_der
from ops.node import Node, open_node

#: Certificates of one round: whole batches.
NUMBER = 4 * BATCH
#: Seconds that the signatures alone are measured in each round.
SECONDS = 1.0
#: The directory of the home of production: it is not what is measured.
SMALL = Size(units=60, staff=500, grants=0)
#: Who asks, and who approves.
STAFF, REGISTRAR, PROFILE = "zhangsan", "zhaoliu", "staff-sign"


def issuance(folder: Path) -> Iterator[Row]:
    """Batches of a demonstration home, on its SQLite; and of a home of production, where there is a PostgreSQL for it."""
    make_demo(folder / "home", {}, tell=lambda _step: None)
    yield from _measured(load({"YUMEN_HOME": str(folder / "home")}), "SQLite")
    if not servers.missing():
        with closing(
            make_site(folder / "issuance", lambda path: write(path.parent, SMALL, seed=SEED, hasher=QUICK), over_ldap=False)
        ) as site:
            yield from _measured(site.settings("yumen_worker"), "PostgreSQL")


def _measured(settings: Settings, database: str) -> Iterator[Row]:
    """Certificates a second of the worker of this home, and what each costs it."""
    busy: list[float] = []
    with closing(open_node(settings, role="operator", with_keys=True)) as node:
        assert node.works is not None
        worker = Worker(node.works)

        def made() -> float:
            approve(node, NUMBER)
            began, worked = time.perf_counter(), time.process_time()
            number = 0
            while some := len(worker.issue()):
                number += some
            took = time.perf_counter() - began
            assert number == NUMBER
            busy.append((time.process_time() - worked) / number * 1e6)
            return number / took

        rates, limits = in_turn(made, lambda: a_second(verify_and_sign(), SECONDS))
    note = f"batches of {BATCH}, with intent and events; more is better"
    yield compared(
        f"approved requests to certificates, {database}", "/s", rates, "one request's signature verified, one made", limits, note
    )
    yield Row(f"processor time of one certificate, {database}", "µs", Spread.of(busy), note="of the worker's process")


def verify_and_sign() -> Callable[[], object]:
    """Check the signature of a request and sign as many bytes as a certificate has, with P-256."""
    key, signer = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    asked = x509.load_der_x509_csr(request_der(key))
    tbs, algorithm = b"x" * 700, ec.ECDSA(hashes.SHA256())
    return lambda: asked.is_signature_valid and signer.sign(tbs, algorithm)


def approve(node: Node, number: int) -> None:
    """Bring so many requests to where the worker takes them, each by the hands of those who may."""
    snapshot = node.world.current()
    about = facts(snapshot, f"person:{snapshot.directory.by_uid[STAFF].id}")
    asking = _permit(node, STAFF, Action.REQUEST_SUBMIT, Target(about.ref, about.unit, about.owner, about.owner))
    requests = [csr.parse(request_der(ec.generate_private_key(ec.SECP256R1()))) for _ in range(number)]
    with recording(node.trail) as tx:
        drafts = [Draft(profile=PROFILE, csr=one, facts=about) for one in requests]
        waiting = [registration.submit(tx, permit=asking, draft=draft) for draft in drafts]
        targets = {one.id: Target(*registration.target(one)) for one in waiting}
    permits = {key: _permit(node, REGISTRAR, Action.REQUEST_APPROVE, target) for key, target in targets.items()}
    with recording(node.trail) as tx:
        for key, permit in permits.items():
            registration.approve(tx, key, permit=permit)


def _permit(node: Node, uid: str, action: Action, target: Target) -> Permit:
    person = node.world.current().directory.by_uid[uid]
    caller = Caller(actor=Actor(ActorKind.PERSON, person.id, "password+totp"), person=person)
    return require(node.world, node.trail, caller, action, target)
