"""What this room keeps: notices to people, planned, sent or given up."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from core.database import Instant, Model, UtcDateTime


class Notice(Model):
    """One notice to one person by one way. The row is the memory by which none is sent twice; that it was sent is an event."""

    __tablename__ = "ops_notice"
    __volatile__ = True
    id: Mapped[int] = mapped_column(primary_key=True)
    #: What it is about and which time it is told: `expiry:staff/1f3a:14`, `alarm:contradiction::2`.
    key: Mapped[str] = mapped_column(String(255))
    #: entryUUID; name and address are looked up when it is sent.
    person: Mapped[str] = mapped_column(String(36))
    #: `mail` or `webhook`.
    channel: Mapped[str] = mapped_column(String(16))
    #: One of `core.settings.NOTICES`.
    kind: Mapped[str] = mapped_column(String(16))
    #: JSON object: what the text says. Never personal.
    facts: Mapped[str] = mapped_column(Text)
    #: `waiting`, `sending`, `sent` or `given-up`.
    state: Mapped[str] = mapped_column(String(16))
    attempts: Mapped[int]
    #: Why the last attempt failed, or empty.
    problem: Mapped[str] = mapped_column(String(64))
    made_at: Mapped[Instant]
    #: When it is tried (again); of one that is being sent, until when its end is waited for.
    due_at: Mapped[Instant]
    ended_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    __table_args__ = (
        UniqueConstraint("key", "person", "channel"),
        Index("ix_ops_notice_state_due_at", "state", "due_at"),
        Index("ix_ops_notice_kind_person", "kind", "person"),
    )
