"""Status for relying parties: OCSP answers, the published lists, the authorities' certificates. One responder per process.

Answers come from the revocation rows. A serial that was never issued is `unknown`, a question about another issuer is
refused (RFC 6960 section 2.3), and when the database could not be polled for 1.5 s the answer is `tryLater`; published
lists and certificates are served even then.
With a clock that cannot be believed it is `tryLater` as well.
An authority on hold after a restore answers `tryLater` and shows no list. What the rows say of a serial is kept, and answers
about it without nonce; a revocation, seen by the poll at most 250 ms later, drops what was kept for that serial under every hash.
"""

from __future__ import annotations

import datetime as dt
import sqlite3
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from cryptography import x509
from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import Session
from structlog import get_logger

from audit.event import Event, Kind
from audit.permit import Actor
from audit.trail import Trail
from ca.crls import is_left_behind
from ca.keys import Signer, Signers
from ca.states import ListState, Standing
from ca.tables import Authority, Certificate, Revocation, RevocationList
from certs import bundles, ocsp
from core.clock import moment
from core.database import statement
from core.errors import Error
from core.settings import CA

_log = get_logger()

#: How often the database is looked at.
POLL = dt.timedelta(milliseconds=250)
#: Older looks than this are too old to answer from.
STALE = dt.timedelta(seconds=1.5)
#: Serials of which something is kept, over all authorities.
CACHED_SERIALS = 65_536
#: Questions that need not be read again, and the largest of them in bytes: about one certificate, without a nonce.
READ_QUESTIONS, SMALL = 16_384, 256
#: How long proxies may keep an answer at most.
MAX_AGE_SECONDS = 3600

_ITSELF = Actor.service("status")


class Answer(NamedTuple):
    """DER, and for how long proxies may keep it."""

    der: bytes
    max_age_seconds: int
    cacheable: bool


class _Kept(NamedTuple):
    der: bytes
    #: Nobody gets it after this moment.
    until: dt.datetime


@dataclass(frozen=True, slots=True)
class _Known:
    """What the rows say of one serial, and the answers that were signed from it, by CertID."""

    status: ocsp.Status
    answers: dict[bytes, _Kept] = field(default_factory=dict)


@dataclass(frozen=True)
class _Desk:
    """What is needed to answer for one authority. Replaced as a whole when its responder's certificate changes."""

    authority: str
    certificate: x509.Certificate
    der: bytes
    responder_der: bytes
    cert_ids: tuple[ocsp.CertIds, ...]
    template: ocsp.Template | None
    signer: Signer | None
    not_after: dt.datetime
    held: bool = False


class _Open(NamedTuple):
    """A question that only the database can answer."""

    desk: _Desk
    request: ocsp.Request
    now: dt.datetime


@dataclass
class _Seen:
    """What the last polls found. Readers take the references once and work on them."""

    desks: Mapping[str, _Desk] = field(default_factory=dict)
    lists: Mapping[str, bytes] = field(default_factory=dict)
    list_ids: Mapping[str, int] = field(default_factory=dict)
    revision: int = 0


