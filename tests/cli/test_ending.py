"""A service ends when it is told to, however often it is told."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from tests.shape.rules import ROOT

CHILD = "from cli import local; ended = local._end_on_signals(); print('ready', flush=True); local._wait_for_the_end(ended)"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_in_quick_succession_end_it(number: signal.Signals) -> None:
    """make and a terminal both send the signal to every process of the group: it arrives twice within microseconds."""
    for _ in range(5):
        child = subprocess.Popen([sys.executable, "-c", CHILD], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        with child:
            assert child.stdout.readline() == "ready\n"
            deadline = time.monotonic() + 10
            for _ in range(2000):
                child.send_signal(number)
                if child.poll() is not None or time.monotonic() > deadline:
                    break
            try:
                assert child.wait(5) in {0, -number}  # a signal after the interpreter gave its handlers back is fatal, rightly
            finally:
                child.kill()
