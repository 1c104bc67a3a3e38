"""PostgreSQL as a home's database: prepared once by an administrator, and looked at before anything is trusted to it."""

from __future__ import annotations

import os

from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import NullPool

from core.database import Database, open_postgres
from core.errors import Malformed, Unavailable
from migrations import rights
from ops import fitness

#: A machine that vanished is noticed within about four seconds.
_NOTICED = {"keepalives_idle": 2, "keepalives_interval": 1, "keepalives_count": 2, "tcp_user_timeout": 4000}


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
        **_NOTICED,
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
    event.listen(database.engine, "do_connect", lambda _dialect, _record, _arguments, options: options.update(_NOTICED))
    try:
        found = fitness.problems(database)
    except DBAPIError as error:
        database.engine.dispose()
        raise Unavailable(
            "the database cannot be used: {reason}; check `database.url`, the server, and how it lets this role in",
            reason=" ".join(str(error.orig).split()),
        ) from error
    if found:
        database.engine.dispose()
        raise Unavailable("the database is not used as it is: {problems}", problems="; ".join(found))
    return database
