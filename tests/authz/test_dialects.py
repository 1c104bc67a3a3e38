"""Other kinds of servers: their shapes on a real slapd that was taught their attributes, and what no slapd does on a stand-in."""

from __future__ import annotations

import base64
import uuid
from types import SimpleNamespace

import pytest

from authz import province
from authz.dialects import DIALECTS, Found, part
from authz.directory import LdapLink
from authz.failover import Broken, Deadline
from authz.people import normal_dn
from authz.tree import build
from core.errors import Malformed, Unauthenticated
from core.settings import DIRECTORY_DIALECTS
from tests.authz.slapd import READER, SUFFIX

QINGHE = "qinghe.linhe.jiangzhou"
DOMAIN_SID = bytes.fromhex("0105000000000005150000001b2c3d4e5f60718293a4b5c6")

AD_SCHEMA = """
attributetype ( 1.2.840.113556.1.4.2 NAME 'objectGUID' SYNTAX 1.3.6.1.4.1.1466.115.121.1.40 EQUALITY octetStringMatch SINGLE-VALUE )
attributetype ( 1.2.840.113556.1.4.146 NAME 'objectSid' SYNTAX 1.3.6.1.4.1.1466.115.121.1.40 EQUALITY octetStringMatch SINGLE-VALUE )
attributetype ( 1.2.840.113556.1.4.221 NAME 'sAMAccountName' SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 EQUALITY caseIgnoreMatch SINGLE-VALUE )
attributetype ( 1.2.840.113556.1.4.8 NAME 'userAccountControl' SYNTAX 1.3.6.1.4.1.1466.115.121.1.27 EQUALITY integerMatch SINGLE-VALUE )
attributetype ( 1.2.840.113556.1.4.98 NAME 'primaryGroupID' SYNTAX 1.3.6.1.4.1.1466.115.121.1.27 EQUALITY integerMatch SINGLE-VALUE )
attributetype ( 1.2.840.113556.1.4.1356 NAME 'highestCommittedUSN' SYNTAX 1.3.6.1.4.1.1466.115.121.1.27 SINGLE-VALUE )
objectclass ( 1.2.840.113556.1.5.9 NAME 'user' SUP organizationalPerson STRUCTURAL
 MAY ( objectGUID $ objectSid $ sAMAccountName $ userAccountControl $ primaryGroupID $ displayName $ mail ) )
objectclass ( 1.2.840.113556.1.3.30 NAME 'computer' SUP user STRUCTURAL )
objectclass ( 1.2.840.113556.1.5.8 NAME 'group' SUP top STRUCTURAL MUST cn MAY ( objectGUID $ objectSid $ member ) )
rootDSE {folder}/root.ldif
"""

DS_SCHEMA = """
attributetype ( 2.16.840.1.113730.3.1.542 NAME 'nsUniqueId' SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 EQUALITY caseIgnoreMatch SINGLE-VALUE )
attributetype ( 2.16.840.1.113730.3.1.610 NAME 'nsAccountLock' SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 EQUALITY caseIgnoreMatch )
attributetype ( 2.16.840.1.113730.3.1.999 NAME 'lastusn' SYNTAX 1.3.6.1.4.1.1466.115.121.1.27 )
rootDSE {folder}/root.ldif
"""


def sid(rid: int) -> bytes:
    return DOMAIN_SID + rid.to_bytes(4, "little")


def lines(dn: str, **attributes) -> str:
    """One record; values are bytes or text."""
    told = [("dn", dn), *((name, value) for name, values in attributes.items() for value in values)]
    return "\n".join(f"{name}:: {base64.b64encode(value if isinstance(value, bytes) else value.encode()).decode()}" for name, value in told)


