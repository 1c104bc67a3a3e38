"""Slowing down who guesses: per account and network, per network, and per account for codes after a right password.

Only password login asks here: login by certificate and existing sessions are never delayed. Failures and refusals are
recorded one by one up to ten an account and minute, then counted.
"""

from __future__ import annotations

import datetime as dt
import threading

from sqlalchemy import case, delete, select, update

from audit.event import Event, Kind
from audit.noise import network
from audit.permit import ANONYMOUS
from audit.record import Transaction
from audit.trail import Trail
from authz.tables import LONG_AGO, Throttle
from core.database import Database, insertion
from core.errors import RateLimited

#: After so many failures in a row: this long.
STEPS = ((20, dt.timedelta(hours=1)), (10, dt.timedelta(minutes=15)), (5, dt.timedelta(minutes=1)))
#: The same for a whole network, on all its accounts together.
NETWORK_STEPS = ((300, dt.timedelta(minutes=15)), (100, dt.timedelta(minutes=1)))
#: Failures are forgotten when none came for this long.
MEMORY = dt.timedelta(hours=24)
#: Failures of one account, or of one network on names that nobody has, that are recorded one by one in a minute.
EACH = 10
#: Accounts and networks that are told apart in a minute; what comes beyond is counted together.
MAX_TOLD_APART = 1000
OTHERS = "network:other"


def keys(account: str, source: str) -> tuple[str, str]:
    """The two counters of an attempt: of the account from that network, and of the network."""
    near = network(source)
    return f"{account}@{near}", f"@{near}"


def require_patience(database: Database, account: str, source: str, now: dt.datetime) -> None:
    """Return when another attempt may be made.

    Raises:
        RateLimited: not before `retry_after_seconds`.
    """
    with database.reading() as db:
        until = max(db.scalars(select(Throttle.locked_until).where(Throttle.key.in_(keys(account, source)))), default=LONG_AGO)
    if until > now:
        wait = int((until - now).total_seconds()) + 1
        raise RateLimited(
            "too many failed logins; wait {seconds} seconds, or log in with your certificate", retry_after_seconds=wait, seconds=wait
        )


def count_failure(tx: Transaction, account: str, source: str) -> None:
    """One more failure, and the delay that it brings: the account's before the network's, whoever else counts at the same time."""
    for key, steps in zip(keys(account, source), (STEPS, NETWORK_STEPS), strict=True):
        fails = case((Throttle.last_at < tx.now - MEMORY, 1), else_=Throttle.fails + 1)
        first = insertion(tx.db)(Throttle).values(key=key, fails=1, last_at=tx.now, locked_until=LONG_AGO)
        counted = first.on_conflict_do_update(index_elements=["key"], set_={"fails": fails, "last_at": tx.now})
        number = tx.db.scalar(counted.returning(Throttle.fails))
        if wait := delay(number, steps):
            mine = update(Throttle).where(Throttle.key == key, Throttle.locked_until < tx.now + wait)
            tx.db.execute(mine.values(locked_until=tx.now + wait))
        if number == 1:
            over = select(Throttle.key).where(Throttle.last_at < tx.now - MEMORY, Throttle.locked_until < tx.now)
            tx.db.execute(delete(Throttle).where(Throttle.key.in_(over.with_for_update(skip_locked=True))))


def delay(fails: int, steps: tuple[tuple[int, dt.timedelta], ...] = STEPS) -> dt.timedelta:
    """How long the next attempt must wait after `fails` failures."""
    return next((wait for least, wait in steps if fails >= least), dt.timedelta(0))


def forget(tx: Transaction, account: str, source: str) -> None:
    """A login succeeded: the account's counter from that network starts anew; the network's does not."""
    key = keys(account, source)[0]
    statement = insertion(tx.db)(Throttle).values(key=key, fails=0, last_at=tx.now, locked_until=LONG_AGO)
    tx.db.execute(statement.on_conflict_do_update(index_elements=["key"], set_={"fails": 0, "locked_until": LONG_AGO}))


class Tally:
    """Decides for each failed login whether it gets an event of its own, and counts the rest. Safe to share between threads.

    Whom it is about is an account (`account:…`), a certificate of ours that is no longer good (`cert:…`) or, for names
    that nobody has, the network that tries them: otherwise who invents a new name for each attempt would fill the trail
    from outside.
    """

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._minute = 0
        self._seen: dict[str, int] = {}
        self._due: list[tuple[str, int]] = []

    def admit(self, whom: str, now: dt.datetime) -> bool:
        """Whether this one is recorded by itself."""
        with self._mutex:
            self._turn(int(now.timestamp()) // 60)
            whom = whom if whom in self._seen or len(self._seen) < MAX_TOLD_APART else OTHERS
            self._seen[whom] = self._seen.get(whom, 0) + 1
            return self._seen[whom] <= EACH

    def flush(self, trail: Trail, now: dt.datetime) -> None:
        """Write the counts of past minutes; call it at least once a minute."""
        with self._mutex:
            self._turn(int(now.timestamp()) // 60)
            due, self._due = self._due, []
        if due:
            trail.append([_counted(whom, count) for whom, count in due])

    def _turn(self, minute: int) -> None:
        if minute != self._minute:
            self._due += [(whom, count - EACH) for whom, count in self._seen.items() if count > EACH]
            self._minute, self._seen = minute, {}


def _counted(whom: str, count: int) -> Event:
    return Event(kind=Kind.LOGINS_COUNTED, actor=ANONYMOUS, object=whom, outcome="fail", details={"count": count})
