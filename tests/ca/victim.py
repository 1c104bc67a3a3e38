"""A process that kills itself at the n-th step boundary of what it does: no signal handler, no `finally`, nothing flushed.

The boundaries come from the tests' signer (before and after each signature) and from the database connection (before
each statement that writes, and before each commit); the product knows nothing of them.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from audit.permit import Action
from ca import ceremony
from ca.tables import Certificate
from tests.ca.town import PLAN, Town, nothing, open_town

_WRITES = ("before INSERT", "before UPDATE", "before DELETE")


@dataclass
class Fuse:
    """Counts boundaries once it is armed, and kills at the chosen one."""

    folder: Path
    kill_at: int
    #: Whether each statement is a boundary of its own, or a transaction only begins, writes and commits.
    every_statement: bool
    count: int = 0
    armed: bool = False
    last: str = ""

    def __call__(self, where: str) -> None:
        kind = "write" if where.startswith(_WRITES) else where
        if not self.armed or (kind == self.last == "write" and not self.every_statement):
            return
        self.last = kind
        self.count += 1
        if self.count == self.kill_at:
            (self.folder / "killed").write_text(where)
            os.kill(os.getpid(), signal.SIGKILL)


def main(act: str, folder: Path, kill_at: int, every_statement: bool) -> None:
    """Do `act` in the home `folder`; the number of boundaries is left in the file `survived` when none killed."""
    fuse = Fuse(folder, kill_at, every_statement)
    town = open_town(folder, node="victim", boundary=fuse)
    fuse.armed = True
    ACTS[act](town)
    fuse("end")
    fuse.armed = False
    (folder / "survived").write_text(str(fuse.count))


def issue(town: Town) -> None:
    """One whole step of the worker: a batch, and the lists."""
    town.worker().step()


def revoke(town: Town) -> None:
    """A revocation, and the list that tells it."""
    certificate = next(row for row in town.rows(Certificate) if row.profile == "staff-sign")
    town.revoke("zhaoliu", certificate)
    town.worker().step()


def ceremonial(town: Town) -> None:
    """A whole ceremony."""
    plan = ceremony.parse(PLAN)
    permit = town.service("operator", Action.CEREMONY_PERFORM, plan.resource)
    ceremony.perform(town.works, plan, responders=town.signers, permit=permit, say=nothing)


ACTS = {"issue": issue, "revoke": revoke, "ceremony": ceremonial}
