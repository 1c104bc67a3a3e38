"""The database's schema as a history of steps (Alembic). Knows no settings: the engine is passed in.

Rules: a step that was published is never edited. A home on SQLite is brought up to date at start, before the first event
is written; a database of PostgreSQL by `yumen init` alone, because no process of the service owns a table. The
steps and the rooms' tables agree, which a test checks by comparing both schemas.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine

from core.errors import Unavailable

_FOLDER = Path(__file__).parent


def upgrade(engine: Engine) -> None:
    """Bring the schema of `engine` up to the newest step, in one transaction; nothing happens when it is there already.

    Several processes may call this at once: on SQLite the write transaction begins before the version is read.
    """
    with engine.connect().execution_options(yumen_write=True) as connection, connection.begin():
        upgrade_on(connection)


def upgrade_on(connection: Connection) -> None:
    """Bring the schema up inside the transaction of `connection`.

    Raises:
        Unavailable: a newer version was here before.
    """
    config = _config()
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise Unavailable("the database's schema is newer than this version; start the version that made it") from error


class Age(Enum):
    """How a schema stands to this version."""

    NONE = "none"
    OLDER = "older"
    CURRENT = "current"
    NEWER = "newer"


def age(engine: Engine) -> Age:
    """How the schema of `engine` stands to the newest step; one with a step that is not known here is newer."""
    with engine.connect() as connection:
        found = set(MigrationContext.configure(connection).get_current_heads())
    steps = ScriptDirectory.from_config(_config())
    if not found:
        return Age.NONE
    if found == set(steps.get_heads()):
        return Age.CURRENT
    return Age.OLDER if found <= {step.revision for step in steps.walk_revisions()} else Age.NEWER


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    config.set_main_option("path_separator", "os")
    return config
