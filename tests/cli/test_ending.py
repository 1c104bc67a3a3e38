"""A service ends when it is told to, however often it is told."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from types import FrameType
from typing import Any

import pytest

from cli import local
from tests.shape.rules import ROOT

CHILD = "from cli import local; ended = local._end_on_signals(); print('ready', flush=True); local._wait_for_the_end(ended)"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", CHILD], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "ready\n"
        child.send_signal(number)
        assert child.wait(10) == 0
        assert child.stderr.read() == "stopping\n"


def test_a_second_signal_while_the_first_is_handled_does_no_harm() -> None:
    """make and a terminal send to every process of the group, so it arrives twice within microseconds: here, at every line."""
    former = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    ended = local._end_on_signals()
    handle = signal.getsignal(signal.SIGTERM)
    for number, handler in former.items():
        signal.signal(number, handler)
    depth = 0

    def again(_frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal depth
        if event == "line" and depth < 2:
            depth += 1
            handle(signal.SIGTERM, None)
            depth -= 1
        return again

    def told() -> None:
        sys.settrace(again)
        handle(signal.SIGTERM, None)

    thread = threading.Thread(target=told, daemon=True)
    thread.start()
    thread.join(5)
    assert not thread.is_alive()
    assert ended.get(timeout=1) == signal.SIGTERM
