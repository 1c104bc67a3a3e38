"""The queue before the trail: everybody of a batch gets an answer of their own, whoever lost patience or not."""

from __future__ import annotations

import datetime as dt
import threading
import time

import pytest

from audit import flusher as module
from audit.append import Receipt
from audit.flusher import Flusher, Full, Silent
from core.errors import Unavailable
from tests.audit.homes import decision

SHORT = dt.timedelta(milliseconds=100)


class Desk:
    """A flusher whose writes wait for the test, and callers that each say how it ended for them."""

    def __init__(self, monkeypatch):
        self.monkeypatch, self.go, self.began = monkeypatch, threading.Event(), threading.Event()
        self.ended, self.callers, self.error = {}, [], None
        self.flusher = Flusher(self._write, 100, lambda: None, lambda: 60.0)

    def _write(self, entries):
        self.began.set()
        assert self.go.wait(5)
        if self.error:
            raise self.error
        return [Receipt("access/1", number, "") for number, _ in enumerate(entries)]

    def call(self, name, patience=None):
        """Let a caller come, and return when it waits."""

        def ask():
            try:
                self.ended[name] = self.flusher.submit([decision()])[0].idx
            except Exception as error:  # noqa: BLE001 - told to the test
                self.ended[name] = type(error).__name__

        if patience:
            self.monkeypatch.setattr(module, "PATIENCE", patience)
        self.callers.append(threading.Thread(target=ask))
        self.callers[-1].start()
        time.sleep(0.03)
        self.monkeypatch.undo()

    def end(self):
        """Let the writes go on, and wait for everybody."""
        self.go.set()
        for caller in self.callers:
            caller.join(3)
            assert not caller.is_alive(), self.ended
        self.flusher.close()
        return self.ended


@pytest.fixture
def desk(monkeypatch):
    made = Desk(monkeypatch)
    made.call("first")  # is written at once; whoever comes now makes the next batch
    assert made.began.wait(3)
    return made


def test_everybody_of_a_batch_is_woken_with_a_place_of_their_own(desk):
    for number in range(20):
        desk.call(str(number))
    assert desk.end() == {"first": 0, **{str(number): number for number in range(20)}}


@pytest.mark.parametrize("impatient", [{0}, {1}, {2}, {0, 1}, {1, 2}, {0, 1, 2}])
def test_whoever_lost_patience_stops_nobody(desk, impatient):
    for number in range(3):
        desk.call(str(number), SHORT if number in impatient else None)
    time.sleep(0.15)
    ended = desk.end()
    assert {name for name, what in ended.items() if what == Silent.__name__} == {str(number) for number in impatient}
    assert {name: what for name, what in ended.items() if what != Silent.__name__} == {
        "first": 0,
        **{str(number): number for number in range(3) if number not in impatient},
    }


def test_an_error_reaches_everybody_of_its_batch(desk):
    desk.error = RuntimeError("no disk")
    for number in range(3):
        desk.call(str(number))
    assert set(desk.end().values()) == {"Unavailable"}


def test_whoever_waits_without_a_thread_is_told_once_with_a_place_of_their_own(desk):
    told, failing = [], []

    def fail(outcome):
        failing.append(outcome)
        raise RuntimeError("a bug of this caller")

    desk.flusher.hand_over([decision()], fail)
    for _ in range(3):
        desk.flusher.hand_over([decision()], told.append)
    desk.call("waits")
    assert desk.end() == {"first": 0, "waits": 4}
    assert [[receipt.idx for receipt in receipts] for receipts in told] == [[1], [2], [3]]
    assert len(failing) == 1


def test_whoever_waits_without_a_thread_is_told_when_nobody_knows(desk, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", SHORT)
    told = []
    for _ in range(3):
        desk.flusher.hand_over([decision()], told.append)
    time.sleep(0.25)
    assert [type(outcome) for outcome in told] == [Silent] * 3
    desk.end()
    assert len(told) == 3


def test_a_caller_alone_waits_for_nobody_and_many_let_the_next_batch_grow(desk):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "REST", 0.5)
        desk.go.set()
        began = time.monotonic()
        for _ in range(3):
            desk.flusher.submit([decision()])
        assert time.monotonic() - began < 0.5
        desk.go.clear()
        for number in range(module.FEW + 2):
            desk.call(str(number))  # the first is written by itself, the others together
        began = time.monotonic()
        desk.end()
        assert time.monotonic() - began > 0.5


def test_an_answer_that_would_wait_for_its_own_thread_is_a_bug_and_not_a_standstill(desk):
    found = []

    def record(_):
        try:
            desk.flusher.submit([decision()])
        except RuntimeError as error:
            found.append(str(error))

    desk.flusher.hand_over([decision()], record)
    assert desk.end() == {"first": 0}
    assert "cannot wait for itself" in found[0]


def test_an_error_reaches_those_who_wait_without_a_thread(desk):
    desk.error, told = RuntimeError("no disk"), []
    desk.flusher.hand_over([decision()], told.append)
    desk.end()
    [outcome] = told
    assert (type(outcome), type(outcome.__cause__)) == (Unavailable, RuntimeError)
    with pytest.raises(Full):
        desk.flusher.hand_over([decision()], told.append)
    assert told == [outcome]


def test_patience_that_ends_while_the_answer_comes_leaves_nobody_behind():
    """Hundreds of callers whose patience ends about when their batch is written: each gets an answer, and none waits for ever."""
    ended = []

    def write(entries):
        time.sleep(0.003)
        return [Receipt("access/1", 0, "") for _ in entries]

    flusher = Flusher(write, 10_000, lambda: None, lambda: 60.0)

    def ask():
        for _ in range(40):
            try:
                flusher.submit([decision()])
                ended.append("written")
            except Silent:
                ended.append("silent")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PATIENCE", dt.timedelta(milliseconds=5))
        callers = [threading.Thread(target=ask) for _ in range(16)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join(20)
        assert not any(caller.is_alive() for caller in callers)
    flusher.close()
    assert len(ended) == 16 * 40
    print({what: ended.count(what) for what in set(ended)})
