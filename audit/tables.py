"""The trail's tables. Rows are only ever inserted; openings of personal values are the one thing that may be erased.

Times are integer microseconds since 1970 in UTC. `trail_batch` is the journal: one row per commit with the right edge
and the root of the tree at that size, so that the head is never updated in place. Every column of `trail_event` beside
`leaf` and `body` repeats a field of the body for searching; the body is what counts, and the check compares them.
"""

from __future__ import annotations

from sqlalchemy import DDL, BigInteger, Index, LargeBinary, String, Table, event, text
from sqlalchemy.orm import Mapped, mapped_column

from core.database import Model

#: Most entries name no certificate and concern no unit, and many no request: their indexes leave those out.
_CERT, _SCOPED, _ASKED = text("cert != ''"), text("scope != ''"), text("request_id != ''")


class TrailEpoch(Model):
    """One tree: a log and its epoch. A restored log goes on in the next epoch, never in the old one."""

    __tablename__ = "trail_epoch"
    __table_args__ = ({"sqlite_with_rowid": False},)
    log: Mapped[str] = mapped_column(String(16), primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    origin: Mapped[str] = mapped_column(String(255))
    t: Mapped[int] = mapped_column(BigInteger)


class TrailEvent(Model):
    """One entry: its place, its leaf hash and its exact bytes, with the columns that search uses."""

    __tablename__ = "trail_event"
    log: Mapped[str] = mapped_column(String(16), primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    idx: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    #: The id of the body, hex: the seconds of its time and 96 random bits.
    id: Mapped[str] = mapped_column(String(32))
    t: Mapped[int] = mapped_column(BigInteger)
    code: Mapped[str] = mapped_column(String(8))
    outcome: Mapped[str] = mapped_column(String(8))
    #: Kind and id of the actor, such as `person:p_…` or `service:issuance`.
    actor: Mapped[str] = mapped_column(String(160))
    object: Mapped[str] = mapped_column(String(255))
    cert: Mapped[str] = mapped_column(String(128))
    scope: Mapped[str] = mapped_column(String(64))
    request_id: Mapped[str] = mapped_column(String(64))
    leaf: Mapped[bytes] = mapped_column(LargeBinary(32))
    body: Mapped[bytes] = mapped_column(LargeBinary)
    __table_args__ = (
        Index("ix_trail_event_id", "id"),
        Index("ix_trail_event_t", "t"),
        Index("ix_trail_event_actor", "actor", "t"),
        Index("ix_trail_event_object", "object", "t"),
        Index("ix_trail_event_kind", "code", "outcome", "t"),
        Index("ix_trail_event_cert", "cert", "t", sqlite_where=_CERT, postgresql_where=_CERT),
        Index("ix_trail_event_scope", "scope", "t", sqlite_where=_SCOPED, postgresql_where=_SCOPED),
        Index("ix_trail_event_request_id", "request_id", "t", sqlite_where=_ASKED, postgresql_where=_ASKED),
        {"sqlite_with_rowid": False},
    )


class TrailBatch(Model):
    """The journal: one row per commit and log, with the tree's right edge and root at `size`."""

    __tablename__ = "trail_batch"
    log: Mapped[str] = mapped_column(String(16), primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    size: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    first: Mapped[int] = mapped_column(BigInteger)
    edge: Mapped[bytes] = mapped_column(LargeBinary)
    root: Mapped[bytes] = mapped_column(LargeBinary(32))
    t: Mapped[int] = mapped_column(BigInteger)
    #: Who wrote it, the highest counter in it, and up to where that writer's counters were settled.
    node: Mapped[str] = mapped_column(String(64))
    boot: Mapped[str] = mapped_column(String(32))
    counter: Mapped[int] = mapped_column(BigInteger)
    settled: Mapped[int] = mapped_column(BigInteger)
    __table_args__ = (
        Index("uq_trail_batch_first", "log", "epoch", "first", unique=True),
        Index("ix_trail_batch_writer", "node", "boot", "counter"),
        {"sqlite_with_rowid": False},
    )


class TrailTile(Model):
    """A full tile of 256 hashes (C2SP tlog-tiles). Derived: it can be rebuilt from the leaves."""

    __tablename__ = "trail_tile"
    log: Mapped[str] = mapped_column(String(16), primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    level: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    n: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    data: Mapped[bytes] = mapped_column(LargeBinary(8192))


class TrailCheckpoint(Model):
    """A published head: the signed note, as it was written to the file outside the database before."""

    __tablename__ = "trail_checkpoint"
    log: Mapped[str] = mapped_column(String(16), primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    size: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    root: Mapped[bytes] = mapped_column(LargeBinary(32))
    note: Mapped[str]
    t: Mapped[int] = mapped_column(BigInteger)


class TrailDisclosure(Model):
    """The opening of one personal value: deleting the row makes the value unknowable and breaks no proof."""

    __tablename__ = "trail_disclosure"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    field: Mapped[str] = mapped_column(String(32), primary_key=True)
    salt: Mapped[bytes] = mapped_column(LargeBinary(16))
    value: Mapped[str]
    #: Keyed hash of field and value, which search compares with.
    blind: Mapped[bytes] = mapped_column(LargeBinary(16))
    __table_args__ = (Index("ix_trail_disclosure_blind", "blind"), {"sqlite_with_rowid": False})


#: What nobody may change or delete: the triggers stop accidents, the tree convicts everybody else.
INSERT_ONLY = ("trail_epoch", "trail_event", "trail_batch", "trail_tile", "trail_checkpoint")


def guards(table: str) -> list[str]:
    """The statements that make SQLite refuse UPDATE and DELETE on `table`."""
    return [
        f"CREATE TRIGGER IF NOT EXISTS {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        for verb in ("UPDATE", "DELETE")
    ]


def _guard(table: Table) -> None:
    for statement in guards(table.name):
        event.listen(table, "after_create", DDL(statement).execute_if(dialect="sqlite"))  # type: ignore[no-untyped-call]


for _name in INSERT_ONLY:
    _guard(Model.metadata.tables[_name])
