"""Whether a PostgreSQL database, and the role a process has in it, are fit for the service; each problem says what to do."""

from __future__ import annotations

from sqlalchemy import Connection, text

import migrations
from core.database import Database

_ADVICE = "take that away, or name yumen_web or yumen_worker in `database.url`"
_PREPARE = "run `yumen init --admin-url URL`"

#: `me`: whom a session is, for its login can come back from behind a role that was set for it. `owner`: whoever owns a
#: part of this database.
_WHERE = """WITH me AS (SELECT * FROM pg_roles WHERE rolname IN (session_user, current_user)),
here AS (SELECT oid FROM pg_database WHERE datname = current_database()),
owner AS (SELECT d.refobjid AS oid FROM pg_shdepend d, here WHERE d.refclassid = 'pg_authid'::regclass AND d.deptype = 'o'
    AND (d.dbid = here.oid OR d.classid = 'pg_database'::regclass AND d.objid = here.oid))
"""

#: What a server must not say: a query that gives names, and the sentence about them. The session itself asks for
#: `synchronous_commit = on`, which no default of a role or a database overrules.
SERVER = (
    (
        "SELECT 'it' WHERE pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on'",
        "{} takes no writes, being a standby or set to read only; name the server that leads",
    ),
    (
        "SELECT name FROM unnest(ARRAY['fsync', 'full_page_writes']) name WHERE current_setting(name) = 'off'",
        "{} is off, so that a power cut takes back what was acknowledged; switch it on",
    ),
    (
        "SELECT 'session_replication_role' WHERE current_setting('session_replication_role') <> 'origin'",
        "{} is set for this role, so that facts without events would pass; reset it",
    ),
)
#: What a role must not be or be able to do, the strongest first: only the first that is found is told.
ROLE = (
    (
        """SELECT v.name FROM me, LATERAL (VALUES ('SUPERUSER', rolsuper), ('CREATEROLE', rolcreaterole), ('CREATEDB', rolcreatedb),
        ('REPLICATION', rolreplication), ('BYPASSRLS', rolbypassrls)) v (name, has) WHERE v.has""",
        f"this role is an administrator's ({{}}); {_ADVICE}",
    ),
    (
        "SELECT rolname FROM me JOIN owner USING (oid)",
        f"this role ({{}}) owns parts of the database; {_ADVICE}",
    ),
    (
        """SELECT r.rolname FROM me JOIN pg_roles r ON r.oid <> me.oid AND pg_has_role(me.oid, r.oid, 'MEMBER')
        WHERE r.rolsuper OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication OR r.rolbypassrls
        OR r.rolname ~ '^(pg|yumen)_' OR r.oid IN (SELECT oid FROM owner)""",
        f"this role may act as {{}}; {_ADVICE}",
    ),
    (
        "SELECT 'session_replication_role' FROM me WHERE has_parameter_privilege(oid, 'session_replication_role', 'SET')",
        "this role may set {}, which switches guards off; take that right away",
    ),
    (
        """SELECT c.relname FROM me, pg_class c WHERE c.relnamespace = to_regnamespace('audit') AND c.relkind IN ('r', 'p', 'v')
        AND (has_table_privilege(me.oid, c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
        OR has_any_column_privilege(me.oid, c.oid, 'INSERT, UPDATE'))""",
        "this role may write the trail ({}); take that right away",
    ),
    (
        """SELECT n.nspname FROM me, pg_namespace n
        WHERE n.nspname IN ('yumen', 'audit', 'pg_catalog') AND has_schema_privilege(me.oid, n.oid, 'CREATE')""",
        "this role may make objects in {}, which could stand before ours; take that right away",
    ),
    (
        "SELECT current_database() FROM me WHERE has_database_privilege(oid, current_database(), 'CREATE, TEMPORARY')",
        f"this role may make schemas or temporary tables in {{}}; take that away, or {_PREPARE}, which does",
    ),
    (
        "SELECT current_user FROM pg_namespace WHERE nspname = 'yumen' AND NOT has_schema_privilege(oid, 'USAGE')",
        "this role ({}) has not the rights of a process; name yumen_web or yumen_worker in `database.url`",
    ),
)
#: What no step of the schema makes: the name that workers lock.
_WHOLE = text("SELECT to_regclass('yumen.leadership') IS NOT NULL")
_SCHEMA = {
    migrations.Age.NONE: f"it has no schema; {_PREPARE}",
    migrations.Age.OLDER: f"its schema is older than this version; {_PREPARE}",
    migrations.Age.NEWER: "its schema is newer than this version; start the version that prepared it",
}


def problems(database: Database) -> list[str]:
    """What makes this database, or this role in it, unfit for the service.

    Raises:
        DBAPIError: the server cannot be reached, or does not take this role.
    """
    with database.engine.connect() as connection:
        found = trouble(connection)
        for question in ROLE:
            if told := _said(connection, *question):
                return [*found, told]
        whole = connection.scalar(_WHOLE)
    age = migrations.age(database.engine)
    if age is migrations.Age.CURRENT and not whole:
        age = migrations.Age.OLDER
    return found if age is migrations.Age.CURRENT else [*found, _SCHEMA[age]]


def trouble(connection: Connection) -> list[str]:
    """What makes the server itself unfit, now: its settings change while it runs, and so does its part in a cluster."""
    return [told for question in SERVER if (told := _said(connection, *question))]


def _said(connection: Connection, query: str, sentence: str) -> str:
    names = sorted(set(connection.scalars(text(_WHERE + query))))
    return sentence.format(", ".join(names)) if names else ""
