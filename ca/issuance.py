"""From an order to a certificate. Rehearse, lint, record, sign, verify, compare, record: in that order, nowhere else.

Two commits: the intent with the exact bytes before a key moves, the certificate after. An order that fails leaves the
batch. What was announced and not completed is swept by `ca.intents`. Only the worker and the ceremony call this.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding
from structlog import get_logger

from audit.event import Event, Kind
from audit.record import Transaction, recording
from ca import authorities, intents
from ca.authorities import Issuer
from ca.keys import Missigned
from ca.order import Order, Rehearsed
from ca.states import REQUESTS, RequestState, RequestStep, after
from ca.tables import Authority, Certificate, Request
from ca.works import Works, status_urls
from certs import der, lint, profiles
from certs.profiles import PROFILES, Purpose
from certs.suites import SUITES, PrivateKey, spki_sha256
from core.errors import Error, Malformed, NotFound, Unavailable

_log = get_logger()

#: Serial numbers: 16 octets, 120 bits of them from the system's generator, positive and far below 2^159 (RFC 5280 section 4.1.2.2).
_SERIAL_BITS, _EPOCHS = 120, 64


def new_serial(epoch: int) -> int:
    """A serial number nobody can predict; the database refuses one that was used before.

    Its first octet tells the epoch of the log `ca`, so that after a restore none can be one that was given out and is lost.
    """
    return (_EPOCHS | (epoch - 1) % _EPOCHS) << _SERIAL_BITS | secrets.randbits(_SERIAL_BITS)


def issue(works: Works, orders: Sequence[Order], *, root: Issuer | None = None) -> list[Certificate]:
    """Make the certificates that `orders` ask for; gives those that were made. `root` is an authority that signs itself.

    Raises:
        Unavailable: the trail or the database cannot be written; nothing was delivered, orphans will be swept.
    """
    issuers = _issuers(works, orders) if root is None else {root.id: root}
    rehearsed = [made for order in orders if order.authority in issuers and (made := _rehearse(works, order, issuers[order.authority]))]
    if not rehearsed:
        return []
    with recording(works.trail) as tx:  # the intents are in the tree before a key moves
        announced = intents.announce(tx, rehearsed, works.trail.writer)
    signed = []
    stopped: set[str] = set()
    for made, number in announced:
        if made.issuer.id not in stopped:
            try:
                signed.append((made, number, sign(made)))
            except Missigned as error:
                stopped.add(made.issuer.id)
                authorities.stop(works.trail, made.issuer.id, str(error), permit=made.order.permit)
            except Exception as error:  # noqa: BLE001 - one signer's trouble is not the others'; the intent is swept
                _log.error("signer failed", authority=made.issuer.id, serial=f"{made.serial:x}", reason=repr(error))
                stopped.add(made.issuer.id)
    if not signed:
        return []
    with recording(works.trail) as tx:
        still_open = intents.fulfil(tx, [number for _, number, _ in signed])
        for made, number, _ in signed:
            if number not in still_open:  # swept meanwhile: the certificate is discarded, and only told
                tx.record(intents.event(made.issuer, made.order, f"{made.serial:x}", Kind.CERT_FAILED, {"late": True}))
        return [_store(tx, made, number, cert) for made, number, cert in signed if number in still_open]


def sign(made: Rehearsed) -> x509.Certificate:
    """The certificate over exactly the rehearsed bytes.

    Raises:
        Missigned: the signature does not verify, or what was signed is not what was rehearsed.
    """
    signer = made.issuer.signer
    signature = signer.sign(made.tbs)
    serial = f"{made.serial:x}"
    try:
        made.issuer.suite.verify(signer.public_key, signature, made.tbs)
    except InvalidSignature:
        raise Missigned(f"signature of {made.issuer.id}/{serial} does not verify") from None
    certificate = x509.load_der_x509_certificate(der.sequence(made.tbs, made.issuer.suite.algorithm, der.bits(signature)))
    if certificate.tbs_certificate_bytes != made.tbs or certificate.serial_number != made.serial:
        raise Missigned(f"signed bytes of {made.issuer.id}/{serial} are not the rehearsed bytes")
    return certificate


def fail(works: Works, order: Order, reason: str, problems: Sequence[str]) -> None:
    """End an order that cannot become a certificate as it stands; nothing was signed."""
    _log.warning("order failed", order=order.resource, subject=order.subject_ref, reason=reason, problems=list(problems))
    with recording(works.trail) as tx:
        if order.request_id is not None:
            request = tx.db.get_one(Request, order.request_id, with_for_update=True, populate_existing=True)
            if request.state != RequestState.APPROVED:
                return
            request.state = after(REQUESTS, RequestState.APPROVED, RequestStep.FAIL, request.ref)
            request.reasons = reason
        details = {"subject": order.subject_ref, "profile": order.profile, "problems": list(problems)[:20]}
        more = {"outcome": "fail", "reason": reason, "scope": order.unit, "details": details}
        tx.record(Event.under(order.permit, Kind.CERT_FAILED, order.resource, **more))


def _issuers(works: Works, orders: Sequence[Order]) -> dict[str, Issuer]:
    """The authorities that can sign now; orders for others wait."""
    found = {}
    with works.database.reading() as session:
        for authority in {order.authority for order in orders}:
            try:
                found[authority] = authorities.issuer(session, works.signers, authority)
            except (NotFound, Unavailable) as error:
                _log.warning("authority cannot sign", authority=authority, reason=error.detail)
    return found


def _rehearse(works: Works, order: Order, issuer: Issuer) -> Rehearsed | None:
    """Build the exact bytes, sign them with a key that is worth nothing, lint; a failure is recorded and gives None."""
    order.permit.must_cover(order.action, order.resource)
    try:
        made, found = _built(works, order, issuer)
    except (Error, ValueError) as error:
        fail(works, order, "not-buildable", [error.detail if isinstance(error, Malformed) else type(error).__name__])
        return None
    if found:
        fail(works, order, "lint", found)
        return None
    return made


def _built(works: Works, order: Order, issuer: Issuer) -> tuple[Rehearsed, list[str]]:
    profile = PROFILES[order.profile]
    serial = new_serial(works.trail.epochs["ca"])
    content = profiles.Content(
        subject=order.subject,
        public_key=order.public_key,
        serial=serial,
        not_before=works.now() - works.settings.backdate,
        urls=_urls(works, order, profile),
    )
    facts = profiles.Issuer.of(issuer.certificate) if issuer.certificate else profiles.Issuer.itself(content, profile)
    rehearsed = profiles.template(profile, issuer=facts, content=content).sign(_throw_away(issuer.suite.name), issuer.suite.digest)
    made = Rehearsed(
        order=order,
        issuer=issuer,
        profile=profile,
        serial=serial,
        tbs=rehearsed.tbs_certificate_bytes,
        not_before=rehearsed.not_valid_before_utc,
        not_after=rehearsed.not_valid_after_utc,
    )
    return made, lint.problems(rehearsed, facts, profile)


def _urls(works: Works, order: Order, profile: profiles.Profile) -> profiles.StatusUrls:
    """Where the certificate's status is told: nowhere for a root, and an unchecked responder only names its issuer."""
    urls = status_urls(works.http_url, order.authority)
    if profile.name == "root":
        return profiles.StatusUrls()
    return profiles.StatusUrls(ca=urls.ca) if profile.no_check else urls


