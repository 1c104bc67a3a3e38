"""Persons, units and the roles they hold: what the directory says, as frozen values. Pure, knows no file and no server.

A unit stands on two axes: the government of its place (块: province, city, county) and its vertical line (条: the
bureau of the same business one level up). Officers of any unit on either axis above it may act for it.

A role is a group `cn=<role>,ou=roles,<unit>`: its place in the tree is its scope. Groups may contain groups; the closure
is computed here, by entry, and cycles end.
"""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from core.errors import Malformed, NotFound

#: Role ids that the policy page knows; applications may use any other group's name in their grants.
ROLES = ("staff", "registrar", "system-admin", "security-admin", "auditor", "app-owner")

#: Parts of a DN, their commas and those that are escaped told apart; pieces of a value: hex pairs, escaped characters, plain ones.
_RDN = re.compile(r"(?:[^,\\]|\\.)+|(?<=,)(?=,|$)", re.DOTALL)
_PIECE = re.compile(r"\\([0-9A-Fa-f]{2})|\\(.)|([^\\])", re.DOTALL)
_ESCAPED = re.compile(r"[\0\"+,;<>\\]|^[# ]| $")
_ROLE = re.compile(r"[a-z][a-z0-9-]{0,63}")


class Entry(NamedTuple):
    """One directory entry: its DN and its attributes, names in lower case with their language tag."""

    dn: str
    attributes: Mapping[str, tuple[str, ...]]

    def one(self, name: str, default: str = "") -> str:
        """The first value of attribute `name`, or `default`."""
        return self.attributes.get(name, (default,))[0]


@dataclass(frozen=True, slots=True)
class Unit:
    """An organisation unit."""

    #: entryUUID.
    id: str
    name: str
    name_en: str
    #: Id of the unit above it in the tree, empty at the top.
    parent: str
    #: 0 for the province, 1 for a city, 2 for a county; a bureau has the level of its government.
    level: int
    #: The vertical line (条线), or empty.
    line: str
    #: Ids from the top of the tree to this unit itself.
    chain: tuple[str, ...]
    #: Ids of all units whose officers may act for this one: the chain and the same line's bureaus above it.
    above: frozenset[str]


@dataclass(frozen=True, slots=True)
class Person:
    """A person of the directory."""

    #: entryUUID.
    uuid: str
    #: The pseudonym by which the trail names the person.
    id: str
    uid: str
    name: str
    name_en: str
    mail: str
    #: Id of the unit the person belongs to.
    unit: str
    active: bool


class Holding(NamedTuple):
    """A role and the unit it was given in: its scope."""

    role: str
    unit: str


@dataclass(frozen=True, slots=True)
class Directory:
    """One reading of the directory. Never changed; a new reading is a new value."""

    read_at: dt.datetime
    people: Mapping[str, Person]
    by_uid: Mapping[str, Person]
    by_id: Mapping[str, Person]
    units: Mapping[str, Unit]
    holdings: Mapping[str, frozenset[Holding]]

    def find(self, name: str) -> Person | None:
        """The person with this entryUUID, pseudonym or uid, or None."""
        return self.people.get(name) or self.by_id.get(name) or self.by_uid.get(name)

    def get(self, name: str) -> Person:
        """The person with this entryUUID, pseudonym or uid.

        Raises:
            NotFound: there is none.
        """
        if person := self.find(name):
            return person
        raise NotFound("there is no person `{person}` in the directory", person=name)

    def covers(self, scope: str, unit: str) -> bool:
        """Whether officers of unit `scope` may act for `unit`, by place or by line."""
        below = self.units.get(unit)
        return below is not None and scope in below.above

    def memberships(self) -> int:
        """How many (person, role, unit) there are."""
        return sum(map(len, self.holdings.values()))


def empty(read_at: dt.datetime) -> Directory:
    """A directory in which nobody is."""
    return Directory(read_at, *(MappingProxyType({}) for _ in range(5)))


def normal_dn(dn: str) -> str:
    """A DN as keys compare it: lower-case types and values, no spaces around separators, escapes in hex and only where RFC 4514 wants one.

    Raises:
        Malformed: it is no DN, or is written with quotes (RFC 2253 has ended).
    """
    parts = _RDN.findall(dn) if "\\" in dn else dn.split(",")
    made = []
    for part in parts:
        kind, equals, value = part.partition("=")
        try:
            plain = _ESCAPED.sub(_hex, _unescaped(value).lower()) if "\\" in value else value.strip().lower()
        except ValueError:
            plain = ""
        if not equals or not kind.strip() or not plain or '"' in plain or len(",".join(parts)) != len(dn):
            raise Malformed("the DN `{dn}` cannot be read; write it as `type=value,type=value`", dn=dn)
        made.append(f"{kind.strip().lower()}={plain}")
    return ",".join(made)


def _unescaped(value: str) -> str:
    """The value that is written with escapes (RFC 4514 section 2.4)."""
    stripped = value.strip()
    if (len(stripped) - len(stripped.rstrip("\\"))) % 2:
        stripped += " "
    octets = b"".join(bytes.fromhex(pair) if pair else (one or plain).encode() for pair, one, plain in _PIECE.findall(stripped))
    return octets.decode("utf-8")


