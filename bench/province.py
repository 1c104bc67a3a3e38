"""A whole province: `python -m bench.province FOLDER` writes its directory and the grants of its applications.

It holds the demonstration (`authz.province`) whole: the same people with the same uids, roles and passwords by seed, so
that whatever is played there can be played here. Round it stand the departments of all vertical lines, cities, counties
and townships, staff who cannot log in, a registrar or two for each place, a group that names everybody, and the groups
of applications, nested over places and lines. The same sizes and seed give the same bytes, but for the salts of passwords.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice, product
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher

from authz import ldif, province
from authz.province import Account, Clerk, Land, Line, Place
from bench import names

#: What the units below the province are: departments, cities, counties, townships; of so many in all.
SHARES, WHOLE = (50, 14, 86, 1228), 1378
#: Lines whose bureaus stand in every city and county, the demonstration's first.
ALL_LINES: tuple[Line, ...] = (*province.LINES, *names.LINES)
#: The group that names everybody, one by one.
EVERYBODY = "civil-servants"

_LEAST = (len(province.LINES), 2, 4, 0)
_LEVELS = (("City", "市"), ("County", "县"), ("Town", "镇"))
_GRANTS_EACH = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large the province is."""

    #: Departments, cities, counties and townships below the province, in its own proportions.
    units: int = WHOLE
    #: Lines that have a bureau in every city and county beside their department; these bureaus come on top of `units`.
    lines: int = len(province.LINES)
    #: People in all, the accounts of the demonstration among them.
    staff: int = 20_000
    #: Grants in the applications' file; ten belong to one application.
    grants: int = 400


@dataclass(frozen=True, slots=True)
class Made:
    """What was written: the directory, the applications with their grants, and who can log in."""

    directory: Path
    grants: Path
    accounts: list[Account]


def write(folder: Path, size: Size = Size(), *, seed: int = 1, hasher: PasswordHasher = ldif.DEFAULT) -> Made:
    """Write `directory.ldif`, for `slapadd` (so without a version line) and for Yumen's own reader, and `grants.json` into `folder`.

    Raises:
        ValueError: too small to hold the demonstration, or larger than there are names.
    """
    made = Made(folder / "directory.ldif", folder / "grants.json", province.accounts(seed))
    with made.directory.open("w", encoding="ascii", newline="\n") as file:
        for entry in province.entries(land(size), seed=seed, hasher=hasher):
            file.write(ldif.record(entry) + "\n\n")
    made.grants.write_text(json.dumps(applications(size, seed), ensure_ascii=False, indent=1) + "\n", "utf-8")
    return made


def land(size: Size) -> Land:
    """Units, people and groups of a province of this size."""
    small = province.demonstration()
    chosen = random.Random("province")
    places = list(_places(size))
    number = size.staff - len(province.accounts()) - len(small.clerks)
    clerks = [*small.clerks, *_clerks(places, number, chosen)]
    return Land(places, clerks, _groups(size, places, clerks, chosen))


def applications(size: Size, seed: int = 1) -> dict[str, Any]:
    """Applications and grants, in the words of `POST /api/v1/applications` and `POST /api/v1/grants`."""
    owner = next(account for account in province.accounts(seed) if "app-owner" in account.roles)
    known, grants = [], list[dict[str, Any]]()
    for name, place in _programs(size):
        unit = province.entry_uuid(seed, f"unit {place.path}")
        known.append(
            {
                "id": name,
                "name": f"{place.name}业务系统",
                "unit": unit,
                "owner": owner.uuid,
                "actions": ["approve", "export", "read", "submit"],
                "types": ["document", "record"],
                "asserts": ["resource.status", "resource.unit"],
            }
        )
        grants += ({"application": name, **grant} for grant in _grants(name, unit))
    return {"applications": known, "grants": grants[: size.grants]}


def _grants(name: str, unit: str) -> Iterator[dict[str, Any]]:
    """Ten grants: by roles of the application's own, by roles of everybody, within a unit, on a condition, and one that forbids."""
    for role, action, kind in (
        ("reader", "read", "document"),
        ("reader", "read", "record"),
        ("editor", "read", "document"),
        ("editor", "submit", "document"),
        ("editor", "submit", "record"),
        ("approver", "approve", "document"),
    ):
        yield {"role": f"{name}-{role}", "action": action, "type": kind}
    yield {"role": f"{name}-approver", "action": "approve", "type": "record", "assurance": 1}
    yield {"role": "staff", "action": "read", "type": "document", "unit": unit}
    yield {"role": "registrar", "action": "read", "type": "record", "conditions": {"resource.status": "active"}}
    yield {"role": "everyone", "action": "export", "type": "record", "effect": "forbid"}


