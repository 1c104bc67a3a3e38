"""The story itself, in its order. Each scene tells what it does and breaks the story when something else comes out."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

from cli.client.api import Api
from cli.story import ending, proof
from cli.story.ending import Holder
from cli.story.enrolments import Asked, Enrolled, by_command, by_openssl
from cli.story.page import by_page, why_no_browser
from cli.story.people import login, refused
from cli.story.stage import Stage, StoryBroken, Tell

#: Who plays: a staff member, a registrar of the same county who wants a certificate as well, and one of another city.
STAFF, REGISTRAR, COLLEAGUE, ELSEWHERE, AUDITOR = "zhangsan", "zhaoliu", "sunqi", "zhouba", "qianyi"
#: Enrols in the browser; the registrar of the other city decides.
BROWSING = "wangwu"


@dataclass(slots=True)
class Outcome:
    """What the story showed, in seconds and names."""

    enrolled: dict[str, Enrolled] = field(default_factory=dict)
    #: Seconds from sending the revocation to each refusal.
    refused_after: dict[str, float] = field(default_factory=dict)
    listed_after: float = 0.0
    skipped: list[str] = field(default_factory=list)
    proved: dict[str, Any] = field(default_factory=dict)


def play(stage: Stage, tell: Tell) -> Outcome:
    """Play all of it.

    Raises:
        StoryBroken: something came out differently.
    """
    outcome, began_at = Outcome(), ending.now()
    with ExitStack() as stack:
        people = {uid: stack.enter_context(login(stage, uid)) for uid in (REGISTRAR, ELSEWHERE, AUDITOR)}
        _enrol(stage, people, outcome, tell)
        who = ending.holder(stage, outcome.enrolled["command"])
        stack.enter_context(who.session)
        oa = stack.enter_context(Api(stage.application("oa")))
        _use(who, oa, tell)
        _decide(who, oa, tell)
        _revoke(stage, people[REGISTRAR], who, oa, outcome, tell)
        outcome.proved = proof.prove(stage, people[AUDITOR], began_at, tell)
    return outcome


def _enrol(stage: Stage, people: dict[str, Api], outcome: Outcome, tell: Tell) -> None:
    """Three ways to ask; whoever may not approve is refused; the right registrar approves."""
    with ExitStack() as stack:
        tell(f"\n{STAFF} asks for a certificate by `yumen enroll`: the key is made on this machine and stays there")
        asked = {"command": by_command(stage, STAFF)}
        tell(f"{COLLEAGUE} asks by REST with a request that `openssl req` made; the name in it is ignored")
        colleague, asked["openssl"] = by_openssl(stage, COLLEAGUE)
        stack.enter_context(colleague)
        if why := why_no_browser():
            outcome.skipped.append(why)
            tell(f"(the page is left out: {why})")
        else:
            tell(f"{BROWSING} asks by the page in Chromium, closes the browser, and opens it again: the key still waits there")
            asked["page"] = stack.enter_context(by_page(stage, BROWSING))
        _refuse_wrong_approvals(asked, people, colleague, tell)
        _approve(people[REGISTRAR], asked["command"], tell)
        _approve(people[REGISTRAR], asked["openssl"], tell)
        if "page" in asked:
            _approve(people[ELSEWHERE], asked["page"], tell)
        for way, each in asked.items():
            began = time.monotonic()
            outcome.enrolled[way] = each.fetch()
            tell(f"  certificate {outcome.enrolled[way].serial} by {way} in hand after {time.monotonic() - began:.1f} s")
    tell("openssl opens the PKCS#12 files and verifies the chains to the root")


def _refuse_wrong_approvals(asked: dict[str, Asked], people: dict[str, Api], colleague: Api, tell: Tell) -> None:
    def approve(api: Api, which: str) -> Any:
        return api.post(f"/api/v1/requests/{asked[which].request}/approve", {"comment": ""})

    for who, api, which in (
        ("the registrar who asked for it himself", colleague, "openssl"),
        ("the registrar of another city", people[ELSEWHERE], "command"),
        ("the auditor", people[AUDITOR], "command"),
    ):
        error = refused("denied", approve, api, which)
        tell(f"  {who} may not approve: {error.detail}")


def _approve(api: Api, asked: Asked, tell: Tell) -> None:
    state = api.post(f"/api/v1/requests/{asked.request}/approve", {"comment": "identity card seen"})["state"]
    if state not in {"approved", "issuing", "issued"}:
        raise StoryBroken(f"request {asked.request} is {state} after its approval")
    tell(f"  the right registrar approves request {asked.request}: {state}")


def _use(who: Holder, oa: Api, tell: Tell) -> None:
    tell("\nthe application `oa` calls with its own client certificate and verifies the identity")
    pem = "".join(each.public_bytes(Encoding.PEM).decode() for each in who.chain)
    seen = oa.post("/api/v1/identities/verify", {"certificate": pem})
    roles = sorted({each["role"] for each in seen["roles"]})
    if not seen["valid"] or seen["subject"]["id"] != who.enrolled.uid or roles != ["staff"]:
        raise StoryBroken(f"the identity does not verify: {seen}")
    tell(f"  valid: {seen['subject']['name']}, {seen['unit']['name']}, roles {', '.join(roles)}")


def _decide(who: Holder, oa: Api, tell: Tell) -> None:
    ref = ending.certificate_ref(who.chain)
    yes = oa.post("/access/v1/evaluation", ending.question(who.enrolled.uid, "read", "plan-2026", certificate=ref))
    no = oa.post("/access/v1/evaluation", ending.question(who.enrolled.uid, "read", "budget-2026", certificate=ref))
    if not yes["decision"] or not yes["context"].get("rule"):
        raise StoryBroken(f"reading the county's plan should be allowed by a rule: {yes}")
    if no["decision"] or not no["context"].get("nearest", {}).get("rule"):
        raise StoryBroken(f"reading the province's budget should be denied with its nearest miss: {no}")
    tell(f"  may read the county's plan: yes, by {yes['context']['rule']}")
    told = no["context"]
    tell(f"  may read the province's budget: no, {told['reason']} ({told['reason_user']['zh']}); nearest was {told['nearest']['rule']}")


def _revoke(stage: Stage, registrar: Api, who: Holder, oa: Api, outcome: Outcome, tell: Tell) -> None:
    probes = ending.refusals(stage, who, oa)
    if early := [name for name, probe in probes.items() if probe()]:
        raise StoryBroken(f"refused before the revocation: {', '.join(early)}")
    tell(f"\nthe registrar revokes {who.enrolled.serial}")
    began = time.monotonic()
    registrar.post(f"/api/v1/certificates/{who.enrolled.serial}/revoke", {"reason": "keyCompromise"})
    outcome.refused_after = ending.measure(probes, began, ending.REFUSED_SECONDS)
    for name, seconds in outcome.refused_after.items():
        tell(f"  refused at {name} after {seconds:.2f} s")
    listed = ending.measure({"CRL": lambda: ending.crl_lists(who.chain)}, began, ending.LISTED_SECONDS)
    outcome.listed_after = listed["CRL"]
    tell(f"  in the revocation list after {outcome.listed_after:.2f} s")
