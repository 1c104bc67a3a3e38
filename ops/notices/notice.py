"""What a notice is: planned for a person, then a letter that some way carries there."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from enum import StrEnum
from typing import NamedTuple, Protocol

from authz.people import Person


class Kind(StrEnum):
    """Kinds of notices; `core.settings.NOTICES` names the same."""

    ALARM = "alarm"
    SIGN_IN = "sign-in"
    APPROVAL = "approval"
    EXPIRY = "expiry"


class State(StrEnum):
    """Where a notice stands."""

    WAITING = "waiting"
    SENDING = "sending"
    SENT = "sent"
    GIVEN_UP = "given-up"


class Planned(NamedTuple):
    """Something that a person is to be told, once."""

    #: What it is about and which time it is told: two of the same key to one person are one.
    key: str
    kind: Kind
    #: entryUUID.
    person: str
    #: What the text says; never personal.
    facts: Mapping[str, str | int]


class Text(NamedTuple):
    """The same in both languages."""

    zh: str
    en: str


class Letter(NamedTuple):
    """What is sent. The id is the same however often the same notice is made."""

    id: str
    kind: Kind
    made_at: dt.datetime
    #: One line.
    title: Text
    #: Some lines of plain text.
    body: Text


class Undelivered(Exception):
    """It certainly did not arrive. `final` when another attempt would end in the same way; the reason names no person."""

    def __init__(self, reason: str, *, final: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.final = reason, final


class Unreachable(Exception):
    """The server does not answer as it must: nothing can be sent this way now."""


class Doubtful(Exception):
    """The connection ended after everything was said and before it was acknowledged: it may have arrived."""


Send = Callable[[str, Letter], None]


class Channel(Protocol):
    """A way to people. Used by one thread."""

    @property
    def name(self) -> str:
        """`mail` or `webhook`."""

    @property
    def kinds(self) -> frozenset[Kind]:
        """What goes this way."""

    def address(self, person: Person) -> str:
        """Where this person is reached; empty when the directory has no address that can be used."""

    def open(self) -> AbstractContextManager[Send]:
        """A connection that sends letters one after the other.

        Raises:
            Unreachable: there is none.
            Undelivered, Doubtful: by what it gives, of one letter.
        """