def _programs(size: Size) -> Iterator[tuple[str, Place]]:
    """The applications and the departments that they belong to, in turn."""
    departments = [place for place in _places(size) if place.line and place.level == 0]
    for number in range(-(-size.grants // _GRANTS_EACH)):
        place = departments[number % len(departments)]
        yield f"{place.line}-{number // len(departments) + 1}", place


def _places(size: Size) -> Iterator[Place]:
    """All units, those above first; the demonstration's among them."""
    departments, *numbers = _numbers(size)
    if not len(province.LINES) <= size.lines <= departments:
        raise ValueError(f"lines must be {len(province.LINES)} to {departments}")
    top = [place for place in province.PLACES if place.level == 0]
    yield from top
    yield from (place.bureau(line) for place in top for line in ALL_LINES[:departments])
    fresh = _fresh_names()
    above = top
    for level, number in enumerate(numbers, 1):
        here = [place for place in province.PLACES if place.level == level]
        for sound, chinese in islice(fresh, number - len(here)):
            parent = above[len(here) % len(above)]
            english, suffix = _LEVELS[level - 1]
            here.append(Place(f"{sound}.{parent.path}", chinese + suffix, f"{sound.capitalize()} {english}", "", level))
        yield from here
        if level < len(_LEVELS):
            yield from (place.bureau(line) for place in here for line in ALL_LINES[: size.lines])
        above = here


def _numbers(size: Size) -> list[int]:
    """How many departments, cities, counties and townships there are."""
    found = [max(least, round(share * size.units / WHOLE)) for least, share in zip(_LEAST, SHARES, strict=True)][:-1]
    found[0] = min(found[0], len(ALL_LINES))
    if (rest := size.units - sum(found)) < 0:
        raise ValueError(f"units must be at least {sum(_LEAST)}")
    return [*found, rest]


def _fresh_names() -> Iterator[tuple[str, str]]:
    """Names of places, sound and characters, none twice and none of the demonstration's."""
    used = {place.path.partition(".")[0] for place in province.PLACES}
    pairs = list(product(names.FIRST.items(), names.SECOND.items()))
    random.Random("places").shuffle(pairs)
    threes = ((*pair, third) for third in names.SECOND.items() for pair in pairs)
    for parts in chain(pairs, threes):
        sound = "".join(sound for _, sound in parts)
        if sound not in used:
            used.add(sound)
            yield sound, "".join(character for character, _ in parts)


def _clerks(places: list[Place], number: int, chosen: random.Random) -> Iterator[Clerk]:
    """Two in each unit that must have some, registrars where a government has none yet; the others anywhere, more in offices."""
    told = {place.path for place in province.PLACES}
    first = [place for place in places if place.level < len(_LEVELS) and place.path not in told for _ in range(2)]
    if number < len(first):
        raise ValueError(f"staff must be at least {len(first) + 52}")
    offices = [8 if place.line and not place.level else 4 if place.line else 2 if place.level < len(_LEVELS) else 1 for place in places]
    surnames, given = list(names.SURNAMES.items()), list(names.GIVEN.items())
    for n, place in enumerate([*first, *chosen.choices(places, offices, k=number - len(first))], 1):
        surname, *rest = chosen.choice(surnames), *chosen.choices(given, k=chosen.choice((1, 2, 2)))
        chinese = surname[0] + "".join(character for character, _ in rest)
        english = f"{surname[1].capitalize()} {''.join(sound for _, sound in rest).capitalize()}"
        is_registrar = n <= len(first) and not place.line
        yield Clerk(f"s{n:06d}", chinese, english, place.path, ("staff", "registrar") if is_registrar else ("staff",))


def _groups(size: Size, places: list[Place], clerks: list[Clerk], chosen: random.Random) -> dict[tuple[str, str], list[str]]:
    """Everybody by name, and for each application those who read, edit and approve in it."""
    everybody = [province.person_dn(clerk.uid, clerk.place) for clerk in clerks]
    groups = {(EVERYBODY, province.PLACES[0].path): everybody}
    by_place: dict[str, list[str]] = {}
    for clerk, dn in zip(clerks, everybody, strict=True):
        by_place.setdefault(clerk.place, []).append(dn)
    told = {place.path for place in province.demonstration().places}  # whose accounts keep exactly their roles
    offices = [place for place in places if place.path in by_place and place.path not in told]
    for name, place in _programs(size):
        own, editors = by_place[place.path], (f"{name}-editor", place.path)
        nested = [province.group_dn("staff", other.path) for other in chosen.sample(offices, min(8, len(offices)))]
        groups[f"{name}-approver", place.path] = own[:2]
        groups[editors] = [*own, province.group_dn(f"{name}-approver", place.path)]
        groups[f"{name}-reader", place.path] = [*nested, province.group_dn(*editors)]
    return groups


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.province",
        description=__doc__.partition("\n\n")[0],
        epilog="""examples:
  python -m bench.province build/province                              20,000 staff in 1,378 units
  python -m bench.province --units 60 --staff 500 build/small          a small one, in a blink
  python -m bench.province --staff 200000 --grants 10000 --lines 10 build/large
  slapadd -q -f slapd.conf -l build/province/directory.ldif            into an empty OpenLDAP with argon2.la
""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    usual = Size()
    parser.add_argument("folder", type=Path, help="where directory.ldif, grants.json and accounts.json are written")
    parser.add_argument("--units", type=int, default=usual.units, help="departments, cities, counties, townships (%(default)s)")
    parser.add_argument("--lines", type=int, default=usual.lines, help="lines with a bureau in every city and county (%(default)s)")
    parser.add_argument("--staff", type=int, default=usual.staff, help="people in all (%(default)s)")
    parser.add_argument("--grants", type=int, default=usual.grants, help="grants, ten for each application (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of entryUUIDs and passwords (%(default)s)")
    told = parser.parse_args()
    told.folder.mkdir(parents=True, exist_ok=True)
    made = write(told.folder, Size(units=told.units, lines=told.lines, staff=told.staff, grants=told.grants), seed=told.seed)
    known = [{"uid": each.uid, "name": each.name, "password": each.password, "roles": each.roles} for each in made.accounts]
    (told.folder / "accounts.json").write_text(json.dumps(known, ensure_ascii=False, indent=1) + "\n", "utf-8")
    print(f"{made.directory} ({made.directory.stat().st_size / 1e6:.1f} MB), {made.grants}")


if __name__ == "__main__":
    main()
