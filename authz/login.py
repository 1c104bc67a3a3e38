"""Login: by password and one-time code, or by client certificate. Every outcome is in the trail before it is answered.

Failures, their counters and used-up codes commit together; the refusal is raised after that commit. Nothing tells an
unknown account from a wrong password, neither words nor time; whether a code was used before is told only after a right
password.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from cryptography import x509

from audit.event import Event, Kind
from audit.noise import network
from audit.permit import ANONYMOUS, Actor, ActorKind
from audit.record import Transaction, recording
from authz import throttle, totp
from authz.caller import Certificate
from authz.evidence import Presented
from authz.people import Person
from authz.sessions import Opened, open_session, require_fresh
from authz.snapshot import Snapshot
from authz.tables import OneTime
from authz.world import World
from certs.names import Kind as Subject
from core.errors import CodeUsed, Error, RateLimited, Unauthenticated

#: A chain with one of these reasons was not issued by us: whoever sent it is nobody known, and is counted by the door.
STRANGERS = frozenset({"unknown-issuer", "bad-signature", "malformed"})

_WRONG = "name, password or code is wrong; try again"
_MAX_NAME = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What somebody typed. `code` is a one-time code or a recovery code; at enrolment, a registrar's code."""

    uid: str
    password: str = field(repr=False)
    code: str = field(repr=False, default="")
    source: str = ""
    request_id: str = ""


def by_password(world: World, attempt: Attempt) -> Opened:
    """Begin a session.

    Raises:
        Unauthenticated: name, password or code is wrong, or no codes are enrolled (fact `reason`: `not-enrolled`).
        CodeUsed: the password is right, the code was accepted before.
        RateLimited: too many failures.
        Unavailable: the directory is stale, or the trail cannot be written.
    """
    person = require_password(world, attempt)
    with world.database.reading() as db:
        row = totp.active(db, person.uuid)
    now = world.clock()
    if row is None:
        raise fail(world, attempt, "not-enrolled", person, words="set up one-time codes first, with the code that your registrar gives you")
    if row.locked_until > now:
        _throttled(
            world,
            attempt,
            _wait(
                "too many wrong codes; wait {seconds} seconds, use your certificate, or enrol again with a code of your registrar",
                row.locked_until - now,
            ),
        )
    if totp.looks_like_recovery(attempt.code):
        return _by_recovery(world, attempt, person, row)
    step = totp.step_of(world.keys, row, attempt.code, now)
    if step is None:
        raise fail(world, attempt, "bad-code", person, row=row)
    return _by_step(world, attempt, person, row, step)


def require_password(world: World, attempt: Attempt) -> Person:
    """The person whose name and password these are; a failure is recorded and counted.

    Raises:
        Unauthenticated, RateLimited, Unavailable: as `by_password`.
    """
    snapshot = require_fresh(world)
    try:
        throttle.require_patience(world.database, account_of(world, attempt), attempt.source, world.clock())
    except RateLimited as error:
        _throttled(world, attempt, error)
    person = snapshot.directory.by_uid.get(attempt.uid)
    try:
        world.source.check_password(attempt.uid[:_MAX_NAME], attempt.password)
    except Unauthenticated:
        raise fail(world, attempt, "bad-password" if person else "unknown-account") from None
    if person is None:
        raise fail(world, attempt, "unknown-account")
    if why := snapshot.barred(person):
        raise fail(world, attempt, why, person, words="the account has ended or is blocked; ask your registrar")
    return person


def by_certificate(world: World, chain: Sequence[x509.Certificate], source: str = "", request_id: str = "") -> Opened:
    """Begin a session bound to the person's certificate, whose key the connection has proved.

    Raises:
        Unauthenticated: the certificate is not accepted, or names no active person; the fact `reason` says why.
        Unavailable: the directory is stale, or the trail cannot be written.
    """
    snapshot = require_fresh(world)
    shown = world.verifier.present(chain, world.trust(), snapshot, world.clock())
    person = None
    if shown.identity is not None and shown.identity.kind is Subject.PERSON:
        person = snapshot.directory.find(shown.identity.id)
    reason = _against(snapshot, shown, person)
    if reason or person is None:
        refuse_certificate(world, shown, reason or "no-person", source, request_id)
    with recording(world.trail) as tx:
        opened = open_session(tx, world, person, "cert", shown.certificate)
        tx.record(_login(_actor(snapshot, opened, shown.certificate), opened, source, request_id, shown.certificate))
    return opened


def refuse_certificate(world: World, shown: Presented, reason: str, source: str, request_id: str) -> NoReturn:
    """Record that a certificate of ours was not accepted, and say so; a stranger's is left to the door to count.

    Whoever holds a revoked certificate and its key is an outsider: beyond ten a minute its refusals are counted.
    """
    cert = f"{shown.certificate.issuer}:{shown.certificate.serial:x}"
    if not STRANGERS.intersection(shown.reasons) and world.tally.admit(f"cert:{cert}", world.clock()):
        who = f"{shown.identity.kind}:{shown.certificate.serial:x}" if shown.identity else "certificate"
        refused = Event(
            kind=Kind.CERT_LOGIN_REFUSED,
            actor=ANONYMOUS,
            object=who,
            outcome="fail",
            reason=reason,
            cert=cert,
            source=source,
            request_id=request_id,
        )
        world.trail.append([refused])
    raise Unauthenticated("the certificate is not accepted: {reason}; use another one, or log in with password and code", reason=reason)


