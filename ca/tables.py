"""The rows of the authority. Uniqueness and foreign keys stand here: a certificate without an intent cannot be written."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import ColumnElement, ForeignKey, ForeignKeyConstraint, Index, LargeBinary, Text, UniqueConstraint, and_, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from ca.states import IntentState, ListState, RequestState, Standing
from core.database import Instant, Model, UtcDateTime

#: How long before its end a certificate can be renewed; a third of its life where that is shorter.
RENEWABLE = dt.timedelta(days=30)

#: A request has at most one open intent: said by a partial unique index.
_OPEN = text("state = 'open'")


class Authority(Model):
    """A certification authority. `cert` is empty between key generation and its first signature."""

    __tablename__ = "ca_authority"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    organisation: Mapped[str]
    parent: Mapped[str | None] = mapped_column(ForeignKey("ca_authority.id"))
    suite: Mapped[str]
    #: Profiles that this authority issues, separated by blanks.
    profiles: Mapped[str]
    #: SHA-256 of subjectPublicKeyInfo, hex.
    spki_sha256: Mapped[str] = mapped_column(unique=True)
    cert: Mapped[bytes | None] = mapped_column(LargeBinary)
    #: Certificate of the delegated OCSP signer, replaced at half of its life.
    responder: Mapped[bytes | None] = mapped_column(LargeBinary)
    #: Why this authority signs nothing more; empty while it works.
    stopped: Mapped[str] = mapped_column(default="")
    #: The backup that this authority was restored from, as long as what it had published last is not known.
    held: Mapped[str] = mapped_column(default="", server_default="")
    created_at: Mapped[Instant]


class Request(Model):
    """One request for a certificate. What it will say comes from the directory: `facts`, resolved again at issuance."""

    __tablename__ = "ca_request"

    id: Mapped[int] = mapped_column(primary_key=True)
    profile: Mapped[str]
    state: Mapped[str] = mapped_column(default=RequestState.SUBMITTED)
    #: What it is for: `person:p_…`, `server:…`, `application:…`.
    subject: Mapped[str]
    #: Pseudonym of the person or id of the application that asked.
    requester: Mapped[str]
    #: Pseudonym of the person who answers for the subject: the person, or the asset's owner.
    owner: Mapped[str]
    #: entryUUID of the unit whose registrars decide.
    unit: Mapped[str]
    common_name: Mapped[str]
    #: `ca.subjects.Facts` as JSON: what the registrar saw.
    facts: Mapped[str] = mapped_column(Text)
    #: subjectPublicKeyInfo, DER.
    spki: Mapped[bytes] = mapped_column(LargeBinary)
    spki_sha256: Mapped[str]
    #: Machine-readable reasons of a return or failure, separated by blanks.
    reasons: Mapped[str] = mapped_column(default="")
    #: Signatures that were announced and not completed for this request.
    attempts: Mapped[int] = mapped_column(default=0)
    #: After a failed signature the next attempt waits until then.
    retry_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    submitted_at: Mapped[Instant]
    decided_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)

    approvals: Mapped[list[Approval]] = relationship(order_by="Approval.id", lazy="selectin")
    certificate: Mapped[Certificate | None] = relationship(back_populates="request", lazy="selectin")

    __table_args__ = (
        Index("ix_ca_request_state_unit", "state", "unit"),
        Index("ix_ca_request_owner", "owner"),
        Index("ix_ca_request_spki_sha256", "spki_sha256"),
    )

    @property
    def ref(self) -> str:
        """How permits and events name this request."""
        return f"request:{self.id}"


class Approval(Model):
    """One officer's word on a request; nobody speaks twice."""

    __tablename__ = "ca_approval"

    id: Mapped[int] = mapped_column(primary_key=True)
    request_id: Mapped[int] = mapped_column(ForeignKey("ca_request.id"))
    #: Pseudonym of the officer, or `ceremony`.
    approver: Mapped[str]
    #: `approve` or `refuse`.
    word: Mapped[str]
    comment: Mapped[str]
    #: The rule of the policy page that allowed it, and the snapshot it was decided on.
    rule: Mapped[str]
    revision: Mapped[int]
    at: Mapped[Instant]

    __table_args__ = (UniqueConstraint("request_id", "approver"),)


class Intent(Model):
    """A signature announced before the key moves: the exact bytes, under whose permit, by which process."""

    __tablename__ = "ca_intent"

    id: Mapped[int] = mapped_column(primary_key=True)
    authority: Mapped[str] = mapped_column(ForeignKey("ca_authority.id"))
    #: Lower-case hex.
    serial: Mapped[str]
    request_id: Mapped[int | None] = mapped_column(ForeignKey("ca_request.id"))
    profile: Mapped[str]
    profile_version: Mapped[int]
    tbs: Mapped[bytes] = mapped_column(LargeBinary)
    tbs_sha256: Mapped[str]
    not_after: Mapped[Instant]
    rule: Mapped[str]
    revision: Mapped[int]
    node: Mapped[str]
    boot: Mapped[str]
    state: Mapped[str] = mapped_column(default=IntentState.OPEN)
    opened_at: Mapped[Instant]

    __table_args__ = (
        UniqueConstraint("authority", "serial"),
        UniqueConstraint("id", "authority", "serial"),
        Index("uq_ca_intent_open_request", "request_id", unique=True, sqlite_where=_OPEN, postgresql_where=_OPEN),
        Index("ix_ca_intent_open", "state", sqlite_where=_OPEN, postgresql_where=_OPEN),
    )


