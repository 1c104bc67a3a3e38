"""How directory servers differ, as data: what their entries are called, and how a change is noticed. Pure.

Whatever the server calls things, an entry leaves here as `authz.tree` reads it: `inetOrgPerson`,
`organizationalUnit` and `groupOfNames`, each with `entryUUID`.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from authz.people import Entry, normal_dn
from core.errors import Malformed

Raw = Mapping[str, tuple[bytes, ...]]

#: Where `Dialect.ordered`: the attribute that numbers the last change of each entry.
CHANGE_NUMBER = "entryCSN"

_RANGE = re.compile(r"(?P<name>[^;]+);range=(?P<first>\d+)-(?P<last>\d+|\*)", re.IGNORECASE)
_PERSON, _UNIT, _GROUP = "inetOrgPerson", "organizationalUnit", "groupOfNames"


class Found(NamedTuple):
    """An entry as the server sent it, names in lower case."""

    dn: str
    attributes: Raw


class Part(NamedTuple):
    """Some values of an attribute, from the one with number `first` on; `next` asks for the following ones, or is empty."""

    name: str
    first: int
    values: tuple[bytes, ...]
    next: str


class Stamp(NamedTuple):
    """How far a server is: replica -> its last change; with the server's name where servers cannot be compared."""

    server: str
    at: Mapping[str, str]

    def behind(self, other: Stamp) -> bool:
        """Whether the other one saw a change that is missing here."""
        return self.server == other.server and any(self.at.get(replica, "") < last for replica, last in other.at.items())


def mark_of(stamp: Stamp, about: str) -> str:
    """`stamp` of the servers that `about` names, for keeping."""
    return json.dumps([about, dict(stamp.at)])


def stamp_in(mark: str, about: str) -> Stamp | None:
    """The stamp that was kept as `mark`, or nothing when it was another's."""
    kept, at = json.loads(mark) if mark else ("", {})
    return Stamp("", at) if kept == about else None


def matching(template: str, **values: str) -> str:
    """The filter `template` with `values` in it; whatever is no ASCII letter or digit is written as bytes (RFC 4515 section 3)."""
    return template.format(**{name: "".join(map(_escaped, value.encode())) for name, value in values.items()})


def _escaped(byte: int) -> str:
    character = chr(byte)
    return character if character.isascii() and character.isalnum() else f"\\{byte:02x}"


def _standard(value: bytes) -> str:
    return str(uuid.UUID(value.decode("ascii")))


def _little_endian(value: bytes) -> str:
    return str(uuid.UUID(bytes_le=value))


def _never(_: Raw) -> bool:
    return False


def _openldap_locked(attributes: Raw) -> bool:
    """ppolicy: locked by an administrator until an administrator opens it."""
    return b"000001010000Z" in attributes.get("pwdaccountlockedtime", ())


def _389_locked(attributes: Raw) -> bool:
    return any(value.lower() == b"true" for value in attributes.get("nsaccountlock", ()))


