"""Heads are signed only when they extend the last note, and that note is durable before anybody sees the new one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from sqlalchemy import select

from audit.check import Standing, now, standing
from audit.checkpoint import LogKey, Publisher, create_log_keys, verifier_keys
from audit.permit import Action, Actor, ActorKind, Permit
from audit.search import entry
from audit.tables import TrailCheckpoint
from audit.tiles import PublishedLog
from audit.trail import LOGS
from audit.verifier.errors import Tampered
from audit.verifier.note import Checkpoint, open_checkpoint
from core.errors import Unavailable
from core.seal import Vault
from tests.audit.homes import SEEDS, Home, decision, issued

OFFICER = Actor(ActorKind.PERSON, "p_" + "b" * 32, "cert", roles=("auditor",))


def attack(home: Home, *statements: str) -> None:
    home.attack(*statements)


def note(home: Home, log: str) -> Path:
    return home.folder / "notes" / f"{log}.note"


def test_a_log_that_grew_gets_a_new_note_and_one_that_did_not_gets_none(home: Home) -> None:
    assert len(home.publisher.publish()) == 2
    assert home.publisher.publish() == []
    home.trail.append([decision()])
    [published] = home.publisher.publish()
    assert published == note(home, "access").read_bytes()
    with home.database.reading() as session:
        assert PublishedLog(session, "access").checkpoint() == published
    assert open_checkpoint(published, home.keys).size == 3


def test_the_note_is_in_its_file_before_it_is_published(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.trail.append([decision()])
    monkeypatch.setattr(home.publisher, "_put", lambda *_: (_ for _ in ()).throw(Unavailable("cut off here")))
    with pytest.raises(Unavailable):
        home.publisher.publish()
    signed = note(home, "ca").read_bytes()
    assert open_checkpoint(signed, home.keys).size == 2
    home.trail.append([issued()])
    monkeypatch.undo()
    again = Publisher(home.trail, {log: LogKey(SEEDS[log]) for log in LOGS}, home.folder / "notes")
    assert [open_checkpoint(published, home.keys).size for published in again.publish()] == [3, 3]


def test_a_note_that_was_signed_but_not_published_is_published_as_it_is(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(home.publisher, "_put", lambda *_: (_ for _ in ()).throw(Unavailable("cut off here")))
    with pytest.raises(Unavailable):
        home.publisher.publish()
    signed = note(home, "ca").read_bytes()
    monkeypatch.undo()
    again = Publisher(home.trail, {"ca": LogKey(SEEDS["ca"])}, home.folder / "notes")
    assert again.publish() == [signed]


def test_nothing_is_signed_for_a_shortened_log(home: Home) -> None:
    home.trail.append([decision(number) for number in range(5)])
    home.publisher.publish()
    before = note(home, "access").read_bytes()
    attack(home, "DELETE FROM trail_event WHERE log = 'access' AND idx > 2", "DELETE FROM trail_batch WHERE log = 'access' AND size > 2")
    with pytest.raises(Tampered, match="were signed before"):
        home.publisher.publish()
    assert note(home, "access").read_bytes() == before


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE trail_event SET leaf = zeroblob(32) WHERE log = 'access' AND idx = 3",
        "UPDATE trail_batch SET root = zeroblob(32) WHERE log = 'access'",
        "DELETE FROM trail_event WHERE log = 'access' AND idx = 3",
        "UPDATE trail_epoch SET origin = 'x/access/1' WHERE log = 'access'",
    ],
)
@pytest.mark.parametrize("grown", [0, 1])
def test_nothing_is_signed_for_a_rewritten_log(home: Home, statement: str, grown: int) -> None:
    home.trail.append([decision(number) for number in range(5)])
    home.publisher.publish()
    home.trail.append([decision(number) for number in range(grown)])
    before = note(home, "access").read_bytes()
    attack(home, statement)
    if grown == 0 and "trail_event" in statement:
        assert home.publisher.publish() == []  # the head is the signed one: there is nothing to sign
    else:
        with pytest.raises(Tampered):
            home.publisher.publish()
    assert note(home, "access").read_bytes() == before


def test_without_its_last_note_it_signs_only_on_an_officers_word(home: Home) -> None:
    home.publisher.publish()
    saved = {log: note(home, log).read_bytes() for log in LOGS}
    note(home, "ca").unlink()
    keys = {log: LogKey(SEEDS[log]) for log in LOGS}
    with pytest.raises(Unavailable, match="is missing"):
        Publisher(home.trail, keys, home.folder / "notes")
    note(home, "ca").write_bytes(LogKey(b"\x07" * 32).sign(open_checkpoint(saved["ca"], home.keys)))
    with pytest.raises(Tampered):
        Publisher(home.trail, keys, home.folder / "notes")
    home.trail.append([issued()])
    note(home, "ca").write_bytes(saved["ca"])
    again = Publisher(home.trail, keys, home.folder / "notes")
    [published] = again.publish()
    assert open_checkpoint(published, home.keys).size == 3


def elsewhere(home: Home) -> tuple[Publisher, Path]:
    """A publisher on another machine, whose notes are a copy made now."""
    notes = home.folder / "notes-elsewhere"
    shutil.copytree(home.folder / "notes", notes)
    return Publisher(home.trail, {log: LogKey(SEEDS[log]) for log in LOGS}, notes), notes


def test_who_stands_by_takes_over_the_published_heads(home: Home) -> None:
    other, notes = elsewhere(home)
    home.trail.append([decision(), issued()])
    home.publisher.publish()
    other.follow()
    for log in LOGS:
        assert (notes / f"{log}.note").read_bytes() == note(home, log).read_bytes()
    assert other.publish() == []
    home.trail.append([decision()])
    assert len(other.publish()) == 1


def test_who_begins_to_lead_signs_what_extends_the_heads_of_the_other(home: Home) -> None:
    other, notes = elsewhere(home)
    for number in range(3):
        home.trail.append([decision(number)])
        home.publisher.publish()
    home.trail.append([decision(9)])
    [published] = other.publish()  # without having stood by
    assert open_checkpoint(published, home.keys).size == open_checkpoint(note(home, "access").read_bytes(), home.keys).size + 1
    assert (notes / "access.note").read_bytes() == published
    home.publisher.follow()
    assert note(home, "access").read_bytes() == published


@pytest.mark.parametrize("signer", [SEEDS["access"], b"\x07" * 32], ids=["by the key itself", "by another key"])
@pytest.mark.parametrize("beyond", [0, 3], ids=["of entries that are there", "of entries that are not there"])
def test_a_published_head_that_does_not_extend_ours_is_not_followed(home: Home, signer: bytes, beyond: int) -> None:
    home.publisher.publish()
    other, notes = elsewhere(home)
    before = (notes / "access.note").read_bytes()
    home.trail.append([decision(number) for number in range(3)])
    last = open_checkpoint(before, home.keys)
    head = Checkpoint(last.origin, last.size + 3 + beyond, b"\x05" * 32)
    with home.database.writing() as session:
        forged = LogKey(signer).sign(head).decode()
        row = {"log": "access", "epoch": 1, "size": head.size, "root": head.root, "note": forged, "t": 0}
        home.trail.ledger.put_checkpoint(session, row)
    for act in (other.follow, other.publish):
        with pytest.raises(Tampered):
            act()
    assert (notes / "access.note").read_bytes() == before


def test_a_note_that_the_key_did_not_sign_stops_the_publisher(home: Home) -> None:
    home.publisher.publish()
    note(home, "ca").write_bytes(note(home, "ca").read_bytes().replace(b"\n2\n", b"\n3\n"))
    with pytest.raises(Tampered):
        Publisher(home.trail, {log: LogKey(SEEDS[log]) for log in LOGS}, home.folder / "notes")


def test_keys_are_made_once_and_taken_up_afterwards(home: Home, tmp_path: Path) -> None:
    secret = tmp_path / "worker.secret"
    secret.write_bytes(b"correct horse battery staple")
    vault, notes = Vault(tmp_path / "vault", secret), tmp_path / "own-notes"
    keys = create_log_keys(home.trail, vault, notes)
    made = {path.name: path.read_bytes() for path in notes.iterdir()}
    again = create_log_keys(home.trail, vault, notes)
    assert {path.name: path.read_bytes() for path in notes.iterdir()} == made
    publisher = Publisher(home.trail, again, notes)
    assert len(publisher.publish()) == 2
    assert verifier_keys(notes)["ca"].encode() == publisher.verifier_key("ca") == keys["ca"].verifier_key("yumen.test/ca/1").encode()


def test_the_service_checks_itself_and_records_what_came_out(home: Home) -> None:
    permit = Permit(OFFICER, Action.TRAIL_VERIFY, "trail", "trail-verify", 1)
    notes = home.folder / "notes"
    for key in home.keys:
        (notes / f"{key.name.split('/')[1]}.vkey").write_text(key.encode())
    [receipt] = home.trail.append([decision(source="10.0.0.1")])
    with home.database.reading() as session:
        found = entry(session, "access", 1, receipt.idx)
        assert standing(session, found, notes) is Standing.PENDING
    home.publisher.publish()
    with home.database.reading() as session:
        assert standing(session, found, notes) is Standing.PROVED
    assert [(one.origin, one.problem) for one in now(home.trail, notes, permit=permit)] == [
        ("yumen.test/ca/1", ""),
        ("yumen.test/access/1", ""),
    ]
    attack(home, "UPDATE trail_event SET body = leaf WHERE log = 'access' AND idx = 2")
    ca, access = now(home.trail, notes, permit=permit)
    assert ca.problem == ""
    assert "entry 2 of access/1" in access.problem
    with home.database.reading() as session:
        assert standing(session, entry(session, "access", 1, receipt.idx), notes) is Standing.BROKEN
    with pytest.raises(RuntimeError, match="used for"):
        now(home.trail, notes, permit=Permit(OFFICER, Action.TRAIL_READ, "trail", "trail-read", 1))


def test_published_notes_stay_readable(home: Home) -> None:
    for _ in range(3):
        home.trail.append([decision()])
        home.publisher.publish()
    with home.database.reading() as session:
        sizes = session.scalars(select(TrailCheckpoint.size).where(TrailCheckpoint.log == "access").order_by(TrailCheckpoint.size)).all()
    assert sizes == [3, 4, 5]
