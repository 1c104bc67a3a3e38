"""Saved searches are events; lives are put together from them; the proofs of a page are those of each of its entries."""

from __future__ import annotations

import pytest

from audit import check, life, views
from audit.check import Standing
from audit.permit import Action, Actor, ActorKind, Permit
from audit.query import parse_query
from audit.search import find
from core.errors import Conflict, Malformed, NotFound
from tests.audit.homes import Home, decision, issued

QIAN = Actor(ActorKind.PERSON, "p_" + "1" * 32, "cert", roles=("auditor",))
SUN = Actor(ActorKind.PERSON, "p_" + "2" * 32, "cert", roles=("auditor",))


def permit(actor: Actor, action: Action = Action.TRAIL_READ) -> Permit:
    return Permit(actor, action, "trail", "trail-read.auditor", 1)


def seen(home: Home, actor: Actor) -> list[tuple[str, str]]:
    with home.database.reading() as session:
        return [(view.name, view.query) for view in views.visible(session, actor.id)]


def test_a_search_is_kept_for_oneself_or_for_all_until_its_owner_removes_it(home: Home) -> None:
    views.save(home.trail, "拒绝", "out:deny ", shared=False, permit=permit(QIAN))
    views.save(home.trail, "签发", "code:CA1004", shared=True, permit=permit(QIAN))
    assert seen(home, QIAN) == [("拒绝", "out:deny"), ("签发", "code:CA1004")]
    assert seen(home, SUN) == [("签发", "code:CA1004")]
    with home.database.reading() as session:
        shared = next(view for view in views.visible(session, SUN.id))
    with pytest.raises(NotFound):
        views.drop(home.trail, shared.id, permit=permit(SUN))
    views.drop(home.trail, shared.id, permit=permit(QIAN))
    assert seen(home, SUN) == []
    with pytest.raises(NotFound):
        views.drop(home.trail, shared.id, permit=permit(QIAN))


def test_a_search_that_cannot_be_read_or_is_one_too_many_is_not_kept(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "MOST", 2)
    with pytest.raises(Malformed):
        views.save(home.trail, "x", "colour:red", shared=False, permit=permit(QIAN))
    for name in "ab":
        views.save(home.trail, name, "out:deny", shared=False, permit=permit(QIAN))
    with pytest.raises(Conflict):
        views.save(home.trail, "c", "out:deny", shared=False, permit=permit(QIAN))
    views.save(home.trail, "c", "out:deny", shared=False, permit=permit(SUN))
    with pytest.raises(RuntimeError):
        views.save(home.trail, "d", "out:deny", shared=False, permit=permit(SUN, Action.TRAIL_EXPORT))


def test_what_a_search_is_called_and_looks_for_can_be_erased(home: Home) -> None:
    views.save(home.trail, "张三", "name:张三", shared=True, permit=permit(QIAN))
    with home.database.reading() as session:
        raw = find(session, parse_query("code:search.saved")).entries[0].raw
    assert "张三".encode() not in raw
    home.attack("DELETE FROM trail_disclosure WHERE field = 'query'")
    assert seen(home, QIAN) == []


def test_the_life_of_a_certificate_begins_with_the_request_for_it(home: Home) -> None:
    home.trail.append([decision(1, object="request:7"), decision(2, object="request:8")])
    home.trail.append([issued(0x1F, details={"request": 7}), issued(0x11F)])
    home.trail.append([decision(3, object="cert:x", cert="ab" * 32 + ":1f")])
    with home.database.reading() as session:
        told = life.of_certificate(session, "1f")
    assert [one.body["obj"] for one in told] == ["request:7", "cert:staff/1f", "cert:x"]


def test_the_proofs_of_a_page_are_those_of_each_entry(home: Home) -> None:
    for log, key in zip(("access", "ca"), sorted(home.keys, key=lambda key: key.name), strict=True):
        (home.folder / "notes" / f"{log}.vkey").write_text(key.encode())
    home.trail.append([decision(number) for number in range(300)] + [issued(number) for number in range(10)])
    home.publisher.publish()
    home.trail.append([decision(999)])
    home.attack("UPDATE trail_event SET body = replace(body, 'allow', 'allot') WHERE log = 'access' AND idx = 40" if home.database.lock
                else "UPDATE trail_event SET body = '{}' WHERE log = 'access' AND idx = 40")  # fmt: skip
    with home.database.reading() as session:
        found = find(session, parse_query(""), limit=500).entries
        states = dict(zip([(one.log, one.idx) for one in found], check.standings(session, found, home.folder / "notes"), strict=True))
    newest = max(idx for log, idx in states if log == "access")
    assert {place for place, state in states.items() if state is Standing.BROKEN} == {("access", 40)}
    assert {place for place, state in states.items() if state is Standing.PENDING} == {("access", newest)}
    (home.folder / "notes" / "ca.vkey").write_text(next(key for key in home.keys if "/access/" in key.name).encode())
    with home.database.reading() as session:
        assert check.standing(session, next(one for one in found if one.log == "ca"), home.folder / "notes") is Standing.BROKEN
