"""OpenID AuthZEN 1.0 as applications speak it."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.web.conftest import REGISTRAR, STAFF, Service

pytestmark = pytest.mark.slow

ALL = ("evaluation", "evaluations", "search/subject", "search/resource", "search/action")


def question(
    service: Service, *, subject: str = STAFF, action: str = "read", kind: str = "document", resource: str = "plan-2026"
) -> dict[str, Any]:
    return {"subject": {"type": "user", "id": subject}, "action": {"name": action}, "resource": {"type": kind, "id": resource}}


def ask(service: Service, body: Any, address: str = "evaluation", **headers: str) -> httpx.Response:
    return service.application().post(f"/access/v1/{address}", json=body, headers=headers)


def test_a_question_is_answered_with_its_rule_and_recorded_before(service: Service) -> None:
    answer = ask(service, question(service), **{"X-Request-ID": "case-1"})
    assert answer.headers["x-request-id"] == "case-1"
    told = answer.json()
    assert told["decision"] is True
    assert told["context"]["rule"]
    receipt = told["context"]["receipt"]
    recorded = service.events("req:case-1")
    assert (recorded[0]["log"], recorded[0]["idx"], recorded[0]["leaf"]) == (receipt["log"], receipt["idx"], receipt["leaf"])


def test_a_no_tells_the_nearest_miss(service: Service) -> None:
    told = ask(service, question(service, action="approve")).json()
    assert (told["decision"], told["context"]["reason"]) == (False, "wrong_role")
    assert told["context"]["nearest"]["role"] == "registrar"
    assert ask(service, question(service, subject=REGISTRAR, action="approve")).json()["decision"] is True


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"action": "destroy"}, "unregistered_action"), ({"kind": "record"}, "unregistered_type"), ({"subject": "nobody"}, "unknown_subject")],
)
def test_what_is_not_the_applications_own_is_no_with_a_reason(service: Service, change: dict[str, str], reason: str) -> None:
    answer = ask(service, question(service, **change))
    assert (answer.status_code, answer.json()["decision"], answer.json()["context"]["reason"]) == (200, False, reason)


@pytest.mark.parametrize("address", ALL)
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b"{}",
        b'{"subject":1}',
        b'{"subject":{"type":"user","id":"x"},"subject":{"type":"user","id":"y"}}',
        b"\xff",
    ],
)
def test_malformed_questions_are_400(service: Service, address: str, data: bytes) -> None:
    answer = service.application().post(f"/access/v1/{address}", content=data, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")
    assert service.events(f"code:AZ1005 req:{answer.headers['x-request-id']}")


@pytest.mark.parametrize("media", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1", ""])
def test_another_media_type_is_400_for_keys_and_certificates(service: Service, media: str) -> None:
    data, headers = json.dumps(question(service)).encode(), {"Content-Type": media} if media else {}
    for client in (service.application(), service.client(token=service.files("oa")["api_key"])):
        answer = client.post("/access/v1/evaluation", content=data, headers=headers)
        assert (answer.status_code, answer.json()["reason"]) == (400, "content-type")


def test_a_batch_keeps_its_order_and_a_malformed_member_is_no(service: Service) -> None:
    base = question(service)
    body = {**base, "evaluations": [{}, {"action": {"name": "approve"}}, {"resource": 7}]}
    told = ask(service, body, "evaluations").json()["evaluations"]
    assert [one["decision"] for one in told] == [True, False, False]
    assert told[2]["context"]["error"]["status"] == 400


def test_searches_list_who_what_and_which(service: Service) -> None:
    asked = {"subject": {"type": "user"}, "action": {"name": "approve"}, "resource": {"type": "document", "id": "plan-2026"}}
    people = [one["id"] for one in ask(service, asked, "search/subject").json()["results"]]
    assert REGISTRAR in people
    assert STAFF not in people
    asked = {"subject": {"type": "user", "id": STAFF}, "action": {"name": "read"}, "resource": {"type": "document"}}
    assert "plan-2026" in [one["id"] for one in ask(service, asked, "search/resource").json()["results"]]
    asked = {"subject": {"type": "user", "id": STAFF}, "resource": {"type": "document", "id": "plan-2026"}}
    assert "read" in [one["name"] for one in ask(service, asked, "search/action").json()["results"]]
    asked["resource"]["type"] = "unregistered"
    assert ask(service, asked, "search/action").json()["results"] == []


def test_discovery_names_the_addresses(service: Service) -> None:
    found = service.client().get("/.well-known/authzen-configuration").json()
    assert found["policy_decision_point"] == service.told["https"]
    for name in ("access_evaluation_endpoint", "access_evaluations_endpoint", "search_subject_endpoint"):
        path = found[name].removeprefix(service.told["https"])
        assert service.client().post(path, json={}).status_code == 401


def test_get_is_no_question(service: Service) -> None:
    for address in ALL:
        answer = service.application().get(f"/access/v1/{address}")
        assert (answer.status_code, answer.json()["status"], answer.json()["reason"], answer.headers["allow"]) == (
            405,
            405,
            "method",
            "POST",
        )
