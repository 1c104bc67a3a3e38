"""The security administrator's place: who holds which role and where that is disputed, accounts, and why somebody may or may not."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext as _
from werkzeug.wrappers import Response as AnyResponse

from audit.permit import Action, Permit
from authz import confirm, decide, explain, roles, sessions, standing
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

_SYSTEM = Target("system")
#: Rows of one page.
_PAGE = 50


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
        account=forms.Account() if _may(Action.ACCOUNT_BLOCK) else None,
        rows=[held.row(one, _may(Action.PERSON_CONFIRM, one.person)) for one in found[after : after + _PAGE]],
        wanted=wanted,
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
    return redirect(url_for("security.overview"))


@blueprint.post("/withdraw")
@door.open_to(door.PERSON)
def withdraw() -> AnyResponse:
    """Let a role no longer count, whatever the directory says."""
    named, permit = _named()
    with door.changing() as tx:
        confirm.withdraw(tx, door.node().world.current().directory, named, permit=permit)
    flash(_("Withdrawn. The role no longer counts."), "good")
    return redirect(url_for("security.overview"))


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


@blueprint.post("/sessions")
@door.open_to(door.PERSON)
def end_sessions() -> AnyResponse:
    """Log somebody out everywhere."""
    person, permit = _account(Action.SESSION_END)
    with door.changing() as tx:
        sessions.end_all(tx, person, permit=permit)
    flash(_("%(name)s is logged out everywhere.", name=language.named(person)), "good")
    return redirect(url_for("security.overview"))


@blueprint.post("/block")
@door.open_to(door.PERSON)
def block() -> AnyResponse:
    """Let an account do nothing more, whatever the directory says."""
    reason = (forms.Account().reason.data or "").strip()
    if not reason:
        raise Malformed("say why the account is blocked; it is kept with the block")
    person, permit = _account(Action.ACCOUNT_BLOCK)
    with door.changing() as tx:
        standing.block(tx, person.uuid, person.id, reason[:255], permit=permit)
    flash(_("%(name)s is blocked: every session, login and decision is refused.", name=language.named(person)), "good")
    return redirect(url_for("security.overview"))


@blueprint.post("/unblock")
@door.open_to(door.PERSON)
def unblock() -> AnyResponse:
    """Let a blocked account in again."""
    person, permit = _account(Action.ACCOUNT_BLOCK)
    with door.changing() as tx:
        standing.unblock(tx, person.uuid, person.id, permit=permit)
    flash(_("%(name)s may come in again.", name=language.named(person)), "good")
    return redirect(url_for("security.overview"))


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
    door.permit(Action.CONTRADICTION_ACCEPT, Target("contradiction:*"))
    with door.node().database.reading() as session:
        found, compared = acceptance.listing(session), reconcile.last(session)
    rows = [held.contradiction(one, door.caller()) for one in found]
    return render_template("security/contradictions.html", rows=rows, compared=compared)


@blueprint.post("/contradictions")
@door.open_to(door.PERSON)
def accept_contradiction() -> AnyResponse:
    """One officer's word that it is known and was looked into."""
    form = forms.AcceptContradiction()
    if not form.validate():
        raise Malformed("say what was found when it was looked into")
    permit = door.permit(Action.CONTRADICTION_ACCEPT, Target(acceptance.target(form.id.data)))
    with door.changing() as tx:
        acceptance.accept(tx, form.id.data, form.comment.data, permit=permit)
    flash(_("Noted. With a word of the other office it keeps nothing from working."), "good")
    return redirect(url_for("security.contradictions"))


def _explained(form: forms.Explain) -> held.Explained:
    if not form.validate():
        raise Malformed("something in the form is missing or too long; look at what is marked")
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


def _account(action: Action) -> tuple[Person, Permit]:
    person = door.node().world.current().directory.get((forms.Account().uid.data or "").strip())
    return person, door.permit(action, _target(person))


def _target(person: Person) -> Target:
    return Target(f"person:{person.id}", person.unit, person.id)


def _may(action: Action, person: Person | None = None) -> bool:
    target = _target(person) if person else Target("person:*")
    return decide.decide(door.node().world.current(), door.caller(), action, target).allowed


def _refused() -> str:
    """Digest of the directory that the caller may accept, or empty."""
    world = door.node().world
    allowed = decide.decide(world.current(), door.caller(), Action.DIRECTORY_ACCEPT, Target("directory")).allowed
    return world.refused if allowed else ""
