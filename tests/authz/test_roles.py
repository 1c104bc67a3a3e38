from __future__ import annotations

from authz.people import Directory, Holding, Person
from authz.roles import Agreement, held
from authz.snapshot import Snapshot

UNIT = "u1"


def person(uid: str) -> Person:
    return Person(uuid=f"id-{uid}", id=f"p_{uid}", uid=uid, name=uid, name_en=uid, mail="", mobile="", unit=UNIT, active=True)


def told(given: dict[str, set[str]], confirmed: set[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """What is made of each person's role, from what the directory gives and what is confirmed."""
    people = {one.uuid: one for one in map(person, given)}
    holdings = {f"id-{uid}": frozenset(Holding(role, UNIT) for role in roles) for uid, roles in given.items()}
    directory = Directory(people, {one.uid: one for one in people.values()}, {}, {}, holdings)
    snapshot = Snapshot(1, directory, frozenset((f"id-{uid}", role, UNIT) for uid, role in confirmed))
    return {(one.uuid.removeprefix("id-"), one.holding.role): str(one.agreement) for one in held(snapshot)}


def test_each_role_stands_as_directory_and_confirmation_make_it():
    found = told(
        {"a": {"staff", "registrar"}, "b": {"registrar"}, "c": {"auditor", "system-admin"}, "d": {"staff"}},
        {("a", "registrar"), ("c", "auditor"), ("c", "system-admin"), ("d", "registrar"), ("gone", "auditor")},
    )
    assert found == {
        ("a", "registrar"): "counts",
        ("b", "registrar"): "unconfirmed",
        ("c", "auditor"): "excluded",
        ("c", "system-admin"): "excluded",
        ("d", "registrar"): "gone",
        ("gone", "auditor"): "gone",
    }


def test_roles_that_need_no_confirmation_are_not_listed():
    assert told({"a": {"staff", "app-owner", "clerk"}}, set()) == {}


def test_what_is_disputed_comes_first():
    found = told({"a": {"registrar"}, "b": {"registrar"}}, {("a", "registrar"), ("z", "auditor")})
    assert list(found.values()) == ["unconfirmed", "gone", "counts"]
    assert list(Agreement)[-1] is Agreement.COUNTS
