"""What every directory keeps, the file and the server alike: one suite, run against both."""

from __future__ import annotations

import pytest

from authz import province
from authz.people import Entry, Holding
from authz.tree import build
from core.errors import Malformed, Unauthenticated, Unavailable
from tests.authz.slapd import SUFFIX
from tests.authz.sources import whole

QINGHE = "qinghe.linhe.jiangzhou"
REGISTRARS = province.group_dn("registrar", QINGHE)
ZHAOLIU = province.person_dn("zhaoliu", QINGHE)
SUNQI = province.person_dn("sunqi", QINGHE)


def built(side):
    return build(whole(side.source).entries, str)


def roles(side, uid):
    directory = built(side)
    return {holding.role for holding in directory.holdings[directory.by_uid[uid].uuid]}


def test_the_whole_province_is_read(side, jiangzhou):
    assert built(side) == build(jiangzhou[:-1], str)


def test_while_nothing_changes_it_is_the_same_reading(side):
    first = side.source.read()
    assert side.source.read().by_id is first.by_id
    side.set(ZHAOLIU, "mail", ("other@jiangzhou.example",))
    second = whole(side.source)
    assert second is not first
    assert second.by_id != first.by_id
    assert side.source.read().by_id is second.by_id


def test_a_role_ends_with_the_membership(side):
    assert roles(side, "zhaoliu") == {"registrar", "everyone"}
    side.set(REGISTRARS, "member", (SUNQI,))
    assert roles(side, "zhaoliu") == {"everyone"}
    assert "registrar" in roles(side, "sunqi")


def test_a_person_who_leaves_is_gone_and_one_who_ended_is_inactive(side):
    side.set(ZHAOLIU, "employeeType", ("inactive",)) if hasattr(side, "server") else side.set(ZHAOLIU, "employeetype", ("inactive",))
    assert not built(side).by_uid["zhaoliu"].active
    side.set(REGISTRARS, "member", (SUNQI,))
    side.delete(ZHAOLIU)
    assert "zhaoliu" not in built(side).by_uid


def test_a_renamed_person_is_the_same_person_with_the_same_roles(side):
    before = built(side)
    person = before.by_uid["zhaoliu"]
    side.rename(ZHAOLIU, "uid=zhaolaoliu")
    after = built(side)
    assert after.by_uid["zhaolaoliu"].uuid == person.uuid
    assert after.holdings[person.uuid] == before.holdings[person.uuid]


def test_a_renamed_inner_group_keeps_its_identity_and_gives_what_it_gave(side):
    """Everyone of the province comes through nested groups; the name of an inner one is nobody's right."""
    inner = province.group_dn("everyone", "linhe.jiangzhou")
    before = built(side)
    identity = next(entry.one("entryuuid") for entry in whole(side.source).entries if entry.dn == inner)
    side.rename(inner, "cn=all-of-linhe")
    after = built(side)
    renamed = next(entry for entry in whole(side.source).entries if entry.one("entryuuid") == identity)
    assert renamed.dn.startswith("cn=all-of-linhe,")
    top = Holding("everyone", province.entry_uuid(1, "unit jiangzhou"))
    assert {who for who, held in after.holdings.items() if top in held} == {who for who, held in before.holdings.items() if top in held}


def test_groups_that_hold_each_other_end(side):
    first, second = province.group_dn("staff", QINGHE), province.group_dn("everyone", QINGHE)
    members = next(entry.attributes["member"] for entry in whole(side.source).entries if entry.dn == second)
    side.set(first, "member", (second,))
    side.set(second, "member", (*members, first))
    assert {"staff", "everyone"} <= roles(side, "zhangsan")


def test_a_large_group_is_read_whole(side):
    _hold_many(side, 3_000)


@pytest.mark.proof
def test_a_group_of_a_hundred_thousand_is_read_whole(side):
    _hold_many(side, 100_000)


def _hold_many(side, number):
    """Most members are no entries: that costs the server nothing, and the reader as much."""
    absent = tuple(f"uid=u{count:07d},ou=people,{SUFFIX}" for count in range(number))
    side.set(REGISTRARS, "member", (*absent, ZHAOLIU))
    group = next(entry for entry in whole(side.source).entries if entry.dn == REGISTRARS)
    assert len(group.attributes["member"]) == number + 1
    assert "registrar" in roles(side, "zhaoliu")
    assert "registrar" not in roles(side, "sunqi")


def test_an_entry_that_contradicts_another_is_refused(side):
    place = province.unit_dn(QINGHE)
    kind = {"objectclass": ("inetOrgPerson",), "cn": ("Second",), "sn": ("Second",), "uid": ("zhaoliu",)}
    side.add(Entry(f"cn=second,ou=people,{place}", {**kind, "entryuuid": (province.entry_uuid(1, "second"),)}))
    with pytest.raises(Malformed):
        built(side)


def test_the_right_password_is_accepted_and_nothing_else(side):
    right = province.accounts()[0].password
    side.source.check_password("zhangsan", right)
    for uid, word in (
        ("zhangsan", right.upper()),
        ("zhangsan", right + " "),
        ("zhangsan", ""),
        ("ZHANGSAN", right),
        ("zhangsan ", right),
        ("ｚhangsan", right),
        ("nobody", right),
        ("", right),
        ("zhangsan", "\udcff"),
        ("\udcff", right),
        ("zhangsan", "x" * 100_000),
        ("zhangsan", right + "\0"),
    ):
        with pytest.raises(Unauthenticated):
            side.source.check_password(uid, word)


@pytest.mark.parametrize(
    "uid",
    [
        "*",
        "zhang*",
        "zhangsan)(uid=*",
        "*)(uid=*",
        "zhangsan)(|(uid=*",
        "zhangsan\\2a",
        "\\7ahangsan",
        "zhangsan\0",
        "zhangsan\\00",
        "\\",
        "(",
        "&(uid=zhangsan)",
        "zhangsan,ou=people",
        f"uid=zhangsan,ou=people,{province.unit_dn(QINGHE)}",
        "z" * 1_000_000,
        "zhаngsan",
        "张三",
    ],
)
def test_a_name_is_never_a_pattern(side, uid):
    with pytest.raises(Unauthenticated):
        side.source.check_password(uid, province.accounts()[0].password)


def test_a_directory_that_is_away_is_unavailable_and_not_empty(side):
    side.source.read()
    side.take_away()
    with pytest.raises(Unavailable):
        side.source.read()
    with pytest.raises(Unavailable):
        side.source.check_password("zhangsan", province.accounts()[0].password)
