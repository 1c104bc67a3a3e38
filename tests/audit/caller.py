"""One process of the kill test on PostgreSQL: `python -m tests.audit.caller FOLDER NODE KIND`, KIND `node` or `caller`.

A node appends events. A caller changes facts and records events of both in one transaction, rolls some back, and lingers
in some, so that transactions commit out of order. What is acknowledged goes to standard output at once, as
`log idx leaf fact`. With `early` it is told before the commit: the negative control.
"""

from __future__ import annotations

import os
import random
import secrets
import sys
import threading
import time
from pathlib import Path

from sqlalchemy import text

from audit.record import recording
from audit.trail import Receipt, Trail, Writer, open_trail
from core.clock import system
from core.errors import Error
from core.settings import Audit
from tests.audit.homes import PRIVACY, decision, issued, open_database

ADD = text("INSERT INTO authz_account (person, reason, at) VALUES (:person, 'kill test', now())")


def tell(receipts: list[Receipt], fact: str = "-") -> None:
    os.write(1, "".join(f"{one.log} {one.idx} {one.leaf} {fact}\n" for one in receipts).encode())


def append(trail: Trail, dice: random.Random) -> None:
    tell(trail.append([decision(number) for number in range(dice.randrange(1, 30))]))


class _RolledBack(Exception):
    pass


def act(trail: Trail, dice: random.Random) -> None:
    """One fact and its event; the event names the fact."""
    person = secrets.token_hex(12)
    try:
        with recording(trail) as tx:
            tx.db.execute(ADD, {"person": person})
            tx.record(issued(1, object=f"fact:{person}"))
            if dice.random() < 0.1:
                time.sleep(dice.random() * 0.2)
            if dice.random() < 0.2:
                raise _RolledBack
    except _RolledBack:
        return
    tell(tx.receipts, person)


def hasty(trail: Trail) -> None:
    """Acknowledge before the commit."""
    place = trail._place

    def early(*arguments: object) -> dict[int, Receipt]:
        placed = place(*arguments)  # type: ignore[arg-type]
        tell(list(placed.values()))
        time.sleep(0.005)
        return placed

    trail._place = early  # type: ignore[method-assign]


def work(trail: Trail, step: object) -> None:
    dice = random.Random()
    while True:
        try:
            step(trail, dice)  # type: ignore[operator]
        except Error:
            time.sleep(0.02)


def main(folder: str, node: str, kind: str) -> None:
    while True:
        try:
            trail = open_trail(open_database(Path(folder)), system, Writer.fresh(node), PRIVACY, Audit(origin="yumen.test"))
            break
        except Error:
            time.sleep(0.05)
    if kind == "early":
        hasty(trail)
    os.write(1, b"ready\n")
    step = act if kind == "caller" else append
    threads = [threading.Thread(target=work, args=(trail, step), daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
