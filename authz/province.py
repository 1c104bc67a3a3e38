"""A province in small, for the demonstration and for tests: three levels, two vertical lines, nested groups.

江州省 with two cities and their counties, a public-security and a human-resources bureau at every level. Everything is
derived from a seed: the same seed gives the same entryUUIDs, and the same passwords.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from argon2 import PasswordHasher
from argon2.low_level import Type

from authz import ldif
from authz.people import Entry, Holding

#: Fast and weak: for tests only.
QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1, type=Type.ID)

_ROOT = "dc=yumen,dc=demo"
_LINES = (("gongan", "公安", "Public Security"), ("renshe", "人社", "Human Resources"))
_SUFFIX = {0: ("厅", "Department"), 1: ("局", "Bureau"), 2: ("局", "Bureau")}
#: Places: path, Chinese, English, level.
_PLACES = (
    ("jiangzhou", "江州省", "Jiangzhou Province", 0),
    ("linhe.jiangzhou", "临河市", "Linhe City", 1),
    ("yunshan.jiangzhou", "云山市", "Yunshan City", 1),
    ("qinghe.linhe.jiangzhou", "清河县", "Qinghe County", 2),
    ("shiqiao.linhe.jiangzhou", "石桥县", "Shiqiao County", 2),
    ("songling.yunshan.jiangzhou", "松岭县", "Songling County", 2),
    ("baiyun.yunshan.jiangzhou", "白云县", "Baiyun County", 2),
)
_SURNAMES = "陈杨黄吴徐孙马朱胡郭何高林罗郑梁"
_GIVEN = "伟芳娜敏静丽强磊军洋勇艳杰涛明超"

#: uid, Chinese, English, unit, role, scope of the role (empty: the unit itself).
_PERSONAS = (
    ("zhangsan", "张三", "Zhang San", "qinghe.linhe.jiangzhou", "staff"),
    ("lisi", "李四", "Li Si", "gongan.linhe.jiangzhou", "staff"),
    ("wangwu", "王五", "Wang Wu", "renshe.songling.yunshan.jiangzhou", "staff"),
    ("zhaoliu", "赵六", "Zhao Liu", "qinghe.linhe.jiangzhou", "registrar"),
    ("sunqi", "孙七", "Sun Qi", "qinghe.linhe.jiangzhou", "registrar"),
    ("zhouba", "周八", "Zhou Ba", "songling.yunshan.jiangzhou", "registrar"),
    ("wujiu", "吴九", "Wu Jiu", "jiangzhou", "system-admin"),
    ("zhengshi", "郑十", "Zheng Shi", "jiangzhou", "security-admin"),
    ("qianyi", "钱一", "Qian Yi", "jiangzhou", "auditor"),
    ("fenger", "冯二", "Feng Er", "jiangzhou", "app-owner"),
)


@dataclass(frozen=True, slots=True)
class Account:
    """A person who can log in, with what only the demonstration may know."""

    uid: str
    name: str
    name_en: str
    password: str
    roles: tuple[str, ...]
    #: entryUUID of the person's unit, and its name.
    unit: str
    unit_name: str
    #: entryUUID of the person.
    uuid: str
    #: The roles with their scope units, as confirmations bind them.
    holdings: tuple[Holding, ...]


def write(path: Path, *, seed: int = 1, hasher: PasswordHasher = ldif.DEFAULT) -> list[Account]:
    """Write the province's LDIF file to `path` and give its accounts, first the three staff, then the registrars."""
    made = accounts(seed)
    ldif.write(path, _entries(seed, made, hasher))
    return made


def accounts(seed: int = 1) -> list[Account]:
    """The accounts of the province with this seed."""
    chosen = random.Random(seed)  # noqa: S311 - a demonstration's passwords are known to everybody who reads this
    names = {place: chinese for place, chinese, _, _, _ in _units()}
    made = []
    for uid, name, name_en, unit, role in _PERSONAS:
        word = "-".join("".join(chosen.choices("abcdefghjkmnpqrstuvwxyz23456789", k=4)) for _ in range(3))
        scope = entry_uuid(seed, f"unit {unit}")
        made.append(
            Account(uid, name, name_en, word, (role,), scope, names[unit], entry_uuid(seed, f"person {uid}"), (Holding(role, scope),))
        )
    return made


