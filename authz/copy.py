"""A copy of what directory servers hold, kept up to date by asking for what changed. Pure: it speaks no protocol.

Two questions follow a change. *What is new?* is answered in milliseconds, and what was added or modified counts at once.
*What is there?* lists every entry with the number of its last change and finds the rest: what is gone, what was moved.
Only then is the copy settled. Each answer is complete or none, and an entry that changed meanwhile is asked for again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

from authz.dialects import CHANGE_NUMBER, Dialect, Found, Stamp
from authz.ldif import Reading
from authz.people import Entry
from authz.questions import Questions
from authz.tree import keyed
from core.errors import Malformed

#: When more entries than this must be fetched one by one, everything is read.
MOST = 100
#: Servers that keep references whole do so a moment later, and number no change for it: groups are looked at again for so many seconds.
REFERENCES_SECONDS = 3.0


class _Known(NamedTuple):
    number: str
    entry: Entry


class Copy:
    """What the servers hold that `questions` are put to. Used by one thread at a time."""

    def __init__(self, questions: Questions[Any], dialect: Dialect, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._questions, self._dialect, self._monotonic = questions, dialect, monotonic
        self._settled: Stamp | None = None
        self._by_id: Mapping[str, Entry] | None = None
        #: By DN as the servers write it; None where changes have no numbers.
        self._known: Mapping[str, _Known] | None = None
        self._owed = False
        self._watched: dict[str, float] = {}

    def read(self) -> Reading:
        """See `authz.ldif.Source.read`."""
        stamp = self._questions.stamp()
        if self._by_id is None or self._known is None:
            return self._reading() if self._by_id is not None and stamp == self._settled else self._whole()
        if stamp == self._settled:
            self._watch()
            return self._reading()
        if not self._owed and self._take_new(stamp):
            return self._reading(settled=False)
        return self._settle()

    def _reading(self, *, settled: bool = True) -> Reading:
        return Reading(self._by_id or {}, settled)

    def _whole(self) -> Reading:
        stamp, found = self._questions.whole()
        entries = keyed(self._dialect.entries(found))
        if self._by_id != entries:
            self._by_id = entries
        by_dn = {entry.dn: entry for entry in self._by_id.values()}
        numbers = {each.dn: number for each in found if (number := _number(each))}
        complete = self._dialect.ordered and by_dn.keys() <= numbers.keys()
        self._known = {dn: _Known(numbers[dn], entry) for dn, entry in by_dn.items()} if complete else None
        self._settled, self._questions.newest, self._owed = stamp, stamp, False
        return self._reading()

    def _take_new(self, stamp: Stamp) -> bool:
        """Take over what was added or modified; False when there is nothing, or more happened than that."""
        before = self._questions.newest.at if self._questions.newest else {}
        moved = {replica for replica, last in stamp.at.items() if before.get(replica) != last}
        if not moved or not moved <= before.keys():
            return False
        self._questions.newest, found = self._questions.new(min(before[replica] for replica in moved))
        self._owed = True
        known = self._known or {}
        news = {dn: new for dn, new in self._read(found).items() if new != known.get(dn)}
        if any(not self._stays(dn, new.entry) for dn, new in news.items()) or _naming(news.keys() - known.keys(), known):
            return False
        return self._put(news, ())

    def _stays(self, dn: str, entry: Entry) -> bool:
        """Whether an entry is where it was, or is new at a place that was free."""
        known, before = (self._known or {}).get(dn), (self._by_id or {}).get(_identity(entry))
        return before.dn == dn if before else known is None

    def _settle(self) -> Reading:
        known = self._known or {}
        stamp, listed = self._questions.listing()
        numbers = {each.dn: _number(each) for each in listed}
        gone = known.keys() - numbers.keys()
        wanted = {dn for dn, number in numbers.items() if dn not in known or known[dn].number != number}
        if len(wanted) > MOST or not all(numbers.values()):
            return self._whole()
        found = self._fetch({numbers[dn] for dn in wanted})
        if not wanted <= found.keys():
            return self._reading(settled=False)
        others = {dn for dn, new in found.items() if dn not in known or _identity(known[dn].entry) != _identity(new.entry)}
        self._watched |= dict.fromkeys(_naming(gone | others, known) - gone, self._monotonic() + REFERENCES_SECONDS)
        self._put(found, gone)
        self._watch()
        self._settled, self._questions.newest, self._owed = stamp, stamp, False
        return self._reading()

    def _watch(self) -> None:
        """Look again at the groups whose members went, until the servers had time to take them out."""
        known, now = self._known or {}, self._monotonic()
        self._watched = {dn: until for dn, until in self._watched.items() if dn in known}
        found = self._fetch({known[dn].number for dn in self._watched})
        self._put({dn: found[dn] for dn in self._watched if dn in found}, ())
        self._watched = {dn: until for dn, until in self._watched.items() if until > now}

    def _fetch(self, numbers: Collection[str]) -> dict[str, _Known]:
        return self._read(self._questions.numbered(numbers)) if numbers else {}

    def _read(self, found: Iterable[Found]) -> dict[str, _Known]:
        numbers = {each.dn: each for each in found}
        entries = self._dialect.entries(numbers.values())
        return {entry.dn: _Known(_number(numbers[entry.dn]), entry) for entry in entries}

    def _put(self, news: Mapping[str, _Known], gone: Collection[str]) -> bool:
        """Replace what is in `news` and drop what is in `gone`; whether any entry differs by that."""
        known, by_id, differs = dict(self._known or {}), dict(self._by_id or {}), bool(gone)
        for dn in (*gone, *(news.keys() & known.keys())):
            del by_id[_identity(known[dn].entry)]
        for dn in gone:
            del known[dn]
        for dn, new in news.items():
            old, identity = known.get(dn), _identity(new.entry)
            if identity in by_id:
                raise Malformed("the directory holds the entryUUID of `{dn}` twice; remove one", dn=dn)
            same = old is not None and old.entry == new.entry
            known[dn] = _Known(new.number, old.entry if old and same else new.entry)
            by_id[identity] = known[dn].entry
            differs = differs or not same
        self._known = known
        if differs:
            self._by_id = by_id
        return differs


def _identity(entry: Entry) -> str:
    return entry.one("entryuuid")


def _number(found: Found) -> str:
    return found.attributes.get(CHANGE_NUMBER.lower(), (b"",))[0].decode("ascii", "replace")


def _naming(gone: Collection[str], known: Mapping[str, _Known]) -> set[str]:
    """The groups that name one of the DNs in `gone` as a member."""
    names = {dn.lower() for dn in gone}
    members = ((dn, each.entry.attributes.get("member", ())) for dn, each in known.items()) if names else ()
    return {dn for dn, held in members if any(value.lower() in names for value in held)}