class Responder:
    """See the module. `signers` opens the `ocsp/<authority>` keys. Safe to share between threads."""

    def __init__(
        self,
        trail: Trail,
        signers: Signers,
        settings: CA | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        doubtful: Callable[[], bool] = lambda: False,
    ) -> None:
        self._trail, self._signers = trail, signers
        self._settings = settings or CA()
        self._monotonic, self._doubtful = monotonic, doubtful
        self._seen = _Seen()
        self._polled: float | None = None
        self._kept: OrderedDict[tuple[str, int], _Known] = OrderedDict()
        self._lock = threading.Lock()
        self._polling = threading.Lock()
        self._signed: Counter[tuple[str, int]] = Counter()
        #: How many answers were signed for whoever asked, and how many were kept from before.
        self.answered = {"signed": 0, "kept": 0}
        self._stop, self._wake = threading.Event(), trail.database.bell()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Poll, and count into the trail, in a thread until `close`."""
        self._thread = threading.Thread(target=self._run, name="status-poll", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop polling and record what was counted."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        self.count(everything=True)

    def answer(self, authority: str, der: bytes) -> Answer:
        """The OCSP answer of `authority` to the request `der` (RFC 6960); never an exception."""
        found = self._begin(authority, der)
        return found if isinstance(found, Answer) else self._or_later(authority, lambda: self._looked_up(found))

    def at_hand(self, authority: str, der: bytes) -> Answer | None:
        """As `answer`, without waiting for anything; None when the database must be asked."""
        found = self._begin(authority, der)
        return found if isinstance(found, Answer) else None

    def _begin(self, authority: str, der: bytes) -> Answer | _Open:
        try:
            request = _read(der)
        except Error:
            return Answer(ocsp.MALFORMED, 0, cacheable=False)
        desk = self._seen.desks.get(authority)
        if self.stale or self._doubtful() or (desk is not None and desk.held):
            return Answer(ocsp.TRY_LATER, 0, cacheable=False)
        if desk is None or desk.template is None or not any(mine.matches(request) for mine in desk.cert_ids):
            return Answer(ocsp.UNAUTHORIZED, 0, cacheable=False)
        now = self._trail.clock().replace(microsecond=0)
        with self._lock:
            known = self._kept.get((authority, request.serial))
            if known is None:
                return _Open(desk, request, now)
            self._kept.move_to_end((authority, request.serial))
            kept = known.answers.get(request.cert_id) if request.nonce is None else None
            if kept is not None and now < kept.until:
                self.answered["kept"] += 1
                return _cacheable(kept, now)
        return self._or_later(authority, lambda: self._signed_from(known, desk, request, now))

    def _or_later(self, authority: str, made: Callable[[], Answer]) -> Answer:
        try:
            return made()
        except Error as error:
            _log.error("no OCSP answer could be made", authority=authority, reason=repr(error))
            return Answer(ocsp.TRY_LATER, 0, cacheable=False)

    def crl(self, authority: str) -> bytes | None:
        """The published list of `authority`, or None."""
        return self._seen.lists.get(authority)

    def certificate(self, authority: str) -> bytes | None:
        """The certificate of `authority` in DER, or None."""
        desk = self._seen.desks.get(authority)
        return desk.der if desk else None

    def p7c(self, authority: str) -> bytes | None:
        """The certificate of `authority` as certs-only PKCS#7 (RFC 5280 section 4.2.2.1), or None."""
        desk = self._seen.desks.get(authority)
        return bundles.p7c([desk.certificate]) if desk else None

    def problems(self) -> list[str]:
        """Why status is not ready, one sentence each."""
        found = ["status has not read the database for more than 1.5 s"] if self.stale else []
        return found + [f"authority {name} has no OCSP responder" for name, desk in self._seen.desks.items() if desk.template is None]

    def poll(self) -> None:
        """Look at the database once: new authorities, responders, lists, and every change of a standing.

        Raises:
            SQLAlchemyError: it cannot be read; what is known stays.
        """
        with self._polling:
            began = self._monotonic()
            with self._trail.database.reading() as session:
                seen = self._seen
                made = session.scalars(select(Authority).where(Authority.cert.is_not(None)))
                desks = {row.id: self._desk(row, seen.desks.get(row.id)) for row in made}
                list_ids, lists = _lists(session, seen)
                changed = session.execute(
                    select(Revocation.authority, Revocation.serial, Revocation.revision).where(Revocation.revision > seen.revision)
                ).all()
            revision = max((row.revision for row in changed), default=seen.revision)
            renewed = {name for name, desk in desks.items() if seen.desks.get(name) is not desk}
            with self._lock:  # readers who looked before this point find the new revision and keep nothing
                self._seen = _Seen(desks, lists, list_ids, revision)
                for authority, serial, _ in changed:
                    self._kept.pop((authority, int(serial, 16)), None)
                for key in [key for key in self._kept if key[0] in renewed] if renewed else ():
                    del self._kept[key]
            self._polled = began

    def count(self, *, everything: bool = False) -> None:
        """Record how many answers each key signed in each minute that is over (or until now)."""
        minute = int(self._trail.clock().timestamp()) // 60
        with self._lock:
            over = {key: number for key, number in self._signed.items() if everything or key[1] < minute}
            for key in over:
                del self._signed[key]
        if not over:
            return
        events = [_counted(authority, at, number) for (authority, at), number in sorted(over.items())]
        try:
            self._trail.append(events)
        except Error:
            with self._lock:
                self._signed.update(over)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait(POLL.total_seconds())
            self._wake.clear()
            try:
                self.poll()
                self.count()
            except Exception as error:  # noqa: BLE001 - the thread must live: without polls every answer is `tryLater`
                _log.error("status cannot read the database", reason=repr(error))

    @property
    def stale(self) -> bool:
        """Whether the database has been silent for too long: what is answered from rows cannot be answered."""
        return self._polled is None or self._monotonic() - self._polled > STALE.total_seconds()

    def _desk(self, row: Authority, former: _Desk | None) -> _Desk:
        assert row.cert is not None  # selected so
        responder = row.responder or b""
        if former is not None and (former.der, former.responder_der, former.held) == (row.cert, responder, bool(row.held)):
            return former
        certificate = x509.load_der_x509_certificate(row.cert)
        own = x509.load_der_x509_certificate(responder) if responder else None
        return _Desk(
            authority=row.id,
            certificate=certificate,
            der=row.cert,
            responder_der=responder,
            cert_ids=tuple(ocsp.cert_ids(certificate).values()),
            template=ocsp.Template(own) if own else None,
            signer=self._signers.get(f"ocsp/{row.id}") if own else None,
            not_after=own.not_valid_after_utc if own else certificate.not_valid_after_utc,
            held=bool(row.held),
        )

    def _looked_up(self, question: _Open) -> Answer:
        desk, request, now = question
        with self._trail.database.looking() as cursor:
            status, revision = _status(cursor, desk.authority, request.serial)
        known = _Known(status)
        if not isinstance(status, ocsp.Unknown):
            self._keep(desk, request.serial, known, revision)
        return self._signed_from(known, desk, request, now)

    def _keep(self, desk: _Desk, serial: int, known: _Known, revision: int) -> None:
        """Keep what was read of a serial, unless a later poll knows better."""
        with self._lock:
            if self._seen.desks.get(desk.authority) is not desk or revision < self._seen.revision:
                return
            self._kept[desk.authority, serial] = known
            while len(self._kept) > CACHED_SERIALS:
                self._kept.popitem(last=False)

    def _signed_from(self, known: _Known, desk: _Desk, request: ocsp.Request, now: dt.datetime) -> Answer:
        assert desk.template is not None
        assert desk.signer is not None
        next_update = min(now + self._settings.ocsp_lifetime, desk.not_after)
        tbs = desk.template.tbs(request.cert_id, known.status, now, next_update, request.nonce)
        der = desk.template.assemble(tbs, desk.signer.sign(tbs))
        with self._lock:
            self._signed[desk.authority, int(now.timestamp()) // 60] += 1
            self.answered["signed"] += 1
        if request.nonce is not None or isinstance(known.status, ocsp.Unknown):
            return Answer(der, 0, cacheable=False)
        # What the poll has dropped meanwhile is found by nobody: this may be put into it all the same.
        kept = known.answers[request.cert_id] = _Kept(der, now + (next_update - now) / 2)
        return _cacheable(kept, now)


def _read(der: bytes) -> ocsp.Request:
    """The question in `der`; raises as `ocsp.parse`."""
    return ocsp.parse(der) if len(der) > SMALL or ocsp.NONCE_ID in der else _read_again(der)


_read_again = lru_cache(maxsize=READ_QUESTIONS)(ocsp.parse)


def _cacheable(kept: _Kept, now: dt.datetime) -> Answer:
    """RFC 9919 section 6: proxies may keep it for a while, never until nextUpdate."""
    left = int((kept.until - now).total_seconds())
    return Answer(kept.der, max(0, min(left, MAX_AGE_SECONDS)), cacheable=True)


#: Everything about one serial in one statement: each part is one look into a unique index.
_REVOKED = (Revocation.authority == bindparam("authority"), Revocation.serial == bindparam("serial"))
_LOOK = statement(
    select(
        select(func.max(Revocation.revision)).scalar_subquery().label("revision"),
        select(Revocation.standing).where(*_REVOKED).scalar_subquery().label("standing"),
        select(Revocation.reason).where(*_REVOKED).scalar_subquery().label("reason"),
        select(Revocation.at).where(*_REVOKED).scalar_subquery().label("at"),
        select(Certificate.intent_id)
        .where(Certificate.authority == bindparam("authority"), Certificate.serial == bindparam("serial"))
        .scalar_subquery()
        .label("issued"),
    )
)


def _status(cursor: sqlite3.Cursor, authority: str, serial: int) -> tuple[ocsp.Status, int]:
    """What is known of `serial`, and up to which revision: one read, one moment."""
    row = cursor.execute(_LOOK, {"authority": authority, "serial": f"{serial:x}"}).fetchone()
    revision, standing, reason, at, issued = row
    if standing is not None and standing != Standing.VALID:
        return ocsp.Revoked(moment(at), reason), revision or 0
    return (ocsp.Unknown() if issued is None else ocsp.Good()), revision or 0


def _lists(session: Session, seen: _Seen) -> tuple[dict[str, int], dict[str, bytes]]:
    """The published list of each authority that is not on hold, nor waits for a new one; only those that are new are read."""
    published = (RevocationList.state == ListState.PUBLISHED, Authority.held == "")
    newest = select(func.max(RevocationList.id)).join(Authority, Authority.id == RevocationList.authority).where(*published)
    rows = session.execute(
        select(RevocationList.authority, RevocationList.id).where(RevocationList.id.in_(newest.group_by(RevocationList.authority)))
    ).all()
    ids: dict[str, int] = {}
    lists: dict[str, bytes] = {}
    for authority, newest_id in rows:
        if seen.list_ids.get(authority) == newest_id:
            ids[authority], lists[authority] = newest_id, seen.lists[authority]
        elif not is_left_behind(session, row := session.get_one(RevocationList, newest_id)):
            ids[authority], lists[authority] = newest_id, row.der or b""
    return ids, lists


def _counted(authority: str, minute: int, number: int) -> Event:
    at = dt.datetime.fromtimestamp(minute * 60, dt.UTC).isoformat()
    return Event(kind=Kind.OCSP_COUNTED, actor=_ITSELF, object=f"ocsp:{authority}", details={"minute": at, "signed": number})