class Certificate(Model):
    """What was signed and given out. Its key is the intent's: without one there is no row."""

    __tablename__ = "ca_certificate"

    intent_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    authority: Mapped[str]
    serial: Mapped[str] = mapped_column(index=True)
    request_id: Mapped[int | None] = mapped_column(ForeignKey("ca_request.id"), unique=True)
    profile: Mapped[str]
    subject: Mapped[str] = mapped_column(index=True)
    #: Pseudonym of the person who answers for the subject; empty for the authority's own.
    owner: Mapped[str] = mapped_column(index=True)
    unit: Mapped[str]
    common_name: Mapped[str]
    spki_sha256: Mapped[str] = mapped_column(index=True)
    not_before: Mapped[Instant]
    not_after: Mapped[Instant]
    issued_at: Mapped[Instant]
    der: Mapped[bytes] = mapped_column(LargeBinary)

    request: Mapped[Request | None] = relationship(back_populates="certificate")
    revocation: Mapped[Revocation | None] = relationship(
        primaryjoin="foreign(Revocation.intent_id) == Certificate.intent_id", viewonly=True, lazy="joined", uselist=False
    )

    __table_args__ = (
        ForeignKeyConstraint(["intent_id", "authority", "serial"], ["ca_intent.id", "ca_intent.authority", "ca_intent.serial"]),
        UniqueConstraint("authority", "serial"),
        Index("ix_ca_certificate_unit_intent_id", "unit", "intent_id"),
        Index("ix_ca_certificate_not_after", "not_after"),
    )

    @property
    def ref(self) -> str:
        """How permits and events name this certificate."""
        return f"cert:{self.authority}/{self.serial}"

    @property
    def renewable_from(self) -> dt.datetime:
        """From when on it can be renewed."""
        return self.not_after - min(RENEWABLE, (self.not_after - self.not_before) / 3)

    @classmethod
    def ref_is(cls, ref: str) -> ColumnElement[bool]:
        """The condition that a row is the one called `ref`."""
        authority, _, serial = ref.removeprefix("cert:").partition("/")
        return and_(cls.authority == authority, cls.serial == serial)

    @property
    def standing(self) -> Standing:
        """Valid, suspended or revoked; expiry is told by `not_after`."""
        return Standing(self.revocation.standing) if self.revocation else Standing.VALID


class Revocation(Model):
    """The one row that drives CRL, OCSP, login and decisions. A swept serial has one as well, though no certificate."""

    __tablename__ = "ca_revocation"

    intent_id: Mapped[int] = mapped_column(ForeignKey("ca_intent.id"), primary_key=True, autoincrement=False)
    authority: Mapped[str]
    serial: Mapped[str]
    #: `revoked`, `suspended`, or `valid` again after a release.
    standing: Mapped[str]
    #: CRLReason of RFC 5280 section 5.3.1, by its name.
    reason: Mapped[str]
    at: Mapped[Instant]
    not_after: Mapped[Instant]
    #: Grows with every change of any row of this table: who has seen it has seen all before it.
    revision: Mapped[int] = mapped_column(unique=True)

    __table_args__ = (UniqueConstraint("authority", "serial"),)


class RevocationList(Model):
    """One CRL: announced, signed, checked, published. Numbers are never used twice, published or not."""

    __tablename__ = "ca_crl"

    id: Mapped[int] = mapped_column(primary_key=True)
    authority: Mapped[str] = mapped_column(ForeignKey("ca_authority.id"))
    number: Mapped[int]
    state: Mapped[str] = mapped_column(default=ListState.INTENDED)
    tbs_sha256: Mapped[str]
    der: Mapped[bytes | None] = mapped_column(LargeBinary)
    this_update: Mapped[Instant]
    next_update: Mapped[Instant]
    #: Highest `ca_revocation.revision` that it tells.
    revision: Mapped[int]
    entries: Mapped[int]
    node: Mapped[str]
    boot: Mapped[str]

    __table_args__ = (UniqueConstraint("authority", "number"), Index("ix_ca_crl_state", "state", "authority"))


class Lease(Model):
    """A sign of life of each process that signs. What it announced is swept when this stands still."""

    __tablename__ = "ca_lease"
    __volatile__ = True

    node: Mapped[str] = mapped_column(primary_key=True)
    boot: Mapped[str] = mapped_column(primary_key=True)
    beat: Mapped[int]
