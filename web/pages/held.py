"""What roles and answers of the policy page look like to people: plain values for the templates. Decides nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace
from typing import NamedTuple

from flask_babel import gettext as _

from authz.caller import Caller
from authz.decide import Decision
from authz.explain import MOST, Able
from authz.people import Person
from authz.roles import Agreement, Held
from authz.snapshot import Freshness
from authz.world import World
from ops.acceptance import Open
from web import door
from web.pages import language, present, words


class Explained(NamedTuple):
    """What the policy page answers one person; without one, whom it allows the act."""

    person: Person | None
    decision: Decision | None
    able: Sequence[Able]

    @property
    def name(self) -> str:
        """Of the person."""
        return language.named(self.person)

    @property
    def rows(self) -> list[SimpleNamespace]:
        """Those who may, with their units and the row that says so."""
        return [
            SimpleNamespace(name=language.named(one.person), uid=one.person.uid, unit=present.unit(one.person.unit), rule=one.rule)
            for one in self.able
        ]

    @property
    def cut(self) -> bool:
        """Whether there may be more who may."""
        return len(self.able) == MOST

    @property
    def verdict(self) -> SimpleNamespace | None:
        """Yes or no, why, by which row; the nearest one and the roles that it needs."""
        if self.decision is None:
            return None
        miss = self.decision.near_miss
        needed = miss.needed.split("/") if miss else []
        return SimpleNamespace(
            word=words.OUTCOME["allow" if self.decision.allowed else "deny"],
            reason=words.say(words.REASON, self.decision.reason),
            rule=self.decision.rule or (miss.rule if miss else ""),
            needed=", ".join(str(words.say(words.ROLE, role)) for role in needed),
            revision=self.decision.revision,
        )


def contradiction(one: Open, caller: Caller) -> SimpleNamespace:
    """A contradiction as its page shows it; `mine` is whether the caller's word is still missing."""
    what = one.contradiction
    spoken = {word.by for word in one.words} | {word.office.partition(".")[2] for word in one.words}
    offices = {role.removesuffix("-admin") for role in caller.actor.roles}
    return SimpleNamespace(
        id=what.id,
        pair=what.pair,
        key=" ".join(what.key),
        problem=words.say(words.CONTRADICTION, what.problem),
        said="–" if what.said is None else " · ".join(what.said),
        shown="–" if what.shown is None else " · ".join(what.shown),
        place=one.alarm.place,
        words=[present.Moment(word.at, _("Accepted by %(name)s", name=present.person(word.by))) for word in one.words],
        state=words.Word(_("Accepted"), "idle") if one.settled else words.Word(_("Not accepted"), "bad"),
        mine=not one.settled and not spoken & {caller.actor.id, *offices},
    )


def alarms(world: World, every: Sequence[Held]) -> list[str]:
    """Where directory and confirmations disagree, and what keeps the directory from counting as it is."""
    number = Counter(one.agreement for one in every)
    said = {
        Agreement.UNCONFIRMED: _("Roles that the directory gives and nobody has confirmed: %(number)s. They have no effect."),
        Agreement.EXCLUDED: _("Roles of administrators that exclude each other: %(number)s. None of them counts until one is taken away."),
        Agreement.GONE: _("Confirmations of roles that the directory no longer gives: %(number)s. They count again if it does."),
    }
    found = [str(text).replace("%(number)s", str(number[agreement])) for agreement, text in said.items() if number[agreement]]
    if world.refused:
        found.append(
            str(_("A change of the directory is held back: it would take many roles at once. Until it is accepted, the former one counts."))
        )
    if world.current().freshness is Freshness.STALE:
        found.append(str(_("The directory has not been read for too long: every decision is no. Tell the operator.")))
    return found


def matches(one: Held, wanted: str) -> bool:
    """Whether the person's name or account, or the role, holds `wanted`."""
    person = one.person
    texts = (person.uid, person.name, person.name_en) if person else (one.uuid,)
    return any(wanted.lower() in text.lower() for text in (*texts, one.holding.role))


def row(one: Held, may: bool) -> SimpleNamespace:  # noqa: FBT001 - said where it is called
    """A role as its table shows it; `may` is whether the caller may confirm this person's roles."""
    blocked = one.person is not None and bool(door.node().world.current().barred(one.person))
    return SimpleNamespace(
        name=language.named(one.person) or _("nobody of the directory"),
        uid=one.person.uid if one.person else one.uuid,
        barred=blocked,
        role=words.say(words.ROLE, one.holding.role),
        stored_role=one.holding.role,
        unit=present.unit(one.holding.unit) or one.holding.unit,
        state=words.AGREEMENT[one.agreement],
        uuid=one.uuid,
        unit_id=one.holding.unit,
        confirmable=may and one.agreement is Agreement.UNCONFIRMED,
        withdrawable=may and one.person is not None and one.agreement is not Agreement.UNCONFIRMED,
    )
