"""What this room keeps: confirmations, standing, sessions, one-time codes, applications with their grants, the revision.

A secret is never here: tokens and keys are stored as keyed hashes, one-time-code secrets sealed. `Revision` counts every
change that a snapshot must see; whoever changes such rows calls `changed`.
"""

from __future__ import annotations

import datetime as dt

from sqlalchemy import BigInteger, ForeignKey, Index, LargeBinary, String, Text, false, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.database import Instant, Model, insertion, ring


class Revision(Model):
    """One row: how often the rows that decisions depend on have changed."""

    __tablename__ = "authz_revision"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    value: Mapped[int] = mapped_column(BigInteger)


class EntryRow(Model):
    """One entry of the directory that is in force, with no attribute that nothing follows from; without a DN it is gone."""

    __tablename__ = "authz_entry"
    uuid: Mapped[str] = mapped_column(String(36), primary_key=True)
    dn: Mapped[str] = mapped_column(Text)
    #: JSON object: lists of values by name.
    attributes: Mapped[str] = mapped_column(Text)
    #: The revision with which it became what it is.
    revision: Mapped[int] = mapped_column(BigInteger, index=True)


class DirectoryState(Model):
    """One row: the directory that is in force, and the one that was refused."""

    __tablename__ = "authz_directory"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    #: The last revision that changed an entry.
    revision: Mapped[int] = mapped_column(BigInteger)
    #: What identifies all entries together.
    digest: Mapped[str] = mapped_column(String(64))
    memberships: Mapped[int]
    #: How far the servers were when it was read, in the words of the source: one that lags behind is not asked.
    mark: Mapped[str] = mapped_column(Text, default="")
    #: Digest of a reading that would drop too much and waits for a security administrator; empty when none does.
    refused: Mapped[str] = mapped_column(String(64), default="")
    #: The reading that a security administrator accepted although it drops much.
    accepted: Mapped[str] = mapped_column(String(64), default="")


class DirectoryLook(Model):
    """One row: the last look at the directory that was announced, and the last one that succeeded."""

    __tablename__ = "authz_look"
    __volatile__ = True
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    announced: Mapped[int] = mapped_column(BigInteger)
    done: Mapped[int] = mapped_column(BigInteger)
    #: Why the last look failed, or empty.
    problem: Mapped[str] = mapped_column(String(500))


class Confirmation(Model):
    """A person's role in one unit counts: bound to all three by entryUUID."""

    __tablename__ = "authz_confirmation"
    person: Mapped[str] = mapped_column(String(36), primary_key=True)
    role: Mapped[str] = mapped_column(String(64), primary_key=True)
    unit: Mapped[str] = mapped_column(String(36), primary_key=True)
    at: Mapped[Instant]
    by: Mapped[str] = mapped_column(String(160))


class Standing(Model):
    """A certificate that must not be trusted now: by the hash of its issuer's key and its serial."""

    __tablename__ = "authz_standing"
    issuer: Mapped[str] = mapped_column(String(64), primary_key=True)
    serial: Mapped[str] = mapped_column(String(40), primary_key=True)
    #: `revoked`, `suspended` or `released`.
    state: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str] = mapped_column(String(32))
    at: Mapped[Instant]
    revision: Mapped[int] = mapped_column(BigInteger, index=True)


class Account(Model):
    """A person whom Yumen itself has blocked, whatever the directory says."""

    __tablename__ = "authz_account"
    person: Mapped[str] = mapped_column(String(36), primary_key=True)
    reason: Mapped[str] = mapped_column(String(255))
    at: Mapped[Instant]


class SessionRow(Model):
    """A login. Ended or not, the row stays."""

    __tablename__ = "authz_session"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    token: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    person: Mapped[str] = mapped_column(String(36), index=True)
    #: `cert` or `password+totp`.
    auth: Mapped[str] = mapped_column(String(16))
    #: SHA-256 of the certificate it is bound to, and what standing is kept by; empty for password logins.
    cert: Mapped[str] = mapped_column(String(64), default="")
    issuer: Mapped[str] = mapped_column(String(64), default="")
    serial: Mapped[str] = mapped_column(String(40), default="")
    began_at: Mapped[Instant]
    expires_at: Mapped[Instant]
    ended_at: Mapped[Instant | None]


class SessionSeen(Model):
    """When a session was last used, to the minute."""

    __tablename__ = "authz_session_seen"
    __volatile__ = True
    session: Mapped[str] = mapped_column(String(32), ForeignKey("authz_session.id"), primary_key=True)
    at: Mapped[Instant]


class Throttle(Model):
    """Failed logins by key: an account from a network, a network, an account's codes."""

    __tablename__ = "authz_throttle"
    __volatile__ = True
    key: Mapped[str] = mapped_column(String(96), primary_key=True)
    fails: Mapped[int]
    last_at: Mapped[Instant]
    locked_until: Mapped[Instant]


class OneTime(Model):
    """A person's generator of one-time codes. The secret is sealed to person and id."""

    __tablename__ = "authz_totp"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    person: Mapped[str] = mapped_column(String(36), index=True)
    #: `pending` until its first code was shown, then `active`, then `replaced`.
    state: Mapped[str] = mapped_column(String(16))
    secret: Mapped[bytes] = mapped_column(LargeBinary)
    #: The last time step whose code was accepted: no code of it or before is accepted again.
    last_step: Mapped[int] = mapped_column(BigInteger)
    #: Wrong codes after a right password since the last success.
    fails: Mapped[int]
    locked_until: Mapped[Instant]
    made_at: Mapped[Instant]


