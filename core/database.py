"""The engine, the declarative base and the column types. No table is defined here.

SQLite runs in WAL mode with `synchronous=FULL`: an acknowledged commit survives a power cut. Whoever writes takes the
lock file first and only then `BEGIN IMMEDIATE`: SQLite's own busy handler is unfair and starves processes. PostgreSQL
needs no lock file: writers wait for each other's rows, each at READ COMMITTED and never for long.
"""

from __future__ import annotations

import datetime as dt
import os
import re
import select
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

from sqlalchemy import DateTime, Dialect, Engine, MetaData, NullPool, SelectBase, TypeDecorator, create_engine, event, make_url, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DatabaseError, InvalidatePoolError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as SilentPool
from sqlalchemy.orm import DeclarativeBase, Session, mapped_column
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.sql.dml import ReturningInsert, ReturningUpdate

from core.errors import Unavailable
from core.lockfile import locked

#: How long a writer tries for the lock before it answers `unavailable`.
LOCK_PATIENCE = dt.timedelta(seconds=2)
#: How long one question to PostgreSQL may go unanswered: a server that stands still must not hold every request.
SILENCE = dt.timedelta(seconds=8)

#: Bytes of SQLite's journal (`…-wal`) up to which it is left to SQLite, and how long its readers may be waited for to begin it anew.
JOURNAL_BYTES, JOURNAL_PATIENCE = 16 << 20, dt.timedelta(milliseconds=250)

_UNREADABLE: tuple[type[Exception], ...] = (sqlite3.Error, SQLAlchemyError)
_UNWRITABLE: tuple[type[Exception], ...] = (OperationalError, SilentPool)

#: What each connection to PostgreSQL is told. Temporary objects come last, or they would be found before ours.
_SESSION = {
    "search_path": "pg_catalog,yumen,audit,pg_temp",
    "default_transaction_isolation": "read\\ committed",
    "timezone": "UTC",
    "jit": "off",
    "synchronous_commit": "on",
    "lock_timeout": "2s",
    "statement_timeout": "30s",
    "idle_in_transaction_session_timeout": "30s",
}

#: How long whoever listens for changes waits at most until he sees that he shall end.
_LISTENING_SECONDS = 0.25