def _hex(match: re.Match[str]) -> str:
    return f"\\{ord(match[0]):02x}"


def build(entries: Iterable[Entry], pseudonym: Callable[[str], str], read_at: dt.datetime) -> Directory:
    """The directory that `entries` describe.

    Raises:
        Malformed: an entry lacks entryUUID, two share one or a uid, or a person stands in no unit.
    """
    by_dn: dict[str, Entry] = {}
    seen: set[str] = set()
    for entry in entries:
        key, identity = normal_dn(entry.dn), _identity(entry)
        if key in by_dn or identity in seen:
            raise Malformed("the directory holds `{dn}` or its entryUUID twice; remove one", dn=entry.dn)
        by_dn[key] = entry
        seen.add(identity)
    units = _units(by_dn)
    people = _people(by_dn, units, pseudonym)
    by_uid = {person.uid: person for person in people.values()}
    if len(by_uid) != len(people):
        raise Malformed("two persons of the directory share a uid; change one")
    return Directory(
        read_at,
        MappingProxyType({person.uuid: person for person in people.values()}),
        MappingProxyType(by_uid),
        MappingProxyType({person.id: person for person in people.values()}),
        MappingProxyType({unit.id: unit for unit in units.values()}),
        MappingProxyType(_holdings(by_dn, units, people)),
    )


def _identity(entry: Entry) -> str:
    try:
        return str(uuid.UUID(entry.one("entryuuid")))
    except ValueError:
        raise Malformed("`{dn}` has no entryUUID; export the directory with operational attributes", dn=entry.dn) from None


def _classes(entry: Entry) -> set[str]:
    return {value.lower() for value in entry.attributes.get("objectclass", ())}


def _above(dn: str) -> str:
    return dn.partition(",")[2]


def _units(by_dn: Mapping[str, Entry]) -> dict[str, Unit]:
    """Units by normal DN, those nearer to the root first."""
    units: dict[str, Unit] = {}
    marked = [dn for dn, entry in by_dn.items() if "organizationalunit" in _classes(entry) and "ou;lang-zh" in entry.attributes]
    for dn in sorted(marked, key=lambda dn: dn.count(",")):
        entry, parent = by_dn[dn], units.get(_above(dn))
        identity, line = _identity(entry), entry.one("businesscategory")
        chain = (*(parent.chain if parent else ()), identity)
        superiors = {
            unit.id
            for unit in units.values()
            if line and parent and unit.line == line and unit.parent in parent.chain and unit.level < parent.level
        }
        units[dn] = Unit(
            id=identity,
            name=entry.one("ou;lang-zh"),
            name_en=entry.one("ou;lang-en") or entry.one("ou"),
            parent=parent.id if parent else "",
            level=0 if not parent else parent.level if line else parent.level + 1,
            line=line,
            chain=chain,
            above=frozenset(chain) | superiors,
        )
    return units


def _people(by_dn: Mapping[str, Entry], units: Mapping[str, Unit], pseudonym: Callable[[str], str]) -> dict[str, Person]:
    people = {}
    for dn, entry in by_dn.items():
        if "inetorgperson" not in _classes(entry):
            continue
        place = _above(dn)
        while place and place not in units:
            place = _above(place)
        identity, uid = _identity(entry), entry.one("uid")
        if not place or not uid:
            raise Malformed("the person `{dn}` has no uid or stands in no unit; move the entry below one", dn=entry.dn)
        people[dn] = Person(
            uuid=identity,
            id=pseudonym(identity),
            uid=uid,
            name=entry.one("displayname") or entry.one("cn"),
            name_en=entry.one("cn"),
            mail=entry.one("mail"),
            unit=units[place].id,
            active=entry.one("employeetype").lower() != "inactive",
        )
    return people


def _holdings(by_dn: Mapping[str, Entry], units: Mapping[str, Unit], people: Mapping[str, Person]) -> dict[str, frozenset[Holding]]:
    groups = {dn: entry for dn, entry in by_dn.items() if "groupofnames" in _classes(entry)}
    members = {dn: [normal_dn(value) for value in entry.attributes.get("member", ())] for dn, entry in groups.items()}
    found: dict[str, set[Holding]] = {person.uuid: set() for person in people.values()}
    for dn, entry in groups.items():
        role, place = entry.one("cn").lower(), _above(dn)
        if not place.startswith("ou=roles,") or (unit := units.get(_above(place))) is None or not _ROLE.fullmatch(role):
            continue
        for member in _closure(dn, members):
            if (person := people.get(member)) is not None:
                found[person.uuid].add(Holding(role, unit.id))
    return {identity: frozenset(held) for identity, held in found.items()}


def _closure(group: str, members: Mapping[str, list[str]]) -> set[str]:
    """Everything reachable from `group` through `members`; a cycle of groups ends."""
    reached: set[str] = set()
    waiting = list(members[group])
    while waiting:
        dn = waiting.pop()
        if dn not in reached:
            reached.add(dn)
            waiting += members.get(dn, [])
    return reached