def _ad_disabled(attributes: Raw) -> bool:
    """ADS_UF_ACCOUNTDISABLE, [MS-ADTS] section 2.2.16."""
    return any(int(value) & 2 for value in attributes.get("useraccountcontrol", ()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One kind of server."""

    #: Attribute that changes with every change.
    marker: str
    #: Whether it stands at the search base; otherwise at the server's root entry.
    marker_at_base: bool = False
    #: Whether the values of two servers can be compared, so that one which lags behind is found out.
    ordered: bool = False
    #: Filter of everything that is read.
    everything: str
    #: Filter of one person; `{uid}` stands for the escaped name.
    account: str
    #: Attribute that identifies an entry for ever, and how its bytes are read.
    identity: str = "entryUUID"
    read_identity: Callable[[bytes], str] = _standard
    #: Their object class, in lower case -> ours.
    classes: Mapping[str, str]
    #: Our attribute -> theirs, for persons, units and groups.
    person: Mapping[str, str]
    unit: Mapping[str, str]
    #: Attributes that hold the DNs of a group's members.
    members: tuple[str, ...] = ("member",)
    #: Whether the account has ended, and the attributes from which that is read.
    inactive: Callable[[Raw], bool] = _never
    inactive_by: tuple[str, ...] = ()
    #: Further attributes to ask for.
    more: tuple[str, ...] = field(default=())

    def attributes(self) -> list[str]:
        """What is asked for, and nothing else: no password ever."""
        names = {"objectClass", "cn", self.identity, *self.members, *self.inactive_by, *self.more}
        names |= {CHANGE_NUMBER} if self.ordered else set()
        return sorted(names | {theirs.partition(";")[0] for theirs in (*self.person.values(), *self.unit.values())})

    def entries(self, found: Iterable[Found]) -> list[Entry]:
        """What the server sent, as `authz.tree` reads it, always in the same order.

        Raises:
            Malformed: an entry has no identity, or values that are no text.
        """
        everything = list(found)
        primary = _primary_members(everything)
        made = [entry for each in everything if (entry := self._entry(each, primary.get(each.dn, ()))) is not None]
        return sorted(made, key=lambda entry: (normal_dn(entry.dn), entry.one("entryuuid")))

    def _entry(self, found: Found, primary: tuple[str, ...]) -> Entry | None:
        theirs = {value.decode("ascii", "replace").lower() for value in found.attributes.get("objectclass", ())}
        kind = next((ours for name, ours in self.classes.items() if name in theirs), None)
        try:
            identity = self.read_identity(next(iter(found.attributes.get(self.identity.lower(), ())), b""))
            values = {ours: _text(found, name) for ours, name in {_PERSON: self.person, _UNIT: self.unit}.get(kind or "", {}).items()}
            if kind == _GROUP:
                held = [value for name in self.members for value in _text(found, name)]
                values = {"cn": _text(found, "cn"), "member": tuple(sorted({*held, *primary}))}
            ended = kind == _PERSON and self.inactive(found.attributes)
        except ValueError:
            raise Malformed(
                "`{dn}` has no {name}, or values that cannot be read; correct the entry", dn=found.dn, name=self.identity
            ) from None
        if kind is None:
            return None
        if ended:
            values["employeetype"] = ("inactive",)
        kept = {name: held for name, held in values.items() if held}
        return Entry(found.dn, {"objectclass": (kind,), "entryuuid": (identity,), **kept})


def part(name: str, values: tuple[bytes, ...]) -> Part:
    """An attribute as it was sent: whole, or the part that `;range=` says ([MS-ADTS] section 3.1.1.3.1.3.3).

    Raises:
        Malformed: the range cannot be followed.
    """
    match = _RANGE.fullmatch(name)
    if match is None:
        return Part(name.lower(), 0, values, "")
    first = int(match["first"])
    following = "" if match["last"] == "*" else f"{match['name']};range={first + len(values)}-*"
    if following and int(match["last"]) + 1 != first + len(values):
        raise Malformed("the directory sent `{name}` with {count} values", name=name, count=len(values))
    return Part(match["name"].lower(), first, values, following)


def _text(found: Found, name: str) -> tuple[str, ...]:
    """All values of an attribute in a fixed order, since servers keep none."""
    return tuple(sorted(value.decode("utf-8") for value in found.attributes.get(name.lower(), ())))


def _primary_members(found: list[Found]) -> dict[str, tuple[str, ...]]:
    """DN of a group -> DNs of the persons whose primary group it is: Active Directory does not list them as members."""
    groups = {each.attributes["objectsid"][0]: each.dn for each in found if each.attributes.get("objectsid") and b"group" in _lower(each)}
    members: dict[str, list[str]] = {}
    for each in found:
        sid, rid = each.attributes.get("objectsid", ()), each.attributes.get("primarygroupid", ())
        if sid and rid and (group := groups.get(sid[0][:-4] + int(rid[0]).to_bytes(4, "little"))):
            members.setdefault(group, []).append(each.dn)
    return {dn: tuple(held) for dn, held in members.items()}


def _lower(found: Found) -> set[bytes]:
    return {value.lower() for value in found.attributes.get("objectclass", ())}


_PEOPLE = {"uid": "uid", "cn": "cn", "displayname": "displayName", "mail": "mail", "mobile": "mobile", "employeetype": "employeeType"}
_UNITS = {"ou": "ou", "ou;lang-zh": "ou;lang-zh", "ou;lang-en": "ou;lang-en", "businesscategory": "businessCategory"}
_STANDARD = {
    "inetorgperson": _PERSON,
    "organizationalunit": _UNIT,
    "groupofnames": _GROUP,
    "groupofuniquenames": _GROUP,
}
_EVERYTHING = "(|(objectClass=inetOrgPerson)(objectClass=organizationalUnit)(objectClass=groupOfNames)(objectClass=groupOfUniqueNames))"
_ACCOUNT = "(&(objectClass=inetOrgPerson)(uid={uid}))"

DIALECTS: Mapping[str, Dialect] = MappingProxyType(
    {
        "openldap": Dialect(
            marker="contextCSN",
            marker_at_base=True,
            ordered=True,
            everything=_EVERYTHING,
            account=_ACCOUNT,
            classes=_STANDARD,
            person=_PEOPLE,
            unit=_UNITS,
            members=("member", "uniqueMember"),
            inactive=_openldap_locked,
            inactive_by=("pwdAccountLockedTime",),
        ),
        "389ds": Dialect(
            marker="lastusn",
            everything=_EVERYTHING,
            account=_ACCOUNT,
            identity="nsUniqueId",
            classes=_STANDARD,
            person=_PEOPLE,
            unit=_UNITS,
            members=("member", "uniqueMember"),
            inactive=_389_locked,
            inactive_by=("nsAccountLock",),
        ),
        "ad": Dialect(
            marker="highestCommittedUSN",
            everything="(|(&(objectClass=user)(!(objectClass=computer)))(objectClass=organizationalUnit)(objectClass=group))",
            account="(&(objectClass=user)(!(objectClass=computer))(sAMAccountName={uid}))",
            identity="objectGUID",
            read_identity=_little_endian,
            classes={"user": _PERSON, "organizationalunit": _UNIT, "group": _GROUP},
            person={"uid": "sAMAccountName", "cn": "cn", "displayname": "displayName", "mail": "mail", "mobile": "mobile"},
            unit={"ou": "ou", "ou;lang-zh": "displayName", "ou;lang-en": "description", "businesscategory": "businessCategory"},
            inactive=_ad_disabled,
            inactive_by=("userAccountControl",),
            more=("objectSid", "primaryGroupID"),
        ),
    }
)
