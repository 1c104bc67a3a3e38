"""Backups are made while certificates are issued, and slow nothing down: 20 a second, on either database."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from audit.event import Event, Kind
from audit.permit import Actor
from ops import backup, running
from ops.node import Node, open_node
from tests.ops import disaster
from tests.ops.disaster import RATE, Asking, serials, until
from tests.pace import in_time

pytestmark = [pytest.mark.alone, pytest.mark.proof]
DATABASES = ["sqlite", pytest.param("postgresql", marks=pytest.mark.component("postgresql"))]

#: Seconds for which one backup follows the other, and entries of the trail that each has to take.
SECONDS, ENTRIES = 20, 50_000


def fill(node: Node) -> None:
    """A trail that is not written in no time."""
    noise = Event(
        kind=Kind.NOISE_COUNTED, actor=Actor.service("door"), object="route:-", outcome="fail", reason="unknown", details={"count": 1}
    )
    for _ in range(ENTRIES // 500):
        node.trail.append([noise] * 500)


@pytest.mark.parametrize("kind", DATABASES)
@in_time
def test_while_backups_are_made_20_certificates_a_second_are_issued(
    kind: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    folder: Path = tmp_path_factory.mktemp("rate")
    settings = disaster.found(folder, request.getfixturevalue("cluster") if kind == "postgresql" else None)
    with running.working(settings):
        node = open_node(settings, role="serve", with_keys=True)
        fill(node)
        asking = Asking(node)
        try:
            asking.start()
            until(lambda: len(serials(node)) >= RATE)
            began, before, made = time.monotonic(), serials(node), []
            while (took := time.monotonic() - began) < SECONDS:
                made.append(backup.make(node, folder / f"backups-{len(made)}", tell=lambda _: None))
            issued = len(serials(node)) - len(before)
        finally:
            asking.stop()
            node.close()
    with capsys.disabled():
        size = made[0].path.stat().st_size
        print(f"\n{kind}: {issued / took:.1f} certificates a second, while {len(made)} backups of {size:,} bytes were made")
    assert issued / took > RATE * 0.95
