"""What is told about somebody: both sides of it, each once, page by page without gaps."""

from __future__ import annotations

import pytest
from sqlalchemy import event

from audit import search
from audit.about import Told, about
from audit.event import Kind
from audit.permit import Actor, ActorKind
from core.errors import Malformed
from tests.audit.homes import Home, decision, issued

ME = Actor(ActorKind.PERSON, "p_me", "cert")
SHOWN = (Kind.DECISION, Kind.CERT_ISSUED)


def told(home: Home, objects: list[str], after: str = "", limit: int = 50, kinds: tuple[Kind, ...] = SHOWN) -> Told:
    with home.database.reading() as session:
        return about(session, "person:p_me", objects, kinds, after, limit)


def test_both_sides_are_told_once_and_nothing_of_others(home: Home) -> None:
    home.trail.append([decision(1, actor=ME), decision(2), issued(0x1F3A)])
    home.trail.append([decision(3), issued(0x2F3A, actor=ME)])
    found = told(home, ["app:oa-3", "cert:staff/2f3a"]).entries
    assert [entry.body["obj"] for entry in found] == ["cert:staff/2f3a", "app:oa-3", "app:oa-1"]
    assert [entry.body["obj"] for entry in told(home, [], kinds=(Kind.CERT_ISSUED,)).entries] == ["cert:staff/2f3a"]
    assert told(home, ["nothing"], kinds=(Kind.LOGIN,)) == ((), "")


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_pages_have_neither_gaps_nor_repetitions(home: Home, size: int) -> None:
    for number in range(7):
        home.trail.append([decision(number, **({"actor": ME} if number % 2 else {}))])
    seen, after = list[str](), ""
    while True:
        page = told(home, [f"app:oa-{number}" for number in range(7)], after, size)
        seen += [entry.body["obj"] for entry in page.entries]
        if not (after := page.after):
            break
    assert seen == [f"app:oa-{number}" for number in reversed(range(7))]


def test_neither_side_reads_what_is_about_others(home: Home) -> None:
    engine = home.database.engine
    if engine.dialect.name != "sqlite":
        pytest.skip("the planner of PostgreSQL looks at how much is there")
    asked: list[tuple[str, tuple[object, ...]]] = []
    event.listen(engine, "before_cursor_execute", lambda _c, _k, sql, parameters, *_: asked.append((sql, parameters)))
    told(home, [f"request:{number}" for number in range(200)], kinds=tuple(Kind))
    with engine.connect() as connection:
        plans = [
            str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", parameters).all())
            for sql, parameters in list(asked)
            if "trail_event" in sql
        ]
    assert ["ix_trail_event_actor" in plans[0], "ix_trail_event_object" in plans[1]] == [True, True]


@pytest.mark.parametrize("after", ["x", "1.ca.1", "1.other.1.1", "1.ca.1.-1"])
def test_a_cursor_of_somewhere_else_is_refused(home: Home, after: str) -> None:
    with pytest.raises(Malformed, match="not a cursor"):
        told(home, [], after)


def test_a_page_costs_as_many_questions_as_a_short_one(home: Home) -> None:
    home.trail.append([decision(number, actor=ME) for number in range(40)])
    asked: list[str] = []
    event.listen(home.database.engine, "before_cursor_execute", lambda _c, _k, sql, *_: asked.append(sql))
    numbers = []
    for limit in (2, 25):
        asked.clear()
        found = told(home, [], limit=limit).entries
        assert [entry.idx for entry in found] == sorted((entry.idx for entry in found), reverse=True)
        with home.database.reading() as session:
            opened = search.all_openings(session, found)
            assert {entry.body["id"]: search.openings(session, entry) for entry in found[:1]}.items() <= opened.items()
        assert len(opened) == len(found) == limit
        numbers.append(len(asked))
    assert numbers[0] == numbers[1]