def entry_uuid(seed: int, what: str) -> str:
    """The entryUUID that the province with this seed gives to `what`: `unit qinghe.linhe.jiangzhou`, `person zhangsan`."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"yumen province {seed} {what}"))


def unit_dn(place: str) -> str:
    """The DN of the unit at `place`, such as `gongan.qinghe.linhe.jiangzhou`."""
    return ",".join(f"ou={part}" for part in place.split(".")) + "," + _ROOT


def person_dn(uid: str, place: str) -> str:
    """The DN of a person of the unit at `place`."""
    return f"uid={uid},ou=people,{unit_dn(place)}"


def group_dn(role: str, place: str) -> str:
    """The DN of the group of those who hold `role` in the unit at `place`."""
    return f"cn={role},ou=roles,{unit_dn(place)}"


def _units() -> Iterator[tuple[str, str, str, str, int]]:
    """Place, Chinese, English, line, level of each unit, those above first."""
    for place, chinese, english, level in _PLACES:
        yield place, chinese, english, "", level
        for line, line_zh, line_en in _LINES:
            suffix_zh, suffix_en = _SUFFIX[level]
            yield f"{line}.{place}", chinese + line_zh + suffix_zh, f"{english} {line_en} {suffix_en}", line, level


def _clerks() -> Iterator[tuple[str, str, str]]:
    """uid, name and place of the people without an account: three in each bureau."""
    chosen = random.Random("clerks")  # noqa: S311 - names, no secrets
    for place, _, _, line, _ in _units():
        for number in range(3 if line else 0):
            yield f"c{place.replace('.', '')[:24]}{number}", chosen.choice(_SURNAMES) + chosen.choice(_GIVEN), place


def _entries(seed: int, made: list[Account], hasher: PasswordHasher) -> Iterator[Entry]:
    yield _entry(seed, _ROOT, "root", objectclass=("dcObject", "organization"), dc=("yumen",), o=("Yumen DEMO",))
    for place, chinese, english, line, _ in _units():
        extra = {"businesscategory": (line,)} if line else {}
        names = {"ou;lang-zh": (chinese,), "ou;lang-en": (english,)}
        yield _entry(seed, unit_dn(place), f"unit {place}", objectclass=_OU, ou=(place.partition(".")[0],), **names, **extra)
        for folder in ("people", "roles"):
            yield _entry(seed, f"ou={folder},{unit_dn(place)}", f"{folder} {place}", objectclass=_OU, ou=(folder,))
    places = {uid: place for uid, _, _, place, _ in _PERSONAS}
    for account in made:
        word = {"userpassword": (ldif.password(account.password, hasher),)}
        yield _person(seed, account.uid, account.name, account.name_en, places[account.uid], word)
    for uid, name, place in _clerks():
        yield _person(seed, uid, name, uid, place, {})
    yield from _groups(seed)


_OU = ("organizationalUnit",)


def _entry(seed: int, dn: str, what: str, **attributes: tuple[str, ...]) -> Entry:
    return Entry(dn, {**attributes, "entryuuid": (entry_uuid(seed, what),)})


def _person(seed: int, uid: str, name: str, name_en: str, place: str, extra: Mapping[str, tuple[str, ...]]) -> Entry:
    facts = {
        "uid": (uid,),
        "cn": (name_en,),
        "sn": (name_en.partition(" ")[0],),
        "displayname": (name,),
        "mail": (f"{uid}@jiangzhou.example",),
    }
    return _entry(seed, person_dn(uid, place), f"person {uid}", objectclass=("inetOrgPerson",), **facts, **extra)


def _groups(seed: int) -> Iterator[Entry]:
    """One group for each role and place; a bureau's staff are staff of its place; everyone is nested up to the province."""
    members: dict[tuple[str, str], list[str]] = {}
    for uid, _, _, place, role in _PERSONAS:
        members.setdefault((role, place), []).append(person_dn(uid, place))
        members.setdefault(("everyone", place), []).append(person_dn(uid, place))
    for uid, _, place in _clerks():
        members.setdefault(("staff", place), []).append(person_dn(uid, place))
        members.setdefault(("everyone", place), []).append(person_dn(uid, place))
    for place, _, _, line, _ in reversed(list(_units())):
        above = place.partition(".")[2]
        for role in ("staff", "everyone") if line else ("everyone",):
            if above and members.get((role, place)):
                members.setdefault((role, above), []).append(group_dn(role, place))
    for (role, place), held in members.items():
        yield _entry(seed, group_dn(role, place), f"group {role} {place}", objectclass=("groupOfNames",), cn=(role,), member=tuple(held))
