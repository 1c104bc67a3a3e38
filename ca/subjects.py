"""What a certificate will say of whom: facts from the directory and the register of assets, never from the request.

The same look-up runs twice: when a request is submitted, and again before its certificate is signed.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from authz.people import Person
from authz.snapshot import Snapshot
from certs.names import Kind, Subject
from core.errors import NotFound

#: Why a request goes back, and the fields whose change is meant.
_CHANGES = {
    "name-changed": ("common_name", "names", "organisation", "mail"),
    "unit-changed": ("unit", "unit_names"),
    "owner-changed": ("owner",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One subject as the directory knows it now. `active` is false for who has left or what was withdrawn."""

    #: `person:<pseudonym>`, `server:<id>`, `application:<id>`, `device:<id>`.
    ref: str
    kind: str
    #: What the certificate carries as its identity: entryUUID of a person, registered id of anything else.
    id: str
    common_name: str
    #: entryUUID of the unit whose registrars decide.
    unit: str
    #: Names of the units from the province down.
    unit_names: tuple[str, ...]
    organisation: str
    mail: str
    #: Approved DNS names and addresses.
    names: tuple[str, ...]
    #: Pseudonym of the person who answers for it.
    owner: str
    active: bool

    def encode(self) -> str:
        """JSON, for the row of the request."""
        return json.dumps(asdict(self), ensure_ascii=False, sort_keys=True)

    @classmethod
    def decode(cls, text: str) -> Facts:
        """The facts that `encode` wrote."""
        values = json.loads(text)
        return cls(**{**values, "unit_names": tuple(values["unit_names"]), "names": tuple(values["names"])})

    def changes(self, now: Facts | None) -> list[str]:
        """Machine-readable reasons why a request made for these facts must not be issued; empty when nothing changed."""
        if now is None or not now.active:
            return ["subject-inactive"]
        return [reason for reason, named in _CHANGES.items() if any(getattr(self, name) != getattr(now, name) for name in named)]

    def subject(self) -> Subject:
        """The distinguished name that the certificate will carry."""
        return Subject(
            kind=Kind(self.kind),
            id=self.id,
            common_name=self.common_name,
            unit_names=self.unit_names,
            organisation=self.organisation,
            mail=self.mail,
            hosts=self.names,
        )


def facts(snapshot: Snapshot, ref: str) -> Facts:
    """What the directory and the registers say about `ref` now.

    Raises:
        NotFound: nothing of that name is known.
    """
    if found := find_facts(snapshot, ref):
        return found
    raise NotFound("`{ref}` is neither a person of the directory nor a registered asset; register it first", ref=ref)


def find_facts(snapshot: Snapshot, ref: str) -> Facts | None:
    """As `facts`, or nothing."""
    kind, _, id = ref.partition(":")  # noqa: A001 - the standard's word
    if kind == "person":
        person = snapshot.directory.by_id.get(id)
        return _person(snapshot, person) if person else None
    asset = snapshot.assets.get(ref)
    if asset is None:
        return None
    units, organisation = _units(snapshot, asset.unit)
    owner = snapshot.directory.people.get(asset.owner)
    return Facts(
        ref=ref,
        kind=kind,
        id=id,
        common_name=asset.names[0] if asset.names else asset.name,
        unit=asset.unit,
        unit_names=units,
        organisation=organisation,
        mail="",
        names=tuple(asset.names),
        owner=owner.id if owner else "",
        active=asset.active,
    )


def _person(snapshot: Snapshot, person: Person) -> Facts:
    units, organisation = _units(snapshot, person.unit)
    return Facts(
        ref=f"person:{person.id}",
        kind="person",
        id=person.uuid,
        common_name=person.name,
        unit=person.unit,
        unit_names=units,
        organisation=organisation,
        mail=person.mail,
        names=(),
        owner=person.id,
        active=person.active,
    )


def _units(snapshot: Snapshot, unit: str) -> tuple[tuple[str, ...], str]:
    """Names of the units below the root of the tree, and the root's name: the organisation of every certificate."""
    known = snapshot.directory.units
    if unit not in known:
        return (), ""
    names = [known[above].name for above in known[unit].chain]
    return tuple(names[1:]), names[0]