def as_ad(entries) -> str:
    """The province as Active Directory holds it: other names, other classes, Zhang San a member of his staff by primary group only."""
    named = {
        entry.dn: f"cn={entry.one('cn')},{entry.dn.partition(',')[2]}"
        for entry in entries
        if "inetOrgPerson" in entry.attributes["objectclass"]
    }
    staff, zhangsan = province.group_dn("staff", QINGHE), province.person_dn("zhangsan", QINGHE)
    records = []
    for number, entry in enumerate(entries, 1000):
        kinds = entry.attributes["objectclass"]
        guid = {"objectGUID": [uuid.UUID(entry.one("entryuuid")).bytes_le]} if entry.one("entryuuid") else {}
        if "inetOrgPerson" in kinds:
            facts = {
                name: entry.attributes[name] for name in ("cn", "sn", "displayname", "mail", "userpassword") if name in entry.attributes
            }
            rid = 1000 + [each.dn for each in entries].index(staff) if entry.dn == zhangsan else 513
            control = "514" if entry.one("uid") == "wangwu" else "512"
            account = {"sAMAccountName": [entry.one("uid")], "userAccountControl": [control], "primaryGroupID": [str(rid)]}
            records.append(lines(named[entry.dn], objectClass=["user"], objectSid=[sid(number)], **guid, **facts, **account))
        elif "groupOfNames" in kinds:
            held = [named.get(dn, dn) for dn in entry.attributes["member"] if (entry.dn, dn) != (staff, zhangsan)]
            members = {"member": held} if held else {}
            records.append(lines(entry.dn, objectClass=["group"], cn=[entry.one("cn")], objectSid=[sid(number)], **guid, **members))
        elif "organizationalUnit" in kinds:
            name = (
                {"displayName": entry.attributes["ou;lang-zh"], "description": entry.attributes["ou;lang-en"]}
                if "ou;lang-zh" in entry.attributes
                else {}
            )
            line = {"businessCategory": entry.attributes["businesscategory"]} if "businesscategory" in entry.attributes else {}
            records.append(
                lines(entry.dn, objectClass=["organizationalUnit", "extensibleObject"], ou=[entry.one("ou")], **guid, **name, **line)
            )
        else:
            records.append(lines(entry.dn, **{name: held for name, held in entry.attributes.items() if name != "entryuuid"}))
    return "\n\n".join(records) + "\n"


@pytest.mark.component("slapd")
def test_active_directory_s_shape_gives_the_same_directory(servers, reading, jiangzhou):
    server = servers(as_ad(jiangzhou), schema=AD_SCHEMA, root="dn:\nobjectClass: extensibleObject\nhighestCommittedUSN: 4711\n")
    directory = reading(server.url, dialect="ad")
    found, expected = build(directory.read().entries, str), build(jiangzhou[:-1], str)
    assert found.holdings == expected.holdings
    assert found.units == expected.units
    assert {one.uuid: (one.uid, one.name, one.unit) for one in found.people.values()} == {
        one.uuid: (one.uid, one.name, one.unit) for one in expected.people.values()
    }
    assert [one.uid for one in found.people.values() if not one.active] == ["wangwu"]
    assert directory.read().by_id is directory.read().by_id
    directory.check_password("zhangsan", province.accounts()[0].password)
    with pytest.raises(Unauthenticated):
        directory.check_password("zhangsan", "wrong")


@pytest.mark.component("slapd")
def test_389_ds_s_shape_gives_the_same_directory(servers, reading, jiangzhou):
    def unique(entry):
        plain = uuid.UUID(entry.one("entryuuid")).hex
        return "-".join(plain[place : place + 8] for place in range(0, 32, 8))

    records = []
    for entry in jiangzhou:
        held = {name: values for name, values in entry.attributes.items() if name != "entryuuid"}
        if entry.dn != READER:
            held |= {"objectclass": (*held["objectclass"], "extensibleObject"), "nsUniqueId": (unique(entry),)}
        if entry.one("uid") == "wangwu":
            held["nsAccountLock"] = ("TRUE",)
        records.append(lines(entry.dn, **held))
    server = servers("\n\n".join(records) + "\n", schema=DS_SCHEMA, root="dn:\nobjectClass: extensibleObject\nlastusn: 7\n")
    found, expected = build(reading(server.url, dialect="389ds").read().entries, str), build(jiangzhou[:-1], str)
    assert (found.holdings, found.units) == (expected.holdings, expected.units)
    assert [one.uid for one in found.people.values() if not one.active] == ["wangwu"]


