"""The directory as rows: what one process read, for all to build from; and the looks by which they know how old it is.

A look is announced before it begins and told when it has succeeded. Whoever saw the announcement first at one poll, and
not at the poll before, knows that the look began after that earlier poll: no clock is ever compared with another's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from authz.people import Entry
from authz.tables import DirectoryLook, EntryRow
from authz.tree import Pseudonym, Tree
from core.database import Database, insertion

_PROBLEM_LENGTH = 500


def empty_tree(pseudonym: Pseudonym) -> Tree:
    """A tree in which nothing is."""
    return Tree.of({}, pseudonym)


def grown(session: Session, tree: Tree, since: int) -> Tree:
    """`tree` with every row that changed after revision `since`."""
    news = dict(_rows(session, since))
    return tree.changed(news) if news else tree


def tells(session: Session, tree: Tree) -> bool:
    """Whether the rows say what `tree` does, all of them and nothing else."""
    there = {identity: entry for identity, entry in _rows(session, -1) if entry is not None}
    return there == tree.entries


def _rows(session: Session, since: int) -> Iterator[tuple[str, Entry | None]]:
    columns = select(EntryRow.uuid, EntryRow.dn, EntryRow.attributes).where(EntryRow.revision > since)
    for identity, dn, attributes in session.execute(columns):
        yield identity, Entry(dn, {name: tuple(held) for name, held in json.loads(attributes).items()}) if dn else None


def store(db: Session, news: Mapping[str, Entry | None], revision: int) -> None:
    """Write what changed, in the transaction of `db`; of an entry that is gone only its entryUUID stays."""
    rows = [
        {
            "uuid": identity,
            "dn": entry.dn if entry else "",
            "attributes": json.dumps(dict(entry.attributes), ensure_ascii=False) if entry else "{}",
            "revision": revision,
        }
        for identity, entry in news.items()
    ]
    insert = insertion(db)(EntryRow)
    written = {name: insert.excluded[name] for name in ("dn", "attributes", "revision")}
    db.execute(insert.on_conflict_do_update(index_elements=["uuid"], set_=written), rows)


def announce(database: Database) -> int:
    """Say that a look begins; its number.

    Raises:
        Unavailable: the database cannot be written.
    """
    following = update(DirectoryLook).where(DirectoryLook.id == 1).values(announced=DirectoryLook.announced + 1)
    found = database.jot(following.returning(DirectoryLook.announced))
    return found if found is not None else _first(database)


def _first(database: Database) -> int:
    with database.reading() as session:
        insert = insertion(session)(DirectoryLook)
    database.jot(insert.values(id=1, announced=0, done=0, problem="").on_conflict_do_nothing().returning(DirectoryLook.id))
    return announce(database)


def tell(database: Database, number: int, *, done: bool, problem: str) -> bool:
    """Say how the look `number` ended, and announce the next; False when another process announced one meanwhile.

    Raises:
        Unavailable: the database cannot be written.
    """
    values = {"announced": number + 1, "problem": problem[:_PROBLEM_LENGTH]} | ({"done": number} if done else {})
    mine = (DirectoryLook.id == 1, DirectoryLook.announced == number)
    return database.jot(update(DirectoryLook).where(*mine).values(**values).returning(DirectoryLook.announced)) is not None


class Sighting:
    """What one process makes of the looks that it sees, by its own clock."""

    def __init__(self) -> None:
        self._polled: float | None = None
        self._announced = self._done = 0
        self._since: float | None = None
        #: The poll that last saw another announcement than the one before.
        self.heard: float | None = None

    def see(self, began: float, announced: int, done: int) -> float | None:
        """At the poll that began at `began` these numbers were seen: since when the newest finished look can at most have begun.

        Nothing when no look has finished since the poll before, or nothing is known of when it was announced.
        """
        found = None
        if done != self._done and done >= self._announced:
            found = self._since if done == self._announced else self._polled
        if announced != self._announced:
            self.heard = began if self._polled is not None else None
            self._announced, self._since = announced, self._polled
        self._polled, self._done = began, done
        return found