def _throw_away(suite: str) -> PrivateKey:
    """A key whose signatures mean nothing. RSA keys are slow to make: one serves the process."""
    return _kept(suite) if suite.startswith("rsa") else SUITES[suite].generate()


@lru_cache(maxsize=4)
def _kept(suite: str) -> PrivateKey:
    return SUITES[suite].generate()


def _store(tx: Transaction, made: Rehearsed, intent_id: int, certificate: x509.Certificate) -> Certificate:
    """Write the certificate, whose intent was open."""
    order, serial = made.order, f"{made.serial:x}"
    row = Certificate(
        intent_id=intent_id,
        authority=made.issuer.id,
        serial=serial,
        request_id=order.request_id,
        profile=made.profile.name,
        subject=order.subject_ref,
        owner=order.owner,
        unit=order.unit,
        common_name=order.subject.common_name,
        spki_sha256=spki_sha256(order.public_key),
        not_before=made.not_before,
        not_after=made.not_after,
        issued_at=tx.now,
        der=certificate.public_bytes(Encoding.DER),
    )
    tx.db.add(row)
    if made.profile.authority:
        tx.db.get_one(Authority, order.subject.id, with_for_update=True).cert = row.der
    elif made.profile.purpose is Purpose.OCSP:
        tx.db.get_one(Authority, made.issuer.id, with_for_update=True).responder = row.der
    details = {"profile": made.profile.name, "version": made.profile.version, "not-after": made.not_after.isoformat()}
    tx.record(intents.event(made.issuer, order, serial, Kind.CERT_ISSUED, details))
    return row
