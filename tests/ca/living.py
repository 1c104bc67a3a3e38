"""One node of the kill test on PostgreSQL: `python -m tests.ca.living FOLDER NODE [loose]`.

It works as everything in one process does: one thread appends events, two act for people (requests, approvals, revocations,
sessions, some of them rolled back), one is the worker. What was acknowledged goes to standard output at once, one JSON
line each. With `loose` the server answers before its log is on disk: the negative control.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

from sqlalchemy import event, select

from audit.append import Receipt
from audit.permit import Action, Actor, ActorKind
from audit.record import recording
from authz import login, sessions
from authz.decide import Target
from authz.keys import Keys
from ca import certificates, registration, revocation
from ca.registration import Draft
from ca.subjects import facts
from ca.tables import Certificate
from ca.worker import Worker
from certs import csr
from core.errors import Error, NotYetProved
from core.settings import Settings
from tests.audit.homes import decision
from tests.ca.town import Town, make_csr, open_town

KEYS = Keys(session=b"s" * 32, api_key=b"a" * 32, otp=b"o" * 32)


def tell(what: str, which: object, receipts: Sequence[Receipt] = ()) -> None:
    line = {"what": what, "which": which, "places": [[one.log, one.idx, one.leaf] for one in receipts]}
    os.write(1, json.dumps(line).encode() + b"\n")


class _RolledBack(Exception):
    pass


def append(town: Town, dice: random.Random) -> None:
    tell("events", None, town.trail.append([decision(number) for number in range(dice.randrange(1, 20))]))
    time.sleep(0.01)


def act(town: Town, dice: random.Random) -> None:
    """One act of a person; whoever is not let or comes too late tries something else."""
    dice.choice((ask, ask, revoke, log_in))(town, dice)


def ask(town: Town, dice: random.Random) -> None:
    """A request, and its approval by another person."""
    person = town.person("zhangsan")
    about = facts(town.snapshot, f"person:{person.id}")
    permit = town.permit("zhangsan", Action.REQUEST_SUBMIT, (about.ref, about.unit, about.owner, person.id))
    draft = Draft(profile="staff-sign", csr=csr.parse(make_csr()), facts=about)
    with recording(town.trail) as tx:
        request = registration.submit(tx, permit=permit, draft=draft)
        if dice.random() < 0.2:
            raise _RolledBack
    tell("request", request.id, tx.receipts)
    permit = town.permit("zhaoliu", Action.REQUEST_APPROVE, registration.target(town.request(request.id)))
    with recording(town.trail) as tx:
        registration.approve(tx, request.id, permit=permit)
    tell("approval", request.id, tx.receipts)


def revoke(town: Town, dice: random.Random) -> None:
    """The revocation of some certificate."""
    with town.trail.database.reading() as session:
        known = list(session.scalars(select(Certificate).where(Certificate.profile == "staff-sign")))
    if not known:
        return
    chosen = dice.choice(known)
    permit = town.permit("zhaoliu", Action.CERT_REVOKE, certificates.target(chosen))
    with recording(town.trail) as tx:
        revocation.revoke(tx, chosen.authority, chosen.serial, "superseded", permit=permit)
        if dice.random() < 0.1:
            time.sleep(dice.random() * 0.2)  # transactions commit out of order
    tell("revocation", chosen.serial, tx.receipts)


def log_in(town: Town, dice: random.Random) -> None:
    """A session, which half of the time ends."""
    world = SimpleNamespace(keys=KEYS, settings=Settings(home=town.folder, mode="demo"))
    person = town.person("zhangsan")
    with recording(town.trail) as tx:
        opened = sessions.open_session(tx, world, person, "password+totp")  # type: ignore[arg-type]
        tx.record(login._login(Actor(ActorKind.PERSON, person.id, "password+totp"), opened, "10.1.2.3", ""))
    tell("session", opened.session, tx.receipts)
    if dice.random() < 0.5:
        permit = town.permit("zhangsan", Action.SESSION_END, Target(f"session:{opened.session}", owner=person.id))
        with recording(town.trail) as tx:
            sessions.end(tx, opened.session, permit=permit)
        tell("end", opened.session, tx.receipts)


def work(town: Town, worker: Worker) -> None:
    """A step of the worker; what it gives out is acknowledged."""
    worker.beat()
    worker.sweep()
    for row in worker.issue():
        tell("certificate", row.serial)
    worker.publish()
    time.sleep(0.05)


def again(step: Callable[[], None]) -> None:
    while True:
        try:
            step()
        except NotYetProved:
            continue
        except (Error, _RolledBack):
            time.sleep(0.02)


def main(folder: str, node: str, mode: str = "") -> None:
    town = _opened(Path(folder), node)
    if mode == "loose":
        town.trail.database.engine.dispose()
        event.listen(town.trail.database.engine, "connect", _loosen)
    tell("ready", town.trail.writer.boot)
    worker = Worker(replace(town.works, monotonic=time.monotonic))
    dice = random.Random()
    steps = [partial(append, town, dice), partial(work, town, worker), partial(act, town, dice), partial(act, town, dice)]
    threads = [threading.Thread(target=again, args=(step,), daemon=True) for step in steps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _opened(folder: Path, node: str) -> Town:
    while True:
        try:
            return open_town(folder, node=node, boundary=_slow)
        except Error:
            time.sleep(0.05)


def _slow(where: str) -> None:
    """Signatures take their time, as those of hardware do."""
    if where.startswith("before signature"):
        time.sleep(random.uniform(0, 0.1))


def _loosen(connection: object, _entry: object) -> None:
    connection.execute("SET synchronous_commit = off")  # type: ignore[attr-defined]
    connection.commit()  # type: ignore[attr-defined]


if __name__ == "__main__":
    main(*sys.argv[1:])
