"""Who may do what inside PostgreSQL: owners that cannot log in, and roles of processes that own nothing.

Said anew after every upgrade, with an administrator's connection: it is the same however often it runs. A table that a
later step adds is guarded and granted without being named here.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, Engine, text

from migrations import upgrade_on

OWNERS = ("yumen_owner", "audit_owner")
#: `yumen_web` answers requests; `yumen_worker` alone writes what is signed; `audit_reader` reads the trail.
LOGINS = ("yumen_web", "yumen_worker", "audit_reader")

#: Rows that are no facts: everything else in the schema `yumen` is refused at commit without an event.
VOLATILE = ("authz_look", "authz_session_seen", "authz_throttle", "ca_lease", "ops_notice", "alembic_version")
#: What only the worker's role may write, besides checkpoints: what is signed, what the directory says, and what people are told.
SIGNED = ("authz_entry", "authz_look", "ca_authority", "ca_intent", "ca_certificate", "ca_crl", "ca_lease", "ops_notice")

_TRAIL = ("trail_epoch", "trail_event", "trail_batch", "trail_tile", "trail_checkpoint", "trail_disclosure")
_FUNCTIONS = ("append", "enqueue", "disclose", "open_epoch")


def prepare(admin: Engine) -> None:
    """Roles, schemas, today's schema and the rights of each role, in one transaction, as `admin`."""
    with admin.connect() as connection, connection.begin():
        connection.execute(text("SELECT pg_advisory_xact_lock(7311)"))
        for statement in _foundation(connection):
            connection.exec_driver_sql(statement)
        upgrade_on(connection)
        for statement in (*_belongings(connection), *_guards(connection), *_grants(connection)):
            connection.exec_driver_sql(statement)


def _foundation(connection: Connection) -> Iterator[str]:
    known = set(connection.scalars(text("SELECT rolname FROM pg_roles")))
    for role in (*OWNERS, *LOGINS):
        if role not in known:
            yield f"CREATE ROLE {role} {'NOLOGIN' if role in OWNERS else 'LOGIN'} NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT"
    database = connection.scalar(text("SELECT quote_ident(current_database())"))
    yield f"REVOKE ALL ON DATABASE {database} FROM PUBLIC"  # TEMPORARY: a temporary table could stand before ours
    yield f"GRANT CONNECT ON DATABASE {database} TO {', '.join(LOGINS)}"
    yield "REVOKE ALL ON SCHEMA public FROM PUBLIC"
    for schema, owner in (("yumen", "yumen_owner"), ("audit", "audit_owner")):
        yield f"CREATE SCHEMA IF NOT EXISTS {schema} AUTHORIZATION {owner}"
    if connection.scalar(text("SELECT to_regclass('yumen.leadership') IS NULL")):
        yield "CREATE VIEW yumen.leadership AS SELECT true AS one"  # nothing but a name to lock: a table would be kept from vacuum
        yield "ALTER VIEW yumen.leadership OWNER TO yumen_owner"
    yield "SET LOCAL search_path = yumen, audit"


def upgrade(admin: Engine) -> None:
    """Today's schema in a database that holds an older one and that no role of a process may enter yet: `prepare` lets them in."""
    with admin.connect() as connection, connection.begin():
        connection.exec_driver_sql("SET LOCAL search_path = yumen, audit")
        upgrade_on(connection)


def _belongings(connection: Connection) -> Iterator[str]:
    for schema, owner in (("yumen", "yumen_owner"), ("audit", "audit_owner")):
        yield f"ALTER SCHEMA {schema} OWNER TO {owner}"  # one that was restored belongs to the administrator
        for table in _tables(connection, schema):
            yield f"ALTER TABLE {schema}.{table} OWNER TO {owner}"
    functions = text("SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'audit'::regnamespace")
    for function in connection.scalars(functions).all():
        yield f"ALTER FUNCTION {function} OWNER TO audit_owner"
        yield f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC"


def _guards(connection: Connection) -> Iterator[str]:
    for table in _tables(connection, "yumen"):
        if table not in VOLATILE:
            yield f"DROP TRIGGER IF EXISTS {table}_recorded ON yumen.{table}"
            yield guard(table)


def guard(table: str) -> str:
    """The statement after which a change of the facts in `table` without an event is refused at commit."""
    return (
        f"CREATE CONSTRAINT TRIGGER {table}_recorded"
        f" AFTER INSERT OR UPDATE OR DELETE ON yumen.{table} DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION audit.must_be_recorded()"
    )


def _grants(connection: Connection) -> Iterator[str]:
    services = "yumen_web, yumen_worker"
    yield f"GRANT USAGE ON SCHEMA yumen, audit TO {services}"
    yield f"GRANT SELECT ON ALL TABLES IN SCHEMA yumen TO {services}"
    yield f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA yumen TO {services}"
    for table in _tables(connection, "yumen"):
        if table != "alembic_version":
            yield f"GRANT INSERT, UPDATE, DELETE ON yumen.{table} TO {'yumen_worker' if table in SIGNED else services}"
    yield "GRANT UPDATE ON yumen.leadership TO yumen_worker"  # the right to lock it; there is no row to update
    # Locking a row asks for the right to change one column: the foreign key lets this one have one value only.
    yield "GRANT UPDATE (serial) ON yumen.ca_certificate TO yumen_web"
    yield "GRANT USAGE ON SCHEMA audit TO audit_reader"
    yield f"GRANT SELECT ON {', '.join(f'audit.{table}' for table in _TRAIL)} TO {services}, audit_reader"
    yield f"GRANT SELECT (t) ON audit.trail_pending TO {services}"  # to tell that something waits, not what
    yield from _backup_grants()
    functions = text("SELECT oid::regprocedure::text, proname FROM pg_proc WHERE pronamespace = 'audit'::regnamespace")
    for function, name in connection.execute(functions).all():
        if name in _FUNCTIONS:
            yield f"GRANT EXECUTE ON FUNCTION {function} TO {services}"
        elif name == "put_checkpoint":
            yield f"GRANT EXECUTE ON FUNCTION {function} TO yumen_worker"


def _backup_grants() -> Iterator[str]:
    """The worker's role dumps the database: it reads everything, also parts of the trail that are made later."""
    yield "GRANT SELECT ON ALL TABLES IN SCHEMA audit TO yumen_worker"
    yield "GRANT SELECT ON ALL SEQUENCES IN SCHEMA yumen, audit TO yumen_worker"
    yield "ALTER DEFAULT PRIVILEGES FOR ROLE audit_owner IN SCHEMA audit GRANT SELECT ON TABLES TO yumen_worker"


def _tables(connection: Connection, schema: str) -> list[str]:
    return list(connection.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = :schema"), {"schema": schema}))
