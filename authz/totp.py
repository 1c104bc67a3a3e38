"""One-time codes (RFC 6238): the second factor beside a password.

A code is accepted once, by one UPDATE that only a later time step passes (section 5.2). Secrets are sealed to person and
credential. A first enrolment needs the password *and* a one-time code from a registrar in scope, or a login by
certificate: a stolen password alone gains nothing. Recovery codes are for the day the generator is lost.
"""

from __future__ import annotations

import base64
import datetime as dt
import hmac
import secrets
from dataclasses import dataclass

import pyotp
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from audit.event import Event, Kind
from audit.permit import Action, Permit
from audit.record import Transaction
from authz.keys import Keys
from authz.people import Person
from authz.tables import LONG_AGO, EnrolmentCode, OneTime, RecoveryCode
from authz.throttle import delay
from core.errors import Conflict, Unauthenticated, Unavailable

STEP = 30
SECRET_BYTES = 20
RECOVERY_CODES = 10
ISSUER = "Yumen"
#: Wrong codes after a right password: the account waits, wherever the next attempt comes from.
DELAYS = ((20, dt.timedelta(days=3650)), (10, dt.timedelta(minutes=15)), (5, dt.timedelta(minutes=1)))
#: A pending enrolment that was not finished is forgotten after this.
PENDING = dt.timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Offer:
    """What a person puts into the generator. Shown once."""

    credential: str
    #: Base32.
    secret: str
    uri: str


def active(db: Session, person: str) -> OneTime | None:
    """The generator that the person with this entryUUID uses, or None."""
    return db.scalar(select(OneTime).where(OneTime.person == person, OneTime.state == "active"))


def hand_out(tx: Transaction, keys: Keys, person: Person, lifetime: dt.timedelta, *, permit: Permit) -> str:
    """A code with which the person can enrol; earlier ones end. The permit is for `person:<pseudonym>`."""
    permit.must_cover(Action.TOTP_CODE_ISSUE, f"person:{person.id}")
    tx.db.execute(update(EnrolmentCode).where(EnrolmentCode.person == person.uuid, EnrolmentCode.used_at.is_(None)).values(used_at=tx.now))
    code = _readable(10)
    row = EnrolmentCode(
        person=person.uuid, code=keys.code("enrolment", _plain(code)), by=permit.actor.id, used_at=None, expires_at=tx.now + lifetime
    )
    tx.db.add(row)
    tx.db.flush()
    tx.record(Event.under(permit, Kind.TOTP_CODE_ISSUED, permit.resource, scope=person.unit, details={"code": row.id}))
    return code


def offer(tx: Transaction, keys: Keys, person: Person, secret: str = "") -> Offer:
    """A new generator, pending until a code from it is shown. The caller has proved who it is, and records it."""
    for row in tx.db.scalars(select(OneTime).where(OneTime.person == person.uuid, OneTime.state == "pending")):
        row.state = "replaced"
    secret = secret or base64.b32encode(secrets.token_bytes(SECRET_BYTES)).decode()
    identity = secrets.token_hex(16)
    sealed = _seal(keys, person.uuid, identity, secret)
    row = OneTime(
        id=identity, person=person.uuid, state="pending", secret=sealed, last_step=0, fails=0, locked_until=LONG_AGO, made_at=tx.now
    )
    tx.db.add(row)
    tx.db.flush()
    return Offer(identity, secret, pyotp.TOTP(secret).provisioning_uri(name=person.uid, issuer_name=ISSUER))


def pending(db: Session, person: str, now: dt.datetime, *, locked: bool = False) -> OneTime:
    """The generator that waits for its first code; with `locked` for nobody else who asks so.

    Raises:
        Conflict: none does, or it waited too long.
    """
    query = select(OneTime).where(OneTime.person == person, OneTime.state == "pending")
    row = db.scalar(query.with_for_update() if locked else query)
    if row is None or now - row.made_at > PENDING:
        raise Conflict("no enrolment is under way; begin again")
    return row


def activate(tx: Transaction, keys: Keys, person: Person, code: str) -> tuple[str, list[str]]:
    """Take the pending generator into use with its first code; gives its id and the recovery codes, shown once. Older ones end.

    Raises:
        Conflict: no enrolment is under way.
        Unauthenticated: the code is wrong.
    """
    row = pending(tx.db, person.uuid, tx.now, locked=True)
    step = step_of(keys, row, code, tx.now)
    if step is None:
        raise Unauthenticated("the code is wrong; check the clock of the device and type the code that it shows now")
    return row.id, _take_into_use(tx, keys, row, step)


def enrol_known(tx: Transaction, keys: Keys, person: Person, secret: str, *, permit: Permit) -> list[str]:
    """Enrol a secret that the person has already; gives the recovery codes."""
    permit.must_cover(Action.TOTP_ENROL, f"person:{person.id}")
    row = tx.db.get_one(OneTime, offer(tx, keys, person, secret).credential)
    tx.record(Event.under(permit, Kind.TOTP_ENROLLED, permit.resource, scope=person.unit, details={"totp": row.id}))
    return _take_into_use(tx, keys, row, 0)


