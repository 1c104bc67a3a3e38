"""Sessions: what a login opens. The token is shown once and stored as a keyed hash; roles are read at every request.

A session begun by certificate is good only over that certificate. A session ends when it is ended, left alone too long,
too old, when its certificate loses its standing, or when its person leaves: each is seen at the next request.
"""

from __future__ import annotations

import datetime as dt
import secrets
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import select

from audit.event import Event, Kind
from audit.permit import Action, Actor, ActorKind, Permit
from audit.record import Transaction, recording
from authz.caller import Caller, Certificate
from authz.people import Person
from authz.snapshot import Freshness, Snapshot
from authz.tables import SessionRow, SessionSeen
from authz.world import World
from core.database import insertion
from core.errors import Conflict, NotFound, Unauthenticated, Unavailable

PREFIX = "ys_"
#: Last use is written down when it is older than this.
SEEN_EVERY = dt.timedelta(minutes=1)
#: Sessions that are ended in one transaction at most: each has its event.
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Opened:
    """A session that has just begun; `token` is nowhere else."""

    token: str
    session: str
    expires_at: dt.datetime
    #: `cert` or `password+totp`.
    assurance: str
    person: Person


@dataclass(frozen=True, slots=True)
class Standing:
    """A session that is still good, as its person may know it."""

    id: str
    #: `cert` or `password+totp`.
    auth: str
    began_at: dt.datetime
    #: Last use, to the minute.
    seen_at: dt.datetime


def open_session(tx: Transaction, world: World, person: Person, auth: str, certificate: Certificate | None = None) -> Opened:
    """Begin a session in `tx`; the caller records the login."""
    token = PREFIX + secrets.token_urlsafe(32)
    row = SessionRow(
        id=secrets.token_hex(16),
        token=world.keys.token(token),
        person=person.uuid,
        auth=auth,
        cert=certificate.sha256 if certificate else "",
        issuer=certificate.issuer if certificate else "",
        serial=f"{certificate.serial:x}" if certificate else "",
        began_at=tx.now,
        expires_at=tx.now + world.settings.authz.session_lifetime,
        ended_at=None,
    )
    tx.db.add(row)
    return Opened(token, row.id, row.expires_at, auth, person)


def require_fresh(world: World) -> Snapshot:
    """The snapshot, when identities may be judged on it.

    Raises:
        Unavailable: the directory is stale.
    """
    snapshot = world.current()
    if snapshot.freshness is Freshness.STALE:
        raise Unavailable(
            "the directory has not been read for too long, so nobody can be let in; try again, and tell the operator if it stays"
        )
    return snapshot


def caller(world: World, token: str, presented: str, source: str = "", request_id: str = "") -> Caller:
    """Who calls with `token` over a connection whose client certificate has the SHA-256 `presented` (hex; empty for none).

    Raises:
        Unauthenticated: no such session, or it has ended; the fact `reason` says how.
        Unavailable: the directory is stale.
    """
    with world.database.reading() as db:
        row = db.scalar(select(SessionRow).where(SessionRow.token == world.keys.token(token)))
        seen = db.get(SessionSeen, row.id) if row else None
    if row is None:
        raise Unauthenticated("the session is not known; log in again", reason="unknown")
    snapshot, now = require_fresh(world), world.clock()
    last = seen.at if seen else row.began_at
    person = snapshot.directory.people.get(row.person)
    certificate = Certificate(row.issuer, int(row.serial, 16), row.cert) if row.cert else None
    if why := _over(row, last, now, world):
        raise Unauthenticated("the session has ended; log in again", reason=why)
    if certificate and certificate.sha256 != presented:
        raise Unauthenticated("this session is bound to a certificate; connect with that certificate", reason="other-certificate")
    if why := snapshot.barred(person) if person else "inactive":
        raise Unauthenticated("the account has ended or is blocked; ask your registrar", reason=why)
    assert person is not None
    if certificate and (why := snapshot.standing.get((certificate.issuer, certificate.serial), "")):
        raise Unauthenticated("the certificate of this session is {state}; log in another way", reason=why, state=why)
    _note_use(world, row.id, last, now)
    actor = Actor(ActorKind.PERSON, person.id, row.auth, row.serial, snapshot.role_names(person.uuid))
    return Caller(actor=actor, person=person, session=row.id, certificate=certificate, source=source, request_id=request_id)


def _over(row: SessionRow, last: dt.datetime, now: dt.datetime, world: World) -> str:
    if row.ended_at is not None:
        return "ended"
    if now >= row.expires_at:
        return "too-old"
    return "idle" if now - last >= world.settings.authz.session_idle else ""


def _note_use(world: World, session: str, last: dt.datetime, now: dt.datetime) -> None:
    if now - last < SEEN_EVERY or world.database.in_write:
        return
    # A session can still be read with when nothing can be written; it then ends a little early.
    with suppress(Unavailable), recording(world.trail) as tx:
        statement = insertion(tx.db)(SessionSeen).values(session=session, at=now)
        tx.db.execute(statement.on_conflict_do_update(index_elements=["session"], set_={"at": now}))


def of_person(world: World, person: Person) -> list[Standing]:
    """The sessions of `person` that are still good, the newest first."""
    now = world.clock()
    mine = (SessionRow.person == person.uuid, SessionRow.ended_at.is_(None), SessionRow.expires_at > now)
    with world.database.reading() as db:
        rows = db.scalars(select(SessionRow).where(*mine).order_by(SessionRow.began_at.desc()).limit(_AT_ONCE)).all()
        used = select(SessionSeen).where(SessionSeen.session.in_([row.id for row in rows]))
        seen = {one.session: one.at for one in db.scalars(used)}
    found = (Standing(row.id, row.auth, row.began_at, seen.get(row.id, row.began_at)) for row in rows)
    return [one for one in found if now - one.seen_at < world.settings.authz.session_idle]


def end_all(tx: Transaction, person: Person, *, permit: Permit) -> None:
    """End every session of a person; the permit is for `person:<pseudonym>`.

    Raises:
        Conflict: there is none.
    """
    if not end_others(tx, person, "", permit=permit):
        raise Conflict("nobody is logged in with this account")


def end_others(tx: Transaction, person: Person, kept: str, *, permit: Permit) -> int:
    """End every session of a person but the one called `kept`, and say how many; the permit is for `person:<pseudonym>`."""
    permit.must_cover(Action.SESSION_END, f"person:{person.id}")
    mine = (SessionRow.person == person.uuid, SessionRow.ended_at.is_(None), SessionRow.expires_at > tx.now, SessionRow.id != kept)
    rows = tx.db.scalars(select(SessionRow).where(*mine).order_by(SessionRow.id).limit(_AT_ONCE).with_for_update()).all()
    for row in rows:
        row.ended_at = tx.now
        tx.record(Event.under(permit, Kind.SESSION_ENDED, f"session:{row.id}"))
    return len(rows)


def end(tx: Transaction, session: str, *, permit: Permit) -> None:
    """End a session; the permit is for `session:<id>`.

    Raises:
        NotFound: there is none.
        Conflict: it has ended.
    """
    permit.must_cover(Action.SESSION_END, f"session:{session}")
    row = tx.db.get(SessionRow, session, with_for_update=True)
    if row is None:
        raise NotFound("there is no session `{session}`", session=session)
    if row.ended_at is not None:
        raise Conflict("the session has ended already; log in again")
    row.ended_at = tx.now
    tx.record(Event.under(permit, Kind.SESSION_ENDED, permit.resource))
