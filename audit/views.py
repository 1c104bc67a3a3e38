"""Saved searches: a name for a query, for oneself or for every officer. Kept as events, so that who watches what is told as well.

Name and query may hold personal values, so both are commitments whose openings can be erased; then the search is gone.
"""

from __future__ import annotations

import datetime as dt
import secrets
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from audit import history
from audit.event import Event, Kind
from audit.permit import Action, Permit
from audit.query import parse_query
from audit.tables import TrailDisclosure
from audit.trail import Trail
from core.errors import Conflict, NotFound

#: Saved and dropped searches that are looked through, and those that one person may keep.
LOOKED_AT, MOST = 500, 20


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One saved search."""

    id: str
    name: str
    query: str
    #: Pseudonym of who saved it.
    owner: str
    shared: bool
    at: dt.datetime


def visible(session: Session, person: str) -> list[View]:
    """What `person` saved, and what others share, by name."""
    dropped = {told.object for told in history.newest(session, Kind.SEARCH_DROPPED, LOOKED_AT)}
    kept = [told for told in history.newest(session, Kind.SEARCH_SAVED, LOOKED_AT) if told.object not in dropped]
    mine = [told for told in kept if told.body["actor"]["id"] == person or told.details.get("shared")]
    opened: dict[str, dict[str, str]] = {}
    wanted = select(TrailDisclosure).where(TrailDisclosure.id.in_([told.body["id"] for told in mine]))
    for row in session.scalars(wanted):
        opened.setdefault(row.id, {})[row.field] = row.value
    views = [_view(told, opened[told.body["id"]]) for told in mine if {"title", "query"} <= set(opened.get(told.body["id"], ()))]
    return sorted(views, key=lambda view: (view.name, view.id))


def save(trail: Trail, name: str, query: str, *, shared: bool, permit: Permit) -> None:
    """Keep `query` under `name`, for whom `permit` was given or for all; what is kept just so already is not kept twice.

    Raises:
        Malformed: the query cannot be read.
        Conflict: there are too many already.
    """
    permit.must_cover(Action.TRAIL_READ, "trail")
    text = parse_query(query, trail.privacy).text
    with trail.database.reading() as session:
        mine = [view for view in visible(session, permit.actor.id) if view.owner == permit.actor.id]
    if any((view.name, view.query, view.shared) == (name, text, shared) for view in mine):
        return
    if len(mine) >= MOST:
        raise Conflict("you keep {most} searches already; remove one first", most=MOST)
    told: dict[str, Any] = {"details": {"shared": shared}, "personal": {"title": name, "query": text}}
    trail.append([Event.under(permit, Kind.SEARCH_SAVED, f"search:{secrets.token_hex(8)}", **told)])


def drop(trail: Trail, identity: str, *, permit: Permit) -> None:
    """Forget a search of one's own.

    Raises:
        NotFound: there is none of that id.
    """
    permit.must_cover(Action.TRAIL_READ, "trail")
    with trail.database.reading() as session:
        if not any(view.id == identity and view.owner == permit.actor.id for view in visible(session, permit.actor.id)):
            raise NotFound("you keep no search `{search}`; reload the page", search=identity[:40])
    trail.append([Event.under(permit, Kind.SEARCH_DROPPED, f"search:{identity}")])


def _view(told: history.Told, opened: dict[str, str]) -> View:
    return View(
        id=told.object.partition(":")[2],
        name=opened["title"],
        query=opened["query"],
        owner=told.body["actor"]["id"],
        shared=bool(told.details.get("shared")),
        at=dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=told.t),
    )
