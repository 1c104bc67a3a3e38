"""How far the worker's jobs are, read from what they leave behind: whichever process asks sees the same."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from audit import history, rounds
from audit.tiles import PublishedLog
from audit.trail import LOGS
from authz.snapshot import Freshness
from authz.world import World
from ca import certificates, crls
from ca.states import RequestState
from ca.tables import Certificate, Request
from core.clock import microseconds
from core.settings import Settings
from ops import own, reconcile
from ops.status import SOON, UNSIGNED

#: An approved request is signed within seconds; longer than this, something keeps the worker from it.
UNISSUED = dt.timedelta(seconds=30)
#: Comparisons, and words of how far the trail is verified, that may be missed before it is late.
PATIENCE = 3
#: A round over the whole trail that takes longer is late.
ROUND = dt.timedelta(days=2)


class Job(NamedTuple):
    """One job: when it was last done, and whether it should have been done again since."""

    #: `issuance`, `lists`, `checkpoint ca`, `checkpoint access`, `directory`, `reconciler`, `verifier` or `listener`.
    name: str
    last_at: dt.datetime | None
    late: bool
    #: When it is due at the latest, where that is known.
    due_at: dt.datetime | None = None


class _Parts(Protocol):
    """What is looked at."""

    @property
    def settings(self) -> Settings: ...
    @property
    def world(self) -> World: ...


def look(node: _Parts, session: Session, now: dt.datetime) -> list[Job]:
    """The jobs, in the order of their weight."""
    return [_issuance(session, now), _lists(session, now), *_checkpoints(session, now), _directory(node, now), *_others(node, session, now)]


def _issuance(session: Session, now: dt.datetime) -> Job:
    last = session.scalar(select(Certificate.issued_at).order_by(Certificate.intent_id.desc()).limit(1))
    waiting = (RequestState.APPROVED, RequestState.ISSUING)
    oldest = session.scalar(select(func.min(Request.decided_at)).where(Request.state.in_(waiting)))
    return Job("issuance", last, late=oldest is not None and now - oldest > UNISSUED)


def _lists(session: Session, now: dt.datetime) -> Job:
    newest = [found for row in certificates.authorities(session) if (found := crls.latest(session, row.id))]
    last = max((one.this_update for one in newest), default=None)
    return Job("lists", last, bool(crls.problems(session, now)), min((one.next_update for one in newest), default=None))


def _checkpoints(session: Session, now: dt.datetime) -> Iterator[Job]:
    for log in LOGS:
        published = PublishedLog(session, log)
        signed_at = published.signed_at()
        at = dt.datetime.fromtimestamp(signed_at / 1_000_000, dt.UTC) if signed_at is not None else None
        late = published.head().size > published.signed() and (at is None or now - at > UNSIGNED)
        yield Job(f"checkpoint {log}", at, late)


def _directory(node: _Parts, now: dt.datetime) -> Job:
    late = node.world.current().freshness is not Freshness.FRESH
    return Job("directory", now - dt.timedelta(seconds=node.world.directory_age), late)


def _others(node: _Parts, session: Session, now: dt.datetime) -> Iterator[Job]:
    compared, patience = reconcile.last(session), PATIENCE * node.settings.audit.reconcile_period
    late = now - compared.at > patience if compared else any(history.heads_at(session, microseconds(now - patience)).values())
    yield Job("reconciler", compared.at if compared else None, late)
    yield _verifier(session, now)
    for _, leaf in own.listener(node.settings):
        yield Job("listener", leaf.not_valid_before_utc, leaf.not_valid_after_utc - now < SOON, leaf.not_valid_after_utc)


def _verifier(session: Session, now: dt.datetime) -> Job:
    told, patience = rounds.last(session), PATIENCE * rounds.TELL
    if told is None:
        return Job("verifier", None, any(history.heads_at(session, microseconds(now - patience)).values()))
    behind = any(history.heads_at(session, microseconds(now - ROUND)).values()) and (told.whole_at is None or now - told.whole_at > ROUND)
    return Job("verifier", told.whole_at, now - told.at > patience or behind)
