"""A server that stands still says nothing: everybody gets an answer in time, never a wrong yes, and all goes on when it does."""

from __future__ import annotations

import datetime as dt
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from audit.record import recording
from core.errors import Error, NotYetProved, Unavailable
from tests.audit.homes import Home, decision, issued
from tests.postgres import Cluster

pytestmark = [
    pytest.mark.alone,
    pytest.mark.component("postgresql"),
    pytest.mark.slow,
    pytest.mark.parametrize("place", ["postgresql"], indirect=True),
]

#: Shortened deadlines of these tests, in seconds, and what the machine may take beside them.
SILENCE, PATIENCE, SLACK = 1.0, 1.5, 3.0


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.database.SILENCE", dt.timedelta(seconds=SILENCE))
    monkeypatch.setattr("audit.flusher.PATIENCE", dt.timedelta(seconds=PATIENCE))


@contextmanager
def frozen(cluster: Cluster) -> Iterator[None]:
    """All processes of the server stand still; nobody is told, no connection ends."""
    postmaster = int((cluster.data / "postmaster.pid").read_text().split()[0])
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    stopped = [postmaster, *map(int, children)]
    for process in stopped:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in stopped:
            os.kill(process, signal.SIGCONT)


def seconds_until_no(act: Callable[[], object], *kinds: type[Error]) -> float:
    began = time.monotonic()
    with pytest.raises(kinds):
        act()
    return time.monotonic() - began


def change(home: Home, person: str) -> None:
    with recording(home.trail) as tx:
        tx.db.execute(text("INSERT INTO authz_account (person, reason, at) VALUES (:person, 'why', now())"), {"person": person})
        tx.record(issued(1, object=f"fact:{person}"))


def look(home: Home) -> None:
    with home.database.looking() as cursor:
        cursor.execute("SELECT 1", {})


def told(home: Home) -> list[str]:
    return [one.removeprefix("fact:") for (one,) in home.rows("SELECT object FROM trail_event WHERE object LIKE 'fact:%'")]


def assert_as_good_as_ever(home: Home) -> None:
    """No restart: the same process goes on, and owes nothing."""
    until = time.monotonic() + 15
    while home.trail.closed:
        assert time.monotonic() < until
        time.sleep(0.05)
    change(home, "afterwards")
    home.trail.append([decision(7)])
    assert sorted(told(home)) == sorted(person for (person,) in home.rows("SELECT person FROM authz_account"))
    assert home.check(home.save_heads()).open_numbers == {}


def test_while_the_server_stands_still_the_answer_is_no_in_time(home: Home, cluster: Cluster) -> None:
    with home.database.looking(), home.database.looking(), home.database.looking():
        pass  # three connections wait in the pool, and are good as far as anybody knows
    with frozen(cluster):
        assert seconds_until_no(lambda: look(home), Unavailable) < SILENCE + SLACK
        assert seconds_until_no(lambda: change(home, "before it is known"), Unavailable) < SILENCE + PATIENCE + SLACK
        assert seconds_until_no(lambda: home.trail.append([decision(1)]), Unavailable) < PATIENCE + SLACK
        assert home.trail.closed
        assert seconds_until_no(lambda: change(home, "meanwhile"), Unavailable) < PATIENCE + 2 + SLACK
        assert seconds_until_no(lambda: look(home), Unavailable) < SILENCE + 2 + SLACK
    assert_as_good_as_ever(home)
    assert told(home) == ["afterwards"]


def test_whoever_is_under_way_when_it_stops_learns_no_wrong_yes(home: Home, cluster: Cluster) -> None:
    answers: dict[str, str] = {}
    stop = threading.Event()

    def act(name: str) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            person = f"{name}-{number}"
            try:
                change(home, person)
            except NotYetProved:
                answers[person] = "recorded"
            except Error:
                answers[person] = "no"
            else:
                answers[person] = "yes"

    threads = [threading.Thread(target=act, args=(f"t{one}",)) for one in range(6)]
    for thread in threads:
        thread.start()
    for _ in range(2):
        time.sleep(0.5)
        with frozen(cluster):
            before = len(answers)
            time.sleep(SILENCE + PATIENCE + 1)
            assert all(answer != "yes" for answer in list(answers.values())[before + len(threads) :])
    time.sleep(0.5)
    stop.set()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert_as_good_as_ever(home)
    there = set(told(home))
    assert {person for person, answer in answers.items() if answer in {"yes", "recorded"}} <= there
    assert "no" in answers.values()
    assert [person for person in there if person not in answers] == ["afterwards"]
