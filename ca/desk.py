"""The registrars' desk: who waits for a decision, and what is known beside one request. Nothing is changed here."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from ca import certificates
from ca.registration import Filter, listing
from ca.states import RequestState, Standing
from ca.tables import Approval, Certificate, Request

#: Rows of one page of the queue, and the most that is shown beside a request.
PAGE, BESIDE = 50, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """Requests that wait for one officer: of these units, neither the officer's own nor spoken on already."""

    units: Collection[str]
    #: Pseudonym of the officer.
    officer: str
    #: Part of the name on the certificate.
    name: str = ""
    #: What it is for, such as `person:p_…`: counts beside `name`.
    subject: str = ""
    #: The one request of this number.
    number: int | None = None


class Length(NamedTuple):
    """How many wait, and since when the first of them."""

    number: int
    since: dt.datetime | None


class Known(NamedTuple):
    """What is known of the subjects of a page of the queue."""

    #: Those that hold a certificate which is still good.
    certified: frozenset[str]
    #: Those of whom several requests wait.
    twice: frozenset[str]


class Beside(NamedTuple):
    """What else there is of the subject of a request, newest first."""

    certificates: list[Certificate]
    requests: list[Request]


def waiting(session: Session, which: Queue, *, after: int | None = None, limit: int = PAGE) -> list[Request]:
    """A page of the queue, the longest wait first; give the last one's id as `after` for the next page."""
    # Numbers come from the index alone; whole rows are read for this page only.
    numbers = select(Request.id).where(*_conditions(which)).order_by(Request.id).limit(limit)
    found = session.scalars(numbers if after is None else numbers.where(Request.id > after)).all()
    return list(session.scalars(select(Request).where(Request.id.in_(found)).order_by(Request.id)))


def length(session: Session, which: Queue) -> Length:
    """How long the queue is."""
    count, first = session.execute(select(func.count(), func.min(Request.id)).where(*_conditions(which))).one()
    return Length(count, session.scalar(select(Request.submitted_at).where(Request.id == first)) if count else None)


def known(session: Session, requests: Collection[Request], now: dt.datetime) -> Known:
    """What a registrar should see of `requests` before opening one."""
    subjects = {one.subject for one in requests}
    owners = {one.owner for one in requests}
    held = select(Certificate).where(Certificate.owner.in_(owners), Certificate.subject.in_(subjects), Certificate.not_after > now)
    asked = select(Request.subject).where(Request.state == RequestState.SUBMITTED, Request.owner.in_(owners), Request.subject.in_(subjects))
    several = session.scalars(asked.group_by(Request.subject).having(func.count() > 1))
    good = {one.subject for one in session.scalars(held) if one.standing is Standing.VALID}
    return Known(frozenset(good), frozenset(several))


def beside(session: Session, request: Request) -> Beside:
    """Certificates and other requests of the same subject."""
    held = certificates.listing(session, certificates.Filter(owner=request.owner, subject=request.subject), limit=BESIDE)
    asked = listing(session, Filter(owner=request.owner, subject=request.subject), limit=BESIDE + 1)
    return Beside(held, [one for one in asked if one.id != request.id][:BESIDE])


def _conditions(which: Queue) -> list[ColumnElement[bool]]:
    spoken = select(Approval.id).where(Approval.request_id == Request.id, Approval.approver == which.officer).exists()
    found = [Request.state == RequestState.SUBMITTED, Request.unit.in_(which.units), Request.owner != which.officer, ~spoken]
    if which.number is not None:
        found.append(Request.id == which.number)
    if which.name:
        named = Request.common_name.contains(which.name, autoescape=True)
        found.append(or_(named, Request.subject == which.subject) if which.subject else named)
    return found
