"""What applications, grants and answers look like to people: plain values for the templates. Decides nothing."""

from __future__ import annotations

import datetime as dt
import json
from types import SimpleNamespace
from typing import Any, NamedTuple

from authz.people import Person
from authz.simulate import Impact, Simulated
from authz.snapshot import Application
from web import door
from web.pages import language, present, words

#: Most persons of each side that the page names.
_NAMED = 50


class Answer(NamedTuple):
    """What a question to an application has given: for one person, and whose answer changes."""

    person: Person | None
    told: Simulated | None
    impact: Impact | None

    @property
    def rows(self) -> list[SimpleNamespace]:
        """Both answers, or the one when nothing was imagined."""
        if self.told is None:
            return []
        both = [(words.NOW, self.told.now)] + ([(words.THEN, self.told.then)] if self.impact else [])
        return [SimpleNamespace(label=label, **vars(verdict(each))) for label, each in both]

    @property
    def sides(self) -> list[SimpleNamespace]:
        """Who gains and who loses: how many, and the first names."""
        if self.impact is None:
            return []
        return [SimpleNamespace(count=len(side), names=[_whose(one) for one in side[:_NAMED]]) for side in self.impact]

    @property
    def is_idle(self) -> bool:
        """Whether nothing changes for anybody."""
        return self.impact is not None and not any(self.impact)

    @property
    def name(self) -> str:
        """Of the person."""
        return language.named(self.person)


def application(one: Application) -> SimpleNamespace:
    """An application as its pages show it."""
    state = words.Word(words.IN_USE, "good") if one.active else words.Word(words.SWITCHED_OFF, "bad")
    owner = door.node().world.current().directory.people.get(one.owner)
    return SimpleNamespace(
        id=one.id,
        name=one.name,
        unit=present.unit(one.unit),
        owner=language.named(owner),
        active=one.active,
        state=state,
        actions=sorted(one.actions),
        types=sorted(one.types),
        asserts=sorted(one.asserts),
        proxy=one.proxy,
    )


def grant(row: Any) -> SimpleNamespace:
    """A grant row as its application's page shows it."""
    return SimpleNamespace(
        id=f"g{row.id}",
        effect=words.Word(words.say(words.EFFECT, row.effect), "good" if row.effect == "permit" else "bad"),
        action=row.action,
        type=row.type,
        role=words.say(words.ROLE, row.role),
        unit=present.unit(row.unit),
        conditions=[f"{name} = {value}" for name, value in json.loads(row.conditions).items()],
        assurance=words.say(words.ASSURANCE, str(row.assurance)) if row.assurance else "",
        state=_state(row, door.node().clock()),
        not_before=row.not_before,
        not_after=row.not_after,
    )


def verdict(found: Any) -> SimpleNamespace:
    """An answer: yes or no, why, and by which grant."""
    word = words.OUTCOME["allow" if found.allowed else "deny"]
    return SimpleNamespace(
        word=word, reason=words.say(words.VERDICT, found.reason), grant=found.grant, role=words.say(words.ROLE, found.role)
    )


def _state(row: Any, now: dt.datetime) -> words.Word:
    if row.not_before and now < row.not_before:
        return words.Word(words.NOT_YET, "wait")
    if row.not_after and now >= row.not_after:
        return words.Word(words.ENDED, "idle")
    return words.Word(words.IN_FORCE, "good")


def _whose(person: Person) -> str:
    return f"{language.named(person)} ({person.uid})"