class UtcDateTime(TypeDecorator[dt.datetime]):
    """An aware datetime in whole seconds, UTC in the table and in Python; a naive one is refused."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        """Refuse naive times, drop microseconds."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise TypeError("naive datetime")
        return value.astimezone(dt.UTC).replace(microsecond=0)

    def process_result_value(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        """Give the zone back that SQLite drops."""
        return value.replace(tzinfo=value.tzinfo or dt.UTC).astimezone(dt.UTC) if value else value


Instant = Annotated[dt.datetime, mapped_column(UtcDateTime)]


class Model(DeclarativeBase):
    """Base of every table. `__volatile__ = True` marks rows that are no facts and need no event."""

    __volatile__ = False

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


@dataclass(frozen=True)
class Database:
    """One database and, for SQLite, the file that its writers lock. Safe to share between threads."""

    engine: Engine
    lock: Path | None = None
    #: How the bare write transaction begins; empty where the driver begins it by itself.
    begin: str = "BEGIN IMMEDIATE"
    #: What the driver raises when the database does not do its part.
    failures: tuple[type[Exception], ...] = (sqlite3.OperationalError,)
    #: Where a commit does not wait for the disk.
    hasty: Engine | None = None
    _bells: list[threading.Event] = field(default_factory=list, repr=False)
    _thread: threading.local = field(default_factory=threading.local, repr=False)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session for look-ups, rolled back at the end: close it before asking for a permit. `Unavailable` when it cannot be read."""
        try:
            with Session(self.engine, autoflush=False, expire_on_commit=False) as session:
                yield session
        except (DatabaseError, SilentPool) as error:
            if isinstance(error, OperationalError | SilentPool) or type(error.orig) is sqlite3.DatabaseError:
                raise Unavailable("the database cannot be read now; try again, and tell the operator if it stays") from error
            raise

    @contextmanager
    def moment(self) -> Iterator[Session]:
        """As `reading`, and all look-ups see the same moment."""
        with self.reading() as session:
            if self.lock is None:
                session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            yield session

    @contextmanager
    def looking(self) -> Iterator[Any]:
        """A bare cursor for one `statement` on a hot path, where a session would cost more than the rest of the answer.

        Raises:
            Unavailable: the database cannot be read.
        """
        try:
            with closing(self.engine.raw_connection()) as pooled:
                yield pooled.cursor() if self.lock else _Named(pooled.cursor())
        except self.failures + _UNREADABLE as error:
            raise Unavailable("the database cannot be read now; try again, and tell the operator if it stays") from error

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """The write transaction, which commits when the block ends. On SQLite: lock file, connection, `BEGIN IMMEDIATE`.

        Only `audit` may call this: a change of facts must go through `audit.record.recording`.

        Raises:
            Unavailable: the lock or the database could not be had in time, or the commit failed; nothing was written.
        """
        if self.in_write:
            raise RuntimeError("a write transaction is already open in this thread")
        with self._exclusive():
            self._thread.writing = True
            try:
                with Session(self.engine, expire_on_commit=False, info={"ring": self._ring}) as session:
                    session.connection(execution_options={"yumen_write": True})
                    yield session
                    session.commit()
            except (DatabaseError, SilentPool) as error:
                if isinstance(error, DatabaseError) and not isinstance(error.orig, self.failures):
                    raise
                raise Unavailable("the database cannot be written now; try again, and tell the operator if it stays") from error
            finally:
                self._thread.writing = False

    @contextmanager
    def appending(self) -> Iterator[Any]:
        """The write transaction with the driver's bare cursor, for the trail's hot path: a session would cost more than the disk.

        Raises:
            Unavailable: as for `writing`.
        """
        if self.in_write:
            raise RuntimeError("a write transaction is already open in this thread")
        self._thread.writing = True
        try:
            with self._exclusive(), closing(self.engine.raw_connection()) as pooled:
                cursor = pooled.cursor()
                if self.begin:
                    cursor.execute(self.begin)
                yield cursor
                pooled.commit()
        except self.failures + _UNWRITABLE as error:
            raise Unavailable("the database cannot be written now; try again, and tell the operator if it stays") from error
        finally:
            self._thread.writing = False

    def jot(self, change: ReturningInsert[Any] | ReturningUpdate[Any]) -> Any:
        """Change volatile rows by one statement whose commit does not wait for the disk; what it returns, if any. Raises as `writing`."""
        volatile = {mapper.class_.__tablename__ for mapper in Model.registry.mappers if mapper.class_.__volatile__}
        if self.in_write or getattr(change.table, "name", "") not in volatile:
            raise RuntimeError("only volatile rows are jotted down, and not inside a write transaction")
        try:
            with self._exclusive(), Session(self.hasty or self.engine) as session:
                session.connection(execution_options={"yumen_write": True})
                if self.hasty is None:
                    session.execute(text("SET LOCAL synchronous_commit = off"))
                found = session.scalar(change)
                session.commit()
                return found
        except self.failures + _UNWRITABLE as error:
            raise Unavailable("the database cannot be written now; try again, and tell the operator if it stays") from error

    def shorten(self) -> None:
        """Begin SQLite's journal anew when it has grown: SQLite does so when nobody reads, which under load is never. Raises as `writing`.

        Writers wait meanwhile, but not for a reader who takes long: then it is left for the next time.
        """
        if self.lock is None or self.hasty is None:
            return
        journal = Path(f"{self.engine.url.database}-wal")
        if not journal.exists() or journal.stat().st_size <= JOURNAL_BYTES:
            return
        with self._exclusive(), closing(self.hasty.raw_connection()) as own:
            cursor = own.cursor()
            cursor.execute(f"PRAGMA busy_timeout = {round(JOURNAL_PATIENCE.total_seconds() * 1000)}")
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def bell(self) -> threading.Event:
        """Is set when a transaction that asked for it with `ring` has committed: clear it, look, and look now and then without it."""
        self._bells.append(made := threading.Event())
        return made

    def _ring(self) -> None:
        for bell in self._bells:
            bell.set()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """While the block runs, the transactions of other processes ring the bells of this one as well; on PostgreSQL only."""
        stop = threading.Event()
        threading.Thread(target=self._listen, args=(stop,), name="database-bell", daemon=True).start()
        try:
            yield
        finally:
            stop.set()

    def _listen(self, stop: threading.Event) -> None:
        while self.lock is None and not stop.wait(_LISTENING_SECONDS):
            with suppress(*self.failures):
                self._hear(stop)

    def _hear(self, stop: threading.Event) -> None:
        address = self.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        with import_module("psycopg").connect(address, autocommit=True, connect_timeout=2) as connection:
            connection.execute("LISTEN yumen")
            self._ring()  # who knows what was missed before
            while not stop.is_set():
                if list(connection.notifies(timeout=_LISTENING_SECONDS, stop_after=1)):
                    self._ring()

    def _exclusive(self) -> AbstractContextManager[None]:
        return locked(self.lock, LOCK_PATIENCE) if self.lock else nullcontext()

    @property
    def in_write(self) -> bool:
        """Whether this thread holds the write transaction: waiting for the flusher then would never end."""
        return getattr(self._thread, "writing", False)


def ring(session: Session) -> None:
    """Ring the bell when the write transaction of `session` commits; on PostgreSQL in every process that listens."""
    event.listen(session, "after_commit", lambda _: session.info["ring"](), once=True)
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("NOTIFY yumen"))


def insertion(session: Session) -> Any:
    """The `insert` that knows `on_conflict_…`, in the words of this session's database."""
    return import_module(f"sqlalchemy.dialects.{session.get_bind().dialect.name}").insert


def statement(query: SelectBase) -> str:
    """The text of `query` for `Database.looking`: parameters by name, values as they are stored."""
    return str(query.compile(dialect=sqlite.dialect(paramstyle="named")))


class _Named:
    """A cursor of PostgreSQL that takes the text of `statement`."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def execute(self, sql: str, values: Mapping[str, Any]) -> Any:
        """Run one query."""
        return self._cursor.execute(_in_pyformat(sql), values)


@cache
def _in_pyformat(sql: str) -> str:
    return re.sub(r":(\w+)", r"%(\1)s", sql)


def open_sqlite(path: Path) -> Database:
    """Open (or create) the SQLite database at `path`; its lock file stands beside it."""
    hasty = _sqlite(path, "NORMAL", poolclass=NullPool)  # the journal alone is not waited for: nothing can be damaged
    return Database(_sqlite(path, "FULL", pool_size=32), path.with_suffix(".lock"), hasty=hasty)


def _sqlite(path: Path, synchronous: str, **pool: Any) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}",
        connect_args={"check_same_thread": False, "timeout": 2},
        hide_parameters=True,  # an error's text goes into logs, and what it was about may be personal
        **pool,
    )

    @event.listens_for(engine, "connect")
    def _settings(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
        assert isinstance(connection, sqlite3.Connection)
        connection.isolation_level = None  # we begin transactions ourselves; the driver would begin them too late
        for pragma in ("journal_mode=WAL", f"synchronous={synchronous}", "foreign_keys=ON", "trusted_schema=OFF"):
            connection.execute(f"PRAGMA {pragma}")
        entry.info["reads_only"] = not os.access(path, os.W_OK)  # SQLite does so without a word, and would for ever

    event.listen(engine, "checkin", lambda _, entry: entry.invalidate() if entry.info.get("reads_only") else None)

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("yumen_write") else "BEGIN")

    return engine


def open_postgres(url: str) -> Database:
    """The PostgreSQL database at `url` (`postgresql://role@host/name`); nothing is connected yet."""
    import psycopg  # noqa: PLC0415 - the embedded form starts without it

    options = " ".join(f"-c {name}={value}" for name, value in _SESSION.items())
    engine = create_engine(
        make_url(url).set(drivername="postgresql+psycopg"),
        connect_args={"options": options, "connect_timeout": 2, "application_name": "yumen"},
        pool_size=32,
        pool_timeout=LOCK_PATIENCE.total_seconds(),
        pool_use_lifo=True,  # the connection that was used last knows the statements already
        hide_parameters=True,
    )

    class Patient(psycopg.Connection[Any]):
        def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
            try:
                return super().wait(gen, interval, timeout or SILENCE.total_seconds())
            except psycopg.errors._WaitTimeout as error:  # noqa: SLF001 - the driver's own name for it
                self.pgconn.finish()
                raise psycopg.OperationalError("the server is silent") from error

    event.listen(engine, "do_connect", lambda _dialect, _entry, arguments, more: Patient.connect(*arguments, **more))

    @event.listens_for(engine, "checkout")
    def _is_alive(connection: Any, _entry: ConnectionPoolEntry, _proxy: Any) -> None:
        """After the server's restart every pooled connection is dead, and has been told so; asking each time would cost a turn."""
        told = select.poll()
        told.register(connection.fileno(), select.POLLIN)
        if told.poll(0):
            raise InvalidatePoolError

    return Database(engine, begin="", failures=(psycopg.OperationalError, psycopg.ProgrammingError, psycopg.InternalError))
