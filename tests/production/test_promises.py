"""Promise 6 at each instance's own socket: what was revoked, removed, disabled, ended or withdrawn is refused within two seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from authz import province
from cli.story.ending import REFUSED_SECONDS, certificate_ref, measure, question
from core.errors import Error
from tests.production.stage import SECURITY, Direct, Production

pytestmark = [
    pytest.mark.journey,
    pytest.mark.component("machine", "slapd", "postgresql", "nginx"),
    pytest.mark.timeout(300),
]

INSTANCES = (1, 2)
#: Refusals that would tell of a fault, not of the promise.
_MISTAKEN = frozenset({"unavailable", "malformed", "internal"})

BUREAU = "renshe.songling.yunshan.jiangzhou"
WANGWU = province.person_dn("wangwu", BUREAU)


@pytest.fixture(scope="module")
def oa(production: Production) -> Iterator[dict[int, Direct]]:
    """The application at each instance."""
    with ExitStack() as stack:
        yield {number: stack.enter_context(production.application(number)) for number in INSTANCES}


def refused(call: Callable[[], object]) -> bool:
    """Whether `call` is refused now, and not by mistake."""
    try:
        call()
    except Error as error:
        assert error.code not in _MISTAKEN, f"{error.code}: {error.detail}"
        return True
    return False


def denied(answer: Any) -> bool:
    """Whether this decision is no, for a reason that lies in whom it is about."""
    assert answer["decision"] or answer["context"]["reason"] != "stale", answer
    return not answer["decision"]


def within_two_seconds(what: str, probes: dict[str, Callable[[], bool]], act: Callable[[], object]) -> None:
    """Nobody refuses before `act`, and everybody within two seconds of its end."""
    assert [name for name, probe in probes.items() if probe()] == []
    act()
    took = measure(probes, time.monotonic(), REFUSED_SECONDS)
    print(f"\n{what}:", ", ".join(f"{name} {seconds:.2f} s" for name, seconds in took.items()))


def at_both(probe: Callable[[int], bool], name: str = "instance") -> dict[str, Callable[[], bool]]:
    return {f"{name} {number}": lambda number=number: probe(number) for number in INSTANCES}


def ocsp_says(api: Direct, chain: list[x509.Certificate], authority: str) -> str:
    request = ocsp.OCSPRequestBuilder().add_certificate(chain[0], chain[1], SHA256()).build().public_bytes(Encoding.DER)
    answer = api._http.post(f"/ocsp/{authority}", content=request, headers={"Content-Type": "application/ocsp-request"})
    response = ocsp.load_der_ocsp_response(answer.content)
    good = response.response_status is ocsp.OCSPResponseStatus.SUCCESSFUL
    return response.certificate_status.name if good else response.response_status.name


def test_a_revoked_certificate(production: Production, oa: dict[int, Direct]):
    pem = production.certify("zhangsan", "zhaoliu")
    chain = x509.load_pem_x509_certificates(pem.read_bytes())
    shown = "".join(each.public_bytes(Encoding.PEM).decode() for each in chain)
    asked = question("zhangsan", "read", "plan-2026", certificate=certificate_ref(chain))
    sessions = {}
    for number in INSTANCES:
        with production.direct(number, pem=pem) as api:
            sessions[number] = production.direct(number, pem=pem, token=api.post("/api/v1/sessions")["token"])
    probes = (
        at_both(lambda number: refused(lambda: sessions[number].get("/api/v1/me")), "session")
        | at_both(lambda number: refused(lambda: production.direct(number, pem=pem).post("/api/v1/sessions")), "login")
        | at_both(lambda number: denied(oa[number].post("/access/v1/evaluation", asked)), "evaluation")
        | at_both(lambda number: not oa[number].post("/api/v1/identities/verify", {"certificate": shown})["valid"], "verification")
        | at_both(lambda number: ocsp_says(oa[number], chain, "staff") == "REVOKED", "OCSP")
    )
    with production.person("zhaoliu") as registrar:
        revoke = f"/api/v1/certificates/{chain[0].serial_number:x}/revoke"
        within_two_seconds("revoked", probes, lambda: registrar.post(revoke, {"reason": "keyCompromise"}))


def test_a_role_removed_in_the_directory(production: Production, oa: dict[int, Direct]):
    asked = question("wangwu", "submit", "elsewhere")
    record = f"dn: {province.group_dn('staff', BUREAU)}\nchangetype: modify\n{{}}: member\nmember: {WANGWU}\n"
    probes = at_both(lambda number: denied(oa[number].post("/access/v1/evaluation", asked)))
    try:
        within_two_seconds("role removed", probes, lambda: production.change(record.format("delete")))
    finally:
        production.change(record.format("add"))


def test_a_disabled_person(production: Production, oa: dict[int, Direct]):
    sessions = {number: production.person("wangwu", number) for number in INSTANCES}
    asked = question("wangwu", "read", "elsewhere")
    record = f"dn: {WANGWU}\nchangetype: modify\n{{}}: employeeType\nemployeeType: inactive\n"
    probes = at_both(lambda number: refused(lambda: sessions[number].get("/api/v1/me")), "session")
    probes |= at_both(lambda number: denied(oa[number].post("/access/v1/evaluation", asked)), "evaluation")
    try:
        within_two_seconds("disabled", probes, lambda: production.change(record.format("add")))
    finally:
        production.change(record.format("delete"))


def test_a_blocked_person(production: Production):
    sessions = {number: production.person("sunqi", number) for number in INSTANCES}
    probes = at_both(lambda number: refused(lambda: sessions[number].get("/api/v1/me")))
    with production.person(SECURITY) as security:
        within_two_seconds("blocked", probes, lambda: security.post("/api/v1/persons/sunqi/block", {"reason": "reported lost"}))
        security.post("/api/v1/persons/sunqi/unblock")


def test_an_ended_session(production: Production):
    sessions = {number: production.person("lisi", number) for number in INSTANCES}
    probes = at_both(lambda number: refused(lambda: sessions[number].get("/api/v1/me")))
    within_two_seconds("session ended", probes, lambda: sessions[1].delete("/api/v1/sessions/current"))


def test_a_withdrawn_grant(production: Production, oa: dict[int, Direct]):
    asked = question("zhaoliu", "submit", "plan-2026")
    probes = at_both(lambda number: denied(oa[number].post("/access/v1/evaluation", asked)))
    with production.person(SECURITY) as security:
        draft = {"application": "oa", "action": "submit", "type": "document", "role": "registrar"}
        grant = security.post("/api/v1/grants", draft)["id"]
        measure({name: lambda probe=probe: not probe() for name, probe in probes.items()}, time.monotonic(), REFUSED_SECONDS)
        within_two_seconds("grant withdrawn", probes, lambda: security.delete(f"/api/v1/applications/oa/grants/{grant}"))
