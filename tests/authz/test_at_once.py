"""Two of the same at once: one happens, the other is told why not, each count counts, nobody waits for ever. On either database."""

from __future__ import annotations

import threading
from collections import Counter

from sqlalchemy import select

from audit.permit import Action
from audit.record import recording
from authz import applications, confirm, enrol, login, sessions, standing, throttle, totp
from authz.applications import Draft, Registration
from authz.confirm import Named
from authz.decide import Target
from authz.login import Attempt
from authz.tables import OneTime, Throttle
from core.errors import Conflict, NotFound, RateLimited, Unauthenticated

TRIES = 12


def at_once(*calls):
    """What each call gave, or the error it raised, when all begin together."""
    given, barrier = [None] * len(calls), threading.Barrier(len(calls))

    def run(place, call):
        barrier.wait()
        try:
            given[place] = call()
        except BaseException as error:  # noqa: BLE001 - told by the assertion
            given[place] = error

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return given


def kinds(given):
    return Counter(type(one) if isinstance(one, BaseException) else "done" for one in given)


def test_wrong_passwords_are_all_counted(enrolled):
    wrong = Attempt(uid="zhangsan", password="wrong", code="1", source="10.1.2.3")
    given = at_once(*[lambda: login.by_password(enrolled.world, wrong)] * TRIES)
    assert set(kinds(given)) <= {Unauthenticated, RateLimited}, given
    tried = kinds(given)[Unauthenticated]
    with enrolled.trail.database.reading() as db:
        rows = {row.key: row.fails for row in db.scalars(select(Throttle))}
    assert set(rows.values()) == {tried}
    assert len(rows) == 2


def test_wrong_codes_are_all_counted_and_lock_the_account(enrolled):
    password = enrolled.accounts["zhangsan"].password
    calls = [
        lambda n=n: login.by_password(enrolled.world, Attempt(uid="zhangsan", password=password, code=f"{n:06}")) for n in range(TRIES)
    ]
    given = at_once(*calls)
    assert set(kinds(given)) <= {Unauthenticated, RateLimited}, given
    with enrolled.trail.database.reading() as db:
        row = totp.active(db, enrolled.person("zhangsan").uuid)
    assert row.fails == kinds(given)[Unauthenticated]
    assert row.locked_until > enrolled.time.now


def test_logins_of_many_from_one_network_wait_for_nobody_for_ever(enrolled):
    def good(uid):
        return lambda: login.by_password(
            enrolled.world, Attempt(uid=uid, password=enrolled.accounts[uid].password, code=enrolled.code(uid), source="10.1.2.3")
        )

    def bad(uid):
        return lambda: login.by_password(enrolled.world, Attempt(uid=uid, password="wrong", code="1", source="10.1.2.3"))

    uids = ("zhangsan", "zhaoliu", "zhengshi")
    given = at_once(*(make(uid) for make in (good, bad, good, bad) for uid in uids))
    assert [one for one in given if isinstance(one, BaseException) and not isinstance(one, Unauthenticated | RateLimited)] == []


def test_counters_that_are_over_are_removed_while_others_count(enrolled):
    for number in range(20):
        with recording(enrolled.trail) as tx:
            throttle.count_failure(tx, f"old-{number}", "10.9.9.9")
    enrolled.time.pass_(hours=25)

    def count(name):
        with recording(enrolled.trail) as tx:
            throttle.count_failure(tx, name, "10.9.9.9")

    given = at_once(*(lambda n=n: count(f"old-{n}") for n in range(TRIES)))
    assert given == [None] * TRIES
    with enrolled.trail.database.reading() as db:
        rows = {row.key: row.fails for row in db.scalars(select(Throttle))}
    assert rows == {f"old-{n}@10.9.9.0/24": 1 for n in range(TRIES)} | {"@10.9.9.0/24": TRIES}


