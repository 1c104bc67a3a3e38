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
from tests.pace import in_time
from tests.production.machine import until
from tests.production.stage import BUREAU, FAR_REGISTRAR, NEWCOMER, SECURITY, Direct, Production

pytestmark = [
    pytest.mark.alone,
    pytest.mark.journey,
    pytest.mark.component("machine", "slapd", "postgresql", "nginx"),
    pytest.mark.timeout(300),
]

INSTANCES = (1, 2)
#: Refusals that would tell of a fault, not of the promise.
_MISTAKEN = frozenset({"unavailable", "malformed", "internal"})

WHO = NEWCOMER.uid
DN = province.person_dn(WHO, BUREAU)


@pytest.fixture(scope="module")
def oa(production: Production) -> Iterator[dict[int, Direct]]:
    """The application at each instance."""
    with ExitStack() as stack:
        yield {number: stack.enter_context(production.application(number)) for number in INSTANCES}


@pytest.fixture(scope="module")
def sessions(production: Production) -> Iterator[dict[int, Direct]]:
    """One session of the person, at each instance."""
    with ExitStack() as stack:
        yield {number: stack.enter_context(production.person(WHO, number)) for number in INSTANCES}


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


def within_two_seconds(
    what: str, probes: dict[str, Callable[[], bool]], act: Callable[[], object], undo: Callable[[], object] | None = None
) -> None:
    """Nobody refuses before `act`, everybody within two seconds of its end, and nobody any more soon after `undo`."""
    assert [name for name, probe in probes.items() if probe()] == []
    act()
    try:
        took = measure(probes, time.monotonic(), REFUSED_SECONDS)
        print(f"\n{what}:", ", ".join(f"{name} {seconds:.2f} s" for name, seconds in took.items()))
    finally:
        if undo:
            undo()
            until(lambda: not any(probe() for probe in probes.values()), 5, "what was given back does not count again")


def at_both(probe: Callable[[int], bool], name: str = "instance") -> dict[str, Callable[[], bool]]:
    return {f"{name} {number}": lambda number=number: probe(number) for number in INSTANCES}


def ocsp_says(api: Direct, chain: list[x509.Certificate], authority: str) -> str:
    request = ocsp.OCSPRequestBuilder().add_certificate(chain[0], chain[1], SHA256()).build().public_bytes(Encoding.DER)
    answer = api._http.post(f"/ocsp/{authority}", content=request, headers={"Content-Type": "application/ocsp-request"})
    response = ocsp.load_der_ocsp_response(answer.content)
    good = response.response_status is ocsp.OCSPResponseStatus.SUCCESSFUL
    return response.certificate_status.name if good else response.response_status.name


@in_time
def test_a_revoked_certificate(production: Production, oa: dict[int, Direct]):
    pem = production.certify(WHO, FAR_REGISTRAR)
    chain = x509.load_pem_x509_certificates(pem.read_bytes())
    shown = "".join(each.public_bytes(Encoding.PEM).decode() for each in chain)
    asked = question(WHO, "read", "elsewhere", certificate=certificate_ref(chain))
    with ExitStack() as stack:
        shown_at = {number: stack.enter_context(production.direct(number, pem=pem)) for number in INSTANCES}
        tokens = {number: api.post("/api/v1/sessions")["token"] for number, api in shown_at.items()}
        begun = {number: stack.enter_context(production.direct(number, pem=pem, token=tokens[number])) for number in INSTANCES}
        registrar = stack.enter_context(production.person(FAR_REGISTRAR))
        probes = (
            at_both(lambda number: refused(lambda: begun[number].get("/api/v1/me")), "session")
            | at_both(lambda number: refused(lambda: shown_at[number].post("/api/v1/sessions")), "login")
            | at_both(lambda number: denied(oa[number].post("/access/v1/evaluation", asked)), "evaluation")
            | at_both(lambda number: not oa[number].post("/api/v1/identities/verify", {"certificate": shown})["valid"], "verification")
            | at_both(lambda number: ocsp_says(oa[number], chain, "staff") == "REVOKED", "OCSP")
        )
        revoke = f"/api/v1/certificates/{chain[0].serial_number:x}/revoke"
        within_two_seconds("revoked", probes, lambda: registrar.post(revoke, {"reason": "keyCompromise"}))


@in_time
def test_a_role_removed_in_the_directory(production: Production, oa: dict[int, Direct]):
    asked = question(WHO, "submit", "elsewhere")
    record = f"dn: {province.group_dn('staff', BUREAU)}\nchangetype: modify\n{{}}: member\nmember: {DN}\n"
    probes = at_both(lambda number: denied(oa[number].post("/access/v1/evaluation", asked)))
    give, take = record.format("add"), record.format("delete")
    within_two_seconds("role removed", probes, lambda: production.change(take), lambda: production.change(give))


@in_time
def test_a_disabled_person(production: Production, oa: dict[int, Direct], sessions: dict[int, Direct]):
    asked = question(WHO, "read", "elsewhere")
    record = f"dn: {DN}\nchangetype: modify\n{{}}: employeeType\nemployeeType: inactive\n"
    probes = at_both(lambda number: refused(lambda: sessions[number].get("/api/v1/me")), "session")
    probes |= at_both(lambda number: denied(oa[number].post("/access/v1/evaluation", asked)), "evaluation")
    give, take = record.format("delete"), record.format("add")
    within_two_seconds("disabled", probes, lambda: production.change(take), lambda: production.change(give))


@in_time
def test_a_blocked_person(production: Production, sessions: dict[int, Direct]):
    probes = at_both(lambda number: refused(lambda: sessions[number].get("/api/v1/me")))
    with production.person(SECURITY) as security:
        person = f"/api/v1/persons/{WHO}"
        blocked, free = lambda: security.insist(f"{person}/block", {"reason": "lost"}), lambda: security.insist(f"{person}/unblock", None)
        within_two_seconds("blocked", probes, blocked, free)


def test_an_ended_session(sessions: dict[int, Direct]):
    probes = at_both(lambda number: refused(lambda: sessions[number].get("/api/v1/me")))
    within_two_seconds("session ended", probes, lambda: sessions[1].delete("/api/v1/sessions/current"))


@in_time
def test_a_withdrawn_grant(production: Production, oa: dict[int, Direct]):
    asked = question("zhaoliu", "submit", "plan-2026")
    probes = at_both(lambda number: denied(oa[number].post("/access/v1/evaluation", asked)))
    with production.person(SECURITY) as security:
        draft = {"application": "oa", "action": "submit", "type": "document", "role": "registrar"}
        grant = security.insist("/api/v1/grants", draft)["id"]
        measure({name: lambda probe=probe: not probe() for name, probe in probes.items()}, time.monotonic(), REFUSED_SECONDS)
        within_two_seconds("grant withdrawn", probes, lambda: security.delete(f"/api/v1/applications/oa/grants/{grant}"))
