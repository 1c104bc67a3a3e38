"""The living style page: every part of the pages with sample data. What is not here is not a part."""

from __future__ import annotations

import datetime as dt
from types import SimpleNamespace

from flask import Blueprint, render_template
from flask_babel import gettext as _

from web import door
from web.pages import forms, words
from web.pages.frame import qr
from web.pages.lifeline import WHOLE, Line, Stop

blueprint = Blueprint("styles", __name__)

_AT = dt.datetime(2026, 11, 21, 1, 30, tzinfo=dt.UTC)


@blueprint.get("/style")
@door.open_to(door.ANYONE)
def style() -> str:
    """Every part, in the reader's language."""
    form = forms.Login(uid="zhangsan")
    broken = forms.Recover(formdata=None)
    broken.code.errors = (_("Please fill this in."),)
    return render_template(
        "style.html",
        form=form,
        broken=broken,
        revoke=forms.Revoke(formdata=None),
        certificate=_certificate("valid"),
        spent=_certificate("revoked"),
        requests=words.REQUEST.values(),
        outcomes=words.OUTCOME.values(),
        states=words.CERTIFICATE.values(),
        life=[_moment(0, _("Asked")), _moment(40, _("Approved"), _("Identity card seen at the desk")), _moment(41, _("Issued"))],
        picture=qr("otpauth://totp/Yumen:sample?secret=JBSWY3DPEHPK3PXP&issuer=Yumen"),
    )


def _certificate(state: str) -> SimpleNamespace:
    validity = _("%(first)s to %(last)s", first="2026-11-21", last="2028-11-20")
    purpose = words.PROFILE["staff-sign"]
    return SimpleNamespace(
        holder="张三",
        unit="玉泉县民政局",
        purpose=purpose,
        status=words.CERTIFICATE[state],
        line=_line(words.CERTIFICATE[state]),
        validity=validity,
        serial="4f1c0a9be27d66315a",
    )


def _line(state: words.Word) -> Line:
    year, ended = dt.timedelta(days=365), state.look == "bad"
    stops = [Stop(_AT, _("Issued"), 0, "past"), Stop(_AT + year, _("Half of its life"), 500, "past")]
    stops += [Stop(_AT + 1.2 * year, str(state.label), 600, "past", _("key compromised"))] if ended else []
    stops += [] if ended else [Stop(_AT + 1.9 * year, _("Renewal from"), 950)]
    return Line((*stops, Stop(_AT + 2 * year, _("Ends"), WHOLE)), 600, 950, state.look)


def _moment(minutes: int, label: str, note: str = "") -> SimpleNamespace:
    return SimpleNamespace(at=_AT + dt.timedelta(minutes=minutes), label=label, note=note)
