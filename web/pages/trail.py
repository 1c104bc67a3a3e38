"""The auditor's pages: what happened, one event with its proof, the whole verified now, and what goes out with proofs."""

from __future__ import annotations

import re
from types import SimpleNamespace

from flask import Blueprint, Response, flash, redirect, render_template, request, url_for
from flask_babel import gettext as _
from werkzeug.wrappers import Response as AnyResponse

from audit import check, export, life, search, views
from audit.event import Kind
from audit.permit import Action, Permit
from audit.tiles import PublishedLog
from audit.timeline import timeline
from authz.decide import Target
from ca import certificates
from core.clock import microseconds
from core.errors import Malformed, NotFound
from ops import homes
from web import door
from web.api import events as api
from web.pages import forms, present, told
from web.pages.problem import said

blueprint = Blueprint("trail", __name__, url_prefix="/trail")

_TRAIL = Target("trail")
_PAGE = 25
_PSEUDONYM, _CERT = re.compile("p_[0-9a-f]{32}"), re.compile("(?:[0-9a-f]{64}:)?[0-9a-f]{1,40}")


@blueprint.get("")
@door.open_to(door.PERSON)
def events() -> str:
    """What matches, newest first, with its bars over time; with no question, whether everything is all right."""
    permit = door.permit(Action.TRAIL_READ, _TRAIL)
    q = request.args.get("q", "").strip()
    page, problem = _look(q, permit)
    older = url_for("trail.events", q=q, after=page.after) if page.after else ""
    drawn = None if problem or request.args.get("after") else _drawn(q)
    with door.node().database.reading() as session:
        shown = SimpleNamespace(
            entries=told.proved(session, page.entries),
            vitals=None if q or request.args.get("after") else told.vitals(door.node(), session),
            views=views.visible(session, permit.actor.id),
        )
    facts = {"q": q, "problem": problem, "examples": _examples(), "next_url": older, "reached": page.reached, "me": permit.actor.id}
    return render_template("trail/events.html", shown=shown, bars=drawn, save=forms.SaveSearch(formdata=None), **facts)


@blueprint.get("/<log>/<int(max=999999999999):epoch>/<int(max=999999999999):idx>")
@door.open_to(door.PERSON)
def event(log: str, epoch: int, idx: int) -> str:
    """One event, its stored bytes, where to go on from it, and whether it is what the signed tree holds."""
    door.permit(Action.TRAIL_READ, _TRAIL)
    with door.node().database.reading() as session:
        found = search.entry(session, log, epoch, idx)
        state = check.standing(session, found, homes.notes_folder(door.node().settings.home))
    return render_template("trail/event.html", entry=present.entry(found, state), pivots=told.pivots(found))


@blueprint.get("/<log>/<int(max=999999999999):epoch>/<int(max=999999999999):idx>/why")
@door.open_to(door.PERSON)
def why(log: str, epoch: int, idx: int) -> str:
    """Why something was refused: what was asked, what counted then, and what the same question gets now."""
    permit = door.permit(Action.TRAIL_READ, _TRAIL)
    node = door.node()
    with node.database.reading() as session:
        found = search.entry(session, log, epoch, idx)
    api.record(permit, Kind.TRAIL_SEARCHED, f"replay {found.place}/{idx}", 1)
    return render_template("trail/why.html", entry=present.entry(found), why=told.why(node.world.current(), found))


@blueprint.get("/persons")
@door.open_to(door.PERSON)
def persons() -> AnyResponse:
    """From an account to the life of the person who has it."""
    door.permit(Action.TRAIL_READ, _TRAIL)
    found = door.node().world.current().directory.get(request.args.get("uid", "").strip())
    return redirect(url_for("trail.person", identity=found.id))


@blueprint.get("/persons/<identity>")
@door.open_to(door.PERSON)
def person(identity: str) -> str:
    """What a person did, and what was done to or decided about them."""
    permit = door.permit(Action.TRAIL_READ, _TRAIL)
    if not _PSEUDONYM.fullmatch(identity):
        raise NotFound("nobody is called `{person}` in the trail", person=identity[:80])
    q = f"person:{identity}"
    page, _problem = _look(q, permit)
    older = url_for("trail.person", identity=identity, after=page.after) if page.after else ""
    known = door.node().world.current().directory.by_id.get(identity)
    with door.node().database.reading() as session:
        entries = told.proved(session, page.entries)
    return render_template(
        "trail/person.html", entries=entries, about=known and told.person(known), identity=identity, q=q, next_url=older, bars=_drawn(q)
    )


