"""One moment of the database, copied while the service goes on: SQLite by its backup API, PostgreSQL by `pg_dump`.

SQLite copies into a scratch file inside the home, from one read transaction, so that no writer makes it begin anew.
`pg_dump` works on a snapshot that this process exported, and nothing touches the disk.
"""

from __future__ import annotations

import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.errors import Unavailable
from ops.archive import PIECE

Say = Callable[[str], None]

#: Pages that SQLite copies before it tells how far it is.
_PAGES = 4096
#: What is dumped: the two schemas, without owners and rights, which preparing a database gives anew, and without the view
#: whose lock is the lead, which that makes.
_DUMP = (
    *("--format=custom", "--compress=0", "--no-owner", "--no-privileges"),
    *("--schema=yumen", "--schema=audit", "--exclude-table=yumen.leadership"),
)


@contextmanager
def sqlite(session: Session, scratch: Path, tell: Say) -> Iterator[Iterator[bytes]]:
    """The bytes of the file as the transaction of `session` sees it; `scratch` takes the copy meanwhile."""
    scratch.unlink(missing_ok=True)
    scratch.touch(mode=0o600)
    source = session.connection().connection.driver_connection
    assert isinstance(source, sqlite3.Connection)
    try:
        with closing(sqlite3.connect(scratch, isolation_level=None)) as copy:
            for pragma in ("journal_mode=OFF", "synchronous=OFF"):  # whoever loses power begins anew
                copy.execute(f"PRAGMA {pragma}")
            source.backup(copy, pages=_PAGES, progress=lambda _, left, whole: tell(f"database copied: {100 - 100 * left // whole} %"))
        with scratch.open("rb") as file:
            yield _read(file)
    finally:
        scratch.unlink(missing_ok=True)


@contextmanager
def postgres(url: str, session: Session) -> Iterator[Iterator[bytes]]:
    """A dump of what the transaction of `session` sees, in the custom format of `pg_dump`.

    Raises:
        Unavailable: `pg_dump` is missing, or failed.
    """
    session.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
    snapshot = session.scalar(text("SELECT pg_export_snapshot()"))
    with tempfile.TemporaryFile() as said:
        call = ["pg_dump", f"--dbname={url}", "--no-password", *_DUMP, f"--snapshot={snapshot}"]
        try:
            dump = subprocess.Popen(call, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said)  # noqa: S603 - the address is ours
        except OSError as error:
            raise Unavailable("`pg_dump` cannot be run: {reason}; install the client of PostgreSQL here", reason=error.strerror) from error
        try:
            assert dump.stdout is not None
            with dump.stdout as told:
                yield _read(told)
            if dump.wait():
                raise Unavailable("`pg_dump` failed: {reason}", reason=last_words(said))
        finally:
            dump.kill()
            dump.wait()


def last_words(said: IO[bytes]) -> str:
    """The line in which a program of PostgreSQL names its failure."""
    said.seek(0)
    lines = [line for line in said.read().decode(errors="replace").splitlines() if line.strip()]
    named = [line for line in lines if "error:" in line] or lines[-1:]
    return named[0].strip()[:300] if named else "it said nothing"


def _read(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(PIECE):
        yield piece
