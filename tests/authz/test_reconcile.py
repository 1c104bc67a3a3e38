"""Facts about people and applications and their events, damaged one by one by somebody with every right on the database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pyotp
import pytest

from audit.permit import Action
from audit.record import recording
from authz import applications, login, sessions, standing, totp
from authz.applications import Draft, Registration
from authz.decide import Target
from authz.login import Attempt
from tests.authz.conftest import KEYS, Place
from tests.comparing import Compared, assert_damage_is_named

SECRET = pyotp.random_base32()


@pytest.fixture
def compared(enrolled: Place) -> Iterator[Compared]:
    live(enrolled)
    made = Compared(enrolled.trail, enrolled.world)
    yield made
    made.stranger.close()


def live(place: Place) -> None:
    """A bit of everything that can happen to people and applications."""
    people(place)
    register(place)


def people(place: Place) -> None:
    words = {"uid": "zhangsan", "password": place.accounts["zhangsan"].password, "source": "10.1.2.3"}
    opened = [login.by_password(place.world, Attempt(**words, code=place.code("zhangsan", step))).session for step in (-1, 0)]
    act(place, "zhangsan", Action.SESSION_END, own(place, f"session:{opened[0]}"), sessions.end, opened[0])
    person, lisi = place.person("zhangsan"), place.person("lisi")
    [codes] = [act(place, "service:demo", Action.TOTP_ENROL, own(place, f"person:{person.id}"), totp.enrol_known, KEYS, person, SECRET)]
    login.by_password(place.world, Attempt(**words, code=codes[3]))
    lifetime = place.world.settings.authz.enrolment_code_lifetime
    act(place, "zhengshi", Action.TOTP_CODE_ISSUE, about(place, "lisi"), totp.hand_out, KEYS, lisi, lifetime)
    for uid in ("lisi", "wangwu"):
        blocked = place.person(uid)
        act(place, "zhengshi", Action.ACCOUNT_BLOCK, about(place, uid), standing.block, blocked.uuid, blocked.id, "a test")
    act(place, "zhengshi", Action.ACCOUNT_BLOCK, about(place, "lisi"), standing.unblock, lisi.uuid, lisi.id)


def act(place: Place, who: str, action: Action, target: Target, do: Callable[..., Any], *arguments: Any) -> Any:
    """Ask, then act, as the door does."""
    permit = place.permit(who, action, target)
    with recording(place.trail) as tx:
        return do(tx, *arguments, permit=permit)


def own(place: Place, ref: str) -> Target:
    return Target(ref, owner=place.person("zhangsan").id)


def about(place: Place, uid: str) -> Target:
    person = place.person(uid)
    return Target(f"person:{person.id}", unit=person.unit, owner=person.id)


def register(place: Place) -> None:
    unit, owner = place.person("zhangsan").unit, place.accounts["fenger"].uuid
    target = Target("app:oa", unit=unit)
    oa = Registration(id="oa", name="OA", unit=unit, owner=owner, actions=("read", "write"), types=("record",))
    act(place, "service:demo", Action.APPLICATION_REGISTER, target, applications.register, oa)
    drafts = [Draft(application="oa", action=action, type="record", role="staff", unit=unit) for action in ("read", "write")]
    made = [act(place, "zhengshi", Action.GRANT_CHANGE, target, applications.add_grant, draft) for draft in drafts]
    act(place, "zhengshi", Action.GRANT_CHANGE, target, applications.withdraw_grant, "oa", made[0])
    for number, name in enumerate(("one", "two", "one")):
        resource = {"type": "record", "id": name, "unit": unit, "properties": {"number": number}}
        act(place, "zhengshi", Action.GRANT_CHANGE, target, applications.put_resource, "oa", resource)
    keys = [act(place, "service:demo", Action.API_KEY_MAKE, target, applications.make_key, place.world, "oa") for _ in range(2)]
    act(place, "service:demo", Action.API_KEY_MAKE, target, applications.withdraw_key, "oa", keys[0].split("_")[1])
    for active in (False, True, False):
        permit = place.permit("zhengshi", Action.APPLICATION_SWITCH, target)
        with recording(place.trail) as tx:
            applications.switch(tx, "oa", active=active, permit=permit)
    for ref in ("server:web", "server:old"):
        facts = {"name": ref, "unit": unit, "owner": owner, "names": [ref.replace("server:", "") + ".example"]}
        act(place, "service:demo", Action.ASSET_REGISTER, Target(ref, unit=unit), applications.register_asset, ref, facts)
    act(place, "service:demo", Action.ASSET_REGISTER, Target("server:old", unit=unit), applications.withdraw_asset, "server:old")


@pytest.mark.slow
def test_whatever_is_deleted_fact_or_event_is_named(compared: Compared) -> None:
    assert_damage_is_named(compared, "authz_", without=("authz_standing", "authz_directory"))


@pytest.mark.slow
def test_whatever_is_forged_or_changed_is_named_and_told_once(compared: Compared, place: Place) -> None:
    compared.must_be_clean()
    stranger = compared.stranger
    grant = next(row for row in stranger.rows("authz_grant") if row["withdrawn_at"] is None)
    withdrawn = next(row for row in stranger.rows("authz_grant") if row["withdrawn_at"])
    key = next(row for row in stranger.rows("authz_api_key") if row["withdrawn_at"])
    web = next(row for row in stranger.rows("authz_asset") if row["ref"] == "server:web")
    replaced = next(row for row in stranger.rows("authz_totp") if row["state"] == "replaced")
    ended = next(row for row in stranger.rows("authz_session") if row["ended_at"])
    zhangsan = f"person:{place.person('zhangsan').id}"
    for table, row, changes, name, names in (
        ("authz_grant", grant, {"role": "everyone"}, "grant", ("app:oa", f"g{grant['id']}")),
        ("authz_grant", withdrawn, {"withdrawn_at": None}, "grant in force", ("app:oa", f"g{withdrawn['id']}")),
        ("authz_api_key", key, {"withdrawn_at": None}, "API key", ("app:oa", key["id"])),
        ("authz_asset", web, {"names": '["bank.example"]'}, "asset", ("server:web",)),
        ("authz_session", ended, {"ended_at": None}, "end of a session", (f"session:{ended['id']}",)),
        ("authz_session", ended, {"person": place.accounts["zhengshi"].uuid}, "session", (f"session:{ended['id']}",)),
        ("authz_totp", replaced, {"state": "active"}, "generator of one-time codes in use", (zhangsan,)),
    ):
        stranger.change(table, row, **changes)
        compared.is_named(name, names, "differ")
        stranger.change(table, row, **{column: row[column] for column in changes})
        compared.must_be_clean(name)
    [confirmed, *_] = stranger.rows("authz_confirmation")
    stranger.insert("authz_confirmation", {**confirmed, "person": place.accounts["zhangsan"].uuid, "role": "auditor"})
    compared.is_named("confirmation", (zhangsan, "auditor", confirmed["unit"]), "fact-without-event")
    stranger.insert("authz_session", {**ended, "id": "5e55", "token": b"t" * 32, "ended_at": None})
    compared.is_named("session", ("session:5e55",), "fact-without-event")
