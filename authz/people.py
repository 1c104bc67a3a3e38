"""Persons, units and the roles they hold: what the directory says, as frozen values. Pure, knows no file and no server.

A unit stands on two axes: the government of its place (块: province, city, county) and its vertical line (条: the
bureau of the same business one level up). Officers of any unit on either axis above it may act for it.

A role is a group `cn=<role>,ou=roles,<unit>`: its place in the tree is its scope. Groups may contain groups.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
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
    #: Number for short messages, as the directory writes it; often empty.
    mobile: str
    #: Id of the unit the person belongs to.
    unit: str
    active: bool


class Holding(NamedTuple):
    """A role and the unit it was given in: its scope."""

    role: str
    unit: str


@dataclass(frozen=True, slots=True)
class Directory:
    """The directory at one moment. Never changed; `authz.tree` works out the next one."""

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


def empty() -> Directory:
    """A directory in which nobody is."""
    return Directory(*(MappingProxyType({}) for _ in range(5)))


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
