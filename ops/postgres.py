"""PostgreSQL as a home's database: prepared once by an administrator, and looked at before anything is trusted to it."""

from __future__ import annotations

import os

from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import NullPool

import migrations
from core.database import Database, open_postgres
from core.errors import Malformed, Unavailable
from migrations import rights

_OWNS = text(
    "SELECT count(*) FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner"
    " WHERE c.relnamespace::regnamespace::text IN ('yumen', 'audit') AND pg_has_role(current_user, r.oid, 'MEMBER')"
)
_ROLE = text("SELECT rolsuper OR rolcreaterole OR rolbypassrls OR rolreplication FROM pg_roles WHERE rolname = current_user")


def prepare(admin_url: str) -> None:
    """Make roles, schema and rights, or bring them up to date, as the administrator that `admin_url` names.

    Raises:
        Malformed: that is no address of PostgreSQL.
        Unavailable: the server cannot be reached, or refuses.
    """
    try:
        engine = create_engine(make_url(admin_url).set(drivername="postgresql+psycopg"), hide_parameters=True)
    except ArgumentError as error:
        raise Malformed("`--admin-url` is no address; write `postgresql://role@host/database`") from error
    try:
        rights.prepare(engine)
    except DBAPIError as error:
        raise Unavailable("the database cannot be prepared; give the address of an administrator who may make roles") from error
    finally:
        engine.dispose()


def single(url: str, *, silence: int) -> Engine:
    """An engine without a pool for a connection that is held for long; the server ends it when it is silent for `silence` seconds."""
    options = {"search_path": "pg_catalog", "statement_timeout": "5s", "idle_in_transaction_session_timeout": f"{silence}s"}
    arguments = {
        "options": " ".join(f"-c {name}={value}" for name, value in options.items()),
        "connect_timeout": 2,
        "application_name": f"yumen leader {os.getpid()}",
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 8000,
    }
    return create_engine(
        make_url(url).set(drivername="postgresql+psycopg"), connect_args=arguments, poolclass=NullPool, hide_parameters=True
    )


def opened(url: str) -> Database:
    """The database at `url`, for a process of the service.

    Raises:
        Unavailable: it cannot be reached, is not prepared, loses what it acknowledged, or lets this role do too much.
    """
    database = open_postgres(url)
    try:
        found = problems(database)
    except DBAPIError as error:
        database.engine.dispose()
        raise Unavailable("the database does not answer; check `database.url` and the server") from error
    if found:
        database.engine.dispose()
        raise Unavailable("the database is not used as it is: {problems}", problems="; ".join(found))
    return database


def problems(database: Database) -> list[str]:
    """What makes this database, or this role in it, unfit for the service."""
    with database.engine.connect() as connection:
        found = [
            f"{name} is off, so that a power cut takes back what was acknowledged; switch it on"
            for name in ("fsync", "synchronous_commit", "full_page_writes")
            if connection.exec_driver_sql(f"SHOW {name}").scalar_one() == "off"
        ]
        if connection.scalar(_ROLE):
            found.append("this role is an administrator's; name yumen_web or yumen_worker in `database.url`")
        elif connection.scalar(_OWNS):
            found.append("this role owns tables; name yumen_web or yumen_worker in `database.url`")
        elif not connection.scalar(text("SELECT to_regclass('yumen.alembic_version') IS NOT NULL")):
            found.append("it has no schema; run `yumen init --admin-url URL`")
    if not found and not (_has_all(database) and migrations.is_current(database.engine)):
        found.append("its schema is of another version; run `yumen init --admin-url URL`")
    return found


def _has_all(database: Database) -> bool:
    """Whether what no step of the schema makes is there: the name that workers lock."""
    with database.engine.connect() as connection:
        return bool(connection.scalar(text("SELECT to_regclass('yumen.leadership') IS NOT NULL")))
