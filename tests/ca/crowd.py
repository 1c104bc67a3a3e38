"""Very many requests at once, each with its event, so that facts and trail agree."""

from __future__ import annotations

from sqlalchemy import insert, select

from audit.event import Event, Kind
from audit.permit import Permit
from audit.record import recording
from audit.trail import Trail
from ca import registration
from ca.registration import Draft
from ca.tables import Request

#: Rows of one statement: PostgreSQL takes at most 65,535 parameters, SQLite half of that.
_AT_ONCE = 1000


def crowd(trail: Trail, permit: Permit, draft: Draft, number: int) -> None:
    """Enter the request of `draft` `number` times, as `registration.submit` would."""
    for start in range(0, number, _AT_ONCE):
        with recording(trail) as tx:
            model = registration.submit(tx, permit=permit, draft=draft)
            row = {column.name: getattr(model, column.name) for column in Request.__table__.columns if column.name != "id"}
            tx.db.execute(insert(Request), [row] * (min(_AT_ONCE, number - start) - 1))
            told = {"subject": model.subject, "profile": model.profile, "spki-sha256": model.spki_sha256}
            for found in tx.db.scalars(select(Request.id).where(Request.id > model.id)):
                tx.record(Event.under(permit, Kind.REQUEST_SUBMITTED, f"request:{found}", scope=model.unit, details=told))
