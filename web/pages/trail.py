"""The auditor's pages: what happened, one event with its proof, the whole verified now, and what goes out with proofs."""

from __future__ import annotations

from types import SimpleNamespace

from flask import Blueprint, Response, render_template, request, url_for
from flask_babel import gettext as _

from audit import check, export, search
from audit.event import Kind
from audit.permit import Action, Permit
from audit.tiles import PublishedLog
from audit.trail import LOGS
from authz.decide import Target
from core.errors import Malformed
from ops import homes
from web import door
from web.api import events as api
from web.pages import forms, present
from web.pages.problem import said

blueprint = Blueprint("trail", __name__, url_prefix="/trail")

_TRAIL = Target("trail")
_PAGE = 25


@blueprint.get("")
@door.open_to(door.PERSON)
def events() -> str:
    """The list, newest first, filtered."""
    permit = door.permit(Action.TRAIL_READ, _TRAIL)
    q = request.args.get("q", "")
    page, problem = _look(q, permit)
    older = url_for("trail.events", q=q, after=page.after) if page.after else ""
    entries = [present.entry(one) for one in page.entries]
    return render_template("trail/events.html", entries=entries, heads=_heads(), q=q, problem=problem, examples=_examples(), next_url=older)


@blueprint.get("/<log>/<int(max=999999999999):epoch>/<int(max=999999999999):idx>")
@door.open_to(door.PERSON)
def event(log: str, epoch: int, idx: int) -> str:
    """One event, its stored bytes, and whether they are what the signed tree holds."""
    door.permit(Action.TRAIL_READ, _TRAIL)
    with door.node().database.reading() as session:
        found = search.entry(session, log, epoch, idx)
        state = check.standing(session, found, homes.notes_folder(door.node().settings.home))
    return render_template("trail/event.html", entry=present.entry(found, state))


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
    query = search.parse_query(forms.Export().q.data or "", door.node().trail.privacy)
    chosen = api.matching(query)
    bundle = export.bundle(door.node().trail, chosen, query=query.text, patience=api.PATIENCE)
    api.record(permit, Kind.TRAIL_EXPORTED, query.text, len(chosen))
    return _download(bundle, "yumen-export.zip", "application/zip")


def _look(q: str, permit: Permit) -> tuple[search.Page, str]:
    """A page of what `q` matches, or nothing and what is wrong with `q`. That somebody looked is recorded."""
    try:
        query = search.parse_query(q, door.node().trail.privacy)
        with door.node().database.reading() as session:
            page = search.find(session, query, request.args.get("after", ""), _PAGE)
    except Malformed as error:
        return search.Page((), ""), said(error)
    api.record(permit, Kind.TRAIL_SEARCHED, query.text, len(page.entries))
    return page, ""


def _heads() -> list[SimpleNamespace]:
    with door.node().database.reading() as session:
        return [present.head(PublishedLog(session, log)) for log in LOGS]


def _download(data: bytes, name: str, kind: str) -> Response:
    return Response(data, mimetype=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'})


def _examples() -> list[tuple[str, str]]:
    return [
        ("code:CA1004", _("certificates issued")),
        ("out:deny", _("everything refused")),
        ("actor:p_…", _("what one person did")),
        ("obj:request:42", _("the life of one request")),
        ("cert:4f1c…", _("the life of one certificate")),
        ("since:2026-11-01 until:2026-12-01", _("a span of time")),
        ("log:access -code:AZ9*", _("logins and decisions, without heartbeats")),
    ]
