"""What every route declares of itself: who may come in, and what it takes and gives.

The first is enforced by the door, both are published in the OpenAPI document. A test walks all routes and fails on one
that declares nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

_View = TypeVar("_View", bound=Callable[..., Any])


class Opening(StrEnum):
    """Who may come through a door at all; what they may do there is the policy's affair."""

    #: Nobody has to say who they are.
    ANYONE = "anyone"
    #: A logged-in person, by session.
    PERSON = "person"
    #: A registered application, by certificate or API key.
    APPLICATION = "application"
    #: Whoever calls from the machine itself.
    LOOPBACK = "loopback"


class Asked(NamedTuple):
    """A query parameter: what it means, and which texts it takes."""

    meaning: str
    #: As `web.strict` knows types; what is given is read so by `door.query`.
    kind: Any = str
    #: Whether it must be given.
    needed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What a route takes and gives, as the OpenAPI document tells it."""

    summary: str
    #: Shape of the JSON body, or None.
    body: type | None = None
    #: Whether an empty body, or an empty object, means something as well.
    or_nothing: bool = False
    #: Media type of a body that is no shape, and its JSON schema.
    takes: str = ""
    takes_schema: Mapping[str, Any] = field(default_factory=dict)
    #: Query parameters and what they mean; one that takes any text is told in words alone.
    query: Mapping[str, str | Asked] = field(default_factory=dict)
    status: int = 200
    #: Another status that comes with the same answer.
    also: int = 0
    #: Shape of the JSON answer, or None when it has no body or is no JSON.
    answer: type | None = None
    #: Media type of an answer that is no shape, and its JSON schema.
    gives: str = ""
    gives_schema: Mapping[str, Any] = field(default_factory=dict)
    #: Codes of the error tree that belong to this route beside the ones that every route has.
    errors: tuple[str, ...] = ()
    #: The only codes of this route, when it answers with no others.
    only: tuple[str, ...] = ()
    #: Header fields that the route reads, and what they mean.
    fields: Mapping[str, str] = field(default_factory=dict)

    def asked(self, name: str) -> Asked:
        """The query parameter of this name; one that nobody told of takes any text."""
        told = self.query.get(name, "")
        return Asked(told) if isinstance(told, str) else told


def open_to(*openings: Opening) -> Callable[[_View], _View]:
    """Declare who may come through this route; the door enforces it before the view runs."""

    def declare(view: _View) -> _View:
        function: Any = getattr(view, "__func__", view)  # a bound method takes no attribute itself
        function.__open_to__ = frozenset(openings)
        return view

    return declare


def openings(view: object) -> frozenset[Opening]:
    """Who may come through `view`; empty when it declares nothing."""
    return getattr(view, "__open_to__", frozenset())


def described(**facts: Any) -> Callable[[_View], _View]:
    """Declare what this route takes and gives: the fields of `Described`."""

    def declare(view: _View) -> _View:
        view.__described__ = Described(**facts)  # type: ignore[attr-defined]
        return view

    return declare


def description(view: object) -> Described | None:
    """What `view` takes and gives, or None when it does not say."""
    return getattr(view, "__described__", None)
