"""What directory servers are asked, and how far they are. Knows no protocol, only links that can search.

Each answer comes from one server and is complete, or it is none. A server that is not as far as what is in force already
is not asked: it would bring back a role that was taken away.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Generic, Protocol, TypeVar

from authz.dialects import CHANGE_NUMBER, Dialect, Found, Stamp, matching
from authz.failover import Broken, Deadline, Servers
from authz.failover import Link as Kept
from authz.people import normal_dn
from core.settings import Directory as Settings

#: A reading of everything during which something changed is begun again, at most this often.
SETTLING = 3


class Link(Kept, Protocol):
    """A connection to one server."""

    def one(self, dn: str, attributes: list[str], deadline: Deadline) -> Mapping[str, tuple[bytes, ...]]:
        """The attributes of the entry `dn`."""

    def search(self, base: str, condition: str, attributes: list[str], deadline: Deadline) -> list[Found]:
        """Every entry at or below `base` that meets `condition`."""


L = TypeVar("L", bound=Link)


class Questions(Generic[L]):
    """Questions to `servers`. All raise `Unavailable` when no server answers one."""

    def __init__(self, servers: Servers[L], dialect: Dialect, settings: Settings) -> None:
        self._servers, self._dialect, self._settings = servers, dialect, settings
        #: How far the servers were when something was last taken over from them.
        self.newest: Stamp | None = None
        self._suffix = ""

    def stamp(self) -> Stamp:
        """How far the first server is that answers."""
        return self._servers.ask(self._stamp_of, Deadline(self._settings.deadline.total_seconds()))

    def whole(self) -> tuple[Stamp, list[Found]]:
        """Everything, and how far the server was before: whatever changed meanwhile is seen at the next look."""

        def read(link: L, server: str, deadline: Deadline) -> tuple[Stamp, list[Found]]:
            for _ in range(SETTLING):
                before = self._stamp_of(link, server, deadline)
                found = link.search(self._settings.base, self._dialect.everything, self._dialect.attributes(), deadline)
                if self._stamp_of(link, server, deadline) == before:
                    break
            return before, found

        return self._servers.ask(read, Deadline(self._settings.read_deadline.total_seconds()))

    def new(self, number: str) -> tuple[Stamp, list[Found]]:
        """Everything whose last change has this number or a later one."""
        return self._ask(matching("(" + CHANGE_NUMBER + ">={number})", number=number), self._dialect.attributes())

    def listing(self) -> tuple[Stamp, list[Found]]:
        """Every entry with the number of its last change."""
        return self._ask("", [CHANGE_NUMBER])

    def numbered(self, numbers: Collection[str]) -> list[Found]:
        """Everything whose last change has one of these numbers."""
        some = "".join(matching("(" + CHANGE_NUMBER + "={number})", number=number) for number in sorted(numbers))
        return self._ask(f"(|{some})", self._dialect.attributes())[1]

    def _ask(self, condition: str, attributes: list[str]) -> tuple[Stamp, list[Found]]:
        def search(link: L, server: str, deadline: Deadline) -> tuple[Stamp, list[Found]]:
            stamp = self._stamp_of(link, server, deadline)
            return stamp, link.search(self._settings.base, f"(&{self._dialect.everything}{condition})", attributes, deadline)

        return self._servers.ask(search, Deadline(self._settings.read_deadline.total_seconds()))

    def _stamp_of(self, link: Link, server: str, deadline: Deadline) -> Stamp:
        dialect = self._dialect
        if dialect.marker_at_base and not self._suffix:
            self._suffix = self._find_suffix(link, deadline)
        answer = link.one(self._suffix, [dialect.marker], deadline)
        values = sorted(value.decode("ascii", "replace") for held in answer.values() for value in held)
        if not values:
            raise Broken(f"the server does not tell `{dialect.marker}`; see docs/directory.md")
        # A CSN is `time#count#replica#modification`, and the replica's own sort by time.
        stamp = Stamp("", {value.split("#")[2]: value for value in values}) if dialect.ordered else Stamp(server, {"": " ".join(values)})
        if dialect.ordered and self.newest is not None and stamp.behind(self.newest):
            raise Broken("the server lags behind the others")
        return stamp

    def _find_suffix(self, link: Link, deadline: Deadline) -> str:
        """The naming context that holds the base (RFC 4512 section 5.1)."""
        base, contexts = normal_dn(self._settings.base), link.one("", ["namingContexts"], deadline).get("namingcontexts", ())
        for context in (value.decode("utf-8", "replace") for value in contexts):
            if context and f",{base}".endswith(f",{normal_dn(context)}"):
                return context
        raise Broken(f"the server does not hold `{self._settings.base}`")
