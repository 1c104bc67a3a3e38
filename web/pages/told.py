"""What the trail looks like to its officers: whether all is well, bars over time, lives, and why somebody was refused. Decides nothing."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from flask import url_for
from flask_babel import format_number, format_timedelta
from flask_babel import gettext as _
from sqlalchemy.orm import Session

from audit import check, history, rounds, search
from audit.event import Kind
from audit.query import of_kinds
from audit.search import Entry
from audit.tiles import PublishedLog
from audit.timeline import Timeline
from audit.trail import LOGS
from authz import explain, policy
from authz.authzen import WORDS
from core.clock import ZONE, microseconds
from core.errors import Conflict, Unavailable
from ops import homes, reconcile
from web import door
from web.pages import language, present, words
from web.pages.problem import said

#: What an officer must look at, and for how long it stays on the overview.
ALARMS = (
    *(Kind.TRAIL_DAMAGED, Kind.CONTRADICTED, Kind.TRAIL_CLOSED, Kind.CERT_MISSIGNED, Kind.CRL_REFUSED, Kind.CEREMONY_REFUSED),
    *(Kind.DIRECTORY_REFUSED, Kind.ROLE_CONFLICT, Kind.WRITER_LOST),
)
RECENT = dt.timedelta(days=7)
#: A log that grew is signed each second; longer than this, something keeps the worker from it.
_UNSIGNED = dt.timedelta(minutes=1)
#: Comparisons come every few seconds; an older one means that nobody compares.
_COMPARED = dt.timedelta(hours=1)
_SPAN_TERMS = re.compile(r"(?:^|\s)-?(?:since|until):\S+")
_HEIGHT, _WIDTH = 72, 20


def moment(microsecond: int) -> dt.datetime:
    """The time of a microsecond since 1970."""
    return dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=microsecond)


def vitals(node: Any, session: Session) -> SimpleNamespace:
    """Whether everything is all right, and what that is made of; the worst comes out on top."""
    alarms = search.find(session, of_kinds(ALARMS, microseconds(node.clock() - RECENT)), limit=5).entries
    checks = [_written(node), *(_signed(node, session, log) for log in LOGS), _verified(node, session), _compared(node, session)]
    count = _("None within seven days") if not alarms else _("Look at each of them below")
    checks.append(_check(_("Alarms"), words.Word(_("Quiet"), "good") if not alarms else words.Word(_("Alarms"), "bad"), count))
    looks = {one.word.look for one in checks}
    verdict = words.Word(_("All well"), "good")
    if "bad" in looks:
        verdict = words.Word(_("Look here"), "bad")
    elif "wait" in looks:
        verdict = words.Word(_("Nearly"), "wait")
    return SimpleNamespace(verdict=verdict, checks=checks, alarms=[present.entry(one) for one in alarms])


def _check(label: str, word: words.Word, detail: str) -> SimpleNamespace:
    return SimpleNamespace(label=label, word=word, detail=detail)


def _ago(span: dt.timedelta) -> str:
    """A length of time in words, seconds when it is short."""
    return str(format_timedelta(span, granularity="second"))


def _written(node: Any) -> SimpleNamespace:
    if node.trail.closed:
        return _check(_("Writing"), words.Word(_("Cannot be written"), "bad"), _("Everything that needs a record is refused meanwhile"))
    return _check(_("Writing"), words.Word(_("Writable"), "good"), _("Nothing is answered before its record is in the tree"))


def _signed(node: Any, session: Session, log: str) -> SimpleNamespace:
    view = PublishedLog(session, log)
    at, size, signed = view.signed_at(), view.head().size, view.signed()
    age = node.clock() - moment(at) if at is not None else None
    late = size > signed and (age is None or age > _UNSIGNED)
    word = words.Word(_("Not signed"), "bad") if late else words.Word(_("Signed"), "good")
    label = _("Log of certificates") if log == "ca" else _("Log of access")
    if age is None:
        return _check(label, word, _("No head has been signed yet"))
    detail = _("%(size)s entries, head signed %(ago)s ago", size=format_number(size), ago=_ago(age))
    return _check(label, word, detail)


def _verified(node: Any, session: Session) -> SimpleNamespace:
    """What the last round showed, or an auditor who pressed the button since; damage stands until a round agrees again."""
    result, pressed = rounds.last(session), next(iter(history.newest(session, Kind.TRAIL_CHECKED)), None)
    label, whole_at = _("Verified whole"), result.whole_at if result else None
    if result and result.damage:
        places = ", ".join(f"{one.log}:{max(one.first, 0)}" for one in result.damage)
        return _check(label, words.Word(_("Broken"), "bad"), _("Damaged from here on: %(places)s", places=places))
    if pressed and (whole_at is None or moment(pressed.t) > whole_at):
        age, good = node.clock() - moment(pressed.t), pressed.body["out"] == "ok"
        detail = _("%(ago)s ago by %(name)s", ago=_ago(age), name=present.person(pressed.body["actor"]["id"]))
    elif result and whole_at:
        age, good = node.clock() - whole_at, True
        detail = _("All %(size)s entries of both logs, round ended %(ago)s ago", size=format_number(result.entries), ago=_ago(age))
    else:
        detail = _("The worker verifies every entry, portion by portion; the button does it now")
        return _check(label, words.Word(_("Not verified yet"), "wait"), detail)
    if not good:
        return _check(label, words.Word(_("Broken"), "bad"), detail)
    return _check(label, words.Word(_("Long ago"), "wait") if age > RECENT else words.Word(_("Whole"), "good"), detail)


def _compared(node: Any, session: Session) -> SimpleNamespace:
    result, label = reconcile.last(session), _("Facts and records")
    if result is None:
        return _check(label, words.Word(_("Not compared yet"), "wait"), _("The worker compares them soon after it has started"))
    age = node.clock() - result.at
    detail = _("Compared %(ago)s ago", ago=_ago(age))
    if result.open:
        return _check(label, words.Word(_("Contradictions"), "bad"), detail)
    return _check(label, words.Word(_("Long ago"), "wait") if age > _COMPARED else words.Word(_("In agreement"), "good"), detail)


def bars(drawn: Timeline, q: str) -> SimpleNamespace | None:
    """The picture above the list; each bar leads to its own stretch of time. Nothing when there is nothing to draw."""
    if not drawn.count:
        return None
    top = max(bar.number for bar in drawn.bars)
    shown = [_bar(at, bar, drawn.step, top, q) for at, bar in enumerate(drawn.bars) if bar.number]
    ends = moment(drawn.bars[0].t), moment(drawn.bars[-1].t + drawn.step)
    since = moment(drawn.counted_from) if drawn.counted_from is not None else None
    return SimpleNamespace(
        bars=shown,
        width=_WIDTH * len(drawn.bars),
        height=_HEIGHT,
        first=ends[0],
        last=ends[1],
        count=format_number(drawn.count),
        since=since,
    )


def _bar(at: int, bar: Any, step: int, top: int, q: str) -> SimpleNamespace:
    whole, no = max(3, _HEIGHT * bar.number // top), 0 if not bar.refused else max(2, _HEIGHT * bar.refused // top)
    first, end = moment(bar.t), moment(bar.t + step)
    told = _("%(first)s to %(last)s: %(number)s, refused %(refused)s", first=language.when(first), last=language.when(end),
             number=format_number(bar.number), refused=format_number(bar.refused))  # fmt: skip
    return SimpleNamespace(x=at * _WIDTH + 2, width=_WIDTH - 4, y=_HEIGHT - whole, height=whole, no_y=_HEIGHT - no, no=no, told=told,
                           url=url_for("trail.events", q=zoomed(q, first, end)))  # fmt: skip


def zoomed(q: str, first: dt.datetime, end: dt.datetime) -> str:
    """The query `q` for another span of time."""
    spans = (f"{name}:{moment.astimezone(ZONE).isoformat()}" for name, moment in (("since", first), ("until", end)))
    return " ".join(filter(None, (_SPAN_TERMS.sub("", q).strip(), *spans)))


def proved(session: Session, found: Sequence[Entry]) -> list[SimpleNamespace]:
    """Entries for a list, each with how far it is proved."""
    states = check.standings(session, found, homes.notes_folder(door.node().settings.home))
    return [present.entry(one, state) for one, state in zip(found, states, strict=True)]


def pivots(found: Entry) -> list[SimpleNamespace]:
    """Where one can go on from an entry."""
    body, links = found.body, list[tuple[str, str]]()
    actor, about = body.get("actor", {}), str(body.get("obj", ""))
    for pseudonym in dict.fromkeys(filter(None, (actor.get("id") if actor.get("k") == "person" else "", _person_of(about)))):
        links.append((_("Life of %(name)s", name=present.person(pseudonym)), url_for("trail.person", identity=pseudonym)))
    if body.get("cert"):
        links.append((_("Life of the certificate"), url_for("trail.certificate", cert=body["cert"])))
    if body.get("out") in {"deny", "fail", "error"}:
        links.append((_("Why was this refused?"), url_for("trail.why", log=found.log, epoch=found.epoch, idx=found.idx)))
    fields = (
        ("actor", _("All by the same hand"), f"{actor.get('k', '')}:{actor.get('id', '')}"),
        ("obj", _("All about the same"), about),
        ("req", _("The whole request"), str(body.get("req", ""))),
    )
    for field, label, value in fields:
        if value.strip(":") and not re.search(r'[\s"]', value):
            links.append((label, url_for("trail.events", q=f"{field}:{value}")))
    return [SimpleNamespace(label=label, url=url) for label, url in links]


def person(known: Any) -> SimpleNamespace:
    """Somebody as the directory knows them now."""
    snapshot = door.node().world.current()
    roles = words.roles(sorted({holding.role for holding in snapshot.roles(known.uuid)}))
    word = words.Word(_("Active"), "good") if known.active else words.Word(_("Left"), "idle")
    return SimpleNamespace(name=language.named(known), unit=present.unit(known.unit), roles=roles, state=word)


def _person_of(about: str) -> str:
    return about.removeprefix("person:") if about.startswith("person:p_") else ""


def why(snapshot: Any, found: Entry) -> SimpleNamespace:
    """What was asked, what counted then, which rules there are for it, and what would be answered now."""
    body = found.body
    told, rule = body.get("d", {}), body.get("pol", {})
    action = told.get("action", "")
    rows = [one for one in policy.POLICY if str(one.action) == action] if found.kind is Kind.REFUSAL else []
    return SimpleNamespace(
        reason=_reason(body.get("rsn", "")),
        lacked=words.say(words.REASON, told["lacked"]) if "lacked" in told else "",
        action=words.say(words.ACTION, action),
        type=told.get("type", ""),
        rule=rule.get("rule", "") or told.get("nearest", ""),
        revision=rule.get("rev"),
        who=present.person(body.get("actor", {}).get("id", "")),
        about=present.person(_person_of(str(body.get("obj", "")))) or body.get("obj", ""),
        rules=[SimpleNamespace(id=one.id, roles=words.roles(one.roles)) for one in rows],
        now=_now(snapshot, found),
    )


def _reason(stored: str) -> str:
    """Why, in words: those of a person's refusal, else those that applications are told."""
    if stored in words.REASON or stored not in WORDS:
        return str(words.say(words.REASON, stored)) or _("no reason given")
    return WORDS[stored][language.current() == "zh"].format(role="–")


def _now(snapshot: Any, found: Entry) -> SimpleNamespace | None:
    """What the same inputs get with the grants of now, for a decision."""
    if found.kind is not Kind.DECISION:
        return None
    try:
        replayed = explain.replay(snapshot, found)
    except (Conflict, Unavailable) as error:
        return SimpleNamespace(word=words.Word(_("Cannot be asked again"), "idle"), detail=said(error))
    answer = words.mark(words.OUTCOME, "allow" if replayed.now.allowed else "deny")
    detail = _("The same answer for the same reason") if replayed.same else _reason(replayed.now.reason)
    return SimpleNamespace(word=answer, detail=detail)
