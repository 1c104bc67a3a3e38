"""How fast a change is seen, and what happens when nothing can be seen."""

from __future__ import annotations

import time

import pytest

from audit.permit import Action
from audit.record import recording
from authz import ldif, login, province, sessions, standing
from authz.decide import Target, decide
from authz.login import Attempt
from authz.snapshot import Freshness
from authz.world import World, accept_directory
from core.errors import Conflict, Unavailable

GROUP = province.group_dn("registrar", "qinghe.linhe.jiangzhou")
MEMBER = province.person_dn("zhaoliu", "qinghe.linhe.jiangzhou")


def second_world(place):
    """Another process of the same home: its own reader, its own snapshot, the machine's own seconds."""
    return World(place.trail, ldif.LdifDirectory(place.path, hasher=province.QUICK), place.world.keys, place.world.settings)


def approves(world, place):
    person = place.person("zhangsan")
    return decide(world.current(), place.caller("zhaoliu"), Action.REQUEST_APPROVE, Target("request:1", unit=person.unit, owner=person.id))


def wait_until(holds, seconds=2.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return
        time.sleep(0.02)
    pytest.fail(f"not within {seconds} s")


def test_role_removed_in_the_file_is_refused_within_two_seconds(place):
    world = second_world(place)
    world.start()
    try:
        assert approves(world, place).allowed
        place.without_member(GROUP, MEMBER)
        wait_until(lambda: not approves(world, place).allowed)
    finally:
        world.close()


def test_revocation_by_another_process_is_refused_within_two_seconds(place):
    world = second_world(place)
    world.start()
    try:
        with recording(place.trail) as tx:
            standing.revoke(tx, "ab" * 32, 0x1F3A, "keyCompromise")
            tx.record(_some_event(place))
        wait_until(lambda: world.current().standing.get(("ab" * 32, 0x1F3A)) == "revoked")
    finally:
        world.close()


def _some_event(place):
    from audit.event import Event, Kind
    from audit.permit import Actor

    return Event(kind=Kind.CERT_REVOKED, actor=Actor.service("issuance"), object="cert:staff/1f3a")


def test_suspension_ends_and_revocation_does_not(place):
    issuer = "cd" * 32
    with recording(place.trail) as tx:
        standing.suspend(tx, issuer, 7)
        standing.revoke(tx, issuer, 8, "superseded")
        tx.record(_some_event(place))
    assert place.world.refresh().standing == {(issuer, 7): "suspended", (issuer, 8): "revoked"}
    with recording(place.trail) as tx:
        standing.release(tx, issuer, 7)
        tx.record(_some_event(place))
    assert place.world.refresh().standing == {(issuer, 8): "revoked"}
    for step in (
        lambda tx: standing.release(tx, issuer, 8),
        lambda tx: standing.suspend(tx, issuer, 8),
        lambda tx: standing.release(tx, issuer, 9),
    ):
        with pytest.raises(Conflict), recording(place.trail) as tx:
            step(tx)


def test_suspended_certificate_can_still_be_revoked(place):
    with recording(place.trail) as tx:
        standing.suspend(tx, "cd" * 32, 7)
        standing.revoke(tx, "cd" * 32, 7, "keyCompromise")
        tx.record(_some_event(place))
    assert place.world.refresh().standing == {("cd" * 32, 7): "revoked"}


@pytest.mark.parametrize(
    "spoil", [lambda path: path.write_bytes(b"dn: uid=x\nuid"), lambda path: path.unlink(), lambda path: path.write_bytes(b"\xff\xfe")]
)
def test_unreadable_directory_keeps_the_last_reading_until_it_is_too_old(place, spoil):
    spoil(place.path)
    place.time.pass_(seconds=1)
    assert place.world.refresh().freshness is Freshness.FRESH
    assert approves(place.world, place).allowed
    place.time.pass_(seconds=1.5)
    assert place.world.current().freshness is Freshness.AGEING
    assert approves(place.world, place).reason == "stale"
    place.time.pass_(seconds=8)
    assert place.world.current().freshness is Freshness.STALE
    assert place.world.problems()
    with pytest.raises(Unavailable):
        login.by_password(place.world, Attempt(uid="zhangsan", password="x", code="1"))
    province.write(place.path, hasher=province.QUICK)
    place.time.pass_(seconds=1)
    assert place.world.current().freshness is Freshness.FRESH
    assert place.world.problems() == []
    assert approves(place.world, place).allowed


def test_rows_that_cannot_be_read_refuse_everything_after_a_second_and_a_half(place, monkeypatch):
    def broken(*_):
        from sqlalchemy.exc import OperationalError

        raise OperationalError("SELECT", {}, Exception("disk"))

    monkeypatch.setattr("authz.world._rows", broken)
    place.time.pass_(seconds=1)
    monkeypatch.setattr(type(place.world.database), "reading", broken)
    place.time.pass_(seconds=0.6)
    assert place.world.current().freshness is Freshness.STALE


def test_session_over_a_stale_directory_is_refused(enrolled):
    opened = login.by_password(
        enrolled.world, Attempt(uid="zhangsan", password=enrolled.accounts["zhangsan"].password, code=enrolled.code("zhangsan"))
    )
    enrolled.path.unlink()
    enrolled.time.pass_(seconds=11)
    with pytest.raises(Unavailable):
        sessions.caller(enrolled.world, opened.token, "")


def cut(place):
    """Lose every group of the province but those of the administrators: an accident in the directory."""
    place.edit(lambda entry: entry if "cn" not in entry.attributes or "member" not in entry.attributes or "admin" in entry.dn else None)


def test_directory_that_loses_too_much_is_refused_until_a_security_administrator_accepts(place):
    before = place.world.current().directory.memberships()
    cut(place)
    place.time.pass_(seconds=1)
    assert place.world.refresh().directory.memberships() == before
    assert place.count("AZ3002") == 1
    assert place.world.problems()
    place.time.pass_(seconds=60)
    assert place.world.refresh().freshness is Freshness.FRESH
    assert place.count("AZ3002") == 1
    permit = place.permit("zhengshi", Action.DIRECTORY_ACCEPT, Target("directory"))
    with pytest.raises(Conflict), recording(place.trail) as tx:
        accept_directory(tx, "0" * 64, permit=permit)
    with recording(place.trail) as tx:
        accept_directory(tx, place.world.refused, permit=permit)
    place.world.refresh()
    assert place.world.refresh().directory.memberships() < before
    assert place.world.refused == ""


def test_small_losses_are_taken_over_at_once(place):
    place.without_member(GROUP, MEMBER)
    place.world.refresh()
    assert place.count("AZ3002") == 0
    assert not approves(place.world, place).allowed


def test_process_that_starts_on_a_cut_directory_uses_the_one_in_force(place):
    cut(place)
    world = second_world(place)
    world.refresh()
    assert approves(world, place).allowed
    assert world.problems()
    assert b"ARGON2" not in _copy(place)


def _copy(place):
    import zlib

    from authz.tables import DirectoryState

    with place.trail.database.reading() as db:
        return zlib.decompress(db.get(DirectoryState, 1).copy)


def test_directory_change_is_recorded_once_however_many_processes_see_it(place):
    other = second_world(place)
    other.refresh()
    before = place.count("AZ3001")
    place.without_member(GROUP, MEMBER)
    place.world.refresh()
    other.refresh()
    place.world.refresh()
    assert place.count("AZ3001") == before + 1


def test_snapshot_does_not_change_under_its_reader(place):
    old = place.world.current()
    held = old.roles(place.accounts["zhaoliu"].uuid)
    place.without_member(GROUP, MEMBER)
    new = place.world.refresh()
    assert new is not old
    assert old.roles(place.accounts["zhaoliu"].uuid) == held
    assert new.roles(place.accounts["zhaoliu"].uuid) != held


def test_home_before_its_first_ceremony_has_no_registrars(unconfirmed):
    assert approves(unconfirmed.world, unconfirmed).reason == "unconfirmed"
