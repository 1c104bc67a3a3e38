"""What keeps a process from serving, or will soon: one sentence each, for balancers and for people.

A process that only serves sees the others' part as well: without a worker nothing is issued, no list is published and
nobody follows the directory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Protocol

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from audit.ledgers import waiting_seconds
from audit.trail import Trail
from authz.world import World
from ca import authorities, crls
from ca.status import Responder
from core.errors import Error, Unavailable
from core.settings import Settings
from ops import acceptance, fitness, own, reconcile
from ops.hour import Hour
from ops.leadership import is_led
from ops.status import WAITS

#: A worker that ended is followed by another within a second or two; longer than this, nobody works.
LEADERLESS = 5.0
#: How often it is looked who leads, and whether the clock was stepped, in seconds.
LOOK = 1.0

log = structlog.get_logger()


class _Parts(Protocol):
    """What is looked at."""

    @property
    def settings(self) -> Settings: ...
    @property
    def trail(self) -> Trail: ...
    @property
    def world(self) -> World: ...
    @property
    def responder(self) -> Responder: ...
    @property
    def hour(self) -> Hour: ...


class Lead:
    """Since when nobody does the jobs. Safe to share between threads; `look` is called again and again."""

    def __init__(self, settings: Settings, trail: Trail, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._trail, self._monotonic = settings, trail, monotonic
        self._seen_at = monotonic()

    def look(self) -> bool:
        """Whether somebody leads now, or it cannot be known."""
        try:
            with self._trail.database.reading() as session:
                led = is_led(self._settings, session)
        except (OSError, SQLAlchemyError, Unavailable):
            led = True  # that the database cannot be read is told by itself
        if led:
            self._seen_at = self._monotonic()
        return led

    @property
    def missing_seconds(self) -> float:
        """For how long no look has found a leader."""
        return self._monotonic() - self._seen_at


def reasons(node: _Parts, lead: Lead) -> list[str]:
    """What is wrong now; empty when the process is ready."""
    found = _of_trail(node.trail)
    found += node.world.problems()
    found += node.responder.problems()
    found += node.hour.problems()
    if node.responder.stale:
        return found  # the database is silent, and whoever asked it now would be as well
    if not lead.look() and lead.missing_seconds > LEADERLESS:
        command = "`yumen serve`, or `yumen worker`" if node.settings.embedded else "`yumen worker`"
        found.append(f"no worker leads for {lead.missing_seconds:.0f} s: nothing is issued and no list is published; run {command}")
    now = node.trail.clock()
    if any(leaf.not_valid_after_utc <= now for _, leaf in own.listener(node.settings)):
        found.append("the service's own TLS certificate is over: the worker replaces it while it runs, read its log")
    try:
        with node.trail.database.reading() as session:
            found += _of_database(node, session)
    except Error as error:
        found.append(error.detail)
    except SQLAlchemyError as error:
        log.warning("the database cannot be read", reason=repr(error))
        found.append("the database cannot be read; see that its server runs and lets this process in")
    return found


def _of_trail(trail: Trail) -> list[str]:
    if not trail.closed:
        return []
    waiting = f"; {trail.unproved} events stand and wait for their place in it" if trail.unproved else ""
    return [f"the trail cannot be written: acts, logins and decisions are refused{waiting}"]


def _of_database(node: _Parts, session: Session) -> Iterator[str]:
    now = node.trail.clock()
    if not node.settings.embedded:
        yield from (f"the database is not used as it is: {problem}" for problem in fitness.trouble(session.connection()))
    yield from authorities.problems(session)
    yield from crls.problems(session, now)
    for name, certificate in own.responders(session):
        if certificate.not_valid_after_utc <= now:
            yield f"the certificate of {name} is over: its answers are refused; the worker replaces it while it runs, read its log"
    yield from reconcile.problems(session)
    yield from acceptance.problems(session)
    if waiting_seconds(node.trail.database, now) > WAITS:
        yield "events wait for their place in the trail: acts are answered as not yet proved"
