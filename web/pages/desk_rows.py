"""What the desk shows beside a request: who it is, and what a registrar should notice. Decides nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from flask_babel import format_number
from flask_babel import gettext as _

from authz.people import Person
from ca import registration
from ca.desk import Beside, Known, Length
from ca.states import Standing
from ca.subjects import Facts, find_facts
from web import door
from web.pages import language, present, words


def waiting(row: Any, known: Known) -> SimpleNamespace:
    """A line of the queue."""
    person = _person(row)
    return SimpleNamespace(
        id=row.id,
        holder=row.common_name,
        account=person.uid if person else row.subject.partition(":")[2],
        unit=present.unit(row.unit),
        purpose=words.say(words.PROFILE, row.profile),
        submitted_at=row.submitted_at,
        waiting=door.node().clock() - row.submitted_at,
        mark=_mark(row.subject, known),
    )


def _mark(subject: str, known: Known) -> words.Word:
    if subject in known.twice:
        return words.Word(_("Asked more than once"), "wait")
    return words.Word(_("Has one already")) if subject in known.certified else words.Word(_("First"))


def length(queue: Length) -> SimpleNamespace | None:
    """How many wait, and for how long the first of them; nothing when nobody does."""
    if queue.since is None:
        return None
    return SimpleNamespace(count=format_number(queue.number), longest=language.ago(door.node().clock() - queue.since))


def subject(row: Any) -> list[SimpleNamespace]:
    """Who or what the request is for, as the directory or the register knows it now."""
    snapshot, person = door.node().world.current(), _person(row)
    if person is None:
        owner = snapshot.directory.by_id.get(row.owner)
        return [
            SimpleNamespace(label=_("Registered as"), value=row.subject, code=True),
            SimpleNamespace(label=_("Who answers for it"), value=language.named(owner) or "–", code=False),
        ]
    counting = [str(words.ROLE[role]) for role in snapshot.role_names(person.uuid) if role in words.ROLE]
    barred = snapshot.barred(person)
    return [
        SimpleNamespace(label=_("Account"), value=person.uid, code=True),
        SimpleNamespace(label=_("Roles"), value=("、" if language.current() == "zh" else ", ").join(counting) or "–", code=False),
        SimpleNamespace(label=_("Account is"), value=words.say(words.REASON, barred) if barred else _("in use"), code=False),
    ]


def hints(row: Any, known: Beside) -> list[words.Word]:
    """What to look at before deciding, the gravest first."""
    snapshot, now = door.node().world.current(), door.node().clock()
    found = [
        words.Word(_("Changed since it was asked: %(reason)s.", reason=words.say(words.REASON, reason)), "bad")
        for reason in Facts.decode(row.facts).changes(find_facts(snapshot, row.subject))
    ]
    if others := [one for one in known.requests if one.state in registration.UNDER_WAY]:
        numbers = ", ".join(f"№ {one.id}" for one in others)
        found.append(words.Word(_("Another request is on its way: %(numbers)s.", numbers=numbers), "warn"))
    if same := _namesakes(row):
        found.append(words.Word(_("Others of this name: %(who)s. Look at the account and an identity card.", who=same), "warn"))
    good = [one for one in known.certificates if one.standing is Standing.VALID and one.not_after > now]
    if any(registration.is_renewable(one, now) for one in good):
        found.append(words.Word(_("The present certificate ends on %(day)s: this is a renewal.", day=language.day(good[0].not_after))))
    elif good:
        found.append(words.Word(_("Holds a certificate that is good until %(day)s.", day=language.day(good[0].not_after))))
    return found


def _namesakes(row: Any) -> str:
    """Other people of the same name in the directory, at most five, by account and unit."""
    person = _person(row)
    if person is None:
        return ""
    people = door.node().world.current().directory.people.values()
    same = [one for one in people if one.name == person.name and one.uuid != person.uuid and one.active]
    return "; ".join(f"{one.uid} ({present.unit(one.unit)})" for one in same[:5])


def _person(row: Any) -> Person | None:
    return door.node().world.current().directory.by_id.get(row.subject.removeprefix("person:"))
