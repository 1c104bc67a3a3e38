"""Bars over time: every entry is in one of them, refusals are told apart, and whatever was left out is said."""

from __future__ import annotations

import datetime as dt

import pytest

from audit import timeline as module
from audit.permit import Actor
from audit.query import parse_query
from audit.timeline import BARS, Timeline, timeline
from core.clock import ZONE, microseconds
from tests.audit.homes import CLERK, START, Home, decision, issued


@pytest.fixture
def year(home: Home) -> Home:
    """One allowed and, each third day, one refused decision a day; certificates in the first month only."""
    for day in range(90):
        home.clock.now = START + dt.timedelta(days=day)
        many = [decision(day, actor=Actor.service("oa"))]
        many += [decision(day, outcome="deny")] if day % 3 == 0 else []
        many += [issued(day)] if day < 30 else []
        home.trail.append(many)
    return home


def draw(home: Home, text: str) -> Timeline:
    with home.database.reading() as session:
        return timeline(session, parse_query(text, home.trail.privacy), microseconds(home.clock()))


@pytest.mark.parametrize(
    ("text", "count", "refused"),
    [
        ("code:AZ1001", 120, 30),
        ("out:deny", 30, 30),
        ("log:ca code:CA1*", 30, 0),
        ("actor:oa", 90, 0),
        (f"person:{CLERK.id}", 30, 30),
        ("code:AZ1001 -actor:oa", 30, 30),
        ("obj:cert:*", 30, 0),
        ("code:AZ1001 since:2026-03-11T00:00:00Z until:2026-03-21T00:00:00Z", 13, 3),
        ("code:AZ1001 -since:2026-03-11T00:00:00Z", 14, 4),
        ("out:error", 0, 0),
        (f"cert:{'ab' * 32}:3", 1, 0),
        ("log:ca/1 obj:cert:staff/1*", 15, 0),
    ],
)
def test_every_match_is_in_one_bar(year: Home, text: str, count: int, refused: int) -> None:
    drawn = draw(year, text)
    assert (drawn.count, sum(bar.refused for bar in drawn.bars)) == (count, refused)
    assert len(drawn.bars) <= BARS
    assert all(later.t - bar.t == drawn.step for bar, later in zip(drawn.bars, drawn.bars[1:], strict=False))
    assert drawn.counted_from is None


def test_bars_begin_where_people_would_begin_them(year: Home) -> None:
    drawn = draw(year, "code:AZ1001")
    assert drawn.step == 7 * 86_400 * 1_000_000
    assert [bar.number for bar in drawn.bars if bar.number][1:4] == [9, 9, 10]
    midnight = dt.datetime.fromtimestamp(drawn.bars[0].t / 1e6, ZONE)
    assert (midnight.hour, midnight.minute) == (0, 0)


def test_all_of_an_empty_question_is_counted(year: Home) -> None:
    assert draw(year, "").count == sum(size for _, size in _sizes(year))


def _sizes(home: Home) -> list[tuple[str, int]]:
    return home.rows("SELECT log, count(*) FROM trail_event GROUP BY log")


@pytest.mark.parametrize("text", ["actor:oa", "code:AZ1001", "code:AZ1001 -obj:x"])
def test_what_was_not_counted_is_said(year: Home, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOKED_AT", 20)
    monkeypatch.setattr(module, "COUNTED", 20)
    drawn = draw(year, text)
    assert drawn.counted_from is not None
    assert 0 < drawn.count <= 40
    assert drawn.bars[0].t <= drawn.counted_from
