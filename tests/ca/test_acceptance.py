"""A contradiction that cannot be put right: noted by two officers of different offices, and an alarm again when it changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from audit import history
from audit.checkpoint import LogKey, keep_notes
from audit.event import Event, Kind
from audit.permit import Action, Actor, ActorKind
from audit.record import recording
from audit.rounds import Rounds
from audit.tiles import PublishedLog
from audit.trail import LOGS
from audit.verifier.note import Checkpoint
from authz.decide import Target
from ca.states import RequestState
from ca.tables import RevocationList
from ca.worker import Worker
from core.errors import Conflict, Denied, NotFound
from ops import acceptance, reconcile
from ops.acceptance import Open
from tests.audit.homes import go_round
from tests.ca.town import Town
from tests.comparing import Compared

SECURITY, AUDITOR = "zhengshi", "qianyi"


@pytest.fixture
def compared(town: Town) -> Iterator[Compared]:
    town.issued("zhangsan")
    town.issued("zhangsan")
    made = Compared(town.trail, town)
    made.must_be_clean()
    yield made
    made.stranger.close()


def broken(compared: Compared) -> Open:
    """A certificate of which only its events are left; what is then open about it."""
    compared.stranger.delete("ca_certificate", compared.stranger.rows("ca_certificate")[-1])
    assert compared.turn().open
    return next(one for one in listed(compared) if one.contradiction.pair == "certificate")


def listed(compared: Compared) -> list[Open]:
    with compared.trail.database.reading() as session:
        return acceptance.listing(session)


def accept(town: Town, uid: str, identity: str, comment: str = "") -> None:
    permit = town.permit(uid, Action.CONTRADICTION_ACCEPT, Target(acceptance.target(identity)))
    with recording(town.trail) as tx:
        acceptance.accept(tx, identity, comment, permit=permit)


def everything(town: Town, compared: Compared, *officers: str) -> None:
    for one in listed(compared):
        for uid in officers:
            accept(town, uid, one.contradiction.id)


def ready(compared: Compared) -> bool:
    with compared.trail.database.reading() as session:
        return reconcile.problems(session) == []


def test_it_keeps_nothing_from_working_once_both_offices_have_accepted_it(town: Town, compared: Compared) -> None:
    found = broken(compared)
    number = compared.turn().open
    assert not ready(compared)
    everything(town, compared, SECURITY)
    assert (compared.turn().open, ready(compared)) == (number, False)
    everything(town, compared, AUDITOR)
    result = compared.turn()
    assert (result.open, result.accepted, result.first) == (0, number, ())
    assert ready(compared)
    [settled] = [one for one in listed(compared) if one.contradiction == found.contradiction]
    assert settled.settled
    assert [word.office.partition(".")[2] for word in settled.words] == ["security", "auditor"]
    compared.reconciler = reconcile.Reconciler(compared.trail, compared.people)
    assert (compared.turn().open, compared.turn().accepted) == (0, number)  # a new leader knows it as well


def test_when_either_side_changes_it_is_another_one_and_an_alarm_again(town: Town, compared: Compared) -> None:
    row = compared.stranger.rows("ca_certificate")[-1]
    compared.stranger.delete("ca_certificate", row)
    compared.turn()
    everything(town, compared, SECURITY, AUDITOR)
    assert compared.turn().open == 0
    other = compared.stranger.rows("ca_certificate")[-1]
    before = len(compared.alarms())
    compared.stranger.insert("ca_certificate", row | {"der": other["der"]})
    assert compared.turn().open > 0
    assert not ready(compared)
    assert ("certificate", (f"cert:staff/{row['serial']}",), "differ") in compared.told_since(before)
    compared.stranger.delete("ca_certificate", row)
    compared.stranger.insert("ca_certificate", row)
    result = compared.turn()
    assert (result.open, result.accepted) == (0, 0)  # put right after all: nothing is left to accept
    assert listed(compared) == []


def test_nothing_is_issued_on_a_damaged_log_of_certificates_until_both_offices_have_spoken(town: Town, compared: Compared) -> None:
    """Lists go out meanwhile. Once it is mended, it is nothing to take note of any more."""
    verified = Rounds(town.trail, signed(town))
    assert go_round(verified).damage == ()
    row = compared.stranger.row("trail_event", {"log": "ca", "epoch": 1, "idx": 3})
    compared.stranger.change("trail_event", row, body=b"{}")
    assert [(one.log, one.first) for one in go_round(verified).damage] == [("ca/1", 3)]
    request, worker = town.submit("zhangsan"), Worker(replace(town.works, damaged=lambda: asked(town, acceptance.holds_issuance)))
    town.decide("zhaoliu", request)
    for officer in (SECURITY, AUDITOR):
        lists = len(town.rows(RevocationList))
        town.clock.advance(days=1)
        worker.step()
        assert (town.request(request).state, len(town.rows(RevocationList)) > lists) == (RequestState.APPROVED, True)
        assert asked(town, acceptance.problems)
        [found] = listed(compared)
        assert (found.contradiction.key, found.settled) == (("log:ca/1", "3"), False)
        accept(town, officer, found.contradiction.id, "the backup of the night has it")
    worker.step()
    assert town.request(request).state == RequestState.ISSUED
    assert not asked(town, acceptance.problems)
    assert [one.settled for one in listed(compared)] == [True]
    compared.stranger.change("trail_event", row, body=row["body"])
    go_round(verified)
    assert listed(compared) == []


def signed(town: Town) -> Path:
    """The folder of notes, with the present heads of both logs."""
    notes, key = town.folder / "notes", LogKey(b"\x01" * 32)
    notes.mkdir()
    with town.trail.database.reading() as session:
        for log in LOGS:
            keep_notes(notes, log, key, Checkpoint(town.trail.origin(log), *PublishedLog(session, log).head()))
    return notes


def asked(town: Town, question: Callable[[Session], Any]) -> Any:
    with town.trail.database.reading() as session:
        return question(session)


def test_who_may_not_or_has_spoken_already_is_refused_and_changes_nothing(town: Town, compared: Compared) -> None:
    found = broken(compared)
    identity = found.contradiction.id
    for uid in ("wujiu", "zhaoliu", "zhangsan"):
        with pytest.raises(Denied):
            accept(town, uid, identity)
    accept(town, SECURITY, identity, "备份中也没有")
    with pytest.raises(Conflict):
        accept(town, SECURITY, identity)
    with pytest.raises(NotFound):
        accept(town, AUDITOR, "0" * 32)
    permit = town.permit(AUDITOR, Action.CONTRADICTION_ACCEPT, Target(acceptance.target("0" * 32)))
    with pytest.raises(RuntimeError), recording(town.trail) as tx:
        acceptance.accept(tx, identity, "", permit=permit)  # a permit for another one is a bug
    with compared.trail.database.reading() as session:
        [told] = history.newest(session, Kind.CONTRADICTION_ACCEPTED, 10)
    assert told.details["alarm"] == {"log": f"{found.alarm.log}/{found.alarm.epoch}", "idx": found.alarm.idx}
    assert "备份" not in str(told.body)  # a comment may be personal: the event holds a commitment
    moved = Actor(ActorKind.PERSON, town.person(SECURITY).id, "password+totp")
    both = Event(kind=Kind.CONTRADICTION_ACCEPTED, actor=moved, object=acceptance.target(identity), rule="contradiction-accept.auditor")
    town.trail.append([both])
    assert compared.turn().accepted == 0  # one person who came to hold both offices does not suffice
