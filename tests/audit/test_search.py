"""Searching: every field, newest first, pages without gaps or repetitions, and nothing but a sentence for bad syntax."""

from __future__ import annotations

import re
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.permit import Actor
from audit.query import MAX_TERMS, parse_query
from audit.search import Page, entry, find, openings
from core.errors import Malformed, NotFound
from tests.audit.homes import CLERK, Home, decision, issued


@pytest.fixture
def searched(home: Home) -> Home:
    home.trail.append([decision(1, outcome="deny", scope="unit-1", request_id="r-1", source="10.0.0.1", personal={"name": "张三"})])
    home.trail.append([decision(2, actor=Actor.service("oa"), source="10.0.0.2"), issued(0x1F3A)])
    home.trail.append([issued(0x2F3A, actor=Actor.service("operator"))])
    return home


def ask(home: Home, text: str, after: str = "", limit: int = 50) -> Page:
    with home.database.reading() as session:
        return find(session, parse_query(text, home.trail.privacy), after, limit)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("obj:app:oa-1", ["app:oa-1"]),
        ("code:AZ1001", ["app:oa-2", "app:oa-1"]),
        ("code:cert.issued", ["cert:staff/2f3a", "cert:staff/1f3a"]),
        ("code:CA1* -obj:cert:staff/1f3a", ["cert:staff/2f3a"]),
        ("out:deny", ["app:oa-1"]),
        ("code:AZ1001 -out:deny", ["app:oa-2"]),
        ("actor:oa", ["app:oa-2"]),
        ("actor:service:op*", ["cert:staff/2f3a"]),
        ("cert:1f3a", ["cert:staff/1f3a"]),
        ("cert:1F3A", ["cert:staff/1f3a"]),
        (f"cert:{'ab' * 32}:2f3a", ["cert:staff/2f3a"]),
        ("cert:abab*", ["cert:staff/2f3a", "cert:staff/1f3a"]),
        ("log:ca/1 obj:cert:*", ["cert:staff/2f3a", "cert:staff/1f3a"]),
        ("log:access obj:cert:*", []),
        ("log:ca/x", []),
        ("req:r-1", ["app:oa-1"]),
        ("scope:unit-1", ["app:oa-1"]),
        ("scope:unit-*", ["app:oa-1"]),
        ("req:r-* code:AZ1001", ["app:oa-1"]),
        ("-out:ok -out:allow", ["app:oa-1"]),
        ("-log:access -code:CA9* -code:CA2001", ["cert:staff/2f3a", "cert:staff/1f3a"]),
        (f"person:{CLERK.id}", ["app:oa-1"]),
        (f"person:{CLERK.id} -out:deny", []),
        ("out:void", []),
        ("source:10.0.0.1", ["app:oa-1"]),
        ("name:张三", ["app:oa-1"]),
        ('name:"张三" source:10.0.0.2', []),
        ("obj:app:* since:2026-03-01", ["app:oa-2", "app:oa-1"]),
        ("obj:app:* until:2026-03-01T08:00:00Z", []),
        ("obj:app:* since:2026-03-01T16:00:00+08:00", ["app:oa-2", "app:oa-1"]),
    ],
)
def test_terms_find_what_they_say(searched: Home, text: str, found: list[str]) -> None:
    assert [hit.body["obj"] for hit in ask(searched, text).entries] == found


@pytest.mark.parametrize(
    "text", ["free text", "actor:", "actor", ":oa", "who:oa", 'obj:"open', "obj:a'b\"c", "since:yesterday", "obj:a,obj", "--obj:a"]
)
def test_bad_syntax_is_malformed_never_an_error(searched: Home, text: str) -> None:
    if text == "obj:a,obj":
        assert ask(searched, text).entries == ()
        return
    with pytest.raises(Malformed):
        ask(searched, text)


@given(st.text(max_size=40))
def test_any_text_is_a_query_or_malformed(text: str) -> None:
    try:
        parse_query(text)
    except Malformed as error:
        assert error.detail


def test_pages_follow_each_other_without_gap_or_repetition(home: Home) -> None:
    home.trail.append([decision(number) for number in range(60)] + [issued(number) for number in range(60)])
    seen, after = [], ""
    while True:
        page = ask(home, "", after, 7)
        seen += [(hit.place, hit.idx) for hit in page.entries]
        after = page.after
        if not after:
            break
        home.trail.append([decision(999)])  # what comes later does not disturb a list that goes back in time
    assert len(seen) == len(set(seen)) == 124


