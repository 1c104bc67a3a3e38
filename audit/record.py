"""The only way to change the database: a transaction that carries its own audit events.

Facts and events commit together or not at all, and the events are in the tree before the caller goes on. A change of
facts without an event is refused at commit; rows of tables marked `__volatile__` are no facts. This is a smoke alarm for
our own code, not a lock against an attacker; on PostgreSQL the database refuses it as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from sqlalchemy import event
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import ORMExecuteState, Session

from audit.append import Receipt
from audit.body import Entry, Writer
from audit.event import Event
from audit.ledgers import is_storage_failure
from audit.trail import Trail
from core.database import Model
from core.errors import Unavailable


class UnrecordedChange(RuntimeError):
    """A transaction changed facts and recorded nothing. A bug: never caught."""


class Transaction:
    """One unit of work: `db` for the rows, `record` for the trail; it commits when the `with recording` block ends."""

    def __init__(self, trail: Trail, session: Session) -> None:
        self.db = session
        #: The clock when the transaction began: one moment for everything it writes.
        self.now: datetime = trail.clock()
        #: Where the recorded events stand, in order; filled after the commit.
        self.receipts: list[Receipt] = []
        self._trail = trail
        self.entries: list[Entry] = []
        self._facts = self._volatile = False
        self._rows_before = trail.ledger.rows_changed(session)
        event.listen(session, "before_flush", self._note_rows)
        event.listen(session, "do_orm_execute", self._note_statement)

    @property
    def writer(self) -> Writer:
        """The process that writes, as its events name it."""
        return self._trail.writer

    def record(self, happened: Event) -> None:
        """Add `happened` to the trail; it commits or rolls back with everything else here."""
        self.entries += self._trail.prepare([happened])

    def keyed(self, label: str, text: str) -> str:
        """What stands in an event for a text that must not be told there; the same for the same text."""
        return self._trail.privacy.keyed(label, text)

    def pseudonym(self, entry_uuid: str) -> str:
        """The id under which a person appears in an event."""
        return self._trail.pseudonym(entry_uuid)

    def _note_rows(self, session: Session, *_: object) -> None:
        for row in (*session.new, *session.deleted, *(row for row in session.dirty if session.is_modified(row))):
            self._note(volatile=type(row).__volatile__)

    def _note_statement(self, state: ORMExecuteState) -> None:
        if state.is_select:
            return
        table = getattr(state.statement, "table", None)
        self._note(volatile=getattr(table, "name", "") in volatile_tables())

    def _note(self, *, volatile: bool) -> None:
        if volatile:
            self._volatile = True
        else:
            self._facts = True

    def must_be_recorded(self) -> None:
        """Refuse to commit facts without an event.

        Raises:
            UnrecordedChange: facts changed, nothing was recorded.
        """
        unseen = self._trail.ledger.rows_changed(self.db) != self._rows_before and not self._volatile
        if (self._facts or unseen) and not self.entries:
            raise UnrecordedChange("facts changed and no event was recorded")


def volatile_tables() -> set[str]:
    """Names of the tables whose rows are no facts."""
    return {mapper.class_.__tablename__ for mapper in Model.registry.mappers if mapper.class_.__volatile__}


@contextmanager
def recording(trail: Trail) -> Iterator[Transaction]:
    """Open the write transaction; commit it with its events when the block succeeds, roll it back when it raises.

    Raises:
        Unavailable: the trail or the database cannot be written; nothing was changed.
        UnrecordedChange: facts changed but no event was recorded; nothing was changed.
        NotYetProved: everything was changed, and its events are not yet in the tree (PostgreSQL only).
    """
    tx: Transaction | None = None
    placed = None
    inside = committing = False
    trail.must_be_open()
    try:
        with trail.database.writing() as session:
            tx = Transaction(trail, session)
            inside = True
            yield tx
            inside = False
            session.flush()
            tx.must_be_recorded()
            if tx.entries:
                placed = trail.place_with(session, tx.entries)
                committing = placed is None
    except BaseException as error:
        if trail.ledger.is_unrecorded(error):
            trail.lost(tx.entries if tx else [], placed)
            raise UnrecordedChange("facts changed and no event was recorded") from error
        trail.lost(tx.entries if tx else [], placed, doubtful=committing and is_storage_failure(error))
        if _is_ours(error, inside=inside):
            trail.failed()
            raise Unavailable("the trail cannot be written now; nothing was changed, try again in a moment") from error
        raise
    tx.receipts = trail.acknowledge(tx.entries, placed)


def _is_ours(error: BaseException, *, inside: bool) -> bool:
    """Whether the database failed, rather than the use case: inside the block only what the engine itself turned into an answer."""
    if inside:
        return isinstance(error, Unavailable) and isinstance(error.__cause__, DatabaseError)
    return is_storage_failure(error)
