"""The desk's queue: in order, within scope, without what this officer cannot decide, and quick however long it is."""

from __future__ import annotations

import time

import pytest

from audit.permit import Action
from ca import desk, registration
from ca.desk import Queue
from ca.registration import Draft
from ca.subjects import facts
from certs import csr
from tests.ca.crowd import crowd
from tests.ca.town import Town, make_csr
from tests.pace import in_time


def queue_of(town: Town, uid: str = "zhaoliu", **more: object) -> Queue:
    return Queue(units=[town.person(uid).unit], officer=town.person(uid).id, **more)


def numbers(town: Town, which: Queue, **more: int) -> list[int]:
    with town.trail.database.reading() as session:
        return [row.id for row in desk.waiting(session, which, **more)]


def test_the_queue_begins_with_who_waits_longest_and_goes_on_behind_the_last(town: Town):
    first, second, third = (town.submit("zhangsan") for _ in range(3))
    town.submit("wangwu")
    assert numbers(town, queue_of(town), limit=2) == [first, second]
    assert numbers(town, queue_of(town), after=second) == [third]
    assert numbers(town, Queue(units=[], officer="")) == []
    with town.trail.database.reading() as session:
        length = desk.length(session, queue_of(town))
        assert (length.number, length.since) == (3, registration.get(session, first).submitted_at)
        assert desk.length(session, Queue(units=[], officer="")) == (0, None)


def test_nobody_finds_their_own_or_what_is_decided(town: Town):
    theirs, own = town.submit("zhangsan"), town.submit("zhaoliu")
    assert numbers(town, queue_of(town)) == [theirs]
    assert numbers(town, queue_of(town, "sunqi")) == [theirs, own]
    town.decide("sunqi", theirs, Action.REQUEST_REFUSE)
    assert numbers(town, queue_of(town, "sunqi")) == [own]


def test_the_queue_is_searched_by_name_account_and_number(town: Town):
    zhang, sun = town.submit("zhangsan"), town.submit("sunqi")
    assert numbers(town, queue_of(town, name="张")) == [zhang]
    assert numbers(town, queue_of(town, name="zhangsan", subject=f"person:{town.person('zhangsan').id}")) == [zhang]
    assert numbers(town, queue_of(town, number=sun)) == [sun]
    assert numbers(town, queue_of(town, name="%")) == []


def test_what_is_known_of_the_same_subject_stands_beside(town: Town):
    held = town.issued()
    refused = town.submit("zhangsan")
    town.decide("zhaoliu", refused, Action.REQUEST_REFUSE)
    first, second, other = town.submit("zhangsan"), town.submit("zhangsan"), town.submit("sunqi")
    with town.trail.database.reading() as session:
        rows = desk.waiting(session, queue_of(town))
        known = desk.known(session, rows, town.clock.now())
        subject = registration.get(session, first).subject
        assert (known.certified, known.twice) == ({subject}, {subject})
        beside = desk.beside(session, registration.get(session, first))
        assert [one.serial for one in beside.certificates] == [held.serial]
        assert [one.id for one in beside.requests] == [second, refused, held.request_id]
        assert desk.beside(session, registration.get(session, other)) == ([], [])
    town.revoke("zhangsan", held)
    with town.trail.database.reading() as session:
        assert desk.known(session, rows, town.clock.now()).certified == frozenset()


@pytest.mark.alone
def test_a_page_of_ten_thousand_is_there_at_once(town: Town):
    about = facts(town.snapshot, f"person:{town.person('zhangsan').id}")
    draft = Draft(profile="staff-sign", csr=csr.parse(make_csr()), facts=about)
    permit = town.permit("zhangsan", Action.REQUEST_SUBMIT, (about.ref, about.unit, about.owner))
    crowd(town.trail, permit, draft, 10_000)
    first = numbers(town, queue_of(town), limit=1)[0]

    @in_time
    def looks() -> None:
        took = []
        for after in (None, first + 5_000, first + 9_900):
            began = time.perf_counter()
            with town.trail.database.reading() as session:
                page = desk.waiting(session, queue_of(town), after=after)
                assert desk.length(session, queue_of(town)).number == 10_000
                desk.known(session, page, town.clock.now())
            took.append(time.perf_counter() - began)
        assert min(took) < 0.1, took

    looks()
