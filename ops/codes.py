"""First codes: with these the people whom the first ceremony names enrol their generators, beside their directory passwords.

A code alone gains nothing, and neither does a password alone. Codes are shown once, before the commit that makes them
count; they are in no transcript, log or event.
"""

from __future__ import annotations

import datetime as dt
import io
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import select

from audit.permit import Action, Actor, Permit
from audit.record import Transaction, recording
from authz import totp
from authz.decide import Target, service_permit
from authz.people import Person
from authz.snapshot import Freshness
from authz.tables import Confirmation, OneTime
from core.errors import Conflict
from core.settings import Settings
from ops.node import Node, open_node

#: The actor that the first ceremony confirms people as.
_OPERATOR = Actor.service("operator").id


@dataclass(frozen=True, slots=True)
class FirstCode:
    """What one person is to be given, face to face."""

    uid: str
    name: str
    code: str = field(repr=False)
    expires_at: dt.datetime


#: How long the directory may take to be fresh before the codes are refused.
_FRESH_SECONDS = 30.0

#: Shows codes to whoever holds the ceremony; called once, before they count.
HandOver = Callable[[Sequence[FirstCode]], None]


def permitted(node: Node, persons: Iterable[str]) -> list[tuple[Person, Permit]]:
    """Those of `persons` (entryUUIDs) whom the directory knows, each with the permit to hand out a code.

    Raises:
        Denied: the directory is too old.
    """
    _await_fresh(node)
    known = node.world.current().directory.people
    found = [known[uuid] for uuid in dict.fromkeys(persons) if uuid in known]
    return [(person, _permit(node, person)) for person in found]


def _await_fresh(node: Node) -> None:
    """Give the first looks at a large directory the time they need: what follows is high-risk, and people are waiting for it."""
    end = time.monotonic() + _FRESH_SECONDS
    while node.world.refresh().freshness is not Freshness.FRESH and time.monotonic() < end:
        time.sleep(0.1)


def hand_out(tx: Transaction, node: Node, people: Iterable[tuple[Person, Permit]], hand_over: HandOver) -> None:
    """Make a code for each of `people`, and show them all."""
    lifetime = node.settings.authz.enrolment_code_lifetime
    made = [
        FirstCode(person.uid, person.name, totp.hand_out(tx, node.world.keys, person, lifetime, permit=permit), tx.now + lifetime)
        for person, permit in people
    ]
    hand_over(made)


def again(settings: Settings, hand_over: HandOver) -> int:
    """New codes for the people of the first ceremony who never had a generator; earlier codes end. Gives their number.

    Raises:
        Conflict: there is nobody left to whom this may be done.
    """
    node = open_node(settings, role="operator", with_keys=True)
    try:
        with node.database.reading() as session:
            named = list(session.scalars(select(Confirmation.person).where(Confirmation.by == _OPERATOR).order_by(Confirmation.person)))
            had = set(session.scalars(select(OneTime.person).where(OneTime.state != "pending")))
        people = permitted(node, (person for person in named if person not in had))
        if not people:
            raise Conflict("everybody whom the first ceremony named has enrolled; a registrar or security administrator hands out codes")
        with recording(node.trail) as tx:
            hand_out(tx, node, people, hand_over)
        return len(people)
    finally:
        node.close()


def text(codes: Sequence[FirstCode]) -> str:
    """The codes as lines to be read and cut apart."""
    out = io.StringIO()
    out.write("first codes, shown only now; each person enrols with it and the directory password\n")
    for each in codes:
        out.write(f"  {each.code}  {each.uid} ({each.name}), until {each.expires_at:%Y-%m-%d %H:%M} UTC\n")
    return out.getvalue()


def write(path: Path, codes: Sequence[FirstCode]) -> None:
    """Put the codes into the new file `path`, mode 0600.

    Raises:
        Conflict: the file exists, or cannot be made.
    """
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "w", encoding="utf-8") as file:
            file.write(text(codes))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise Conflict("the codes cannot be written to `{path}`: {reason}; name a new file", path=path, reason=error.strerror) from error


def _permit(node: Node, person: Person) -> Permit:
    target = Target(f"person:{person.id}", unit=person.unit, owner=person.id)
    return service_permit(node.world, node.trail, "ceremony", Action.TOTP_CODE_ISSUE, target)
