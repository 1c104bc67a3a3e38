"""What the figures of the system page look like to people: plain values for the template. Decides nothing."""

from __future__ import annotations

import datetime as dt
from types import SimpleNamespace
from typing import Any

from cryptography import x509
from flask_babel import format_decimal, format_number
from flask_babel import gettext as _

from audit import rounds
from authz.snapshot import Freshness
from ops.capacity import Capacity
from ops.copies import Copy
from ops.hour import Hour
from ops.jobs import Job
from ops.reconcile import Result
from ops.status import SOON
from web.pages import language, words

#: Less room than this is said aloud.
SCARCE = dt.timedelta(days=30)
_GOOD = "good"


def tiles(node: Any, compared: Result | None) -> list[SimpleNamespace]:
    """The figures on top of the page."""
    snapshot = node.world.current()
    fresh = words.Word(_("Fresh"), _GOOD) if snapshot.freshness is Freshness.FRESH else words.Word(_("Too old"), "bad")
    closed = words.Word(_("Cannot be written"), "bad") if node.trail.closed else words.Word(_("Writable"), _GOOD)
    answers = words.Word(_("Silent"), "bad") if node.responder.stale else words.Word(_("Answers"), _GOOD)
    counted = words.Word(_("In force"), _GOOD)
    return [
        SimpleNamespace(label=_("Directory read"), figure=_since(round(node.world.directory_age)), state=fresh),
        SimpleNamespace(label=_("Persons"), figure=format_number(len(snapshot.directory.people)), state=counted),
        SimpleNamespace(label=_("Applications"), figure=format_number(len(snapshot.applications)), state=counted),
        SimpleNamespace(label=_("Trail"), figure=_("2 logs"), state=closed),
        SimpleNamespace(label=_("Clock"), figure=_hour(node.hour), state=_belief(node.hour)),
        SimpleNamespace(label=_("Status of certificates"), figure="OCSP", state=answers),
        SimpleNamespace(
            label=_("Facts and records compared"),
            figure="–" if compared is None else _since(round((node.clock() - compared.at).total_seconds())),
            state=_agreement(compared),
        ),
    ]


def authority(row: Any, last: Any, now: dt.datetime) -> SimpleNamespace:
    """An authority: its key, its list and who signs its status."""
    certificate = x509.load_der_x509_certificate(row.cert)
    responder = x509.load_der_x509_certificate(row.responder).not_valid_after_utc if row.responder else None
    return SimpleNamespace(
        id=row.id,
        name=row.name,
        suite=row.suite,
        key=row.spki_sha256[:16],
        profiles=[words.say(words.PROFILE, profile) for profile in row.profiles.split()],
        not_after=certificate.not_valid_after_utc,
        list_number=last.number if last else None,
        this_update=last.this_update if last else None,
        next_update=last.next_update if last else None,
        responder=responder,
        state=_working(row, certificate, last, responder, now),
    )


def certificate(name: str, found: x509.Certificate, now: dt.datetime) -> SimpleNamespace:
    """A certificate of the service's own."""
    left = found.not_valid_after_utc - now
    word = words.Word(_("Ends soon"), "wait") if left > dt.timedelta() else words.Word(_("Over"), "bad")
    state = word if left < SOON else words.Word(_("In force"), _GOOD)
    return SimpleNamespace(name=name, serial=f"{found.serial_number:x}", not_after=found.not_valid_after_utc, state=state)


def job(one: Job) -> SimpleNamespace:
    """A job of the worker."""
    word = words.Word(_("Late"), "bad") if one.late else words.Word(_("On time"), _GOOD)
    return SimpleNamespace(label=words.say(words.JOB, one.name), last_at=one.last_at, due_at=one.due_at, state=word)


def room(found: Capacity) -> SimpleNamespace:
    """How large everything is, and for how long there is room."""
    left = found.left
    scarce = words.Word(_("Make room"), "bad") if left is not None and left < SCARCE else words.Word(_("Enough"), _GOOD)
    return SimpleNamespace(
        used=_bytes(found.used),
        free=_bytes(found.free) if found.free is not None else "",
        entries=format_number(found.entries),
        per_day=format_number(found.entries_per_day),
        left=language.ago(left) if left is not None else "",
        state=scarce,
    )


def copy(one: Copy, now: dt.datetime, late: dt.timedelta) -> SimpleNamespace:
    """A copy of a backup at one of its targets."""
    young = words.Word(_("Kept"), _GOOD) if now - one.at <= late else words.Word(_("Old"), "idle")
    state = words.Word(_("Taken away"), "idle") if one.removed else young
    return SimpleNamespace(name=one.name, at=one.at, size=_bytes(one.size), target=one.target, state=state)


def compared(result: Result | None) -> SimpleNamespace:
    """What the last comparison of facts and records found."""
    if result is None:
        return SimpleNamespace(at=None, whole_at=None, first=(), accepted=0, state=_agreement(result))
    return SimpleNamespace(at=result.at, whole_at=result.whole_at, first=result.first, accepted=result.accepted, state=_agreement(result))


def verified(result: rounds.Result | None) -> SimpleNamespace:
    """How far the service has verified its trail by itself."""
    if result is None:
        word = words.Word(_("Not verified yet"), "wait")
        return SimpleNamespace(whole_at=None, entries="–", done="–", damage=(), state=word)
    word = words.Word(_("Whole"), _GOOD) if result.whole_at else words.Word(_("Not verified yet"), "wait")
    return SimpleNamespace(
        whole_at=result.whole_at,
        entries=format_number(result.entries),
        done=format_number(result.done),
        damage=[one.sentence for one in result.damage],
        state=words.Word(_("Broken"), "bad") if result.damage else word,
    )


def _hour(hour: Hour) -> str:
    return str(_("stepped by %(seconds)s s", seconds=format_number(round(hour.off_seconds)))) if hour.doubtful else str(_("steady"))


def _belief(hour: Hour) -> words.Word:
    return words.Word(_("Not believed"), "bad") if hour.doubtful else words.Word(_("Believed"), _GOOD)


def _agreement(result: Result | None) -> words.Word:
    if result is None:
        return words.Word(_("Not compared yet"), "wait")
    return words.Word(_("Contradictions"), "bad") if result.open else words.Word(_("In agreement"), _GOOD)


def _working(row: Any, certificate: x509.Certificate, last: Any, responder: dt.datetime | None, now: dt.datetime) -> words.Word:
    if row.stopped:
        return words.Word(_("Stopped"), "bad")
    if row.held:
        return words.Word(_("On hold"), "wait")
    if last is not None and last.next_update <= now:
        return words.Word(_("List overdue"), "bad")
    if responder is not None and responder <= now:
        return words.Word(_("Status signer over"), "bad")
    return words.Word(_("Ends soon"), "wait") if certificate.not_valid_after_utc - now < SOON else words.Word(_("Working"), _GOOD)


def _since(seconds: int) -> str:
    return str(_("%(seconds)s s ago", seconds=seconds))


def _bytes(number: int) -> str:
    """In the unit that leaves one to three digits before the point (powers of 1,024)."""
    value, units = float(number), iter(("B", "KiB", "MiB", "GiB", "TiB"))
    unit = next(units)
    while value >= 1000 and unit != "TiB":
        value, unit = value / 1024, next(units)
    return f"{format_decimal(round(value, 1))} {unit}"
