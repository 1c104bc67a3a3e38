"""The copy of a directory against a server that counts its changes as OpenLDAP does: whatever happens, it ends as the server is."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz import copy
from authz.copy import Copy
from authz.dialects import DIALECTS, Found, Stamp
from core.errors import Malformed, Unavailable
from tests.examples import examples

OPENLDAP = DIALECTS["openldap"]


def number(count: int) -> str:
    return f"20261121000000.{count:06d}Z#000000#001#000000"


@dataclass
class Server:
    """Entries by entryUUID: DN, mail or members, number of the last change. References are kept whole a moment later, unnumbered."""

    entries: dict[str, tuple[str, tuple[str, ...], str]] = field(default_factory=dict)
    count: int = 0
    newest: Stamp | None = None
    #: What a question does before it is answered: another change, or a failure.
    before: list = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    late: list = field(default_factory=list)
    #: An entryUUID names nothing else afterwards (RFC 4530 section 1).
    gone: set[str] = field(default_factory=set)

    def add(self, identity: int, dn: str, *values: str) -> None:
        self.count += 1
        self.entries[f"00000000-0000-4000-8000-{identity:012d}"] = (dn, values, number(self.count))

    def remove(self, identity: int) -> None:
        self.count += 1
        key = f"00000000-0000-4000-8000-{identity:012d}"
        self.gone.add(key)
        self._refer(self.entries.pop(key)[0], None)

    def rename(self, identity: int, dn: str) -> None:
        key = f"00000000-0000-4000-8000-{identity:012d}"
        old, values, _ = self.entries[key]
        self.count += 1
        self.entries[key] = (dn, values, number(self.count))
        self._refer(old, dn)

    def _refer(self, old: str, new: str | None) -> None:
        def later() -> None:
            for key, (dn, values, last) in self.entries.items():
                if dn.startswith("cn=") and old in values:
                    kept = [new if value == old else value for value in values]
                    self.entries[key] = (dn, tuple(value for value in kept if value), last)

        self.late.append(later)

    def settle(self) -> None:
        while self.late:
            self.late.pop(0)()

    def stamp(self) -> Stamp:
        return Stamp("", {"001": number(self.count)})

    def _answer(self, what: str, wanted) -> tuple[Stamp, list[Found]]:
        self.asked.append(what)
        if self.before:
            self.before.pop(0)()
        return self.stamp(), [found(key, *each) for key, each in self.entries.items() if wanted(each[2])]

    def whole(self):
        return self._answer("whole", lambda _: True)

    def new(self, since):
        return self._answer("new", lambda last: last >= since)

    def listing(self):
        stamp, everything = self._answer("listing", lambda _: True)
        return stamp, [Found(each.dn, {"entrycsn": each.attributes["entrycsn"]}) for each in everything]

    def numbered(self, numbers):
        return self._answer("numbered", lambda last: last in numbers)[1]


def found(key: str, dn: str, values: tuple[str, ...], last: str) -> Found:
    kind, name = ("inetOrgPerson", "mail") if dn.startswith("uid=") else ("groupOfNames", "member")
    held = {"objectclass": (kind.encode(),), "entryuuid": (key.encode(),), "entrycsn": (last.encode(),)}
    return Found(dn, held | {"cn": (b"x",), name: tuple(value.encode() for value in values)})


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def server():
    made = Server()
    for count in range(20):
        made.add(count, f"uid=p{count},ou=people", f"p{count}@x")
    made.add(30, "cn=staff,ou=roles", *(f"uid=p{count},ou=people" for count in range(20)))
    return made


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def held(server, clock):
    made = Copy(server, OPENLDAP, clock)
    made.read()
    server.asked.clear()
    return made


def settled(held: Copy):
    for _ in range(20):
        reading = held.read()
        if reading.settled:
            return reading
    raise AssertionError("never settled")


def truth(server: Server):
    entries = OPENLDAP.entries(found(key, *each) for key, each in server.entries.items())
    return {entry.one("entryuuid"): entry for entry in entries}


def test_a_modified_entry_counts_before_everything_was_listed(server, held):
    server.add(3, "uid=p3,ou=people", "new@x")
    reading = held.read()
    assert (reading.settled, reading.by_id) == (False, truth(server))
    assert server.asked == ["new"]
    assert held.read().settled
    assert server.asked == ["new", "listing"]


def test_what_was_deleted_goes_with_the_listing_and_not_before(server, held):
    before = held.read().by_id
    server.remove(3)
    server.add(4, "uid=p4,ou=people", "new@x")
    reading = held.read()
    assert not reading.settled
    assert reading.by_id.keys() == before.keys()
    server.settle()
    assert settled(held).by_id == truth(server)


def test_a_renamed_entry_is_never_there_twice_nor_gone(server, held):
    server.rename(3, "uid=other,ou=people")
    reading = held.read()
    assert reading.settled
    assert {entry.dn for entry in reading.by_id.values()} >= {"uid=other,ou=people"}
    assert len(reading.by_id) == len(server.entries)


def test_two_that_changed_places_are_told_apart(server, held):
    server.rename(3, "uid=z,ou=people")
    server.rename(4, "uid=p3,ou=people")
    server.rename(3, "uid=p4,ou=people")
    server.settle()
    assert settled(held).by_id == truth(server)


def test_references_that_a_server_corrects_later_and_without_a_number_are_seen(server, held, clock):
    server.rename(3, "uid=other,ou=people")
    before = settled(held).by_id
    server.settle()
    assert before != truth(server)
    assert held.read().by_id == truth(server)
    clock.now += copy.REFERENCES_SECONDS + 1
    held.read()
    server.asked.clear()
    held.read()
    assert server.asked == []


def test_an_entry_that_changes_between_listing_and_fetching_is_not_lost(server, held):
    server.rename(3, "uid=other,ou=people")
    server.before = [lambda: None, lambda: None, lambda: server.add(3, "uid=other,ou=people", "again@x")]
    before = held.read()
    assert not before.settled
    assert len(before.by_id) == len(server.entries)
    server.settle()
    assert settled(held).by_id == truth(server)


def test_a_new_one_at_the_dn_of_an_old_one_replaces_it(server, held):
    server.remove(3)
    server.add(40, "uid=p3,ou=people", "other@x")
    server.settle()
    assert settled(held).by_id == truth(server)


def test_who_comes_to_a_dn_that_a_group_still_names_is_asked_for_together_with_the_group(server, held):
    """Somebody came, got a role and went, all between two looks: the server has taken him out of the group, and gave no number for it."""
    server.add(30, "cn=staff,ou=roles", *(f"uid=p{count},ou=people" for count in range(20)), "uid=late,ou=people")
    server.add(40, "uid=late,ou=people", "x")
    server.remove(40)
    settled(held)
    server.settle()
    server.add(41, "uid=late,ou=people", "x")
    reading = held.read()
    assert reading.by_id == truth(server)


def test_many_changes_are_read_as_a_whole(server, held):
    for count in range(100, 100 + copy.MOST + 1):
        server.add(count, f"uid=n{count},ou=people", "x")
        server.remove(count)
        server.add(count + 1000, f"uid=m{count},ou=people", "x")
    held._owed = True
    assert settled(held).by_id == truth(server)
    assert "whole" in server.asked


def test_an_entryuuid_that_is_there_twice_is_refused_and_changes_nothing(server, held):
    before = held.read().by_id
    server.count += 1
    twin = found("00000000-0000-4000-8000-000000000003", "uid=twin,ou=people", ("x",), number(server.count))
    answer = server._answer
    server._answer = lambda what, wanted: (server.stamp(), [*answer(what, wanted)[1], *([twin] if wanted(number(server.count)) else [])])
    with pytest.raises(Malformed, match="twice"):
        held.read()
    assert held._by_id is before


_steps = st.lists(
    st.tuples(
        st.sampled_from(["modify", "delete", "add", "rename", "refer", "look", "fail", "during"]), st.integers(0, 7), st.integers(0, 7)
    ),
    max_size=30,
)


@examples(300)
@given(_steps)
def test_whatever_happens_the_copy_ends_as_the_server_is_and_no_failure_changes_it(steps):
    server, clock = Server(), Clock()
    for count in range(4):
        server.add(count, f"uid=p{count},ou=people", "x")
    server.add(30, "cn=staff,ou=roles", *(f"uid=p{count},ou=people" for count in range(8)))
    held = Copy(server, OPENLDAP, clock)
    held.read()
    for verb, which, other in steps:
        apply(server, held, verb, which, other)
    server.before.clear()
    server.settle()
    assert living(settled(held).by_id) == living(truth(server))
    assert held.read().by_id is held.read().by_id


def living(by_id):
    """Without members that are not there: who came and went between two looks may still be named."""
    there = {entry.dn for entry in by_id.values()}
    return {key: (entry.dn, entry.one("mail"), there & set(entry.attributes.get("member", ()))) for key, entry in by_id.items()}


def apply(server: Server, held: Copy, verb: str, which: int, other: int) -> None:
    key, dns = f"00000000-0000-4000-8000-{which:012d}", {dn for dn, _, _ in server.entries.values()}
    if verb == "modify" and key in server.entries:
        server.add(which, server.entries[key][0], f"m{server.count}@x")
    if verb == "delete" and key in server.entries:
        server.remove(which)
    if verb == "add" and key not in server.entries.keys() | server.gone and f"uid=p{other},ou=people" not in dns:
        server.add(which, f"uid=p{other},ou=people", "x")
    if verb == "rename" and key in server.entries and f"uid=p{other},ou=people" not in dns:
        server.rename(which, f"uid=p{other},ou=people")
    if verb == "refer":
        server.settle()
    if verb == "look":
        held.read()
    if verb == "during":
        server.before.append(lambda: apply(server, held, "modify", which, other))
    if verb == "fail":
        fails_once(server, held)


def fails_once(server: Server, held: Copy) -> None:
    def fail() -> None:
        raise Unavailable("no")

    before = held.read().by_id if not server.before else None
    server.add(50, "uid=p50,ou=people", f"{server.count}@x")
    server.before.insert(0, fail)
    try:
        held.read()
    except Unavailable:
        pass
    else:
        raise AssertionError("a failure went unseen")
    assert before is None or held._by_id is before
