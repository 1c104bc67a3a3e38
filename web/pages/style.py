"""The living style page: every part of the pages with sample data. What is not here is not a part."""

from __future__ import annotations

import datetime as dt
from types import SimpleNamespace

from flask import Blueprint, render_template
from flask_babel import gettext as _

from web import door
from web.pages import forms, words
from web.pages.frame import qr

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
        holder="张三", unit="玉泉县民政局", purpose=purpose, status=words.CERTIFICATE[state], validity=validity, serial="4f1c0a9be27d66315a"
    )


def _moment(minutes: int, label: str, note: str = "") -> SimpleNamespace:
    return SimpleNamespace(at=_AT + dt.timedelta(minutes=minutes), label=label, note=note)
