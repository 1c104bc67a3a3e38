"""How a home fares, read from the home itself: it works while the service runs and while it does not."""

from __future__ import annotations

import datetime as dt
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from sqlalchemy.orm import Session

import migrations
from audit import history, rounds
from audit.ledgers import waiting_seconds
from audit.tiles import PublishedLog
from audit.trail import LOGS
from audit.verifier.errors import Unreadable
from audit.verifier.note import Checkpoint, Note
from ca import authorities, certificates, crls
from core.clock import system
from core.database import Database, open_sqlite
from core.errors import NotFound, Unavailable
from core.settings import Settings, Web
from ops import acceptance, copies, homes, measures, own, postgres, reconcile
from ops.hour import STEP
from ops.leadership import is_led
from ops.notices import outbox

#: A log that grew is signed each second; longer than this, something keeps the worker from it.
UNSIGNED = dt.timedelta(seconds=15)
#: A committed event is in the tree before it is answered; longer than this, in seconds, something keeps it from its place.
WAITS = 5.0
#: A certificate of the service's own that ends within this time should have been renewed.
SOON = dt.timedelta(days=14)


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen; `problems` are sentences that say what to do, empty when all is well. `warnings` keep nothing from working."""

    facts: dict[str, Any]
    problems: list[str]
    warnings: list[str]


def look(settings: Settings) -> Look:
    """Look at the home of `settings`.

    Raises:
        Unavailable: there is no database, or a restore into the home was broken off.
    """
    homes.must_be_whole(settings.home)
    database, now = _database(settings), system()
    try:
        problems = _schema(database)
        with database.reading() as session:
            warnings = [] if problems else [*_former(settings, session, now), *outbox.problems(session, now)]
            facts = _facts(settings, session, now, problems)
        if (waits := waiting_seconds(database, now)) > WAITS:
            problems.append(f"an event waits for its place in the trail for {waits:.0f} s; run the worker, and read its log")
    finally:
        database.engine.dispose()
    return Look(facts, problems, [*_elsewhere(settings), *warnings])


def export(settings: Settings, path: Path) -> None:
    """Write what is measured of the home to `path`, for an exporter that reads files.

    Raises:
        Unavailable: there is no database, or the file cannot be written.
    """
    database = _database(settings)
    try:
        measures.write(settings, database, system, path)
    except OSError as error:
        raise Unavailable("`{path}` cannot be written: {reason}", path=path, reason=error.strerror) from error
    finally:
        database.engine.dispose()


def _database(settings: Settings) -> Database:
    if settings.database.url:
        return postgres.opened(settings.database.url)
    path = homes.database_file(settings.home)
    if not path.exists():
        raise Unavailable("`{home}` has no database yet; run `yumen init`", home=settings.home)
    return open_sqlite(path)


def _schema(database: Database) -> list[str]:
    age = migrations.age(database.engine)
    if age is migrations.Age.NEWER:
        return ["the schema is newer than this version; start the version that made it"]
    return [] if age is migrations.Age.CURRENT else ["the schema is older than this version; start the service once with this one"]


def _facts(settings: Settings, session: Session, now: dt.datetime, problems: list[str]) -> dict[str, Any]:
    working, answering = is_led(settings, session), _answers(settings.web)
    worker = "`yumen serve`, or `yumen worker`" if settings.embedded else "`yumen worker`"
    if not working:
        problems.append(f"no worker runs: nothing is issued and no revocation list is published; run {worker}")
    if answering is False:
        where = settings.web.https if settings.web.socket == Path() else settings.web.socket
        problems.append(f"nothing listens on {where}; run `yumen serve`")
    problems += homes.half_sealed(settings.home)
    problems += authorities.problems(session)
    problems += crls.problems(session, now)
    problems += reconcile.problems(session)
    problems += acceptance.problems(session)
    problems += copies.problems(settings, session, now)
    if (ahead := history.newest_at(session) / 1_000_000 - now.timestamp()) > STEP:
        problems.append(f"the newest entry of the trail lies {ahead:.0f} s ahead of this machine's clock; put the clock right")
    return {
        "home": str(settings.home),
        "mode": settings.mode,
        "portal": settings.web.https_url,
        "listening": answering,
        "worker": working,
        "logs": [_log(settings, session, log, now, problems) for log in LOGS],
        "reconciled": _reconciled(session),
        "verified": _verified(session),
        "backups": _backups(settings, session),
        "authorities": [_authority(session, row.id, row.cert or b"") for row in certificates.authorities(session)],
        "tls_ends_at": _tls(settings, now, problems),
    }


def _elsewhere(settings: Settings) -> list[str]:
    written, listening = urlsplit(settings.web.http_url), settings.web.http.rpartition(":")[2]
    if settings.web.socket != Path() or str(written.port or 80) == listening:  # what nginx listens on we cannot see
        return []
    told = f"certificates say {settings.web.http_url}, the service listens on {settings.web.http}"
    return [f"{told}: see that the first leads to the second, or relying parties cannot learn of revocations"]


def _former(settings: Settings, session: Session, now: dt.datetime) -> Iterator[str]:
    for place, ends in crls.former_addresses(session, settings.web.http_url, now).items():
        until = f"certificates that were issued before say {place}, the last of them until {ends.date().isoformat()}"
        yield f"{until}: see that it leads to the service until then, or relying parties cannot learn of revocations"


def _log(settings: Settings, session: Session, log: str, now: dt.datetime, problems: list[str]) -> dict[str, Any]:
    note = homes.notes_folder(settings.home) / f"{log}.note"
    try:
        published = PublishedLog(session, log)
        signed = Checkpoint.parse(Note.parse(note.read_bytes()).text)
        age = now - dt.datetime.fromtimestamp(note.stat().st_mtime, dt.UTC)
    except (NotFound, FileNotFoundError, Unreadable):
        problems.append(f"the log {log} or its last signed head cannot be read; restore it, see docs/operating.md")
        return {"log": log, "size": None, "signed": None}
    size = published.head().size
    if size > signed.size and age > UNSIGNED:
        problems.append(f"the head of {published.name} was not signed for {age.total_seconds():.0f} s; read the worker's log")
    return {"log": published.name, "size": size, "signed": signed.size}


def _reconciled(session: Session) -> dict[str, Any] | None:
    """When facts and events were last compared, the new ones and all of them, and how many contradict each other."""
    result = reconcile.last(session)
    if result is None:
        return None
    whole = result.whole_at.isoformat(timespec="seconds") if result.whole_at else None
    at = result.at.isoformat(timespec="seconds")
    return {"at": at, "whole_at": whole, "contradictions": result.open, "accepted": result.accepted, "first": list(result.first)}


def _verified(session: Session) -> dict[str, Any] | None:
    """When the last round over the whole trail ended, how many entries it covered, how far the present one is, and what is damaged."""
    result = rounds.last(session)
    if result is None:
        return None
    whole = result.whole_at.isoformat(timespec="seconds") if result.whole_at else None
    return {"whole_at": whole, "entries": result.entries, "done": result.done, "damage": [one.sentence for one in result.damage]}


def _backups(settings: Settings, session: Session) -> list[dict[str, Any]]:
    """The newest backup at each target."""
    newest = [(target, copies.last(session, target)) for target in settings.backup.targets.split()]
    return [{"target": name, "backup": copy and copy.name, "at": copy and copy.at.isoformat()} for name, copy in newest]


def _authority(session: Session, authority: str, der: bytes) -> dict[str, Any]:
    newest = crls.latest(session, authority)
    ends = newest.next_update if newest else None
    certificate = x509.load_der_x509_certificate(der)
    return {
        "id": authority,
        "ends_at": certificate.not_valid_after_utc.isoformat(),
        "crl": newest.number if newest else None,
        "crl_ends_at": ends.isoformat() if ends else None,
    }


def _tls(settings: Settings, now: dt.datetime, problems: list[str]) -> str | None:
    for _, leaf in own.listener(settings):
        if leaf.not_valid_after_utc - now < SOON:
            problems.append("the TLS certificate of the service ends soon; the worker renews it while it runs")
        return leaf.not_valid_after_utc.isoformat()
    return None


def _answers(web: Web) -> bool | None:
    """Whether somebody listens; nothing when this account may not try, as the worker's may not on nginx's sockets."""
    host, _, port = web.https.rpartition(":")
    try:
        if web.socket == Path():
            socket.create_connection((host.strip("[]"), int(port)), timeout=1).close()
        else:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(web.socket))
    except PermissionError:
        return None
    except OSError:
        return False
    return True