def test_one_offer_is_taken_into_use_once(enrolled):
    person = enrolled.person("zhangsan")
    permit = enrolled.permit("zhangsan", Action.TOTP_ENROL, Target(f"person:{person.id}", owner=person.id))
    with recording(enrolled.trail) as tx:
        offer = enrol.begin_in_session(tx, enrolled.world, person, permit=permit)
    enrolled.secrets["zhangsan"] = offer.secret
    code = enrolled.code("zhangsan")

    def finish():
        with recording(enrolled.trail) as tx:
            return enrol.finish_in_session(tx, enrolled.world, person, code, permit=permit)

    assert kinds(at_once(*[finish] * 4)) == {"done": 1, Conflict: 3}
    with enrolled.trail.database.reading() as db:
        assert len(db.scalars(select(OneTime).where(OneTime.person == person.uuid, OneTime.state == "active")).all()) == 1


def acts(place):
    """Acts of which only one can be done, and the permit of each."""
    unit, owner = place.unit("jiangzhou"), place.accounts["fenger"].uuid
    demo = lambda action, ref: place.permit("service:demo", action, Target(ref))
    registration = Registration(id="oa", name="OA", unit=unit, owner=owner, actions=["read"], types=["doc"])
    facts = {"name": "web", "unit": unit, "owner": owner, "names": ["a.jiangzhou.example"]}
    person, named = place.person("zhangsan"), Named(place.person("zhangsan").uuid, "registrar", place.unit("qinghe.linhe.jiangzhou"))
    directory = place.world.current().directory
    block = place.permit("zhengshi", Action.ACCOUNT_BLOCK, Target(f"person:{person.id}", owner=person.id))
    confirms = place.permit("zhengshi", Action.PERSON_CONFIRM, Target(f"person:{person.id}", owner=person.id))
    registers, grants = demo(Action.APPLICATION_REGISTER, "app:oa"), demo(Action.GRANT_CHANGE, "app:oa")
    keys = demo(Action.API_KEY_MAKE, "app:oa")
    assets = [demo(Action.ASSET_REGISTER, f"server:{name}") for name in ("a", "b")]
    yield "an id of an application", [lambda tx: applications.register(tx, registration, permit=registers)]
    made = {}

    def prepare(tx):
        made["grant"] = applications.add_grant(tx, Draft(application="oa", action="read", type="doc", role="staff"), permit=grants)
        made["key"] = applications.make_key(tx, place.world, "oa", permit=keys).split("_")[1]

    with recording(place.trail) as tx:
        prepare(tx)
    yield "a grant", [lambda tx: applications.withdraw_grant(tx, "oa", made["grant"], permit=grants)]
    yield "a key", [lambda tx: applications.withdraw_key(tx, "oa", made["key"], permit=keys)]
    yield (
        "a name of an asset",
        [lambda tx, one=one: applications.register_asset(tx, one.resource, facts, permit=one) for one in assets],
    )
    yield "a confirmation", [lambda tx: confirm.confirm(tx, directory, named, permit=confirms)]
    yield "its end", [lambda tx: confirm.withdraw(tx, directory, named, permit=confirms)]
    yield "a block", [lambda tx: standing.block(tx, person.uuid, person.id, "left", permit=block)]
    yield "its end", [lambda tx: standing.unblock(tx, person.uuid, person.id, permit=block)]


def test_of_two_who_do_the_same_one_has_done_it(place):
    for what, ways in acts(place):

        def do(way):
            with recording(place.trail) as tx:
                way(tx)

        given = at_once(*(lambda way=way: do(way) for way in ways * (4 // len(ways))))
        assert kinds(given)["done"] == 1, (what, given)
        assert all(one is None or isinstance(one, Conflict | NotFound) for one in given), (what, given)
        place.world.refresh()


def test_a_session_ends_once(enrolled):
    opened = login.by_password(
        enrolled.world, Attempt(uid="zhangsan", password=enrolled.accounts["zhangsan"].password, code=enrolled.code("zhangsan"))
    )
    person = enrolled.person("zhangsan")
    permit = enrolled.permit("zhangsan", Action.SESSION_END, Target(f"session:{opened.session}", owner=person.id))

    def end():
        with recording(enrolled.trail) as tx:
            sessions.end(tx, opened.session, permit=permit)

    assert kinds(at_once(*[end] * 4)) == {"done": 1, Conflict: 3}
    assert enrolled.count("AZ2004") == 1
