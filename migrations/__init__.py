"""The database's schema as a history of steps (Alembic). Knows no settings: the engine is passed in.

Rules: a step that was published is never edited. A home on SQLite is brought up to date at start, before the first event
is written; a database of PostgreSQL by `yumen init` alone, because no process of the service owns a table. The
steps and the rooms' tables agree, which a test checks by comparing both schemas.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

_FOLDER = Path(__file__).parent


def upgrade(engine: Engine) -> None:
    """Bring the schema of `engine` up to the newest step, in one transaction; nothing happens when it is there already.

    Several processes may call this at once: on SQLite the write transaction begins before the version is read.
    """
    with engine.connect().execution_options(yumen_write=True) as connection, connection.begin():
        upgrade_on(connection)


def upgrade_on(connection: Connection) -> None:
    """Bring the schema up inside the transaction of `connection`."""
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def is_current(engine: Engine) -> bool:
    """Whether the schema of `engine` is at the newest step."""
    with engine.connect() as connection:
        heads = MigrationContext.configure(connection).get_current_heads()
    return set(heads) == set(ScriptDirectory.from_config(_config()).get_heads())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    config.set_main_option("path_separator", "os")
    return config
