"""What a restored home proves: its certificates are those of the running one, what is revoked stays so, status is answered."""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
from collections.abc import Iterator
from typing import cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp
from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from ca import certificates as registered
from ca import crls
from ca.states import Standing
from ca.status import Responder
from ca.tables import Certificate, Revocation
from certs.ocsp import cert_ids
from certs.suites import PublicKey, suite_of
from ops.assess.finding import Evidence, few, good, wrong

#: A certificate that was written so shortly before the backup began may be in it or not.
EDGE = dt.timedelta(seconds=10)
#: Certificates that are compared at once.
_BLOCK = 10_000


def certificates(live: Session, restored: Session, made_at: dt.datetime) -> Iterator[Evidence]:
    """Compare all certificates, byte by byte, with those of the running service."""
    last = max(session.scalar(select(func.max(Certificate.intent_id))) or 0 for session in (live, restored))
    same, lacking, foreign = 0, list[str](), list[str]()
    for first in range(0, last + 1, _BLOCK):
        here, there = _block(live, first), _block(restored, first)
        same += len(here.keys() & there.keys())
        foreign += [f"{key[0]}/{key[1]}" for key in there.keys() - here.keys()]
        lacking += [f"{key[0]}/{key[1]}" for key, at in here.items() if key not in there and at < made_at - EDGE]
    yield good("{number} certificates are equal, byte by byte", "{number} 张证书逐字节一致", number=same)
    if lacking:
        yield wrong("{number} are missing: {names}", "缺少 {number} 张：{names}", number=len(lacking), names=few(sorted(lacking)))
    if foreign:
        yield wrong("{number} are not ours: {names}", "来历不明 {number} 张：{names}", number=len(foreign), names=few(sorted(foreign)))


def _block(session: Session, first: int) -> dict[tuple[str, str, bytes], dt.datetime]:
    columns = (Certificate.authority, Certificate.serial, Certificate.der, Certificate.issued_at)
    rows = session.execute(select(*columns).where(Certificate.intent_id.between(first, first + _BLOCK - 1)))
    return {(row[0], row[1], hashlib.sha256(row[2]).digest()): row[3] for row in rows}


def revocations(live: Session, restored: Session) -> Iterator[Evidence]:
    """Compare what is revoked or suspended on the lists that are published now."""
    told = set[tuple[str, str]]()
    for authority in registered.authorities(live):
        if newest := crls.latest(live, authority.id):
            on_list = (Revocation.revision <= newest.revision, Revocation.not_after > newest.this_update)
            told |= {(row[0], row[1]) for row in live.execute(_bad().where(Revocation.authority == authority.id, *on_list))}
    there = {(row[0], row[1]) for row in restored.execute(_bad())}
    good_again = sorted(f"{authority}/{serial}" for authority, serial in told - there)
    yield good("{number} serials are refused there as here", "{number} 个序列号两边均拒绝", number=len(told & there))
    if good_again:
        yield wrong("{number} are good again: {names}", "{number} 个又变为有效：{names}", number=len(good_again), names=few(good_again))


def _bad() -> Select[str, str]:
    return select(Revocation.authority, Revocation.serial).where(Revocation.standing != Standing.VALID)


def status(responder: Responder, restored: Session, now: dt.datetime) -> Iterator[Evidence]:
    """Ask for a certificate that is good, one that is not, and one that nobody issued; check what comes as a relying party does."""
    asked = [found for standing in (Standing.VALID, Standing.REVOKED) if (found := _one(restored, standing, now))]
    for found in asked:
        issuer = _issuer(restored, found.authority)
        said = _answered(responder, found.authority, issuer, int(found.serial, 16))
        wanted = ocsp.OCSPCertStatus.GOOD if found.standing is Standing.VALID else ocsp.OCSPCertStatus.REVOKED
        fits = good if said is wanted else wrong
        yield fits("OCSP says of {ref}: {said}", "OCSP 对 {ref} 的答复：{said}", ref=found.ref, said=said.name.lower())
    for found in asked[:1]:
        said = _answered(responder, found.authority, _issuer(restored, found.authority), secrets.randbits(120))
        fits = good if said is ocsp.OCSPCertStatus.UNKNOWN else wrong
        yield fits("OCSP says of a serial that nobody issued: {said}", "OCSP 对从未签发的序列号的答复：{said}", said=said.name.lower())
    if not asked:
        yield wrong("there is no certificate that could be asked for", "没有可供查询的证书")


def _one(session: Session, standing: Standing, now: dt.datetime) -> Certificate | None:
    """The newest end-entity certificate of this standing that has not ended."""
    which = registered.Filter(standing=standing, unexpired_at=now)
    return next((each for each in registered.listing(session, which) if each.profile not in {"root", "issuing", "ocsp"}), None)


def _issuer(session: Session, authority: str) -> x509.Certificate:
    row = next(each for each in registered.authorities(session) if each.id == authority)
    return x509.load_der_x509_certificate(row.cert or b"")


def _answered(responder: Responder, authority: str, issuer: x509.Certificate, serial: int) -> ocsp.OCSPCertStatus:
    """What the responder says of `serial`, once its answer was verified up to the issuer.

    Raises:
        ValueError: the answer is no answer, or about something else.
        InvalidSignature: it is not signed by who may.
    """
    ids = cert_ids(issuer)["sha256"]
    request = ocsp.OCSPRequestBuilder().add_certificate_by_hash(ids.issuer_name_hash, ids.issuer_key_hash, serial, hashes.SHA256()).build()
    answer = ocsp.load_der_ocsp_response(responder.answer(authority, request.public_bytes(serialization.Encoding.DER)).der)
    if answer.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL or answer.serial_number != serial:
        raise ValueError(f"OCSP answered {answer.response_status.name}")
    (signer,) = answer.certificates
    signer.verify_directly_issued_by(issuer)
    key = cast("PublicKey", signer.public_key())
    suite_of(key).verify(key, answer.signature, answer.tbs_response_bytes)
    return answer.certificate_status
