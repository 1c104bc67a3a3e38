"""What is measured of a home by looking at its database: the same whichever process looks, and the worker's part as well.

A worker listens on nothing, so what it does is read from what it leaves behind: its lock, heads, lists, requests.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Select, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from audit import rounds
from audit.ledgers import waiting_seconds
from audit.tiles import PublishedLog
from audit.trail import LOGS
from authz.tables import SessionRow
from ca import certificates, crls
from ca.states import RequestState, Standing
from ca.tables import Certificate, Request, Revocation
from core.clock import Clock, microseconds
from core.database import Database
from core.errors import Unavailable
from core.settings import Settings
from ops import copies, own, reconcile
from ops.leadership import is_led
from ops.notices import outbox

#: States in which a request waits for somebody.
_WAITING = (RequestState.SUBMITTED, RequestState.APPROVED, RequestState.ISSUING)
_STANDINGS = (Standing.REVOKED, Standing.SUSPENDED)


class State(Collector):
    """The measures of a home, taken anew each time they are asked for."""

    def __init__(self, settings: Settings, database: Database, clock: Clock) -> None:
        self._settings, self._database, self._clock = settings, database, clock

    def collect(self) -> Iterable[Metric]:
        """Every measure; of a database that cannot be read only that it is so."""
        up = _gauge("database_up", "1 while the database can be read.")
        try:
            with self._database.reading() as session:
                found = [*self._of_work(session), *self._of_logs(session), *self._of_certificates(session)]
        except (OSError, SQLAlchemyError, Unavailable):
            found = []
        up.add_metric([], float(bool(found)))
        return [up, *found]

    def _of_work(self, session: Session) -> Iterator[Metric]:
        yield _gauge("worker_leads", "1 while some process does the worker's jobs.", is_led(self._settings, session))
        states = select(Request.state, func.count()).where(Request.state.in_(_WAITING)).group_by(Request.state)
        yield _counted("certificate_requests", "Requests that wait, by state.", "state", _WAITING, session, states)
        notices = _gauge(
            "notices", "Notices by mail and short message, by state; those that ended are kept for half a year.", labels=["state"]
        )
        for state, number in outbox.counts(session).items():
            notices.add_metric([state], number)
        yield notices
        now = self._clock()
        usable = (SessionRow.ended_at.is_(None), SessionRow.expires_at > now)
        yield _gauge("sessions_open", "Sessions that neither ended nor expired.", session.scalar(select(func.count()).where(*usable)) or 0)

    def _of_logs(self, session: Session) -> Iterator[Metric]:
        entries = _gauge("log_entries", "Entries in the present epoch of a log.", labels=["log"])
        signed = _gauge("log_signed_entries", "Entries under the newest checkpoint.", labels=["log"])
        age = _gauge("checkpoint_age_seconds", "Seconds since the newest checkpoint; it grows while a log is quiet.", labels=["log"])
        now = microseconds(self._clock())
        for log in LOGS:
            published = PublishedLog(session, log)
            entries.add_metric([log], published.head().size)
            signed.add_metric([log], published.signed())
            if (at := published.signed_at()) is not None:
                age.add_metric([log], (now - at) / 1_000_000)
        yield from (entries, signed, age)
        waits = waiting_seconds(self._database, self._clock())
        yield _gauge("trail_waiting_seconds", "How long the oldest committed event waits for its place.", waits)
        compared = _gauge("trail_compared_seconds", "Seconds since facts and events were last compared.")
        contradictions = _gauge("trail_contradictions", "Facts and events that contradict each other now.")
        if result := reconcile.last(session):
            compared.add_metric([], (self._clock() - result.at).total_seconds())
            contradictions.add_metric([], result.open)
        verified = _gauge("trail_verified_seconds", "Seconds since the last round over the whole trail ended.")
        damaged = _gauge("trail_damaged", "Logs of the trail in which the last round found damage.")
        if looked := rounds.last(session):
            damaged.add_metric([], len(looked.damage))
            if looked.whole_at:
                verified.add_metric([], (self._clock() - looked.whole_at).total_seconds())
        backup = _gauge("backup_age_seconds", "Seconds since the moment that the newest backup at any target holds.")
        if newest := copies.last(session):
            backup.add_metric([], (self._clock() - newest.at).total_seconds())
        yield from (compared, contradictions, verified, damaged, backup)

    def _of_certificates(self, session: Session) -> Iterator[Metric]:
        yield _gauge(
            "certificates_issued", "Certificates that were issued.", session.scalar(select(func.count(Certificate.intent_id))) or 0
        )
        standings = select(Revocation.standing, func.count()).where(Revocation.standing.in_(_STANDINGS)).group_by(Revocation.standing)
        yield _counted("certificates_revoked", "Serials that are revoked or suspended.", "standing", _STANDINGS, session, standings)
        age = _gauge("crl_age_seconds", "Seconds since thisUpdate of an authority's newest list.", labels=["ca"])
        left = _gauge("crl_left_seconds", "Seconds until nextUpdate of an authority's newest list.", labels=["ca"])
        now = self._clock()
        ends = _gauge("internal_certificate_expires_seconds", "Seconds until a certificate of the service's own ends.", labels=["name"])
        for name, certificate in own.listing(self._settings, session):
            ends.add_metric([name], (certificate.not_valid_after_utc - now).total_seconds())
        for row in certificates.authorities(session):
            if newest := crls.latest(session, row.id):
                age.add_metric([row.id], (now - newest.this_update).total_seconds())
                left.add_metric([row.id], (newest.next_update - now).total_seconds())
        yield from (age, left, ends)


def write(settings: Settings, database: Database, clock: Clock, path: Path) -> None:
    """Write the measures to `path` in Prometheus' text format, for an exporter that reads files: whole, or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    registry = CollectorRegistry()
    registry.register(State(settings, database, clock))
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_bytes(generate_latest(registry))
    scratch.replace(path)


def _gauge(name: str, meaning: str, value: float | None = None, *, labels: Iterable[str] = ()) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"yumen_{name}", meaning, value=value, labels=None if value is not None else list(labels))


def _counted(name: str, meaning: str, label: str, values: Iterable[str], session: Session, query: Select[str, int]) -> GaugeMetricFamily:
    """How many rows have each of `values`; those of which there is none as well."""
    found = {row[0]: row[1] for row in session.execute(query)}
    family = _gauge(name, meaning, labels=[label])
    for value in values:
        family.add_metric([str(value)], found.get(value, 0))
    return family