def fail(
    world: World, attempt: Attempt, reason: str, person: Person | None = None, *, row: OneTime | None = None, words: str = _WRONG
) -> Error:
    """Record a failed login with its counters; gives the error to raise. `row` counts a wrong code as well."""
    with recording(world.trail) as tx:
        if row is not None:
            totp.count_wrong(tx, row)
        _count(tx, world, attempt, reason, person)
    return Unauthenticated(words, reason=reason) if words != _WRONG else Unauthenticated(words)


def account_of(world: World, attempt: Attempt) -> str:
    """The keyed hash that stands for the typed name: the name itself is nowhere."""
    return world.trail.privacy.keyed("login", attempt.uid[:_MAX_NAME].casefold())


def failures_of(world: World, uid: str) -> str:
    """What events of failed logins under the account `uid` are about."""
    return f"account:{account_of(world, Attempt(uid=uid, password=''))}"


def _count(tx: Transaction, world: World, attempt: Attempt, reason: str, person: Person | None) -> None:
    account = account_of(world, attempt)
    throttle.count_failure(tx, account, attempt.source)
    if person is not None or world.tally.admit(_whom(world, attempt), tx.now):
        tx.record(_failed(world, attempt, Kind.LOGIN_FAILED, reason, person))


def _whom(world: World, attempt: Attempt) -> str:
    """Under what the failures of this attempt are counted: the account, or the network for a name that nobody has."""
    if attempt.uid in world.current().directory.by_uid:
        return f"account:{account_of(world, attempt)}"
    return f"network:{network(attempt.source)}"


def _failed(world: World, attempt: Attempt, kind: Kind, reason: str, person: Person | None) -> Event:
    who = f"person:{person.id}" if person else f"account:{account_of(world, attempt)}"
    return Event(
        kind=kind, actor=ANONYMOUS, object=who, outcome="fail", reason=reason, source=attempt.source, request_id=attempt.request_id
    )


def _throttled(world: World, attempt: Attempt, error: RateLimited) -> NoReturn:
    if world.tally.admit(_whom(world, attempt), world.clock()):
        world.trail.append([_failed(world, attempt, Kind.LOGIN_THROTTLED, "throttled", None)])
    raise error


def _by_step(world: World, attempt: Attempt, person: Person, row: OneTime, step: int) -> Opened:
    opened: Opened | None = None
    with recording(world.trail) as tx:
        if totp.use(tx, row, step):
            opened = _opened(tx, world, attempt, person)
        else:
            totp.count_wrong(tx, row)
            _count(tx, world, attempt, "code-used", person)
    if opened is None:
        wait = totp.STEP - int(world.clock().timestamp()) % totp.STEP
        raise CodeUsed("this code was used already; wait {seconds} seconds for the next one", retry_after_seconds=wait, seconds=wait)
    return opened


def _by_recovery(world: World, attempt: Attempt, person: Person, row: OneTime) -> Opened:
    opened: Opened | None = None
    with recording(world.trail) as tx:
        used = totp.use_recovery(tx, world.keys, row, attempt.code)
        if used is not None:
            opened = _opened(tx, world, attempt, person)
            actor = _actor(world.current(), opened)
            told = {"code": used}
            tx.record(Event(kind=Kind.TOTP_RECOVERED, actor=actor, object=f"person:{person.id}", source=attempt.source, details=told))
        else:
            totp.count_wrong(tx, row)
            _count(tx, world, attempt, "bad-recovery-code", person)
    if opened is None:
        raise Unauthenticated(_WRONG)
    return opened


def _opened(tx: Transaction, world: World, attempt: Attempt, person: Person) -> Opened:
    opened = open_session(tx, world, person, "password+totp")
    throttle.forget(tx, account_of(world, attempt), attempt.source)
    tx.record(_login(_actor(world.current(), opened), opened, attempt.source, attempt.request_id))
    return opened


def _login(actor: Actor, opened: Opened, source: str, request_id: str, certificate: Certificate | None = None) -> Event:
    return Event(
        kind=Kind.LOGIN,
        actor=actor,
        object=f"session:{opened.session}",
        scope=opened.person.unit,
        cert=f"{certificate.issuer}:{actor.serial}" if certificate else "",
        source=source,
        request_id=request_id,
    )


def _actor(snapshot: Snapshot, opened: Opened, certificate: Certificate | None = None) -> Actor:
    serial = f"{certificate.serial:x}" if certificate else ""
    return Actor(ActorKind.PERSON, opened.person.id, opened.assurance, serial, snapshot.role_names(opened.person.uuid))


def _against(snapshot: Snapshot, shown: Presented, person: Person | None) -> str:
    if shown.reasons:
        return shown.reasons[0]
    if shown.identity is None or shown.identity.kind is not Subject.PERSON:
        return "no-person"
    return "unknown-person" if person is None else snapshot.barred(person)


def _wait(words: str, left: dt.timedelta) -> RateLimited:
    seconds = int(left.total_seconds()) + 1
    return RateLimited(words, retry_after_seconds=seconds, seconds=seconds)
