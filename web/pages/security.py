"""The security administrator's place: who holds which role and where that is disputed, accounts, and why somebody may or may not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from werkzeug.wrappers import Response as AnyResponse

from audit.permit import Action, Permit
from audit.record import Transaction
from authz import confirm, explain, roles, sessions, standing
from authz.decide import Target
from authz.follower import accept_directory
from authz.people import Person
from core.errors import Error, Malformed
from ops import acceptance, reconcile
from web import door
from web.pages import forms, held, language, words
from web.pages.places import unit_id
from web.pages.problem import again

blueprint = Blueprint("security", __name__, url_prefix="/security")

_SYSTEM, _ANYBODY = Target("system"), Target("person:*")
#: Rows of one page.
_PAGE = 50

#: What the place holds, each for whom it is open to.
_WAYS = (
    ("security.overview", _l("Roles"), Action.SYSTEM_READ, _SYSTEM),
    ("security.account", _l("An account"), Action.ACCOUNT_BLOCK, _ANYBODY),
    ("security.ask", _l("Who may"), Action.AUTHZ_EXPLAIN, Target("policy")),
    ("security.contradictions", _l("Facts and records"), Action.CONTRADICTION_ACCEPT, Target("contradiction:*")),
)


@blueprint.context_processor
def ways() -> dict[str, object]:
    """The pages of the place that the caller may open."""
    return {"ways": [(endpoint, label) for endpoint, label, action, target in _WAYS if door.may(action, target)]}


@blueprint.get("")
@door.open_to(door.PERSON)
def overview() -> str:
    """Who holds which role, those on which directory and confirmations disagree first."""
    door.permit(Action.SYSTEM_READ, _SYSTEM)
    snapshot, wanted = door.node().world.current(), request.args.get("q", "").strip()
    after = door.number(request.args.get("after"), "after") or 0
    every = roles.held(snapshot)
    found = [one for one in every if held.matches(one, wanted)]
    more = url_for("security.overview", q=wanted, after=after + _PAGE) if len(found) > after + _PAGE else ""
    return render_template(
        "security/roles.html",
        alarms=held.alarms(door.node().world, every),
        refused=_refused(),
        rows=[held.row(one, _may_confirm(one.person)) for one in found[after : after + _PAGE]],
        wanted=wanted,
        place=_place(),
        next_url=more,
    )


@blueprint.post("/confirm")
@door.open_to(door.PERSON)
def confirm_role() -> AnyResponse:
    """Let a role that the directory gives count."""
    named, permit = _named()
    with door.changing() as tx:
        confirm.confirm(tx, door.node().world.current().directory, named, permit=permit)
    flash(_("Confirmed. The role counts from now on."), "good")
    return redirect(url_for("security.overview", **_place()))


@blueprint.post("/withdraw")
@door.open_to(door.PERSON)
def withdraw() -> AnyResponse:
    """Let a role no longer count, whatever the directory says."""
    named, permit = _named()
    with door.changing() as tx:
        confirm.withdraw(tx, door.node().world.current().directory, named, permit=permit)
    flash(_("Withdrawn. The role no longer counts."), "good")
    return redirect(url_for("security.overview", **_place()))


@blueprint.post("/accept")
@door.open_to(door.PERSON)
def accept() -> AnyResponse:
    """Let a directory be taken over although it drops many roles at once."""
    form = forms.Accept()
    permit = door.permit(Action.DIRECTORY_ACCEPT, Target("directory"))
    with door.changing() as tx:
        accept_directory(tx, form.digest.data or "", permit=permit)
    flash(_("Accepted. The directory as it is now counts."), "good")
    return redirect(url_for("security.overview"))


@blueprint.get("/account")
@door.open_to(door.PERSON)
def account() -> str:
    """The form by which an account is stopped, and let in again."""
    door.permit(Action.ACCOUNT_BLOCK, _ANYBODY)
    return render_template("security/account.html", form=forms.Account(), problem="")


@blueprint.post("/account/sessions")
@door.open_to(door.PERSON)
def end_sessions() -> AnyResponse:
    """Log somebody out everywhere."""

    def act(tx: Transaction, person: Person, permit: Permit) -> str:
        sessions.end_all(tx, person, permit=permit)
        return str(_("%(name)s is logged out everywhere.", name=language.named(person)))

    return _on_account(Action.SESSION_END, act)


@blueprint.post("/account/block")
@door.open_to(door.PERSON)
def block() -> AnyResponse:
    """Let an account do nothing more, whatever the directory says."""

    def act(tx: Transaction, person: Person, permit: Permit) -> str:
        reason = (forms.Account().reason.data or "").strip()
        if not reason:
            raise Malformed("say why the account is blocked; it is kept with the block")
        standing.block(tx, person.uuid, person.id, reason, permit=permit)
        return str(_("%(name)s is blocked: every session, login and decision is refused.", name=language.named(person)))

    return _on_account(Action.ACCOUNT_BLOCK, act)


@blueprint.post("/account/unblock")
@door.open_to(door.PERSON)
def unblock() -> AnyResponse:
    """Let a blocked account in again."""

    def act(tx: Transaction, person: Person, permit: Permit) -> str:
        standing.unblock(tx, person.uuid, person.id, permit=permit)
        return str(_("%(name)s may come in again.", name=language.named(person)))

    return _on_account(Action.ACCOUNT_BLOCK, act)


@blueprint.get("/ask")
@door.open_to(door.PERSON)
def ask() -> AnyResponse | str:
    """What the policy page answers somebody, or whom it allows something."""
    door.permit(Action.AUTHZ_EXPLAIN, Target("policy"))
    form = forms.Explain(formdata=request.args, meta={"csrf": False})
    form.action.choices = [(str(one), f"{words.say(words.ACTION, one)} · {one}") for one in sorted(Action)]
    try:
        answer = _explained(form) if form.action.data else None
    except Error as error:
        return again("security/ask.html", error, form=form, answer=None)
    return render_template("security/ask.html", form=form, answer=answer, problem="")


@blueprint.get("/contradictions")
@door.open_to(door.PERSON)
def contradictions() -> str:
    """What facts and events contradict each other, and who has taken note of it."""
    return render_template("security/contradictions.html", **_contradictions(), form=None, problem="")


@blueprint.post("/contradictions")
@door.open_to(door.PERSON)
def accept_contradiction() -> AnyResponse:
    """One officer's word that it is known and was looked into."""
    form = forms.AcceptContradiction()
    permit = door.permit(Action.CONTRADICTION_ACCEPT, Target(acceptance.target(form.id.data or "")))
    try:
        forms.must_be_whole(form)
        with door.changing() as tx:
            acceptance.accept(tx, form.id.data, form.comment.data.strip(), permit=permit)
    except Error as error:
        return again("security/contradictions.html", error, **_contradictions(), form=form)
    flash(_("Noted. With a word of the other office it keeps nothing from working."), "good")
    return redirect(url_for("security.contradictions"))


