"""The LDIF reader and the directory that is built from it."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz import ldif, people, province
from authz.people import Entry, Holding
from authz.tree import build
from core.errors import Malformed, Unauthenticated, Unavailable

texts = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=40)
names = st.sampled_from(["cn", "uid", "mail", "ou;lang-zh", "description"])


@given(st.lists(st.tuples(texts, st.dictionaries(names, st.lists(texts, min_size=1, max_size=3).map(tuple), max_size=4)), max_size=4))
def test_whatever_is_written_is_read_back(made):
    entries = [Entry(dn, attributes) for dn, attributes in made]
    assert ldif.parse(ldif.encode(entries)) == entries


@pytest.mark.parametrize(
    "text",
    [
        "uid: x\n",
        "dn: uid=x\nchangetype: delete\n",
        "dn: uid=x\ndn: uid=y\n",
        "dn: uid=x\nno colon\n",
        "dn: uid=x\nphoto:< file:///etc/passwd\n",
        "dn: uid=x\ncn:: !!!\n",
        "dn: uid=x\ncn:: /w==\n",
        "dn: uid=x\ncn:: \u02ddyg=\n",
        "dn: uid=x\ncn: 张三\n",
        " continues nothing\n",
        "dn: uid=x\ncn;binary: x\n",
    ],
)
def test_what_is_no_ldif_of_ours_is_refused(text):
    with pytest.raises(Malformed):
        ldif.parse(text.encode())


def test_folded_lines_comments_and_carriage_returns_are_read():
    text = "version: 1\r\n\r\n# 张三\r\n  comment goes on\r\ndn: uid=x,\r\n ou=people\r\ncn:: 5byg\r\n 5LiJ\r\n\r\n"
    assert ldif.parse(text.encode()) == [Entry("uid=x,ou=people", {"cn": ("张三",)})]


def entry(dn, what, **attributes):
    return Entry(dn, {**attributes, "entryuuid": (province.entry_uuid(9, what),)})


def test_groups_in_groups_are_followed_and_cycles_end():
    unit = entry("ou=a", "a", objectclass=("organizationalUnit",), **{"ou;lang-zh": ("甲",)})
    person = entry("uid=x,ou=a", "x", objectclass=("inetOrgPerson",), uid=("x",), cn=("X",))
    groups = [
        entry("cn=staff,ou=roles,ou=a", "g1", objectclass=("groupOfNames",), cn=("staff",), member=("CN=inner, OU=groups,ou=a",)),
        entry(
            "cn=inner,ou=groups,ou=a", "g2", objectclass=("groupOfNames",), cn=("inner",), member=("cn=staff,ou=roles,ou=a", "uid=X,ou=A")
        ),
    ]
    directory = build([unit, person, *groups], str)
    assert directory.holdings[province.entry_uuid(9, "x")] == {Holding("staff", province.entry_uuid(9, "a"))}


def test_group_outside_ou_roles_gives_no_role():
    unit = entry("ou=a", "a", objectclass=("organizationalUnit",), **{"ou;lang-zh": ("甲",)})
    person = entry("uid=x,ou=a", "x", objectclass=("inetOrgPerson",), uid=("x",), cn=("X",))
    group = entry("cn=auditor,ou=groups,ou=a", "g", objectclass=("groupOfNames",), cn=("auditor",), member=("uid=x,ou=a",))
    assert build([unit, person, group], str).holdings[province.entry_uuid(9, "x")] == frozenset()


@pytest.mark.parametrize("spoil", ["no-uuid", "same-uuid", "same-dn", "same-uid", "no-unit"])
def test_directory_that_contradicts_itself_is_refused(spoil):
    unit = entry("ou=a", "a", objectclass=("organizationalUnit",), **{"ou;lang-zh": ("甲",)})
    person = entry("uid=x,ou=a", "x", objectclass=("inetOrgPerson",), uid=("x",), cn=("X",))
    more = {
        "no-uuid": Entry("uid=y,ou=a", {"objectclass": ("inetOrgPerson",), "uid": ("y",)}),
        "same-uuid": Entry("uid=y,ou=a", {**person.attributes, "uid": ("y",)}),
        "same-dn": entry("UID=x, ou=a", "z", objectclass=("inetOrgPerson",), uid=("z",)),
        "same-uid": entry("cn=y,ou=a", "y", objectclass=("inetOrgPerson",), uid=("x",)),
        "no-unit": entry("uid=y", "y", objectclass=("inetOrgPerson",), uid=("y",)),
    }[spoil]
    with pytest.raises(Malformed):
        build([unit, person, more], str)


def test_province_has_three_levels_and_two_lines(tmp_path):
    path = tmp_path / "p.ldif"
    province.write(path, hasher=province.QUICK)
    directory = build(ldif.LdifDirectory(path, hasher=province.QUICK).read().entries, lambda text: f"p_{text}")
    assert {unit.level for unit in directory.units.values()} == {0, 1, 2}
    assert {unit.line for unit in directory.units.values()} == {"", "gongan", "renshe"}
    names = [directory.units[one].name for one in directory.units[province.entry_uuid(1, "unit gongan.qinghe.linhe.jiangzhou")].chain]
    assert names == ["江州省", "临河市", "清河县", "清河县公安局"]


def test_accounts_are_those_that_everybody_relies_on():
    made = province.accounts()
    staff, registrars = [a for a in made if "staff" in a.roles], [a for a in made if "registrar" in a.roles]
    assert len({account.unit for account in staff}) == len(staff) == 3
    assert staff[0].unit == registrars[0].unit == registrars[1].unit != registrars[2].unit
    assert {role for account in made for role in account.roles} == set(people.ROLES)
    assert province.accounts() == made
    assert province.accounts(2)[0].password != made[0].password


def test_passwords_are_compared_exactly(tmp_path):
    path = tmp_path / "p.ldif"
    accounts = province.write(path, hasher=province.QUICK)
    source = ldif.LdifDirectory(path, hasher=province.QUICK)
    right = accounts[0].password
    source.check_password("zhangsan", right)
    for uid, word in (
        ("zhangsan", right.upper()),
        ("zhangsan", right + " "),
        ("zhangsan", ""),
        ("ZHANGSAN", right),
        ("*", right),
        ("c0", ""),
    ):
        with pytest.raises(Unauthenticated):
            source.check_password(uid, word)
    for odd in ("\udcff", "x" * 100_000, "\0"):
        with pytest.raises(Unauthenticated):
            source.check_password("zhangsan", odd)


def test_hash_that_would_take_the_machine_down_is_not_computed(tmp_path):
    path = tmp_path / "p.ldif"
    accounts = province.write(path, hasher=province.QUICK)
    greedy = "{ARGON2}$argon2id$v=19$m=8000000,t=50,p=8$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA"
    ldif.write(path, [each._replace(attributes={**each.attributes, "userpassword": (greedy,)}) for each in ldif.parse(path.read_bytes())])
    began = time.monotonic()
    with pytest.raises(Unauthenticated):
        ldif.LdifDirectory(path, hasher=province.QUICK).check_password("zhangsan", accounts[0].password)
    assert time.monotonic() - began < 1


def test_change_within_one_tick_and_of_the_same_size_is_seen(tmp_path, monkeypatch):
    """A file system whose clock stands still between two writes: nothing but the bytes tells them apart."""
    path = tmp_path / "p.ldif"
    path.write_bytes(b"dn: uid=a\nentryUUID: 00000000-0000-4000-8000-000000000001\ncn: one\n")
    seen = path.stat()
    monkeypatch.setattr(type(path), "stat", lambda _self, **_more: seen)
    source = ldif.LdifDirectory(path, hasher=province.QUICK)
    first = source.read()
    path.write_bytes(path.read_bytes().replace(b"one", b"two"))
    assert source.read().by_id != first.by_id


def test_same_bytes_are_the_same_reading_and_a_missing_file_is_unavailable(tmp_path):
    path = tmp_path / "p.ldif"
    province.write(path, hasher=province.QUICK)
    source = ldif.LdifDirectory(path, hasher=province.QUICK)
    assert source.read() is source.read()
    path.unlink()
    with pytest.raises(Unavailable):
        source.read()