def _take_into_use(tx: Transaction, keys: Keys, row: OneTime, step: int) -> list[str]:
    tx.db.execute(update(OneTime).where(OneTime.person == row.person, OneTime.state == "active").values(state="replaced"))
    row.state, row.last_step = "active", step
    codes = [_readable(16) for _ in range(RECOVERY_CODES)]
    tx.db.add_all(RecoveryCode(totp=row.id, code=keys.code(f"recovery {row.id}", _plain(code)), used_at=None) for code in codes)
    return codes


def step_of(keys: Keys, row: OneTime, code: str, now: dt.datetime) -> int | None:
    """The time step whose code this is, one step either side of now; None for none. Takes equally long for all."""
    digits = code.replace(" ", "")
    typed = digits.encode() if digits.isascii() else b""
    generator = pyotp.TOTP(_unseal(keys, row))
    middle = int(now.timestamp()) // STEP
    found = None
    for step in (middle - 1, middle, middle + 1):
        if hmac.compare_digest(generator.generate_otp(step).encode(), typed):
            found = step
    return found


def use(tx: Transaction, row: OneTime, step: int) -> bool:
    """Use up `step` and all before it: True for exactly one caller, whatever runs at the same time."""
    used = update(OneTime).where(OneTime.id == row.id, OneTime.state == "active", OneTime.last_step < step, OneTime.locked_until <= tx.now)
    return tx.db.scalar(used.values(last_step=step, fails=0).returning(OneTime.id)) is not None


def use_recovery(tx: Transaction, keys: Keys, row: OneTime, code: str) -> int | None:
    """Use up a recovery code: its number for exactly one caller, else None."""
    hashed = keys.code(f"recovery {row.id}", _plain(code))
    used = update(RecoveryCode).where(RecoveryCode.totp == row.id, RecoveryCode.code == hashed, RecoveryCode.used_at.is_(None))
    return tx.db.scalar(used.values(used_at=tx.now).returning(RecoveryCode.id))


def use_enrolment(tx: Transaction, keys: Keys, person: Person, code: str) -> bool:
    """Use up a registrar's code: True for exactly one caller."""
    hashed = keys.code("enrolment", _plain(code))
    mine = update(EnrolmentCode).where(EnrolmentCode.person == person.uuid, EnrolmentCode.code == hashed)
    used = mine.where(EnrolmentCode.used_at.is_(None), EnrolmentCode.expires_at > tx.now)
    return tx.db.scalar(used.values(used_at=tx.now).returning(EnrolmentCode.id)) is not None


def knows_enrolment(db: Session, keys: Keys, person: Person, code: str, now: dt.datetime) -> bool:
    """Whether a registrar's code could be used now."""
    hashed = keys.code("enrolment", _plain(code))
    mine = select(EnrolmentCode.id).where(EnrolmentCode.person == person.uuid, EnrolmentCode.code == hashed)
    return db.scalar(mine.where(EnrolmentCode.used_at.is_(None), EnrolmentCode.expires_at > now)) is not None


def count_wrong(tx: Transaction, row: OneTime) -> None:
    """One more wrong or used code after a right password; before the throttle is touched, as a login does."""
    mine = update(OneTime).where(OneTime.id == row.id)
    fails = tx.db.scalar(mine.values(fails=OneTime.fails + 1).returning(OneTime.fails))
    if wait := delay(fails or 0, DELAYS):
        tx.db.execute(mine.where(OneTime.locked_until < tx.now + wait).values(locked_until=tx.now + wait))


def looks_like_recovery(code: str) -> bool:
    """Whether this is typed as a recovery code rather than as six digits."""
    return len(_plain(code)) == 16


def _readable(letters: int) -> str:
    """Base32 letters in groups of four (or five): 80 bits in 16 letters."""
    text = base64.b32encode(secrets.token_bytes(10)).decode()[:letters].lower()
    size = 4 if letters % 4 == 0 else 5
    return "-".join(text[start : start + size] for start in range(0, letters, size))


def _plain(code: str) -> str:
    return code.replace("-", "").replace(" ", "").lower()


def _seal(keys: Keys, person: str, identity: str, secret: str) -> bytes:
    nonce = secrets.token_bytes(12)
    return nonce + AESGCM(keys.otp).encrypt(nonce, secret.encode(), f"{person} {identity}".encode())


def _unseal(keys: Keys, row: OneTime) -> str:
    try:
        return AESGCM(keys.otp).decrypt(row.secret[:12], row.secret[12:], f"{row.person} {row.id}".encode()).decode()
    except InvalidTag as error:
        raise Unavailable("the one-time-code secret does not open; enrol again, and tell the operator") from error
