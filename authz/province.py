"""A province in small, for the demonstration and for tests: three levels, two vertical lines, nested groups.

江州省 with two cities and their counties, a public-security and a human-resources bureau at every level. Everything is
derived from a seed: the same seed gives the same entryUUIDs, and the same passwords. A larger land that holds this one is
written by the same functions.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from argon2 import PasswordHasher
from argon2.low_level import Type

from authz import ldif
from authz.people import Entry, Holding

#: Fast and weak: for tests only.
QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1, type=Type.ID)

_ROOT = "dc=yumen,dc=demo"
_SUFFIX = {0: ("厅", "Department"), 1: ("局", "Bureau"), 2: ("局", "Bureau")}


class Line(NamedTuple):
    """A vertical line (条线): its id and its names."""

    id: str
    name: str
    name_en: str


class Place(NamedTuple):
    """A unit: its path, names, line (empty: the government of the place) and level; a bureau has the level of its government."""

    path: str
    name: str
    name_en: str
    line: str
    level: int

    @property
    def above(self) -> str:
        """The path of the unit above it."""
        return self.path.partition(".")[2]

    def bureau(self, line: Line) -> Place:
        """The office of `line` at this place."""
        suffix, suffix_en = _SUFFIX[self.level]
        names = (self.name + line.name + suffix, f"{self.name_en} {line.name_en} {suffix_en}")
        return Place(f"{line.id}.{self.path}", *names, line.id, self.level)


class Clerk(NamedTuple):
    """A person without an account, with roles in the unit at `place`; everybody holds `everyone` beside them."""

    uid: str
    name: str
    name_en: str
    place: str
    roles: tuple[str, ...] = ("staff",)


@dataclass(frozen=True, slots=True)
class Land:
    """Everything but the accounts: units, those above first, the people, and members of groups beyond them by role and place."""

    places: Sequence[Place]
    clerks: Sequence[Clerk]
    members: Mapping[tuple[str, str], Sequence[str]] = field(default_factory=dict)


LINES = (Line("gongan", "公安", "Public Security"), Line("renshe", "人社", "Human Resources"))
#: The governments of the demonstration.
PLACES = (
    Place("jiangzhou", "江州省", "Jiangzhou Province", "", 0),
    Place("linhe.jiangzhou", "临河市", "Linhe City", "", 1),
    Place("yunshan.jiangzhou", "云山市", "Yunshan City", "", 1),
    Place("qinghe.linhe.jiangzhou", "清河县", "Qinghe County", "", 2),
    Place("shiqiao.linhe.jiangzhou", "石桥县", "Shiqiao County", "", 2),
    Place("songling.yunshan.jiangzhou", "松岭县", "Songling County", "", 2),
    Place("baiyun.yunshan.jiangzhou", "白云县", "Baiyun County", "", 2),
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
    ldif.write(path, entries(demonstration(), seed=seed, hasher=hasher))
    return accounts(seed)


def accounts(seed: int = 1) -> list[Account]:
    """The accounts of the province with this seed."""
    chosen = random.Random(seed)  # noqa: S311 - a demonstration's passwords are known to everybody who reads this
    names = {place.path: place.name for place in demonstration().places}
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


def demonstration() -> Land:
    """The province in small: in each bureau three people who cannot log in."""
    chosen = random.Random("clerks")  # noqa: S311 - names, no secrets
    places = [unit for place in PLACES for unit in (place, *map(place.bureau, LINES))]
    clerks = []
    for place in places:
        for number in range(3 if place.line else 0):
            uid = f"c{place.path.replace('.', '')[:24]}{number}"
            clerks.append(Clerk(uid, chosen.choice(_SURNAMES) + chosen.choice(_GIVEN), uid, place.path))
    return Land(places, clerks)


def entries(land: Land, *, seed: int = 1, hasher: PasswordHasher = ldif.DEFAULT) -> Iterator[Entry]:
    """The directory of `land` with the accounts of this seed: whatever stands above comes first."""
    yield _entry(seed, _ROOT, "root", objectclass=("dcObject", "organization"), dc=("yumen",), o=("Yumen DEMO",))
    for path, chinese, english, line, _ in land.places:
        extra = {"businesscategory": (line,)} if line else {}
        names = {"ou;lang-zh": (chinese,), "ou;lang-en": (english,)}
        yield _entry(seed, unit_dn(path), f"unit {path}", objectclass=_OU, ou=(path.partition(".")[0],), **names, **extra)
        for folder in ("people", "roles"):
            yield _entry(seed, f"ou={folder},{unit_dn(path)}", f"{folder} {path}", objectclass=_OU, ou=(folder,))
    words = {account.uid: account.password for account in accounts(seed)}
    for clerk in (*_personas(), *land.clerks):
        word = {"userpassword": (ldif.password(words[clerk.uid], hasher),)} if clerk.uid in words else {}
        yield _person(seed, clerk, word)
    for (role, path), held in _members(land).items():
        yield _entry(seed, group_dn(role, path), f"group {role} {path}", objectclass=("groupOfNames",), cn=(role,), member=tuple(held))


_OU = ("organizationalUnit",)


def _personas() -> list[Clerk]:
    return [Clerk(uid, name, name_en, place, (role,)) for uid, name, name_en, place, role in _PERSONAS]


def _entry(seed: int, dn: str, what: str, **attributes: tuple[str, ...]) -> Entry:
    return Entry(dn, {**attributes, "entryuuid": (entry_uuid(seed, what),)})


def _person(seed: int, clerk: Clerk, extra: Mapping[str, tuple[str, ...]]) -> Entry:
    facts = {
        "uid": (clerk.uid,),
        "cn": (clerk.name_en,),
        "sn": (clerk.name_en.partition(" ")[0],),
        "displayname": (clerk.name,),
        "mail": (f"{clerk.uid}@jiangzhou.example",),
    }
    return _entry(seed, person_dn(clerk.uid, clerk.place), f"person {clerk.uid}", objectclass=("inetOrgPerson",), **facts, **extra)


def _members(land: Land) -> dict[tuple[str, str], list[str]]:
    """Members by role and place: a bureau's staff are staff of its place, and everyone is nested up to the province."""
    members: dict[tuple[str, str], list[str]] = {}
    for clerk in (*_personas(), *land.clerks):
        for role in (*clerk.roles, "everyone"):
            members.setdefault((role, clerk.place), []).append(person_dn(clerk.uid, clerk.place))
    for place in reversed(land.places):
        for role in ("staff", "everyone") if place.line else ("everyone",):
            if place.above and members.get((role, place.path)):
                members.setdefault((role, place.above), []).append(group_dn(role, place.path))
    for group, more in land.members.items():
        members.setdefault(group, []).extend(more)
    return members