class RecoveryCode(Model):
    """One of the codes for the day the generator is lost. Used once."""

    __tablename__ = "authz_recovery"
    id: Mapped[int] = mapped_column(primary_key=True)
    totp: Mapped[str] = mapped_column(String(32), ForeignKey("authz_totp.id"), index=True)
    code: Mapped[bytes] = mapped_column(LargeBinary(32))
    used_at: Mapped[Instant | None]


class EnrolmentCode(Model):
    """A one-time code that a registrar handed to a person, good for one enrolment."""

    __tablename__ = "authz_enrolment"
    id: Mapped[int] = mapped_column(primary_key=True)
    person: Mapped[str] = mapped_column(String(36), index=True)
    code: Mapped[bytes] = mapped_column(LargeBinary(32))
    by: Mapped[str] = mapped_column(String(160))
    expires_at: Mapped[Instant]
    used_at: Mapped[Instant | None]


class ApplicationRow(Model):
    """A registered application."""

    __tablename__ = "authz_application"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(255))
    unit: Mapped[str] = mapped_column(String(36))
    #: entryUUID of the person who answers for it.
    owner: Mapped[str] = mapped_column(String(36))
    active: Mapped[bool] = mapped_column(default=True)
    #: JSON lists: action names, resource types, properties it may assert (`resource.status`).
    actions: Mapped[str]
    types: Mapped[str]
    asserts: Mapped[str]
    #: Whether its proxy may ask at the gate.
    proxy: Mapped[bool] = mapped_column(default=False, server_default=false())
    made_at: Mapped[Instant]


class ApiKey(Model):
    """A key of an application that cannot use a certificate."""

    __tablename__ = "authz_api_key"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    application: Mapped[str] = mapped_column(String(64), ForeignKey("authz_application.id"), index=True)
    secret: Mapped[bytes] = mapped_column(LargeBinary(32))
    made_at: Mapped[Instant]
    withdrawn_at: Mapped[Instant | None]


class GrantRow(Model):
    """What a role may, or may not, in one application. Withdrawn or not, the row stays."""

    __tablename__ = "authz_grant"
    id: Mapped[int] = mapped_column(primary_key=True)
    application: Mapped[str] = mapped_column(String(64), ForeignKey("authz_application.id"), index=True)
    action: Mapped[str] = mapped_column(String(128))
    type: Mapped[str] = mapped_column(String(128))
    role: Mapped[str] = mapped_column(String(64))
    #: Unit for whose resources it counts; empty for all.
    unit: Mapped[str] = mapped_column(String(36))
    #: `permit` or `forbid`.
    effect: Mapped[str] = mapped_column(String(8))
    not_before: Mapped[Instant | None]
    not_after: Mapped[Instant | None]
    #: Least assurance of the person's login: 0 any, 1 password and code, 2 certificate.
    assurance: Mapped[int]
    #: JSON object: properties that must have these values, such as `{"resource.status": "active"}`.
    conditions: Mapped[str]
    made_at: Mapped[Instant]
    withdrawn_at: Mapped[Instant | None]


class Resource(Model):
    """A resource that an application has told us of: what searches list, with the facts that callers may not overrule."""

    __tablename__ = "authz_resource"
    application: Mapped[str] = mapped_column(String(64), ForeignKey("authz_application.id"), primary_key=True)
    type: Mapped[str] = mapped_column(String(128), primary_key=True)
    id: Mapped[str] = mapped_column(String(255), primary_key=True)
    unit: Mapped[str] = mapped_column(String(36))
    properties: Mapped[str]


class AssetRow(Model):
    """A server, device or application that may have certificates: who answers for it, and its approved names."""

    __tablename__ = "authz_asset"
    ref: Mapped[str] = mapped_column(String(128), primary_key=True)
    name: Mapped[str] = mapped_column(String(255))
    #: entryUUID of the person who answers for it; empty when it is Yumen's own.
    owner: Mapped[str] = mapped_column(String(36))
    unit: Mapped[str] = mapped_column(String(36))
    #: JSON list of DNS names and addresses.
    names: Mapped[str]
    active: Mapped[bool] = mapped_column(default=True)
    made_at: Mapped[Instant]


Index("ix_authz_session_seen_at", SessionSeen.at)
Index("ix_authz_session_expires_at", SessionRow.expires_at)

#: The moment that means "never locked".
LONG_AGO = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def in_order(db: Session) -> None:
    """Wait for whoever changes something now, so that a greater number is never seen before a smaller one. Nothing to do on SQLite."""
    db.execute(select(Revision.id).where(Revision.id == 1).with_for_update())


def changed(db: Session) -> int:
    """Count one change that snapshots must see, in the transaction of `db`, and wake them when it commits; the new revision."""
    ring(db)
    found: int | None = db.scalar(update(Revision).where(Revision.id == 1).values(value=Revision.value + 1).returning(Revision.value))
    if found is None:
        db.execute(insertion(db)(Revision).values(id=1, value=1).on_conflict_do_nothing())
        found = 1
    return found
