"""The forms of the pages: fields, labels, and what must not be empty. What a value means is judged by the rooms below."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from wtforms import BooleanField, DateField, Field, HiddenField, PasswordField, SelectField, StringField
from wtforms.fields.choices import SelectChoice
from wtforms.validators import DataRequired, Length, Optional, ValidationError

from core.errors import Malformed
from web.pages import words

#: Years in which a grant may end.
_EARLIEST, _LATEST = 2000, 2200


def _needed(longest: int) -> list[Any]:
    return [DataRequired(_l("Please fill this in.")), Length(max=longest, message=_l("That is too long."))]


def _optional(longest: int) -> list[Any]:
    return [Length(max=longest, message=_l("That is too long."))]


def must_be_whole(form: FlaskForm) -> None:
    """Refuse a form whose fields are not what they should be; each says on its page what is wrong with it.

    Raises:
        Malformed: a field is missing, too long, or no date.
    """
    if not form.validate():
        raise Malformed("something in the form is missing, too long or no date; look at what is marked")


def _choices(known: Mapping[str, Any]) -> list[SelectChoice]:
    return [SelectChoice(*each) for each in known.items()]


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

    reason: Field = SelectField(_l("Reason"), choices=_choices(words.REVOCATION), default="unspecified")


class HandOut(FlaskForm):  # type: ignore[misc]
    """For whom an enrolment code is made."""

    uid: Field = StringField(_l("Account"), validators=_needed(128))


class SaveSearch(FlaskForm):  # type: ignore[misc]
    """A name for the query that is shown, and whether other officers see it."""

    title: Field = StringField(_l("Name"), validators=_needed(80))
    shared: Field = BooleanField(_l("For all officers"))


class Confirm(FlaskForm):  # type: ignore[misc]
    """Whose role in which unit is confirmed, all by entryUUID."""

    person: Field = StringField(validators=_needed(64))
    role: Field = StringField(validators=_needed(64))
    unit: Field = StringField(validators=_needed(64))


class Account(FlaskForm):  # type: ignore[misc]
    """Whose account is logged out, blocked or let in again, and why."""

    uid: Field = StringField(_l("Account"), validators=_needed(128))
    reason: Field = StringField(_l("Reason"), validators=_optional(255))


class Explain(FlaskForm):  # type: ignore[misc]
    """An act of the policy page, and of whom on what it is asked."""

    action: Field = SelectField(_l("Action"))
    person: Field = StringField(_l("Account of the person"), validators=_optional(128))
    unit: Field = StringField(_l("Unit that the object belongs to"), validators=_optional(255))


class Switch(FlaskForm):  # type: ignore[misc]
    """Whether something is to be on or off."""

    active: Field = HiddenField(validators=_needed(4))


class Register(FlaskForm):  # type: ignore[misc]
    """What is said of an application when it is registered; lists are words with blanks between."""

    id: Field = StringField(_l("Id"), validators=_needed(40))
    name: Field = StringField(_l("Name"), validators=_needed(255))
    unit: Field = StringField(_l("Unit"), validators=_needed(255))
    owner: Field = StringField(_l("Account of the owner"), validators=_needed(128))
    actions: Field = StringField(_l("Actions"), validators=_needed(2000))
    types: Field = StringField(_l("Resource types"), validators=_needed(2000))
    asserts: Field = StringField(_l("Properties that it may tell"), default="resource.unit", validators=_optional(2000))
    proxy: Field = BooleanField(_l("Its proxy may ask at the gate"))


class Withdraw(FlaskForm):  # type: ignore[misc]
    """Which key or grant counts no longer."""

    id: Field = HiddenField(validators=_needed(64))


class Ask(FlaskForm):  # type: ignore[misc]
    """A question to an application, and a grant that is imagined to be there or gone."""

    person: Field = StringField(_l("Account of the person"), validators=_optional(128))
    action: Field = SelectField(_l("Action"), validate_choice=False)
    type: Field = SelectField(_l("Resource type"), validate_choice=False)
    resource: Field = StringField(_l("Resource"), validators=_optional(255))
    unit: Field = StringField(_l("Unit of the resource"), validators=_optional(255))
    assurance: Field = SelectField(_l("Signed in with"), choices=_choices(words.ASSURANCE), default="0")
    effect: Field = SelectField(_l("Imagine a grant that"), choices=_choices(words.IMAGINED), default="")
    role: Field = StringField(_l("Role"), validators=_optional(64))
    scope: Field = StringField(_l("For resources of the unit"), validators=_optional(255))
    least: Field = SelectField(_l("Signed in at least with"), choices=_choices(words.ASSURANCE), default="0")
    until: Field = DateField(_l("Until the end of"), validators=[Optional()])
    withdraw: Field = StringField(_l("Imagine this grant withdrawn"), validators=_optional(20))

    def validate_until(self, field: Field) -> None:
        """Refuse a day of another age."""
        if field.data and not _EARLIEST <= field.data.year < _LATEST:
            raise ValidationError(_l("Please choose a day of this age."))


class AcceptContradiction(FlaskForm):  # type: ignore[misc]
    """Which contradiction is taken note of, and what was found."""

    id: Field = HiddenField(validators=_needed(64))
    comment: Field = StringField(_l("What was found"), validators=_needed(500))


class Accept(FlaskForm):  # type: ignore[misc]
    """Which directory is accepted: the digest that was shown."""

    digest: Field = HiddenField(validators=_needed(64))
