"""A log that ends is never written again; the next epoch begins with the word of how it ended, and everything stays proved."""

from __future__ import annotations

import pytest

from audit import check
from audit.body import Writer
from audit.checkpoint import LogKey, Publisher, verifier_keys
from audit.epochs import Ended, conclude, reopen
from audit.history import walk
from audit.tiles import PublishedLog
from audit.trail import LOGS
from audit.verifier.errors import Tampered
from audit.verifier.note import Checkpoint, open_checkpoint
from core.database import Database, open_postgres
from core.settings import Audit
from tests.audit.homes import PRIVACY, SEEDS, Home, decision, die, issued, url

KEYS = {log: LogKey(SEEDS[log]) for log in LOGS}


def ended(home: Home, known: dict[str, Checkpoint] | None = None) -> list[Ended]:
    """Both logs as they stand, signed a while ago."""
    found = []
    heads = {head.origin.split("/")[1]: head for head in home.save_heads()}
    home.trail.append([decision(), issued()])
    with home.database.reading() as session:
        for log in LOGS:
            size, root = PublishedLog(session, log).head()
            signed = heads[log]
            found.append(Ended(log=log, epoch=1, size=size, root=root, signed=signed, known=(known or heads)[log], backup="b1"))
    return found


def administrator(home: Home) -> Database:
    """Who may open an epoch: on PostgreSQL no role of the service."""
    return open_postgres(url(home.folder, "admin")) if (home.folder / "postgres").exists() else home.database


def test_the_next_epoch_begins_with_how_the_one_before_ended_and_what_waited_comes_after_it(home: Home) -> None:
    closed = ended(home)
    if home.trail.ledger.enqueues:  # an act whose process died before its event had a place
        waiting = home.trail.prepare([issued(77)])
        with home.database.writing() as session:
            home.trail.place_with(session, waiting)
    die(home)
    database = administrator(home)
    trail = reopen(database, home.clock, Writer("restore", "b2"), PRIVACY, Audit(origin="yumen.test"), closed)
    trail.settle()
    with database.reading() as session:
        for one in closed:
            first, *others = walk(session, (one.log, 2), 0, 50)
            assert first.details["restored"] == {"log": f"{one.log}/1", "size": one.size, "root": one.root.hex()}
            assert first.details["known"]["size"] == one.signed.size
            assert PublishedLog(session, one.log, 1).head().size == one.size
            placed = [told.object for told in others]
            assert ("cert:staff/4d" in placed) is (one.log == "ca" and trail.ledger.enqueues)
    conclude(trail, KEYS, home.folder / "notes", closed)
    keys = verifier_keys(home.folder / "notes")
    assert {name: key.name for name, key in keys.items()} == {
        **{log: f"yumen.test/{log}/2" for log in LOGS},
        **{f"{log}-1": f"yumen.test/{log}/1" for log in LOGS},
    }
    Publisher(trail, KEYS, home.folder / "notes").publish()
    heads = [open_checkpoint((home.folder / "notes" / f"{name}.note").read_bytes(), [key]) for name, key in keys.items()]
    assert {log.origin: log.proved == log.size for log in check.evidence(database, heads).logs} == {key.name: True for key in keys.values()}
    trail.close()
    database.engine.dispose()


def test_nothing_is_concluded_that_does_not_extend_what_was_signed(home: Home) -> None:
    closed = [Ended(**{**_fields(one), "signed": Checkpoint(one.signed.origin, one.signed.size, b"x" * 32)}) for one in ended(home)]
    die(home)
    database = administrator(home)
    trail = reopen(database, home.clock, Writer("restore", "b2"), PRIVACY, Audit(origin="yumen.test"), closed)
    with pytest.raises(Tampered):
        conclude(trail, KEYS, home.folder / "notes", closed)
    trail.close()
    database.engine.dispose()


def test_the_next_epoch_is_one_that_nobody_has_seen(home: Home) -> None:
    seen = {log: Checkpoint(f"yumen.test/{log}/4", 9, b"x" * 32) for log in LOGS}
    closed = ended(home, seen)
    assert {one.next for one in closed} == {5}
    assert [one.lost for one in closed] == [None, None]


def _fields(one: Ended) -> dict[str, object]:
    return {name: getattr(one, name) for name in ("log", "epoch", "size", "root", "known", "backup")}
