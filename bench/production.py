"""The production form: durable decisions over HTTP on PostgreSQL beside their peers, and how soon a change in LDAP counts."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from authz import ldif, province
from authz.people import Entry
from authz.tree import build
from bench.clients import Client, drive
from bench.cost import Spent, of_one, spent
from bench.province import Size, write
from bench.rounds import Row, Spread, compared, in_turn
from bench.site import SEED, Process, Site, make_site

#: Clients at one time, and seconds of one round.
CLIENTS, SECONDS = 32, 2.0
#: Questions in one request, where there are several.
MANY = 16
#: What is aimed at: milliseconds that all but one answer in a hundred need at most, and seconds for a change to count.
AIM_P99, AIM_CHANGE = 30.0, 2.0

COUNTY = "qinghe.linhe.jiangzhou"
STAFF = province.group_dn("staff", COUNTY)
ZHANGSAN = province.person_dn("zhangsan", COUNTY)
#: A decision that does not come in so many seconds never will.
_GIVE_UP = 30.0


@contextmanager
def _site(folder: Path, size: Size, *, over_ldap: bool, flush_ms: float = 0.0) -> Iterator[Site]:
    """A site on a province of this size that ends with the block."""

    def directory(path: Path) -> object:
        return write(path.parent, size, seed=SEED, hasher=province.QUICK)

    site = make_site(folder, directory, over_ldap=over_ldap, flush_ms=flush_ms)
    try:
        yield site
    finally:
        site.close()


class _Asked:
    """Measures of one site: each asks for a while, and notes how long answers took and what they cost."""

    def __init__(self, site: Site) -> None:
        self._site = site
        #: Milliseconds that all but one answer in a hundred needed at most, and what one cost, by name and round.
        self.p99: dict[str, list[float]] = {}
        self.costs: dict[str, list[Spent]] = {}

    def decisions(self, name: str, *processes: Process, times: int = 1) -> Callable[[], float]:
        """Decisions of these processes a second, with so many questions in a request."""
        request = self._site.request("zhangsan", province.entry_uuid(SEED, f"unit {COUNTY}"), times)

        def measure() -> float:
            web = [process.running.pid for process in processes]
            before = spent(web, self._site.postgres.pid)
            found = drive([process.socket for process in processes], request, CLIENTS, SECONDS)
            self.costs.setdefault(name, []).append(of_one(before, spent(web, self._site.postgres.pid), len(found.waits) * times))
            self.p99.setdefault(name, []).append(statistics.quantiles(found.waits, n=100)[98])
            return found.rate * times

        return measure

    def commits(self, name: str) -> Callable[[], float]:
        """Commits of one row by `pgbench` a second."""

        def measure() -> float:
            before = spent((), self._site.postgres.pid)
            rate = self._site.postgres.one_row_commits(CLIENTS, SECONDS)
            answers = round(rate * max(1, round(SECONDS)))
            self.costs.setdefault(name, []).append(of_one(before, spent((), self._site.postgres.pid), answers))
            return rate

        return measure


def decisions(folder: Path, size: Size, flush_ms: float) -> Iterator[Row]:
    """One question to the sockets of one and of two instances, several in one request, peers of several kinds, and commits alone."""
    with _site(folder / "decisions", size, over_ldap=False, flush_ms=flush_ms) as site:
        site.work()
        first, second = site.serve("web-1"), site.serve("web-2")
        peers = [site.serve(kind, kind) for kind in ("commit-each", "row-each", "unrecorded", "http")]
        asked = _Asked(site)
        one, two, many, each, row, *_, commits = in_turn(
            asked.decisions("one instance", first),
            asked.decisions("two instances", first, second),
            asked.decisions(f"two instances, {MANY} in a request", first, second, times=MANY),
            *(asked.decisions(peer.name, peer) for peer in peers),
            asked.commits("pgbench"),
        )
    note = f"{CLIENTS} clients that keep their connections; more is better"
    for name, rates in (("one instance", one), ("two instances", two)):
        what = f"decisions over HTTP, {name}"
        yield compared(what, "/s", rates, "the same, a commit for each", each, note)
        yield compared(what, "/s", rates, "plain rows without a tree, a commit for each", row, note)
        yield compared(what, "/s", rates, "pgbench, commits of one row", commits, note)
        yield compared(f"{what}, p99", "ms", asked.p99[name], "the aim", [AIM_P99] * len(rates), "of each round; less is better")
    what, asking = f"decisions over HTTP, two instances, {MANY} in a request", asked.p99[f"two instances, {MANY} in a request"]
    yield compared(what, "/s", many, "pgbench, commits of one row", commits, note)
    yield Row(f"{what}, p99", "ms", Spread.of(asking), note="of a whole request, each round; less is better")
    for kind in ("commit-each", "row-each"):
        yield Row(f"peer `{kind}`, p99", "ms", Spread.of(asked.p99[kind]), note="of each round; less is better")
    yield from _processor_time(asked.costs)


def _processor_time(costs: Mapping[str, Sequence[Spent]]) -> Iterator[Row]:
    """Who spends what on one answer, beside a commit of `pgbench`: what two cores can give at most follows from it."""
    commit = [cost.total for cost in costs["pgbench"]]
    for name, found in costs.items():
        client, web, database = (statistics.median(part) for part in zip(*found, strict=True))
        note = f"client {client:.0f}, web {web:.0f}, database {database:.0f}"
        yield compared(f"processor time of one answer, {name}", "µs", [cost.total for cost in found], "one commit by pgbench", commit, note)


def changes(folder: Path, size: Size, number: int) -> Iterator[Row]:
    """How soon a role that was taken away in LDAP is refused at each of two instances; and what this size costs."""
    with _site(folder / "changes", size, over_ldap=True) as site:
        site.work()
        instances = [site.serve("web-1"), site.serve("web-2")]
        yield from _costs(site, instances, size)
        request = site.request("zhangsan", province.entry_uuid(SEED, f"unit {COUNTY}"))
        refused: list[list[float]] = [[] for _ in instances]
        for _ in range(number):
            began = time.monotonic()
            _change(site, "delete")
            for into, after in zip(refused, _until(instances, request, b"false", began), strict=True):
                into.append(after)
            _change(site, "add")
            _until(instances, request, b"true", time.monotonic())
    for instance, seconds in zip(instances, refused, strict=True):
        told = sorted(seconds)
        p50, p99 = statistics.median(told), told[round(0.99 * (len(told) - 1))]
        note = f"{number} changes: p50 {p50:.2f} s, p99 {p99:.2f} s; less is better"
        yield compared(f"role gone in LDAP, refused at {instance.name}", "s", told, "the promise", [AIM_CHANGE] * len(told), note)


def _costs(site: Site, instances: Sequence[Process], size: Size) -> Iterator[Row]:
    entries = ldif.parse((site.folder / "home" / "directory.ldif").read_bytes())
    note = f"{size.staff:,} people in {size.units:,} units over LDAP"
    (built,) = in_turn(lambda: _seconds(entries))
    yield Row("the directory worked out from nothing", "s", Spread.of(built), note=f"{size.staff:,} people, {len(entries):,} entries")
    yield Row("start of `yumen serve` until it answers", "s", Spread.of([each.ready_after for each in instances]), note=note)
    yield Row("memory of a web process", "MiB", Spread.of([each.resident() for each in instances]), note=f"{note}; proportional set size")


def _seconds(entries: list[Entry]) -> float:
    began = time.perf_counter()
    build(entries, str)
    return time.perf_counter() - began


def _change(site: Site, verb: str) -> None:
    assert site.slapd is not None
    site.slapd.change(f"dn: {STAFF}\nchangetype: modify\n{verb}: member\nmember: {ZHANGSAN}\n")


def _until(instances: Sequence[Process], request: bytes, decision: bytes, since: float) -> list[float]:
    """Seconds since that moment until each instance first gave this decision, all asked in turn."""
    found: dict[str, float] = {}
    clients = {instance.name: Client(instance.socket, request) for instance in instances}
    while len(found) < len(clients):
        for name in clients.keys() - found.keys():
            if clients[name].have().startswith(b'{"decision":' + decision):
                found[name] = time.monotonic() - since
        if time.monotonic() - since > _GIVE_UP:
            raise RuntimeError(f"no decision {decision.decode()} within {_GIVE_UP} s")
    for client in clients.values():
        client.socket.close()
    return [found[instance.name] for instance in instances]
