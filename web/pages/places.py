"""Finding a unit by what a person types: its name, or a way to it such as `清河县/公安局`; ids are taken as well."""

from __future__ import annotations

from itertools import islice

from authz.people import Directory, Unit
from core.errors import Malformed, NotFound
from web.pages import language

#: How many ways are offered when a name is not enough.
_OFFERED = 5


def unit_id(directory: Directory, text: str) -> str:
    """Id of the unit that `text` means; empty for an empty text.

    Raises:
        NotFound: no unit is called so.
        Malformed: several are; says how to tell them apart.
    """
    wanted = text.strip()
    if not wanted or wanted in directory.units:
        return wanted
    parts = [part.strip() for part in wanted.split("/")]
    found = [unit for unit in directory.units.values() if _means(directory, unit, parts)]
    if not found:
        raise NotFound("no unit is called `{unit}`; write its whole name", unit=wanted[:80])
    if len(found) > 1:
        ways = ", ".join(way(directory, unit) for unit in islice(found, _OFFERED))
        raise Malformed("several units are called `{unit}`; write the way to one: {ways}", unit=wanted[:80], ways=ways)
    return found[0].id


def way(directory: Directory, unit: Unit) -> str:
    """The names from the second level of the tree down to `unit`."""
    named = [language.named(directory.units.get(identity)) for identity in unit.chain]
    return "/".join(named[1:] or named)


def _means(directory: Directory, unit: Unit, parts: list[str]) -> bool:
    """Whether `parts` are names of the chain, in order, the last one the unit's own."""
    if parts[-1] not in {unit.name, unit.name_en}:
        return False
    above = iter(directory.units[identity] for identity in unit.chain[:-1] if identity in directory.units)
    return all(any(part in {one.name, one.name_en} for one in above) for part in parts[:-1])
