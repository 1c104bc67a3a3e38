"""Renewal by people: the old certificate vouches for the next one, and nothing else does."""

from __future__ import annotations

import datetime as dt

import pytest

from audit.permit import Action, Actor, ActorKind
from audit.record import recording
from authz.caller import Caller
from authz.decide import Target, require
from ca import registration
from ca.registration import Draft
from ca.subjects import facts
from ca.tables import Certificate, Request
from certs import csr
from tests.ca.town import Town, make_csr


def renew(town: Town, held: Certificate, uid: str = "zhangsan", *, shown: str = "") -> Request:
    """A renewal by a person who came with the certificate of serial `shown`, or with password and code."""
    person = town.person(uid)
    actor = Actor(ActorKind.PERSON, person.id, "cert" if shown else "password+totp", shown)
    about = facts(town.snapshot, f"person:{person.id}")
    permit = require(town, town.trail, Caller(actor=actor, person=person), Action.REQUEST_RENEW, Target(about.ref, about.unit, about.owner))
    draft = Draft(profile=held.profile, csr=csr.parse(make_csr()), facts=about)
    with recording(town.trail) as tx:
        asked = registration.renew_own(tx, permit=permit, draft=draft, previous=held.ref).id
    return town.request(asked)


def late(town: Town) -> Certificate:
    """A certificate in its last weeks."""
    held = town.issued()
    town.clock.advance(days=340)
    return held


def test_who_comes_with_the_old_certificate_has_the_new_one_without_a_registrar(town: Town):
    held = late(town)
    asked = renew(town, held, shown=held.serial)
    assert (asked.state, [one.approver for one in asked.approvals]) == ("approved", [held.ref])
    assert town.events(f"obj:request:{asked.id}")[0]["d"]["renews"] == held.ref
    town.worker().step()
    issued = town.request(asked.id).certificate
    assert issued.not_after > held.not_after


def test_who_comes_with_a_password_waits_for_a_registrar(town: Town):
    held = late(town)
    asked = renew(town, held)
    assert (asked.state, asked.approvals) == ("submitted", [])
    assert "renews" not in town.events(f"obj:request:{asked.id}")[0]["d"]
    town.decide("zhaoliu", asked.id)
    town.worker().step()
    assert town.request(asked.id).state == "issued"


@pytest.mark.parametrize("days", [0, 300, 366])
def test_only_the_last_weeks_count(town: Town, days: int):
    held = town.issued()
    town.clock.advance(days=days)
    assert renew(town, held, shown=held.serial).state == "submitted"


def test_a_revoked_or_suspended_certificate_vouches_for_nothing(town: Town):
    held = late(town)
    town.revoke("zhangsan", held)
    assert renew(town, held, shown=held.serial).state == "submitted"


def test_a_certificate_vouches_for_its_holder_alone(town: Town):
    held = late(town)
    assert renew(town, held, "lisi", shown=held.serial).state == "submitted"
    other = town.issued("lisi", "zhaoliu") if town.person("lisi").unit == held.unit else held
    assert renew(town, held, shown=f"{int(other.serial, 16) + 1:x}").state == "submitted"


@pytest.mark.parametrize("change", [{"name": "张三丰"}, {"unit": "elsewhere"}])
def test_another_name_or_unit_is_looked_at_by_a_registrar(town: Town, change: dict[str, str]):
    held = late(town)
    town.move("zhangsan", **({"unit": town.person("wangwu").unit} if "unit" in change else change))
    assert renew(town, held, shown=held.serial).state == "submitted"


def test_a_short_life_is_renewable_in_its_last_third():
    begin = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    year = Certificate(not_before=begin, not_after=begin + dt.timedelta(days=365))
    month = Certificate(not_before=begin, not_after=begin + dt.timedelta(days=30))
    assert (year.not_after - year.renewable_from, month.not_after - month.renewable_from) == (dt.timedelta(days=30), dt.timedelta(days=10))


def test_the_same_key_sent_twice_is_found_again(town: Town):
    first = town.submit("zhangsan")
    with town.trail.database.reading() as session:
        row = registration.get(session, first)
        assert registration.find_same(session, row.subject, row.spki_sha256).id == first
        assert registration.find_same(session, "person:somebody-else", row.spki_sha256) is None
    town.decide("zhaoliu", first, Action.REQUEST_REFUSE)
    with town.trail.database.reading() as session:
        assert registration.find_same(session, row.subject, row.spki_sha256) is None
