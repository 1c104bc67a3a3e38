"""The province that is measured and played on: its size, that it is always the same, and that the demonstration is in it."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
import time
from collections import Counter

import pytest

from authz import ldif, province
from authz.directory import LdapDirectory
from authz.tree import build
from bench.province import EVERYBODY, Size, applications, land, write
from cli.story import plot
from cli.story.stage import fresh_service, stage
from tests.authz import slapd
from web import strict
from web.shapes import ApplicationBody, GrantBody

SMALL = Size(units=60, staff=500, grants=40)
#: What belongs to the place and not to the person.
NESTED = {"everyone", EVERYBODY}


def read(path):
    return build(ldif.parse(path.read_bytes()), str)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return write(tmp_path_factory.mktemp("small"), SMALL, seed=7, hasher=province.QUICK)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write(tmp_path_factory.mktemp("usual"), seed=7, hasher=province.QUICK)


@pytest.fixture(scope="module")
def usual(written):
    """The directory of the usual size."""
    return read(written.directory)


@pytest.mark.slow
def test_it_has_the_departments_cities_counties_and_townships_of_a_province(usual, written):
    found = Counter((unit.level, bool(unit.line)) for unit in usual.units.values())
    assert found == {(0, False): 1, (0, True): 50, (1, False): 14, (2, False): 86, (3, False): 1228, (1, True): 28, (2, True): 172}
    assert len(usual.people) == 20_000
    assert len({unit.line for unit in usual.units.values()}) == 51
    grants = json.loads(written.grants.read_text("utf-8"))
    assert (len(grants["applications"]), len(grants["grants"])) == (40, 400)


@pytest.mark.slow
def test_no_two_units_or_people_are_named_alike_in_one_place(usual):
    assert max(Counter((unit.parent, unit.name) for unit in usual.units.values()).values()) == 1
    assert max(Counter((unit.parent, unit.name_en) for unit in usual.units.values()).values()) == 1
    assert all(unit.name and unit.name_en.isascii() for unit in usual.units.values())


@pytest.mark.slow
def test_a_group_names_everybody_and_roles_are_nested_over_four_levels(usual):
    assert Counter(held.role for one in usual.holdings.values() for held in one)[EVERYBODY] > 19_900
    deepest = max(usual.holdings.values(), key=lambda held: sum(one.role == "everyone" for one in held))
    assert sum(held.role == "everyone" for held in deepest) == 4


@pytest.mark.slow
def test_every_city_and_county_beside_the_demonstrations_has_two_registrars(usual):
    registrars = Counter(held.unit for one in usual.holdings.values() for held in one if held.role == "registrar")
    told = {province.entry_uuid(7, f"unit {place.path}") for place in province.PLACES}
    others = {unit.id for unit in usual.units.values() if unit.level in {1, 2} and not unit.line} - told
    assert {registrars[unit] for unit in others} == {2}


def test_the_demonstration_is_in_it_unchanged(small, tmp_path):
    accounts = province.write(tmp_path / "demo.ldif", seed=7, hasher=province.QUICK)
    assert small.accounts == accounts
    demo, whole = read(tmp_path / "demo.ldif"), read(small.directory)
    for uuid, person in demo.people.items():
        assert whole.people[uuid] == person
        assert demo.holdings[uuid] <= whole.holdings[uuid]
    for uuid, unit in demo.units.items():
        assert whole.units[uuid] == unit
    for account in accounts:
        assert {held for held in whole.holdings[account.uuid] - demo.holdings[account.uuid] if held.role not in NESTED} == set()


def test_only_the_accounts_of_the_demonstration_can_log_in(small):
    words = {entry.one("uid"): entry.one("userpassword") for entry in ldif.parse(small.directory.read_bytes()) if entry.one("uid")}
    assert {uid for uid, word in words.items() if word} == {account.uid for account in small.accounts}
    source = ldif.LdifDirectory(small.directory, hasher=province.QUICK)
    for account in small.accounts[:3]:
        source.check_password(account.uid, account.password)


def test_the_same_sizes_and_seed_give_the_same_bytes_but_for_salts(tmp_path):
    told = []
    for number in ("1", "2"):
        folder = tmp_path / number
        command = [sys.executable, "-m", "bench.province", "--units", "30", "--staff", "200", "--seed", "3", str(folder)]
        subprocess.run(command, check=True, env=os.environ | {"PYTHONHASHSEED": number}, stdout=subprocess.DEVNULL)
        lines = (folder / "directory.ldif").read_text("ascii").splitlines()
        told.append(([line for line in lines if not line.startswith("userpassword")], (folder / "grants.json").read_bytes()))
    assert told[0] == told[1]
    assert [line for line in told[0][0] if line.startswith("dn: uid=s")]


def test_another_seed_makes_other_identities_and_the_same_people():
    assert land(SMALL) == land(SMALL)
    one, other = (applications(SMALL, seed) for seed in (1, 2))
    assert one["grants"] != other["grants"]
    assert [grant["role"] for grant in one["grants"]] == [grant["role"] for grant in other["grants"]]


@pytest.mark.parametrize("size", [{"units": 7}, {"staff": 100}, {"lines": 1}, {"lines": 51}])
def test_what_cannot_hold_the_demonstration_is_refused(size):
    with pytest.raises(ValueError, match="must be"):
        land(Size(**size))


@pytest.mark.slow
def test_the_grants_are_what_the_interface_takes_for_roles_that_somebody_holds(usual, written):
    told = json.loads(written.grants.read_text("utf-8"))
    roles = {held.role for one in usual.holdings.values() for held in one}
    known = {each["id"]: each for each in told["applications"]}
    for each in told["applications"]:
        body = strict.read(ApplicationBody, each)
        assert body.unit in usual.units
        assert body.owner in usual.people
    for each in told["grants"]:
        body = strict.read(GrantBody, each)
        assert body.role in roles
        assert body.action in known[body.application]["actions"]
        assert body.type in known[body.application]["types"]
        assert body.unit in {"", *usual.units}
        assert set(body.conditions) <= set(known[body.application]["asserts"])


def served(pki, made):
    """A server with what was written, given to `slapadd` as it is, and the account that reads."""
    return slapd.Slapd.load(pki, made.directory.read_text("ascii") + ldif.record(slapd.reader()) + "\n")


@pytest.mark.component("slapd")
def test_the_server_gives_the_same_directory_as_the_file(small, tmp_path):
    pki = slapd.make_pki(tmp_path)
    server = served(pki, small)
    source = LdapDirectory(slapd.settings(pki, server.url))
    try:
        assert build(source.read().entries, str) == read(small.directory)
    finally:
        source.close()
        server.remove()


@pytest.mark.proof
@pytest.mark.component("slapd")
def test_twenty_thousand_are_written_loaded_and_read_in_seconds(tmp_path):
    def timed(what, work):
        began = time.monotonic()
        made = work()
        print(f"{what}: {time.monotonic() - began:.2f} s")
        return made

    made = timed("written", lambda: write(tmp_path, Size(grants=10_000), hasher=province.QUICK))
    from_file = timed("read from the file", lambda: read(made.directory))
    pki = slapd.make_pki(tmp_path)
    server = timed("loaded by slapadd", lambda: served(pki, made))
    source = LdapDirectory(slapd.settings(pki, server.url, read_deadline=dt.timedelta(seconds=60)))
    began = time.monotonic()
    try:
        from_server = timed("read from the server", lambda: build(source.read().entries, str))
    finally:
        source.close()
        server.remove()
    assert time.monotonic() - began < 30
    assert from_server == from_file
    assert len(from_file.people) == 20_000


@pytest.mark.proof
@pytest.mark.journey
@pytest.mark.component("openssl", "chromium")
@pytest.mark.timeout(300)
def test_the_story_is_played_in_it_unchanged(tmp_path):
    home = tmp_path / "var"
    home.mkdir(mode=0o700)
    (home / "demo.seed").write_bytes(b"7".zfill(32) + b"\n")
    write(home, seed=7)
    with fresh_service(home, print) as served, stage(served, print) as place:
        assert len((home / "directory.ldif").read_bytes()) > 10_000_000
        outcome = plot.play(place, print)
    assert set(outcome.enrolled) == {"command", "openssl", "page"}
    assert max(outcome.refused_after.values()) <= 2