class InParts:
    """Answers as Active Directory does: at most `most` values of an attribute at once, each part under a name with its range."""

    def __init__(self, members: list[bytes], most: int, *, loses: bool = False) -> None:
        self.members, self.most, self.loses = members, most, loses
        self.socket = SimpleNamespace(settimeout=lambda _: None)

    def search(self, *, attributes, search_scope, **_):
        first = int(attributes[0].partition("=")[2].partition("-")[0]) if "range=" in attributes[0] else 0
        some = self.members[first : first + self.most]
        if self.loses and first:
            some = []
        last = "*" if first + self.most >= len(self.members) else str(first + len(some) - 1)
        held = {f"member;range={first}-{last}": some} if first or last != "*" else {"member": some}
        result = {"description": "success", "controls": {"1.2.840.113556.1.4.319": {"value": {"cookie": b""}}}}
        return (
            True,
            result,
            [{"type": "searchResEntry", "dn": "cn=g", "raw_attributes": {"member": [], **held} if first == 0 else held}],
            {},
        )


@pytest.mark.parametrize("number", [0, 1, 1500, 1501, 4500, 5000])
def test_members_that_come_in_parts_are_all_fetched(number):
    members = [f"cn=m{count}".encode() for count in range(number)]
    (found,) = LdapLink(InParts(members, 1500), 1).search(SUFFIX, "(x=y)", ["member"], Deadline(5))
    assert found.attributes["member"] == tuple(members)


def test_a_part_that_does_not_come_is_an_error():
    with pytest.raises(Broken, match="changed while it was read"):
        LdapLink(InParts([b"cn=x"] * 4000, 1500, loses=True), 1).search(SUFFIX, "(x=y)", ["member"], Deadline(5))


def test_a_part_with_other_values_than_it_says_is_refused():
    assert part("member;range=0-1", (b"a", b"b")) == ("member", 0, (b"a", b"b"), "member;range=2-*")
    assert part("member;range=2-*", (b"c",)) == ("member", 2, (b"c",), "")
    with pytest.raises(Malformed):
        part("member;range=0-5", (b"a",))


@pytest.mark.parametrize("name", DIRECTORY_DIALECTS)
def test_no_dialect_asks_for_a_password(name):
    assert not {"userpassword", "unicodepwd", "*", "+"} & {each.lower() for each in DIALECTS[name].attributes()}


def test_the_settings_know_every_dialect():
    assert set(DIALECTS) == set(DIRECTORY_DIALECTS)


@pytest.mark.parametrize("spoil", [{"entryuuid": ()}, {"entryuuid": (b"x",)}, {"uid": (b"\xff",)}])
def test_an_entry_that_cannot_be_read_spoils_the_reading_and_is_not_left_out(spoil):
    good = {"objectclass": (b"inetOrgPerson",), "uid": (b"x",), "entryuuid": (str(uuid.uuid4()).encode(),)}
    with pytest.raises(Malformed):
        DIALECTS["openldap"].entries([Found("uid=x,ou=a", good | spoil)])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("CN=Zhang\\, San, OU=a", "cn=zhang\\2c san,ou=A"),
        ("cn=\\E5\\BC\\A0,ou=a", "cn=张,ou=a"),
        ("cn=a\\=b,ou=c", "cn=a=b,ou=c"),
        ("cn=x\\ ,ou=c", "cn=x\\20,ou=c"),
    ],
)
def test_a_name_with_escapes_is_the_same_name(one, other):
    assert normal_dn(one) == normal_dn(other)


def test_an_escaped_comma_does_not_move_an_entry():
    assert normal_dn("cn=x\\,ou=b,ou=c").partition(",")[2] == "ou=c"


@pytest.mark.parametrize(
    "dn", ["", "cn=", "cn", "cn=a,", "cn=a,,ou=b", "cn=a\\,,ou=b,", 'cn="a",ou=b', "cn=\\e5,ou=a", "cn=a\\", "=x", ",cn=\\2c"]
)
def test_what_is_no_name_is_refused(dn):
    with pytest.raises(Malformed):
        normal_dn(dn)
