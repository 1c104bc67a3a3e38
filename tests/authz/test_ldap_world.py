"""The snapshot behind a directory server: how fast a change counts, and what a failing server can and cannot do to it."""

from __future__ import annotations

import datetime as dt
import signal
import time
from contextlib import contextmanager

import pytest

from audit.permit import Action
from authz import province
from authz.decide import Target, decide
from authz.people import Entry
from authz.snapshot import Freshness
from tests.authz.test_world import leading, serving

pytestmark = [pytest.mark.alone, pytest.mark.component("slapd")]

QINGHE = "qinghe.linhe.jiangzhou"
GROUP = province.group_dn("registrar", QINGHE)
SUNQI = province.person_dn("sunqi", QINGHE)
ONLY_SUNQI = f"dn: {GROUP}\nchangetype: modify\nreplace: member\nmember: {SUNQI}\n"


BOTH = [pytest.param("sqlite"), pytest.param("postgresql", marks=pytest.mark.component("postgresql"))]


@pytest.fixture
def storage(request):
    """Of which database: what takes many seconds is shown on one."""
    return getattr(request, "param", "sqlite")


@contextmanager
def following(place, source):
    """A process that follows `source` and one that only reads rows, by the machine's own clock: what the second decides on."""
    with leading(place, source), serving(place) as world:
        yield world


def approves(world, place, who="zhaoliu"):
    person = place.person("zhangsan")
    return decide(world.current(), place.caller(who), Action.REQUEST_APPROVE, Target("request:1", unit=person.unit, owner=person.id))


def seconds_until(holds, most):
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < most, f"not within {most} s"
        time.sleep(0.01)
    return time.monotonic() - began


@pytest.mark.parametrize("storage", BOTH, indirect=True)
def test_a_role_removed_on_the_server_is_refused_within_two_seconds(place, servers, reading):
    server = servers()
    with following(place, reading(server.url)) as world:
        assert approves(world, place).allowed
        for _ in range(3):
            server.change(ONLY_SUNQI)
            seconds_until(lambda: not approves(world, place).allowed, 2)
            server.change(f"dn: {GROUP}\nchangetype: modify\nadd: member\nmember: {province.person_dn('zhaoliu', QINGHE)}\n")
            seconds_until(lambda: approves(world, place).allowed, 2)
        assert approves(world, place, "sunqi").allowed


@pytest.mark.proof
def test_among_twenty_thousand_persons_nobody_approves_two_seconds_after_the_role_ended(place, servers, reading, jiangzhou):
    """At this size a reading takes more than a second: until it ends, what is decided on is too old for a rule of high risk."""
    facts = {"objectclass": ("inetOrgPerson",), "cn": ("Extra",), "sn": ("Extra",)}
    people = province.unit_dn(QINGHE)
    more = [
        Entry(f"uid=x{n:05d},ou=people,{people}", {**facts, "uid": (f"x{n:05d}",), "entryuuid": (province.entry_uuid(5, f"x{n}"),)})
        for n in range(20_000)
    ]
    server = servers([*jiangzhou, *more])
    with following(place, reading(server.url)) as world:
        seconds_until(lambda: approves(world, place).allowed, 10)
        server.change(ONLY_SUNQI)
        began, late = time.monotonic(), []
        zhaoliu = place.person("zhaoliu").uuid
        while "registrar" in {held.role for held in world.current().directory.holdings[zhaoliu]}:
            late += [time.monotonic() - began] if approves(world, place).allowed else []
            assert time.monotonic() - began < 10
            time.sleep(0.02)
        print(f"the role was gone after {time.monotonic() - began:.2f} s, allowed for the last time after {max(late, default=0):.2f} s")
        assert max(late, default=0) < 2.1


@pytest.mark.parametrize(
    "change",
    [
        f"dn: {province.person_dn('zhaoliu', QINGHE)}\nchangetype: modify\nreplace: employeeType\nemployeeType: inactive\n",
        f"dn: {province.person_dn('zhaoliu', QINGHE)}\nchangetype: delete\n",
        f"dn: {GROUP}\nchangetype: delete\n",
        f"dn: {GROUP}\nchangetype: modrdn\nnewrdn: cn=retired-registrars\ndeleteoldrdn: 1\n",
    ],
)
def test_whoever_ended_on_the_server_is_refused_within_two_seconds(place, servers, reading, change):
    server = servers()
    with following(place, reading(server.url)) as world:
        assert approves(world, place).allowed
        server.change(change)
        seconds_until(lambda: not approves(world, place).allowed, 2)


@pytest.mark.parametrize("ill", [signal.SIGSTOP, signal.SIGKILL])
def test_while_no_server_answers_roles_stay_until_they_are_too_old_and_then_nobody_has_any(place, servers, reading, ill):
    """Nothing is lost at once, the rows stay fresh, high-risk rules end after two seconds and all others at the limit."""
    server = servers()
    with following(place, reading(server.url, receive_timeout=dt.timedelta(seconds=3))) as world:
        memberships = world.current().directory.memberships()
        server.signal(ill)
        end = time.monotonic() + 1.4
        while time.monotonic() < end:
            assert world.current().freshness is not Freshness.STALE
            time.sleep(0.02)
        seconds_until(lambda: world.current().freshness is Freshness.AGEING, 2.5)
        assert approves(world, place).reason == "stale"
        assert world.current().directory.memberships() == memberships
        end = time.monotonic() + 4
        while time.monotonic() < end:
            assert world.current().freshness is Freshness.AGEING, "a server that does not answer aged the rows"
            time.sleep(0.02)
        assert any("cannot be reached" in problem for problem in world.problems())
        seconds_until(lambda: world.current().freshness is Freshness.STALE, 5)
        if ill is signal.SIGSTOP:
            server.signal(signal.SIGCONT)
            seconds_until(lambda: approves(world, place).allowed, 20)


def test_a_frozen_server_costs_no_high_risk_decision_when_there_is_a_second(place, servers, reading):
    first, second = servers(), servers()
    with following(place, reading(first.url, second.url)) as world:
        first.signal(signal.SIGSTOP)
        end = time.monotonic() + 5
        while time.monotonic() < end:
            assert approves(world, place).allowed
            time.sleep(0.02)
        second.change(ONLY_SUNQI)
        seconds_until(lambda: not approves(world, place).allowed, 2)
        first.signal(signal.SIGCONT)


def test_a_server_that_gives_less_takes_no_role_away(place, servers, reading):
    """A size limit, or a right taken from the reader, is seen as an error or as a drop, and never as a directory."""
    server = servers()
    place.world.source = reading(server.url)
    place.world.refresh()
    assert approves(place.world, place).allowed
    memberships = place.world.current().directory.memberships()

    conf = server.folder / "slapd.conf"
    text = conf.read_text()
    for bad in (
        text.replace("size=unlimited", "size=20"),
        text.replace("access to * by dn.exact", "access to filter=(objectClass=groupOfNames) by * none\naccess to * by dn.exact"),
    ):
        server.kill()
        conf.write_text(bad)
        server.start()
        server.change(f"dn: {SUNQI}\nchangetype: modify\nreplace: mail\nmail: s{len(bad)}@jiangzhou.example\n")
        place.time.pass_(seconds=1)
        place.world.source = reading(server.url)
        assert place.world.refresh().directory.memberships() == memberships
        assert place.world.problems()
