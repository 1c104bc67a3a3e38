"""Who is told what, and when: once, to those concerned, and not a flood."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from authz.people import Holding
from core.settings import Backup
from core.settings import Notices as Section
from ops.notices import alarms, texts
from ops.notices.notice import Kind
from tests.ca.conftest import founded, founded_on_postgresql, town  # noqa: F401
from tests.ca.town import Town
from tests.ops.told import Told
from tests.shape.rules import ROOT

BY_MAIL = {"mail_server": "localhost:1", "mail_from": "yumen@jiangzhou.example"}


@pytest.fixture
def told(town: Town) -> Told:  # noqa: F811
    """Notices are planned here, and wait: nobody listens at the address."""
    return Told.of(town, **BY_MAIL)


def to_whom(told: Told, kind: Kind) -> list[tuple[str, str]]:
    """Key and uid of every notice of this kind."""
    people = told.current().directory.people
    return [(row.key, people[row.person].uid) for row in told.rows() if row.kind == kind]


def test_a_certificate_that_ends_is_told_once_at_each_step(told: Told):
    certificate = told.town.issued("zhangsan")
    told.turn(days=334)
    assert to_whom(told, Kind.EXPIRY) == []
    for left in (30, 29, 14, 7, 1):
        told.restart()
        told.turn(seconds=(certificate.not_after - told.town.clock.now()).total_seconds() - left * 86_400)
    expected = [f"expiry:staff/{certificate.serial}:{step}" for step in (30, 14, 7, 1)]
    assert to_whom(told, Kind.EXPIRY) == [(key, "zhangsan") for key in expected]
    facts = json.loads(told.rows()[-1].facts)
    assert facts == {"subject": "", "serial": certificate.serial, "days": 1, "ends_at": certificate.not_after.isoformat()}
    text = texts.letter("x", Kind.EXPIRY, certificate.not_after, facts, "https://yumen.example").body
    assert [one.count(f"https://yumen.example/certificates/{certificate.serial}/renew") for one in text] == [1, 1]


def test_who_has_a_newer_certificate_or_a_revoked_one_is_told_nothing(told: Told):
    revoked = told.town.issued("zhangsan")
    told.town.revoke("zhaoliu", revoked)
    old = told.town.issued("zhangsan")
    told.town.clock.advance(days=200)
    new = told.town.issued("zhangsan")
    told.turn(days=160)
    assert to_whom(told, Kind.EXPIRY) == []
    told.restart()
    told.turn(days=185)
    assert {key.rpartition(":")[0] for key, _ in to_whom(told, Kind.EXPIRY)} == {f"expiry:staff/{new.serial}"}
    assert old.serial != new.serial


def test_a_certificate_is_told_to_whom_answers_for_the_server(told: Told):
    certificate = told.town.issued("fenger", "zhaoliu", profile="server", ref="server:portal")
    told.turn(days=340)
    assert to_whom(told, Kind.EXPIRY) == [(f"expiry:servers/{certificate.serial}:30", "fenger")]
    facts = json.loads(told.rows()[0].facts)
    assert facts["subject"] == "server:portal"
    text = texts.letter("x", Kind.EXPIRY, certificate.not_after, facts, "https://yumen.example").body
    assert [one.partition("https://")[2].split()[0] for one in text] == [f"yumen.example/certificates/{certificate.serial}"] * 2


def test_the_nearest_registrars_get_one_digest_and_nobody_his_own(told: Told):
    for _ in range(3):
        told.town.submit("zhangsan")
    told.town.submit("zhaoliu")
    told.turn(minutes=10)
    assert to_whom(told, Kind.APPROVAL) == []
    told.turn(minutes=10)
    assert sorted(to_whom(told, Kind.APPROVAL)) == [("approval:1", "sunqi"), ("approval:1", "zhaoliu")]
    people = told.current().directory.people
    assert {people[row.person].uid: json.loads(row.facts)["count"] for row in told.rows()} == {"sunqi": 4, "zhaoliu": 3}


def test_a_digest_comes_again_for_what_is_new_and_after_a_day(told: Told):
    request = told.town.submit("zhangsan")
    told.turn(minutes=20)
    told.town.submit("zhangsan")
    told.restart()
    told.turn(hours=1)
    assert len(to_whom(told, Kind.APPROVAL)) == 2  # one each: the new request is within the four hours
    told.turn(hours=4)
    assert [key for key, _ in to_whom(told, Kind.APPROVAL)[2:]] == ["approval:2"] * 2
    told.turn(hours=12)
    assert len(to_whom(told, Kind.APPROVAL)) == 4  # nothing new
    for number in (request, request + 1):
        told.town.decide("zhaoliu", number)
    told.turn(days=2)
    assert len(to_whom(told, Kind.APPROVAL)) == 4


def test_what_waits_for_a_day_is_told_to_all_above(told: Told):
    told.town.submit("zhaoliu")
    told.turn(minutes=20)
    assert [uid for _, uid in to_whom(told, Kind.APPROVAL)] == ["sunqi"]
    province = told.town.person("wujiu")
    holdings = dict(told.current().directory.holdings)
    unit = told.current().directory.units[province.unit].id
    holdings[province.uuid] = frozenset({Holding("registrar", unit)})
    directory = replace(told.current().directory, holdings=holdings)
    confirmed = told.current().confirmed | {(province.uuid, "registrar", unit)}
    told.town.snapshot = replace(told.current(), directory=directory, confirmed=confirmed, _roles={})
    told.turn(hours=20)
    assert [uid for _, uid in to_whom(told, Kind.APPROVAL)] == ["sunqi"]
    told.turn(hours=5)
    assert {uid for _, uid in to_whom(told, Kind.APPROVAL)} == {"sunqi", "wujiu"}


def test_a_sign_in_from_a_new_place_is_told_to_the_person(told: Told):
    told.turn()
    told.signed_in("zhangsan", "10.1.2.3", "one")
    told.turn(seconds=6)
    told.signed_in("zhangsan", "10.1.2.77", "two")  # the same network
    told.signed_in("lisi", "10.1.2.3", "three")
    told.turn(seconds=6)
    told.signed_in("zhangsan", "2001:db8:1::7", "four")
    told.signed_in("zhangsan", "", "five")
    told.turn(seconds=6)
    assert to_whom(told, Kind.SIGN_IN) == [("sign-in:one", "zhangsan"), ("sign-in:three", "lisi"), ("sign-in:four", "zhangsan")]
    assert all(set(json.loads(row.facts)) == {"at", "auth"} for row in told.rows())


def test_a_new_leader_tells_no_sign_in_again_and_misses_none(told: Told):
    told.turn()
    told.signed_in("zhangsan", "10.1.2.3", "one")
    told.turn(seconds=6)
    told.signed_in("lisi", "10.1.2.3", "two")
    told.restart()
    told.turn()
    assert to_whom(told, Kind.SIGN_IN) == [("sign-in:one", "zhangsan"), ("sign-in:two", "lisi")]


def test_a_place_is_forgotten_after_ninety_days(told: Told):
    told.turn()
    told.signed_in("zhangsan", "10.1.2.3", "one")
    told.turn(seconds=6)
    told.town.clock.advance(days=91)
    told.signed_in("zhangsan", "10.1.2.3", "two")
    told.turn()
    assert [key for key, _ in to_whom(told, Kind.SIGN_IN)] == ["sign-in:one", "sign-in:two"]


def test_an_alarm_is_told_to_those_concerned_once_a_day(told: Told):
    told.refused = "a digest"
    told.turn()
    told.refused = ""
    told.turn(minutes=2)  # a moment's trouble is no alarm
    told.refused = "a digest"
    told.turn(minutes=2)
    told.turn(minutes=2)
    told.restart()
    for _ in range(3):
        told.turn(hours=2)
    concerned = ["wujiu", "zhengshi"]
    assert sorted(to_whom(told, Kind.ALARM)) == [("alarm:directory-refused::1", uid) for uid in concerned]
    told.turn(hours=20)
    assert len(to_whom(told, Kind.ALARM)) == 4


def test_lists_that_are_late_and_certificates_of_the_service_that_end_are_alarms(told: Told):
    told.turn(days=2)
    told.turn(minutes=2)
    assert ("alarm:list-stale:staff:1", "wujiu") in to_whom(told, Kind.ALARM)
    told.turn(days=80)
    told.turn(minutes=2)
    keys = {key for key, _ in to_whom(told, Kind.ALARM)}
    assert any(key.startswith("alarm:certificate-ending:staff OCSP:") for key in keys), keys


def test_every_alarm_has_its_words_and_somebody_who_acts(town: Town):  # noqa: F811
    told = Told.of(town, **BY_MAIL)
    assert set(texts.ALARMS) == set(alarms.CONCERNED)
    assert all(alarms.concerned(told.current(), alarms.Alarm(name)) for name in alarms.CONCERNED)
    said = (ROOT / "docs" / "notices.md").read_text("utf-8")
    assert [name for name in alarms.CONCERNED if f"| `{name}` |" not in said] == []


def test_a_backup_that_was_never_made_is_an_alarm(town: Town, tmp_path: Path):  # noqa: F811
    told = Told.of(town, **BY_MAIL)
    told.settings = replace(told.settings, backup=Backup(targets=f"file://{tmp_path}/backups"))
    told.turn()
    told.turn(minutes=2)
    assert to_whom(told, Kind.ALARM) == [("alarm:backup-late::1", "wujiu")]


def test_only_what_a_way_carries_is_planned_for_it(town: Town):  # noqa: F811
    told = Told.of(town, **BY_MAIL, by_mail="alarm")
    town.submit("zhangsan")
    told.turn(days=2)
    told.turn(minutes=2)
    assert {row.kind for row in told.rows()} == {"alarm"}


def test_without_a_way_nothing_is_planned(town: Town):  # noqa: F811
    told = Told.of(town)
    town.submit("zhangsan")
    told.turn(days=2)
    assert told.rows() == []
    assert Section() == told.settings.notices


def test_who_does_not_lead_does_nothing(told: Told):
    told.town.submit("zhangsan")
    told.turn(leads=False, days=2)
    assert told.rows() == []
