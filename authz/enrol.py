"""Enrolling one-time codes, in two steps: an offer to scan, then the first code from it.

Without a session it needs name, password and the code that a registrar handed out, in both steps; that code is used up by
the second. In a session (by certificate, or with the old generator) it needs only a permit.
"""

from __future__ import annotations

from audit.event import Event, Kind
from audit.permit import ANONYMOUS, Action, Permit
from audit.record import Transaction, recording
from authz import totp
from authz.login import Attempt, fail, require_password
from authz.people import Person
from authz.world import World
from core.errors import Unauthenticated

_WRONG_CODE = "the registrar's code is wrong, used or too old; ask your registrar for a new one"


def begin(world: World, attempt: Attempt) -> totp.Offer:
    """An offer for who knows the password and holds a registrar's code (in `attempt.code`).

    Raises:
        Unauthenticated, RateLimited, Unavailable: as `login.by_password`.
    """
    person = _admitted(world, attempt)
    with recording(world.trail) as tx:
        made = totp.offer(tx, world.keys, person)
        tx.record(_event(attempt, person, "pending", made.credential))
    return made


def finish(world: World, attempt: Attempt, first: str) -> list[str]:
    """Take the offer into use with its `first` code; gives the recovery codes.

    Raises:
        Unauthenticated, RateLimited, Unavailable: as `begin`; also when `first` is wrong.
        Conflict: nothing was begun, or too long ago.
    """
    person = _admitted(world, attempt)
    with world.database.reading() as db:
        waiting = totp.pending(db, person.uuid, world.clock())
    if totp.step_of(world.keys, waiting, first, world.clock()) is None:
        raise fail(world, attempt, "bad-code", person, words="the code is wrong; type the six digits that the device shows now")
    with recording(world.trail) as tx:
        if not totp.use_enrolment(tx, world.keys, person, attempt.code):
            raise Unauthenticated(_WRONG_CODE)
        credential, codes = totp.activate(tx, world.keys, person, first)
        tx.record(_event(attempt, person, "", credential))
    return codes


def begin_in_session(tx: Transaction, world: World, person: Person, *, permit: Permit) -> totp.Offer:
    """An offer for who is logged in."""
    permit.must_cover(Action.TOTP_ENROL, f"person:{person.id}")
    made = totp.offer(tx, world.keys, person)
    told = {"totp": made.credential}
    tx.record(Event.under(permit, Kind.TOTP_ENROLLED, permit.resource, reason="pending", scope=person.unit, details=told))
    return made


def finish_in_session(tx: Transaction, world: World, person: Person, first: str, *, permit: Permit) -> list[str]:
    """Take the offer into use with its `first` code; gives the recovery codes.

    Raises:
        Unauthenticated: the code is wrong.
        Conflict: nothing was begun, or too long ago.
    """
    permit.must_cover(Action.TOTP_ENROL, f"person:{person.id}")
    credential, codes = totp.activate(tx, world.keys, person, first)
    tx.record(Event.under(permit, Kind.TOTP_ENROLLED, permit.resource, scope=person.unit, details={"totp": credential}))
    return codes


def _admitted(world: World, attempt: Attempt) -> Person:
    person = require_password(world, attempt)
    with world.database.reading() as db:
        if not totp.knows_enrolment(db, world.keys, person, attempt.code, world.clock()):
            raise fail(world, attempt, "bad-enrolment-code", person, words=_WRONG_CODE)
    return person


def _event(attempt: Attempt, person: Person, reason: str, credential: str) -> Event:
    who = f"person:{person.id}"
    return Event(
        kind=Kind.TOTP_ENROLLED,
        actor=ANONYMOUS,
        object=who,
        reason=reason,
        scope=person.unit,
        source=attempt.source,
        request_id=attempt.request_id,
        details={"totp": credential},
    )
