"""The life of a certificate as a line: where it begins, when it can be renewed, where it ends, and what cut it short."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from flask_babel import gettext as _

from web import door
from web.pages import words

#: Length of the line in its own units.
WHOLE = 1000


@dataclass(frozen=True, slots=True)
class Stop:
    """One moment of the line."""

    at: dt.datetime
    label: str
    #: Where it stands on the line.
    place: int
    #: `past`, or empty for what is still to come.
    look: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """The line and how much of it has been lived."""

    stops: tuple[Stop, ...]
    lived: int
    #: From where on a renewal is possible.
    renewable: int
    #: `good`, `wait`, `bad` or `idle`: as the state of the certificate.
    look: str


def of(row: Any, state: words.Word) -> Line:
    """The line of the certificate in `row`, whose state people read as `state`."""
    now = door.node().clock()
    ended = row.revocation.at if row.revocation and str(row.standing) != "valid" else None
    marks = [
        (row.not_before, _("Issued"), ""),
        (row.not_before + (row.not_after - row.not_before) / 2, _("Half of its life"), ""),
        (row.renewable_from, _("Renewal from"), ""),
        (row.not_after, _("Ends"), ""),
    ]
    if ended:
        reason = str(words.say(words.REASON, row.revocation.reason))
        marks = [mark for mark in marks if mark[0] < ended or mark[1] == _("Ends")] + [(ended, str(state.label), reason)]
    stops = (
        Stop(at, label, _place(row, at), "past" if at <= now else "", note) for at, label, note in sorted(marks, key=lambda mark: mark[0])
    )
    return Line(tuple(stops), _place(row, min(ended or now, now)), _place(row, row.renewable_from), state.look)


def _place(row: Any, at: dt.datetime) -> int:
    share: float = (at - row.not_before) / (row.not_after - row.not_before)
    return round(max(0.0, min(1.0, share)) * WHOLE)
