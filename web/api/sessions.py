"""Logging in and out, and who one is."""

from __future__ import annotations

from flask import Blueprint, Response

from audit.permit import Action
from authz import login, sessions
from authz.caller import Caller
from authz.decide import Target
from authz.login import Attempt
from authz.sessions import Opened
from authz.snapshot import Snapshot
from core.errors import Unauthenticated
from web import callers, door
from web.api.requests import moment
from web.credentials import presented, require_same_origin
from web.shapes import Login, Me, RoleHeld, SessionOpened

routes = Blueprint("api_sessions", __name__, url_prefix="/api/v1")


@routes.post("/sessions")
@door.open_to(door.ANYONE)
@door.described(
    summary="Log in: with name, password and one-time code, or with a person's client certificate and an empty body",
    body=Login,
    or_nothing=True,
    status=201,
    answer=SessionOpened,
    errors=("rate-limited", "code-used"),
)
def begin() -> Response:
    """Open a session; its token is nowhere else."""
    opened = _by_password() if door.has_body() else _by_certificate()
    return door.answer(SessionOpened(token=opened.token, expires_at=moment(opened.expires_at), assurance=opened.assurance), 201)


@routes.delete("/sessions/current")
@door.open_to(door.PERSON)
@door.described(summary="Log out", status=204, errors=("conflict",))
def end() -> Response:
    """End the session that is calling."""
    caller = door.caller()
    permit = door.permit(Action.SESSION_END, Target(f"session:{caller.session}", owner=caller.actor.id))
    with door.changing() as tx:
        sessions.end(tx, caller.session, permit=permit)
    return Response(status=204)


@routes.get("/me")
@door.open_to(door.PERSON, door.APPLICATION)
@door.described(summary="Who is calling, and with which roles", answer=Me)
def me() -> Response:
    """The caller as the directory or the register knows it now."""
    return door.answer(_shown(door.caller(), door.node().world.current()))


def _shown(caller: Caller, snapshot: Snapshot) -> Me:
    known = caller.person or caller.application
    assert known is not None  # the door let in nobody else
    unit = snapshot.directory.units.get(known.unit)
    held = snapshot.roles(caller.person.uuid) if caller.person else ()
    return Me(
        kind=str(caller.actor.kind),
        id=caller.actor.id,
        name=known.name,
        unit=known.unit,
        unit_name=unit.name if unit else "",
        auth=caller.actor.auth,
        roles=[RoleHeld(role=one.role, unit=one.unit) for one in held],
    )


def _by_password() -> Opened:
    wanted, visit = door.body(Login), door.visit()
    callers.require_nobody_else(visit, wanted.uid)
    source, request_id = visit.environ["REMOTE_ADDR"], visit.environ["yumen.request_id"]
    attempt = Attempt(uid=wanted.uid, password=wanted.password, code=wanted.totp, source=source, request_id=request_id)
    with visit.recorded_there():
        return login.by_password(door.node().world, attempt)


def _by_certificate() -> Opened:
    visit = door.visit()
    seen = presented(visit.environ)
    require_same_origin(seen, door.node().settings.web.https_url)
    try:
        return login.by_certificate(door.node().world, callers.chain(seen), seen.source, seen.request_id)
    except Unauthenticated as error:
        callers.certificate_refused(visit, error)
        raise
