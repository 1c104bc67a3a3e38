"""The authority's facts and their events, damaged one by one by somebody with every right on the database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from audit.event import Event, Kind
from audit.permit import Action, Actor
from audit.record import recording
from ca import authorities, certificates, revocation
from ops import reconcile
from ops.pairs import PAIRS
from ops.reconcile import Reconciler
from tests.ca.town import Town
from tests.comparing import Compared, assert_damage_is_named


@pytest.fixture
def compared(town: Town) -> Iterator[Compared]:
    live(town)
    made = Compared(town.trail, town)
    yield made
    made.stranger.close()


def live(town: Town) -> None:
    """A bit of everything that can happen to requests and certificates."""
    first, second = town.issued("zhangsan"), town.issued("zhangsan")
    for action, do in ((Action.CERT_SUSPEND, revocation.suspend), (Action.CERT_RELEASE, revocation.release)):
        permit = town.permit("zhengshi", action, certificates.target(second))
        with recording(town.trail) as tx:
            do(tx, second.authority, second.serial, permit=permit)
    town.revoke("zhangsan", first)
    town.decide("zhaoliu", town.submit("zhangsan"), Action.REQUEST_REFUSE)
    moved = town.submit("wangwu")
    town.decide("zhouba", moved)
    town.move("wangwu", name="王六")
    town.submit("zhangsan")
    orphan(town)
    permit = town.service("issuance", Action.CERT_ISSUE, "request:1")
    authorities.stop(town.trail, "applications", "a test", permit=permit)
    permit = town.service("operator", Action.BACKUP_RESTORE, "backup:b1")
    with recording(town.trail) as tx:
        authorities.hold(tx, "b1", permit=permit)


def orphan(town: Town) -> None:
    """A signature that was announced and not made."""
    signer = town.signers.get("ca/staff")

    def fail(_: bytes) -> bytes:
        raise OSError("the token was pulled out")

    town.decide("zhaoliu", town.submit("zhangsan"))
    signer.twist = fail
    town.worker().step()
    signer.twist = lambda signature: signature
    town.worker().step()


@pytest.mark.slow
def test_whatever_is_deleted_fact_or_event_is_named(compared: Compared) -> None:
    assert_damage_is_named(compared, "ca_")
    assert_damage_is_named(compared, "authz_standing")


@pytest.mark.slow
def test_whatever_is_forged_or_changed_is_named_and_told_once(compared: Compared) -> None:
    compared.must_be_clean()
    stranger = compared.stranger
    [mine, *_] = [row for row in stranger.rows("ca_certificate") if row["profile"] == "staff-sign"]
    ref = f"cert:staff/{mine['serial']}"
    intent = next(row for row in stranger.rows("ca_intent") if row["id"] == mine["intent_id"])
    revoked = next(row for row in stranger.rows("ca_revocation") if row["reason"] == "keyCompromise")
    requests = {row["state"]: row for row in stranger.rows("ca_request")}
    staff = next(row for row in stranger.rows("ca_authority") if row["id"] == "staff")
    other = next(row for row in stranger.rows("ca_certificate") if row["profile"] == "ocsp")
    waiting = f"request:{requests['submitted']['id']}"
    for table, row, changes, name, key in (
        ("ca_request", requests["submitted"], {"state": "approved"}, "state of a request", waiting),
        ("ca_request", requests["submitted"], {"spki": other["der"][:91]}, "request", waiting),
        ("ca_certificate", mine, {"der": other["der"]}, "certificate", ref),
        ("ca_intent", intent, {"tbs": other["der"]}, "announced signature", ref),
        ("ca_intent", intent, {"state": "open"}, "end of an announced signature", ref),
        ("ca_revocation", revoked, {"standing": "valid"}, "revocation", f"cert:staff/{revoked['serial']}"),
        ("ca_revocation", revoked, {"reason": "superseded"}, "revocation", f"cert:staff/{revoked['serial']}"),
        ("ca_authority", staff, {"cert": other["der"]}, "authority", "ca:staff"),
        ("ca_authority", staff, {"spki_sha256": "00"}, "authority", "ca:staff"),
    ):
        stranger.change(table, row, **changes)
        compared.is_named(name, (key,), "differ")
        stranger.change(table, row, **{column: row[column] for column in changes})
        compared.must_be_clean(name)
    stranger.insert("ca_intent", {**intent, "id": 999, "serial": "abc", "request_id": None})
    stranger.insert("ca_certificate", {**mine, "intent_id": 999, "serial": "abc", "request_id": None})
    compared.is_named("certificate", ("cert:staff/abc",), "fact-without-event")
    stranger.insert("ca_authority", {**staff, "id": "mine", "spki_sha256": "11"})
    compared.is_named("authority", ("ca:mine",), "fact-without-event")


@pytest.mark.parametrize(
    ("kind", "about", "details", "found"),
    [
        (Kind.CERT_ISSUED, "cert:staff/abc", {}, ("certificate", ("cert:staff/abc",))),
        (Kind.CERT_INTENDED, "cert:staff/abc", {}, ("announced signature", ("cert:staff/abc",))),
        (Kind.CERT_REVOKED, "cert:staff/abc", {}, ("revocation", ("cert:staff/abc",))),
        (Kind.CRL_PUBLISHED, "crl:staff", {"number": 99}, ("revocation list", ("crl:staff", "99"))),
        (Kind.REQUEST_APPROVED, "request:77", {"given": 1, "needed": 1}, ("approval", ("request:77", "issuance"))),
        (Kind.KEY_GENERATED, "ca:mine", {"purpose": "ca/mine"}, ("authority", ("ca:mine",))),
    ],
    ids=lambda value: value.value.name if isinstance(value, Kind) else "",
)
def test_an_event_without_its_fact_is_named(town: Town, kind: Kind, about: str, details: dict[str, object], found: tuple) -> None:
    compared = Compared(town.trail, town)
    compared.must_be_clean()
    town.trail.append([Event(kind=kind, actor=Actor.service("issuance"), object=about, details=details)])
    compared.is_named(*found, "event-without-fact")
    compared.stranger.close()


def test_an_event_that_is_told_twice_is_named(compared: Compared) -> None:
    [pair] = [pair for pair in PAIRS if pair.name == "certificate"]
    key = compared.shown(pair, compared.people)[0]
    [told] = compared.told(pair, key)
    compared.trail.append([Event(kind=Kind.CERT_ISSUED, actor=Actor.service("issuance"), object=key[0], details=told.details)])
    compared.is_named("certificate", key, "told-twice")


@pytest.mark.slow
def test_part_by_part_everything_comes_round_again(compared: Compared, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in (("CHUNK", 5), ("KEYS", 2), ("ROWS", 4), ("ENTRIES", 20)):
        monkeypatch.setattr(f"ops.reconcile.{name}", size)
    wholes = {compared.turn().whole_at for _ in range(12)}
    assert len(wholes) > 2
    row = compared.stranger.rows("ca_certificate")[0]
    compared.stranger.delete("ca_certificate", row)
    found = [compared.turn().open for _ in range(12)]
    assert found[-1] > 0
    assert sorted(found) == found
    compared.reconciler = Reconciler(compared.trail, compared.people)
    assert compared.turn().open == found[-1]


def test_readiness_tells_it_as_long_as_it_lasts(compared: Compared) -> None:
    def problems() -> list[str]:
        with compared.trail.database.reading() as session:
            return reconcile.problems(session)

    assert problems() == []
    row = compared.stranger.rows("ca_certificate")[-1]
    compared.stranger.delete("ca_certificate", row)
    result = compared.turn()
    assert row["serial"] in result.first[0]
    assert problems()[0].startswith(f"{result.open} contradictions")
    assert row["serial"] not in problems()[0]
    compared.stranger.insert("ca_certificate", row)
    compared.must_be_clean()
    assert problems() == []
    with compared.trail.database.reading() as session:
        result = reconcile.last(session)
    assert result is not None
    assert result.whole_at is not None
