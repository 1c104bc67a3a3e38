"""The forms of the pages: fields, labels, and what must not be empty. What a value means is judged by the rooms below."""

from __future__ import annotations

from typing import Any

from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from wtforms import Field, HiddenField, PasswordField, SelectField, StringField
from wtforms.fields.choices import SelectChoice
from wtforms.validators import InputRequired, Length, ValidationError

from web.pages import words


def _needed(longest: int) -> list[Any]:
    return [InputRequired(_l("Please fill this in.")), Length(max=longest, message=_l("That is too long."))]


class Login(FlaskForm):  # type: ignore[misc]
    """Directory account, password, one-time code."""

    uid: Field = StringField(_l("Account"), validators=_needed(128))
    password: Field = PasswordField(_l("Password"), validators=_needed(1024))
    code: Field = StringField(_l("One-time code"), validators=_needed(16))


class Enrol(FlaskForm):  # type: ignore[misc]
    """Account and password with the registrar's code."""

    uid: Field = StringField(_l("Account"), validators=_needed(128))
    password: Field = PasswordField(_l("Password"), validators=_needed(1024))
    code: Field = StringField(_l("Enrolment code"), validators=_needed(64))


class Recover(FlaskForm):  # type: ignore[misc]
    """Account and password with one of the recovery codes."""

    uid: Field = StringField(_l("Account"), validators=_needed(128))
    password: Field = PasswordField(_l("Password"), validators=_needed(1024))
    code: Field = StringField(_l("Recovery code"), validators=_needed(64))


class Connect(FlaskForm):  # type: ignore[misc]
    """The first code that the new authenticator shows; password and registrar's code are proved once more with it."""

    uid: Field = HiddenField(validators=_needed(128))
    enrolment: Field = HiddenField(validators=_needed(64))
    password: Field = PasswordField(_l("Password once more"), validators=_needed(1024))
    code: Field = StringField(_l("One-time code"), validators=_needed(16))


class NewPhone(FlaskForm):  # type: ignore[misc]
    """The first code of another authenticator, for who is signed in."""

    code: Field = StringField(_l("One-time code"), validators=_needed(16))


class Submit(FlaskForm):  # type: ignore[misc]
    """The certificate request that the browser made."""

    csr: Field = StringField(validators=_needed(16_384))


class Decide(FlaskForm):  # type: ignore[misc]
    """A registrar's word on a request."""

    comment: Field = StringField(_l("Comment"), validators=[Length(max=500, message=_l("That is too long."))])


class Refuse(Decide):
    """A registrar's no, which says why."""

    def validate_comment(self, field: Field) -> None:
        """Refuse a refusal without a word."""
        if not (field.data or "").strip():
            raise ValidationError(_l("A refusal needs a comment: say what the person should do next."))


class Revoke(FlaskForm):  # type: ignore[misc]
    """Why a certificate ends."""

    reason: Field = SelectField(_l("Reason"), choices=[SelectChoice(*each) for each in words.REVOCATION.items()], default="unspecified")


class HandOut(FlaskForm):  # type: ignore[misc]
    """For whom an enrolment code is made."""

    uid: Field = StringField(_l("Account"), validators=_needed(128))


class Export(FlaskForm):  # type: ignore[misc]
    """Which events go into the bundle."""

    q: Field = StringField(validators=[Length(max=1000)])


class Confirm(FlaskForm):  # type: ignore[misc]
    """Whose role in which unit is confirmed, all by entryUUID."""

    person: Field = StringField(validators=_needed(64))
    role: Field = StringField(validators=_needed(64))
    unit: Field = StringField(validators=_needed(64))


class LogOut(FlaskForm):  # type: ignore[misc]
    """Who is logged out everywhere."""

    uid: Field = StringField(_l("Account"), validators=_needed(128))


class Switch(FlaskForm):  # type: ignore[misc]
    """Which application is switched off, or on again."""

    application: Field = HiddenField(validators=_needed(64))
    active: Field = HiddenField(validators=_needed(4))


class Accept(FlaskForm):  # type: ignore[misc]
    """Which directory is accepted: the digest that was shown."""

    digest: Field = HiddenField(validators=_needed(64))
