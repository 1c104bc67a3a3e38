"""Requests for certificates: submit, look at, approve, refuse."""

from __future__ import annotations

import datetime as dt

from flask import Blueprint, Response

from audit.permit import Action
from authz import decide
from authz.decide import Target
from ca import registration, subjects
from ca.registration import Draft, Filter
from ca.states import RequestState
from ca.tables import Request
from certs import csr
from web import door
from web.declare import Asked
from web.kinds import Digits, Yes
from web.shapes import Comment, Decided, RequestAnswer, RequestBody, RequestList

routes = Blueprint("api_requests", __name__, url_prefix="/api/v1/requests")

PAGE = 50


@routes.post("")
@door.open_to(door.PERSON)
@door.described(
    summary="Ask for a certificate; names come from the directory, never from the CSR",
    body=RequestBody,
    status=201,
    answer=RequestAnswer,
    errors=("conflict", "not-found"),
)
def submit() -> Response:
    """Take in a request for the caller, or for an asset that the caller answers for."""
    wanted = door.body(RequestBody)
    asked = csr.parse(wanted.csr.encode())
    facts = subjects.facts(door.node().world.current(), wanted.for_ or f"person:{door.caller().actor.id}")
    permit = door.permit(Action.REQUEST_SUBMIT, Target(facts.ref, facts.unit, facts.owner))
    with door.changing() as tx:
        told = shown(registration.submit(tx, permit=permit, draft=Draft(profile=wanted.profile, csr=asked, facts=facts)))
    return door.answer(told, 201)


@routes.get("")
@door.open_to(door.PERSON)
@door.described(
    summary="Requests that the caller made or decides on, newest first",
    query={
        "state": Asked("only this state", RequestState),
        "profile": "only this profile",
        "mine": Asked("`1`: only the caller's own", Yes),
        "after": Asked("`next` of the page before", Digits),
    },
    answer=RequestList,
)
def listing() -> Response:
    """The caller's own requests, and those of the units for which the caller may read them."""
    asked = door.query("state", "profile", "mine", "after")
    units = decide.reach(door.node().world.current(), door.caller(), Action.REQUEST_READ) if "mine" not in asked else frozenset()
    states = [asked["state"]] if "state" in asked else None
    me = door.caller().actor.id
    whose = {"units": units} if units else {"owner": me}
    chosen = Filter(**whose, states=states, profile=asked.get("profile"))
    with door.node().database.reading() as session:
        found = registration.listing(session, chosen, before=door.number(asked.get("after"), "after"), limit=PAGE)
    return door.answer(RequestList(items=[shown(one) for one in found], next=str(found[-1].id) if len(found) == PAGE else None))


@routes.get("/<int:request_id>")
@door.open_to(door.PERSON)
@door.described(summary="One request and how far it is", answer=RequestAnswer, errors=("not-found",))
def show(request_id: int) -> Response:
    """One request."""
    request = _find(request_id)
    door.permit(Action.REQUEST_READ, Target(*registration.target(request)))
    return door.answer(shown(request))


@routes.post("/<int:request_id>/approve")
@door.open_to(door.PERSON)
@door.described(summary="Approve a request of one's own scope", body=Comment, answer=RequestAnswer, errors=("not-found", "conflict"))
def approve(request_id: int) -> Response:
    """Give the caller's approval."""
    comment = door.body(Comment).comment
    permit = door.permit(Action.REQUEST_APPROVE, Target(*registration.target(_find(request_id))))
    with door.changing() as tx:
        told = shown(registration.approve(tx, request_id, permit=permit, comment=comment))
    return door.answer(told)


@routes.post("/<int:request_id>/refuse")
@door.open_to(door.PERSON)
@door.described(summary="Refuse a request of one's own scope", body=Comment, answer=RequestAnswer, errors=("not-found", "conflict"))
def refuse(request_id: int) -> Response:
    """Refuse for good."""
    comment = door.body(Comment).comment
    permit = door.permit(Action.REQUEST_REFUSE, Target(*registration.target(_find(request_id))))
    with door.changing() as tx:
        told = shown(registration.refuse(tx, request_id, permit=permit, comment=comment))
    return door.answer(told)


def shown(request: Request) -> RequestAnswer:
    """A request as the API shows it."""
    return RequestAnswer(
        id=request.id,
        state=str(request.state),
        profile=request.profile,
        for_=request.subject,
        name=request.common_name,
        unit=request.unit,
        requester=request.requester,
        submitted_at=moment(request.submitted_at),
        serial=request.certificate.serial if request.certificate else None,
        reasons=request.reasons.split(),
        decisions=[Decided(by=one.approver, word=one.word, comment=one.comment, at=moment(one.at)) for one in request.approvals],
    )


def moment(at: dt.datetime) -> str:
    """A time as RFC 3339 in UTC, whole seconds."""
    return at.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _find(request_id: int) -> Request:
    with door.node().database.reading() as session:
        return registration.get(session, request_id)