@blueprint.get("/certificates/<cert>")
@door.open_to(door.PERSON)
def certificate(cert: str) -> str:
    """The life of a certificate, from the request for it to its end."""
    permit = door.permit(Action.TRAIL_READ, _TRAIL)
    if not _CERT.fullmatch(cert):
        raise NotFound("no entry is about a certificate `{cert}`", cert=cert[:80])
    with door.node().database.reading() as session:
        found, used = life.of_certificate(session, cert), life.uses(session, cert)
        if not found and not used:
            raise NotFound("no entry is about a certificate `{cert}`", cert=cert[:80])
        shown = told.proved(session, found), told.proved(session, used)
        row = certificates.find(session, cert.rpartition(":")[2])
        about = present.certificate(row) if row else None
    api.record(permit, Kind.TRAIL_SEARCHED, f"cert:{cert}", len(found))
    return render_template("trail/certificate.html", entries=shown[0], used=shown[1], about=about, cert=cert)


@blueprint.post("/searches")
@door.open_to(door.PERSON)
def save() -> AnyResponse:
    """Keep a search under a name."""
    form, q, permit = forms.SaveSearch(), request.args.get("q", ""), door.permit(Action.TRAIL_READ, _TRAIL)
    if not form.validate() or not q:
        raise Malformed("a saved search needs a name of at most 80 characters and a query; go back and try again")
    views.save(door.node().trail, form.title.data.strip(), q, shared=bool(form.shared.data), permit=permit)
    flash(_("Saved."), "good")
    return redirect(url_for("trail.events", q=q))


@blueprint.post("/searches/<identity>/drop")
@door.open_to(door.PERSON)
def drop(identity: str) -> AnyResponse:
    """Forget a search of one's own."""
    views.drop(door.node().trail, identity, permit=door.permit(Action.TRAIL_READ, _TRAIL))
    flash(_("Removed."), "good")
    return redirect(url_for("trail.events"))


@blueprint.get("/<log>/<int(max=999999999999):epoch>/<int(max=999999999999):idx>/proof")
@door.open_to(door.PERSON)
def proof(log: str, epoch: int, idx: int) -> Response:
    """The offline proof of one event (C2SP tlog-proof)."""
    door.permit(Action.TRAIL_READ, _TRAIL)
    with door.node().database.reading() as session:
        text = PublishedLog(session, log, epoch).receipt(idx).encode()
    return _download(text, f"{log}-{epoch}-{idx}.tlog-proof", "text/plain")


@blueprint.post("/verify")
@door.open_to(door.PERSON)
def verify() -> str:
    """Check every event of both logs against the last signed notes, now."""
    permit = door.permit(Action.TRAIL_VERIFY, _TRAIL)
    node = door.node()
    logs = check.now(node.trail, homes.notes_folder(node.settings.home), permit=permit)
    return render_template("trail/verified.html", logs=[present.verdict(one) for one in logs])


@blueprint.post("/export")
@door.open_to(door.PERSON)
def export_() -> Response:
    """The filtered events with everything that proves them."""
    permit = door.permit(Action.TRAIL_EXPORT, _TRAIL)
    query = search.parse_query(request.args.get("q", ""), door.node().trail.privacy)
    chosen = api.matching(query)
    bundle = export.bundle(door.node().trail, chosen, query=query.text, patience=api.PATIENCE)
    api.record(permit, Kind.TRAIL_EXPORTED, query.text, len(chosen))
    return _download(bundle, "yumen-export.zip", "application/zip")


def _look(q: str, permit: Permit) -> tuple[search.Page, str]:
    """A page of what `q` matches, or nothing and what is wrong with `q`. That somebody looked is recorded."""
    try:
        query = search.parse_query(q, door.node().trail.privacy)
        with door.node().database.reading() as session:
            page = search.find(session, query, request.args.get("after", ""), _PAGE, api.LOOKING)
    except Malformed as error:
        return search.Page((), ""), said(error)
    api.record(permit, Kind.TRAIL_SEARCHED, query.text, len(page.entries))
    return page, ""


def _drawn(q: str) -> SimpleNamespace | None:
    """The bars of `q`; of the last days when nothing is asked."""
    node = door.node()
    asked = q or f"since:{(node.clock() - told.RECENT).isoformat(timespec='seconds')}"
    with node.database.reading() as session:
        return told.bars(timeline(session, search.parse_query(asked, node.trail.privacy), microseconds(node.clock())), q)


def _download(data: bytes, name: str, kind: str) -> Response:
    return Response(data, mimetype=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'})


def _examples() -> list[tuple[str, str]]:
    return [
        ("code:CA1004", _("certificates issued")),
        ("out:deny", _("everything refused")),
        ("person:p_…", _("what one person did and what was decided about them")),
        ("obj:request:42", _("the life of one request")),
        ("cert:4f1c…", _("the life of one certificate")),
        ("source:10.0.0.7", _("all that came from one address; personal values are found whole only")),
        ("since:2026-11-01 until:2026-12-01", _("a span of time")),
        ("log:access -code:AZ9*", _("logins and decisions, without heartbeats")),
    ]