def _explained(form: forms.Explain) -> held.Explained:
    forms.must_be_whole(form)
    snapshot, action = door.node().world.current(), Action(form.action.data)
    unit, named = unit_id(snapshot.directory, form.unit.data or ""), (form.person.data or "").strip()
    if not named:
        return held.Explained(None, None, explain.who_can(snapshot, action, Target("*", unit)))
    person = snapshot.directory.get(named)
    return held.Explained(person, explain.explain(snapshot, person, action, Target("*", unit)), [])


def _named() -> tuple[confirm.Named, Permit]:
    form, directory = forms.Confirm(), door.node().world.current().directory
    person = directory.people.get(form.person.data or "")
    if person is None or not form.validate():
        raise Malformed("the form names nobody of the directory; reload the page and try again")
    permit = door.permit(Action.PERSON_CONFIRM, _target(person))
    return confirm.Named(person.uuid, form.role.data, form.unit.data), permit


def _on_account(action: Action, act: Callable[[Transaction, Person, Permit], str]) -> AnyResponse:
    """Do it to the account that the form names, and say what it gives; what is wrong is said above the form as it was filled in."""
    door.permit(Action.ACCOUNT_BLOCK, _ANYBODY)
    form = forms.Account()
    try:
        forms.must_be_whole(form)
        person = door.node().world.current().directory.get(form.uid.data.strip())
        permit = door.permit(action, _target(person))
        with door.changing() as tx:
            done = act(tx, person, permit)
    except Error as error:
        return again("security/account.html", error, form=form)
    flash(done, "good")
    return redirect(url_for("security.account"))


def _contradictions() -> dict[str, object]:
    """What the page of contradictions shows, for who may take note of one."""
    door.permit(Action.CONTRADICTION_ACCEPT, Target("contradiction:*"))
    with door.node().database.reading() as session:
        found, compared = acceptance.listing(session), reconcile.last(session)
    return {"rows": [held.contradiction(one, door.caller()) for one in found], "compared": compared}


def _target(person: Person) -> Target:
    return Target(f"person:{person.id}", person.unit, person.id)


def _may_confirm(person: Person | None) -> bool:
    return door.may(Action.PERSON_CONFIRM, _target(person) if person else _ANYBODY)


def _refused() -> str:
    """Digest of the directory that the caller may accept, or empty."""
    return door.node().world.refused if door.may(Action.DIRECTORY_ACCEPT, Target("directory")) else ""


def _place() -> dict[str, Any]:
    """Which part of the list is shown, or was when the form was sent."""
    return {name: request.args[name] for name in ("q", "after") if name in request.args}