@pytest.mark.parametrize(
    "text", ["actor:oa -obj:app:oa-7", "code:AZ1001 -obj:app:oa-7", "obj:app:oa-* -obj:app:oa-7", "-obj:app:oa-7 actor:oa out:allow"]
)
def test_whoever_cannot_wait_is_told_how_far_the_search_came(home: Home, text: str) -> None:
    """One rare entry behind thousands that nearly match: every page is quick, none is left out, and the last one says so."""
    home.trail.append([decision(number, actor=Actor.service("oa")) for number in (5, *[7] * 2100)])
    pages, after = [], ""
    with home.database.reading() as session:
        for _ in range(20):
            page = find(session, parse_query(text), after, 5, patience=0)
            pages.append(page)
            after = page.after
            if not after:
                break
    assert [hit.body["obj"] for page in pages for hit in page.entries] == ["app:oa-5"]
    assert 1 < len(pages) < 20
    assert all(page.reached for page in pages[:-1])
    assert pages[-1].reached is None


def test_what_happened_to_a_person_and_what_they_did_is_one_list(home: Home) -> None:
    who = f"person:{CLERK.id}"
    home.trail.append(
        [decision(1), decision(2, actor=Actor.service("oa"), object=who), decision(3, object=who), decision(4, actor=Actor.service("x"))]
    )
    found = ask(home, f"person:{CLERK.id}", limit=2)
    rest = ask(home, f"person:{CLERK.id}", found.after)
    assert [hit.body["d"]["n"] for page in (found, rest) for hit in page.entries] == [3, 2, 1]


def test_a_foreign_cursor_is_malformed(home: Home) -> None:
    for after in ("x", "1.ca.1", "1.other.1.1", "1.ca.1.1'"):
        with pytest.raises(Malformed):
            ask(home, "", after)


def test_one_entry_by_its_place_with_its_openings(searched: Home) -> None:
    with searched.database.reading() as session:
        found = entry(session, "access", 1, 2)
        assert (found.place, found.idx, found.kind.code, found.at.isoformat()[:10]) == ("access/1", 2, "AZ1001", "2026-03-01")
        assert {field: value for field, (_, value) in openings(session, found).items()} == {"source": "10.0.0.1", "name": "张三"}
        for place in (("access", 1, 99), ("access", 2, 0), ("x", 1, 0), ("access", 1, 1 << 70)):
            with pytest.raises(NotFound):
                entry(session, *place)


def test_personal_fields_are_not_searched_without_the_key() -> None:
    with pytest.raises(Malformed):
        parse_query("source:10.0.0.1")


def test_more_terms_than_a_statement_can_hold_are_refused() -> None:
    with pytest.raises(Malformed):
        parse_query("actor:oa " * (MAX_TERMS + 1))
    assert parse_query("actor:oa " * MAX_TERMS).terms


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)  # the planner asked is that of SQLite
@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("", "ix_trail_event_t"),
        ("log:ca", "ix_trail_event_kind"),
        ("log:access/1 -code:AZ9*", "ix_trail_event_kind"),
        ("code:CA1004", "ix_trail_event_kind"),
        ("out:deny", "ix_trail_event_kind"),
        ("-out:allow", "ix_trail_event_kind"),
        ("actor:person:p_1", "ix_trail_event_actor"),
        ("actor:oa", "ix_trail_event_actor"),
        ("actor:person:p_*", "ix_trail_event_actor"),
        ("obj:request:42", "ix_trail_event_object"),
        ("obj:request:*", "ix_trail_event_object"),
        ("req:r-1", "ix_trail_event_request_id"),
        ("req:r-*", "ix_trail_event_request_id"),
        ("scope:unit-1", "ix_trail_event_scope"),
        ("cert:1f3a", "ix_trail_event_cert"),
        (f"cert:{'ab' * 32}:1f3a", "ix_trail_event_cert"),
        ("source:10.0.0.1", "ix_trail_event_id"),
        (f"id:{'ab' * 16}", "ix_trail_event_id"),
    ],
)
def test_no_term_reads_the_trail_from_end_to_end(searched: Home, text: str, index: str) -> None:
    asked: list[str] = []
    with searched.database.reading() as session:
        driver = session.connection().connection.dbapi_connection
        assert isinstance(driver, sqlite3.Connection)
        driver.set_trace_callback(asked.append)
        find(session, parse_query(text, searched.trail.privacy))
        driver.set_trace_callback(None)
        plans = [row[3] for one in asked if "trail_event" in one for row in driver.execute(f"EXPLAIN QUERY PLAN {one}")]
    touched = [step for step in plans if re.search(r"\btrail_event\b|\be\b", step)]
    assert any(index in step for step in touched)
    assert not [step for step in touched if step.startswith("SCAN") and not re.search("ix_trail_event_(t|kind)", step)]
    assert not any("ix_trail_event_t" in step for step in touched) or text == ""
    assert all("idx=?" in step for step in touched if "PRIMARY KEY" in step)
