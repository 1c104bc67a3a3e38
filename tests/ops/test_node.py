from __future__ import annotations

import sqlite3
import time
from contextlib import closing

import pytest
from sqlalchemy import update

from authz.ldif import LdifDirectory
from authz.snapshot import Freshness
from authz.world import RISK_LIMIT
from ca.tables import Authority
from core.database import open_sqlite
from ops import homes
from ops.node import Anchors, Node, open_node
from ops.ticker import Ticker

pytestmark = pytest.mark.slow


def test_authorities_are_the_same_value_until_they_change(node: Node):
    now = [100.0]
    anchors = Anchors(node.database, lambda: now[0])
    first = anchors()
    now[0] += 10
    assert anchors() is first
    assert len(first.roots) == 1
    assert len(first.intermediates) == 3


def test_a_change_of_the_authorities_counts_within_a_quarter_of_a_second(node: Node, tmp_path):
    with closing(sqlite3.connect(homes.database_file(node.settings.home))) as whole, closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        whole.backup(copy)
    database, now = open_sqlite(tmp_path / "copy.db"), [100.0]
    anchors = Anchors(database, lambda: now[0])
    assert len(anchors().intermediates) == 3
    with database.writing() as session:
        session.execute(update(Authority).where(Authority.id == "servers").values(cert=None))
    now[0] += 0.25
    assert len(anchors().intermediates) == 2
    database.engine.dispose()


def test_anonymous_noise_is_written_down_when_the_node_closes(settings):
    from audit.search import find, parse_query
    from ops.node import open_node

    opened = open_node(settings, role="serve", with_keys=False)
    opened.noise.count("unauthenticated", "192.0.2.7", "GET /")
    opened.close()
    database = open_sqlite(homes.database_file(settings.home))
    with database.reading() as session:
        assert len(find(session, parse_query("code:AZ2009")).entries) == 1
    database.engine.dispose()


def test_a_ticker_goes_on_after_a_failure():
    ran: list[int] = []

    def do() -> None:
        ran.append(1)
        raise OSError("once")

    ticker = Ticker("test", 0.01, do)
    ticker.start()
    end = time.monotonic() + 5
    while len(ran) < 3 and time.monotonic() < end:
        time.sleep(0.01)
    ticker.stop()
    assert len(ran) >= 3


def test_after_a_first_reading_that_took_long_the_operator_begins_with_a_fresh_one(settings, monkeypatch):
    """A whole province takes seconds to be read: what is of high risk would be refused because of that alone."""
    read, waits = LdifDirectory.read, [RISK_LIMIT + 0.2]

    def slowly_at_first(self, *known):
        time.sleep(waits.pop() if waits else 0)
        return read(self, *known)

    monkeypatch.setattr(LdifDirectory, "read", slowly_at_first)
    node = open_node(settings, role="operator", with_keys=True)
    try:
        assert node.world.current().freshness is Freshness.FRESH
    finally:
        node.close()
