"""AuthZEN 1.0 searches: who may, on what, and which actions. Each result is one that `evaluation` would allow.

Answers come in a fixed order, in pages. A page's token is bound to the question, to the application and to the revision:
when anything changed since, the search begins anew.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from audit.event import Event, Kind
from audit.permit import Action
from audit.trail import Trail
from authz import evaluate
from authz.authzen import SUBJECT_TYPE, Answered, Ask, asker, assurance, entity, facts, members, obstacle, question_of, text
from authz.caller import Caller
from authz.people import Person
from authz.snapshot import Application, Snapshot
from authz.world import World
from core.errors import Malformed

MAX_PAGE = 1_000

#: Stands for the entity that is searched for while the question is read.
_ANY = "*"


class _Search(NamedTuple):
    """One search under way: what is asked, by whom, on which snapshot."""

    snapshot: Snapshot
    application: Application
    ask: Ask
    allows: Callable[[Ask, Person], bool]


def subject(world: World, trail: Trail, caller: Caller, body: Any) -> Answered:
    """Persons who may do `action` to `resource`, by uid.

    Raises:
        Malformed: an entity is missing or of the wrong type, or the page's token is not of this search.
        Denied, Unavailable: the caller is no application that may search, or it cannot be recorded.
    """
    return _answer(world, trail, caller, members(body), "subject", _subjects)


def resource(world: World, trail: Trail, caller: Caller, body: Any) -> Answered:
    """Resources of a type, of those the application has told us of, to which `subject` may do `action`.

    Raises:
        Malformed, Denied, Unavailable: as `subject`.
    """
    return _answer(world, trail, caller, members(body), "resource", _resources)


def action(world: World, trail: Trail, caller: Caller, body: Any) -> Answered:
    """Actions that `subject` may do to `resource`.

    Raises:
        Malformed, Denied, Unavailable: as `subject`.
    """
    return _answer(world, trail, caller, members(body), "action", _actions)


def _subjects(search: _Search) -> Iterable[dict[str, Any]]:
    if search.ask.subject_type != SUBJECT_TYPE:
        return
    people = search.snapshot.directory.by_uid
    for uid in sorted(people):
        if search.allows(search.ask._replace(subject=uid), people[uid]):
            yield {"type": SUBJECT_TYPE, "id": uid}


def _resources(search: _Search) -> Iterable[dict[str, Any]]:
    person = _person(search)
    for name in sorted(search.snapshot.resources.get((search.application.id, search.ask.type), {})):
        if person and search.allows(search.ask._replace(resource=name), person):
            yield {"type": search.ask.type, "id": name}


def _actions(search: _Search) -> Iterable[dict[str, Any]]:
    person = _person(search)
    for name in sorted(search.application.actions):
        if person and search.allows(search.ask._replace(action=name), person):
            yield {"name": name}


def _person(search: _Search) -> Person | None:
    return search.snapshot.directory.find(search.ask.subject) if search.ask.subject_type == SUBJECT_TYPE else None


def _answer(
    world: World, trail: Trail, caller: Caller, body: dict[str, Any], wanted: str, find: Callable[[_Search], Iterable[dict[str, Any]]]
) -> Answered:
    ask = _read(body, wanted)
    page = entity(body, "page") if "page" in body else {}
    application, snapshot = asker(world, trail, caller, Action.SEARCH)
    now = world.clock()

    def allows(one: Ask, person: Person) -> bool:
        if obstacle(snapshot, application, one, person):
            return False
        return evaluate.weigh(snapshot.permits, snapshot.forbids, question_of(snapshot, application, one, person, now)).allowed

    results = list(find(_Search(snapshot, application, ask, allows)))
    bound = f"{application.id} {snapshot.revision} {_digest(world, wanted, body)}"
    offset, limit = _window(world, page, bound)
    shown = results[offset : offset + limit]
    following = offset + len(shown)
    token = _token(world, bound, following, limit) if following < len(results) else ""
    told = {"page": {"next_token": token, "count": len(shown), "total": len(results)}, "results": shown}
    return Answered([_event(snapshot, caller, ask, wanted, len(shown))], lambda _: told)


def _read(body: Mapping[str, Any], wanted: str) -> Ask:
    """The question; of the entity that is searched only the type is needed, and an id that is given is ignored."""
    who, what = entity(body, "subject"), entity(body, "resource")
    act = {"name": _ANY} if wanted == "action" else entity(body, "action")
    return Ask(
        subject_type=text(who, "subject", "type"),
        subject=_ANY if wanted == "subject" else text(who, "subject", "id"),
        action=text(act, "action", "name"),
        type=text(what, "resource", "type"),
        resource=_ANY if wanted == "resource" else text(what, "resource", "id"),
        facts=facts({"subject": who, "action": act, "resource": what}),
        assurance=assurance(body),
    )


def _digest(world: World, wanted: str, body: Mapping[str, Any]) -> str:
    plain = json.dumps({name: value for name, value in body.items() if name != "page"}, sort_keys=True)
    return hmac.digest(world.keys.api_key, f"search {wanted} {plain}".encode(), "sha256").hex()


def _window(world: World, page: Mapping[str, Any], bound: str) -> tuple[int, int]:
    """Where the page begins and how long it is: with a token the limit may be left out, not changed."""
    limit, token = page.get("limit"), page.get("token", "")
    if limit is not None and (type(limit) is not int or not 0 < limit <= MAX_PAGE):
        raise Malformed("`page.limit` must be a number from 1 to {limit}", limit=MAX_PAGE)
    if type(token) is not str:
        raise Malformed("`page.token` must be a text")
    if not token:
        return 0, limit or MAX_PAGE
    offset, _, rest = token.partition(".")
    size = rest.partition(".")[0]
    plain = all(part.isascii() and part.isdigit() and len(part) < 10 for part in (offset, size))
    if not plain or not hmac.compare_digest(token.encode(errors="replace"), _token(world, bound, int(offset), int(size)).encode()):
        raise Malformed("`page.token` is not of this search, or something changed since; search again from the beginning")
    if limit is not None and limit != int(size):
        raise Malformed("`page.limit` must stay the same from page to page, or be left out")
    return int(offset), int(size)


def _token(world: World, bound: str, offset: int, limit: int) -> str:
    seal = hmac.digest(world.keys.api_key, f"page {bound} {offset} {limit}".encode(), "sha256")[:16].hex()
    return f"{offset}.{limit}.{seal}"


def _event(snapshot: Snapshot, caller: Caller, ask: Ask, wanted: str, count: int) -> Event:
    searched = {"subject": ask.subject, "resource": ask.resource}
    return Event(
        kind=Kind.SEARCHED,
        actor=caller.actor,
        object=f"app:{caller.application.id if caller.application else ''}",
        revision=snapshot.revision,
        source=caller.source,
        request_id=caller.request_id,
        details={"for": wanted, "action": ask.action, "type": ask.type, "count": count},
        personal={name: value for name, value in searched.items() if value != _ANY},
    )
