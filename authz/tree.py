"""From entries to persons, units and roles, change by change. Pure: a new tree shares with the old one whatever stayed.

What follows from an entry is worked out when that entry changes: a person or a group among twenty thousand costs
milliseconds. A changed unit may move everybody below it, so then everything is worked out again.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NamedTuple

from authz.people import Directory, Entry, Holding, Person, Unit, normal_dn
from core.errors import Malformed

_PERSON, _UNIT, _GROUP = "inetorgperson", "organizationalunit", "groupofnames"
_ROLE = re.compile(r"[a-z][a-z0-9-]{0,63}")
#: The attributes that anything here follows from: nothing else of an entry is kept.
_KEPT = {"objectclass", "entryuuid", "member"}
_KEPT |= {"uid", "cn", "displayname", "mail", "mobile", "employeetype"} | {"ou", "ou;lang-zh", "ou;lang-en", "businesscategory"}

Pseudonym = Callable[[str], str]


class Group(NamedTuple):
    """A group: the role that it gives, if it gives one, and the normal DNs of its members."""

    gives: Holding | None
    members: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """What `entries` (by entryUUID) say, with the parts from which the next change is worked out; those are by normal DN."""

    entries: Mapping[str, Entry]
    directory: Directory
    #: Normal DN by entryUUID.
    dns: Mapping[str, str]
    units: Mapping[str, Unit]
    people: Mapping[str, Person]
    groups: Mapping[str, Group]
    #: entryUUIDs of those to whom each role in each unit is given.
    given: Mapping[Holding, frozenset[str]]
    pseudonym: Pseudonym

    @classmethod
    def of(cls, entries: Mapping[str, Entry], pseudonym: Pseudonym) -> Tree:
        """The tree of `entries`, worked out from nothing.

        Raises:
            Malformed: two share a DN or a uid, or a person has no uid or stands in no unit.
        """
        dns = {identity: normal_dn(entry.dn) for identity, entry in entries.items()}
        by_dn = {dn: entries[identity] for identity, dn in dns.items()}
        if len(by_dn) < len(dns):
            twice = next(entry for identity, entry in entries.items() if by_dn[dns[identity]] is not entry)
            raise Malformed("the directory holds `{dn}` twice; remove one", dn=twice.dn)
        units = _units(by_dn)
        people = {dn: _person(dn, entry, units, pseudonym) for dn, entry in by_dn.items() if _is(_PERSON, entry)}
        groups = {dn: _group(dn, entry, units) for dn, entry in by_dn.items() if _is(_GROUP, entry)}
        given = _given({group.gives for group in groups.values()}, groups, people)
        held: dict[str, set[Holding]] = {person.uuid: set() for person in people.values()}
        for holding, persons in given.items():
            for identity in persons:
                held[identity].add(holding)
        directory = _directory(units, people, {identity: frozenset(holdings) for identity, holdings in held.items()})
        return cls(
            entries=entries, directory=directory, dns=dns, units=units, people=people, groups=groups, given=given, pseudonym=pseudonym
        )

    def changed(self, news: Mapping[str, Entry | None]) -> Tree:
        """The tree in which the entries with these entryUUIDs are others, are new, or (`None`) are gone.

        Raises:
            Malformed: as for `of`.
        """
        before = {identity: self.entries[identity] for identity in news if identity in self.entries}
        after = {identity: entry for identity, entry in news.items() if entry is not None}
        entries = {**self.entries, **after}
        for identity in before.keys() - after.keys():
            del entries[identity]
        if any(_is(_UNIT, entry) for entry in (*before.values(), *after.values())):
            return Tree.of(entries, self.pseudonym)
        dns, people, groups = dict(self.dns), dict(self.people), dict(self.groups)
        for identity in before:
            dn = dns.pop(identity)
            people.pop(dn, None)
            groups.pop(dn, None)
        taken = set(dns.values())
        for identity, entry in after.items():
            dn = dns[identity] = normal_dn(entry.dn)
            if dn in taken:
                raise Malformed("the directory holds `{dn}` twice; remove one", dn=entry.dn)
            taken.add(dn)
            if _is(_PERSON, entry):
                people[dn] = _person(dn, entry, self.units, self.pseudonym)
            if _is(_GROUP, entry):
                groups[dn] = _group(dn, entry, self.units)
        new = replace(self, entries=entries, dns=dns, people=people, groups=groups)
        given, holdings = _regiven(self, new, news)
        return replace(new, given=given, directory=_directory(self.units, people, holdings))


def build(entries: Iterable[Entry], pseudonym: Pseudonym) -> Directory:
    """The directory that `entries` describe.

    Raises:
        Malformed: an entry lacks entryUUID, two share one, a DN or a uid, or a person has no uid or stands in no unit.
    """
    return Tree.of(keyed(entries), pseudonym).directory


def keyed(entries: Iterable[Entry]) -> dict[str, Entry]:
    """`entries` by entryUUID.

    Raises:
        Malformed: one has none, or two share one.
    """
    found: dict[str, Entry] = {}
    for entry in entries:
        try:
            identity = str(uuid.UUID(entry.one("entryuuid")))
        except ValueError:
            raise Malformed("`{dn}` has no entryUUID; export the directory with operational attributes", dn=entry.dn) from None
        if identity in found:
            raise Malformed("the directory holds the entryUUID of `{dn}` twice; remove one", dn=entry.dn)
        found[identity] = entry
    return found


def kept(identity: str, entry: Entry) -> Entry | None:
    """What is kept of `entry`, which is no password; nothing when no person, unit or role follows from it."""
    if not any(_is(kind, entry) for kind in (_PERSON, _UNIT, _GROUP)):
        return None
    held = {**entry.attributes, "entryuuid": (identity,)}
    return Entry(entry.dn, {name: held[name] for name in sorted(_KEPT & held.keys())})


def _is(kind: str, entry: Entry) -> bool:
    """Whether `entry` is of this kind; a folder has no Chinese name and is no unit."""
    held = entry.attributes.get("objectclass", ())
    return any(value.lower() == kind for value in held) and (kind != _UNIT or "ou;lang-zh" in entry.attributes)


def _above(dn: str) -> str:
    return dn.partition(",")[2]


def _units(by_dn: Mapping[str, Entry]) -> dict[str, Unit]:
    """Units by normal DN, those nearer to the root first."""
    units: dict[str, Unit] = {}
    bureaus: dict[tuple[str, str], list[Unit]] = {}
    for dn in sorted((dn for dn, entry in by_dn.items() if _is(_UNIT, entry)), key=lambda dn: dn.count(",")):
        entry, parent = by_dn[dn], units.get(_above(dn))
        identity, line = _identity(entry), entry.one("businesscategory")
        near = [bureau for place in parent.chain for bureau in bureaus.get((line, place), ())] if parent and line else []
        superiors = [bureau.id for bureau in near if parent and bureau.level < parent.level]
        chain = (*(parent.chain if parent else ()), identity)
        unit = units[dn] = Unit(
            id=identity,
            name=entry.one("ou;lang-zh"),
            name_en=entry.one("ou;lang-en") or entry.one("ou"),
            parent=parent.id if parent else "",
            level=0 if not parent else parent.level if line else parent.level + 1,
            line=line,
            chain=chain,
            above=frozenset((*chain, *superiors)),
        )
        bureaus.setdefault((line, unit.parent), []).append(unit)
    return units


def _identity(entry: Entry) -> str:
    return str(uuid.UUID(entry.one("entryuuid")))


def _person(dn: str, entry: Entry, units: Mapping[str, Unit], pseudonym: Pseudonym) -> Person:
    place = _above(dn)
    while place and place not in units:
        place = _above(place)
    identity, uid = _identity(entry), entry.one("uid")
    if not place or not uid:
        raise Malformed("the person `{dn}` has no uid or stands in no unit; move the entry below one", dn=entry.dn)
    return Person(
        uuid=identity,
        id=pseudonym(identity),
        uid=uid,
        name=entry.one("displayname") or entry.one("cn"),
        name_en=entry.one("cn"),
        mail=entry.one("mail"),
        mobile=entry.one("mobile"),
        unit=units[place].id,
        active=entry.one("employeetype").lower() != "inactive",
    )


def _group(dn: str, entry: Entry, units: Mapping[str, Unit]) -> Group:
    role, place = entry.one("cn").lower(), _above(dn)
    unit = units.get(_above(place)) if place.startswith("ou=roles,") and _ROLE.fullmatch(role) else None
    return Group(Holding(role, unit.id) if unit else None, frozenset(map(normal_dn, entry.attributes.get("member", ()))))


def _directory(units: Mapping[str, Unit], people: Mapping[str, Person], holdings: Mapping[str, frozenset[Holding]]) -> Directory:
    by_uid = {person.uid: person for person in people.values()}
    if len(by_uid) != len(people):
        raise Malformed("two persons of the directory share a uid; change one")
    return Directory(
        MappingProxyType({person.uuid: person for person in people.values()}),
        MappingProxyType(by_uid),
        MappingProxyType({person.id: person for person in people.values()}),
        MappingProxyType({unit.id: unit for unit in units.values()}),
        MappingProxyType(holdings),
    )


def _given(
    holdings: Collection[Holding | None], groups: Mapping[str, Group], people: Mapping[str, Person]
) -> dict[Holding, frozenset[str]]:
    """To whom the roles among `holdings` are given."""
    found: dict[Holding, frozenset[str]] = {}
    for dn, group in groups.items():
        if group.gives is not None and group.gives in holdings:
            persons = frozenset(people[member].uuid for member in _closure(dn, groups) & people.keys())
            found[group.gives] = found.get(group.gives, frozenset()) | persons
    return found


def _closure(dn: str, groups: Mapping[str, Group]) -> set[str]:
    """Everything reachable from the group at `dn`; a cycle of groups ends."""
    reached: set[str] = set()
    waiting = [dn]
    while waiting:
        found = groups[waiting.pop()].members - reached
        reached |= found
        waiting += [member for member in found if member in groups]
    return reached


def _regiven(old: Tree, new: Tree, news: Collection[str]) -> tuple[dict[Holding, frozenset[str]], dict[str, frozenset[Holding]]]:
    """Who holds what in `new`, whose entries differ from those of `old` in `news`: only the roles that reach these are followed."""
    touched = {dn for identity in news for dn in (old.dns.get(identity, ""), new.dns.get(identity, "")) if _differs(old, new, dn)}
    affected = {each.gives for dn in touched for each in (old.groups.get(dn), new.groups.get(dn)) if each and each.gives}
    affected |= {gives for dn in _reaching(touched, new.groups) if (gives := new.groups[dn].gives)}
    fresh = _given(affected, new.groups, new.people)
    holdings = dict(old.directory.holdings)
    for identity in news:
        if new.dns.get(identity, "") in new.people:
            holdings.setdefault(identity, frozenset())
        else:
            holdings.pop(identity, None)
    for holding in affected:
        before, after = old.given.get(holding, frozenset()), fresh.get(holding, frozenset())
        for identity in (before - after) & holdings.keys():
            holdings[identity] -= {holding}
        for identity in after - before:
            holdings[identity] |= {holding}
    return {holding: persons for holding, persons in old.given.items() if holding not in affected} | fresh, holdings


def _differs(old: Tree, new: Tree, dn: str) -> bool:
    """Whether another person, or another group, stands at `dn` now."""
    before, after = old.people.get(dn), new.people.get(dn)
    return (before and before.uuid) != (after and after.uuid) or old.groups.get(dn) != new.groups.get(dn)


def _reaching(touched: Collection[str], groups: Mapping[str, Group]) -> set[str]:
    """The groups from which something in `touched` can be reached."""
    found: set[str] = set()
    edge = set(touched)
    while edge:
        edge = {dn for dn, group in groups.items() if dn not in found and not group.members.isdisjoint(edge)}
        found |= edge
    return found
