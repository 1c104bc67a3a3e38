"""The end of a certificate: revoked once, refused everywhere, each refusal timed from the moment the revocation was sent."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID

from cli.client.api import Api, Server
from cli.story.enrolments import Enrolled
from cli.story.stage import Stage, StoryBroken
from core.errors import Error

#: Promise 6: everything that Yumen itself answers, and the list.
REFUSED_SECONDS = 2.0
LISTED_SECONDS = 60.0

_MISTAKEN = frozenset({"unavailable", "malformed"})


@dataclass(frozen=True, slots=True)
class Holder:
    """Somebody with a certificate: the chain, and a session that began with it."""

    enrolled: Enrolled
    chain: list[x509.Certificate]
    session: Api


def holder(stage: Stage, enrolled: Enrolled) -> Holder:
    """Log in with the certificate."""
    chain = x509.load_pem_x509_certificates(enrolled.pem.read_bytes())
    return Holder(enrolled, chain, Api(_with_token(stage, enrolled.pem)))


def login_by_certificate(stage: Stage, pem: Path) -> str:
    """A session token for the certificate in `pem`; raises as the server refuses."""
    with Api(Server(url=stage.url, ca_file=stage.ca_file, cert_file=pem)) as api:
        return str(api.post("/api/v1/sessions")["token"])


def _with_token(stage: Stage, pem: Path) -> Server:
    return Server(url=stage.url, ca_file=stage.ca_file, cert_file=pem, token=login_by_certificate(stage, pem))


def certificate_ref(chain: list[x509.Certificate]) -> str:
    """How applications and the trail name a certificate: SHA-256 of its issuer's key, and its serial."""
    from certs.suites import spki_sha256

    return f"{spki_sha256(chain[1].public_key())}:{chain[0].serial_number:x}"  # type: ignore[arg-type]


def question(uid: str, action: str, document: str, **properties: str) -> dict[str, Any]:
    """An AuthZEN question about a document of `oa`."""
    subject = {"type": "user", "id": uid} | ({"properties": properties} if properties else {})
    return {"subject": subject, "action": {"name": action}, "resource": {"type": "document", "id": document}}


def ocsp_status(chain: list[x509.Certificate]) -> str:
    """GOOD, REVOKED or UNKNOWN, from the responder that the certificate names, without a cache in between."""
    request = ocsp.OCSPRequestBuilder().add_certificate(chain[0], chain[1], SHA256()).build().public_bytes(Encoding.DER)
    access = chain[0].extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    url = next(each.access_location.value for each in access if each.access_method == AuthorityInformationAccessOID.OCSP)
    answer = httpx.post(url, content=request, headers={"Content-Type": "application/ocsp-request"}, trust_env=False, timeout=5)
    response = ocsp.load_der_ocsp_response(answer.content)
    if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        return response.response_status.name
    return response.certificate_status.name


def crl_lists(chain: list[x509.Certificate]) -> bool:
    """Whether the list that the certificate names has its serial."""
    points = chain[0].extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    url = str((points[0].full_name or [])[0].value)
    crl = x509.load_der_x509_crl(httpx.get(url, trust_env=False, timeout=5).content)
    return crl.get_revoked_certificate_by_serial_number(chain[0].serial_number) is not None


def refusals(stage: Stage, who: Holder, oa: Api) -> Mapping[str, Callable[[], bool]]:
    """Every place that must refuse: each tells whether it refuses now."""
    pem = "".join(each.public_bytes(Encoding.PEM).decode() for each in who.chain)
    asked = question(who.enrolled.uid, "read", "plan-2026", certificate=certificate_ref(who.chain))
    return {
        "login": lambda: _refuses(lambda: login_by_certificate(stage, who.enrolled.pem)),
        "session": lambda: _refuses(lambda: who.session.get("/api/v1/me")),
        "evaluation": lambda: not oa.post("/access/v1/evaluation", asked)["decision"],
        "verification": lambda: not oa.post("/api/v1/identities/verify", {"certificate": pem})["valid"],
        "OCSP": lambda: ocsp_status(who.chain) == "REVOKED",
    }


def measure(probes: Mapping[str, Callable[[], bool]], began: float, limit: float) -> dict[str, float]:
    """Seconds from `began` (monotonic) until each probe tells true, all asked at once.

    Raises:
        StoryBroken: one does not within `limit` seconds.
    """
    with ThreadPoolExecutor(len(probes)) as pool:
        running = {name: pool.submit(_until, name, probe, began, limit) for name, probe in probes.items()}
        return {name: each.result() for name, each in running.items()}


def _until(name: str, probe: Callable[[], bool], began: float, limit: float) -> float:
    while True:
        if probe():
            return time.monotonic() - began
        if time.monotonic() - began > limit:
            raise StoryBroken(f"{name} still lets the revoked certificate through after {limit} s")
        time.sleep(0.02)


def _refuses(call: Callable[[], object]) -> bool:
    try:
        call()
    except Error as error:
        if error.code in _MISTAKEN:
            raise StoryBroken(f"refused for a wrong reason: {error.code}: {error.detail}") from error
        return True
    return False


def now() -> str:
    """The present moment as the trail's queries write it."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
