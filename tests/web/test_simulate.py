"""What would an application be told with other grants or at another time: asked of a running service, which changes nothing by it."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from tests.web.conftest import AUDITOR, OTHER_STAFF, REGISTRAR, SECURITY, STAFF, SYSTEM, Service

pytestmark = pytest.mark.slow

ADDRESS = "/api/v1/authz/simulate"
QUESTION = {"application": "oa", "action": "approve", "type": "document"}


def simulated(service: Service, **more: Any) -> dict[str, Any]:
    answer = service.person(SECURITY).post(ADDRESS, json=QUESTION | more)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def uids(side: dict[str, Any]) -> set[str]:
    return {one["uid"] for one in side["first"]}


def evaluated(service: Service, uid: str) -> dict[str, Any]:
    asked = {"subject": {"type": "user", "id": uid}, "action": {"name": "approve"}, "resource": {"type": "document", "id": "d1"}}
    told: dict[str, Any] = service.application().post("/access/v1/evaluation", json=asked).json()
    return told


def test_a_drafted_grant_answers_as_the_real_one_would_and_is_not_in_force(service: Service) -> None:
    before = evaluated(service, STAFF)
    told = simulated(service, person=STAFF, add=[{"role": "staff"}])
    assert (told["now"]["decision"], told["now"]["reason"]) == (before["decision"], before["context"]["reason"]) == (False, "wrong_role")
    assert told["then"] == {"decision": True, "reason": "granted", "rule": "draft-1", "role": "staff"}
    assert {STAFF, OTHER_STAFF} <= uids(told["gaining"])
    assert (told["gaining"]["count"], told["losing"]["count"]) == (len(told["gaining"]["first"]), 0)
    assert evaluated(service, STAFF)["decision"] is False
    assert told["revision"] == simulated(service)["revision"]

    added = service.person(SECURITY).post("/api/v1/grants", json=QUESTION | {"role": "staff"}).json()["id"]
    try:
        assert evaluated(service, STAFF)["decision"] is True
        told = simulated(service, person=STAFF, withdraw=[added])
        assert (told["now"]["decision"], told["now"]["rule"], told["then"]["decision"]) == (True, added, False)
        assert {STAFF, OTHER_STAFF} <= uids(told["losing"])
        forbidden = simulated(service, person=STAFF, add=[{"role": "staff", "effect": "forbid"}])
        assert (forbidden["then"]["reason"], forbidden["then"]["rule"]) == ("forbidden", "draft-1")
    finally:
        service.person(SECURITY).delete(f"/api/v1/applications/oa/grants/{added}")


def test_a_forbid_in_force_is_withdrawn_in_imagination(service: Service) -> None:
    security = service.person(SECURITY)
    forbid = security.post("/api/v1/grants", json=QUESTION | {"role": "staff", "effect": "forbid"}).json()["id"]
    try:
        draft = [{"role": "staff"}]
        assert simulated(service, person=STAFF, add=draft)["then"]["rule"] == forbid
        assert simulated(service, person=STAFF, add=draft, withdraw=[forbid])["then"]["decision"] is True
    finally:
        security.delete(f"/api/v1/applications/oa/grants/{forbid}")


def test_another_time_shows_what_a_grant_will_say_then(service: Service) -> None:
    soon, later = ((service.node.clock() + dt.timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ") for days in (1, 2))
    draft = [{"role": "staff", "not_before": soon}]
    assert simulated(service, person=STAFF, add=draft)["then"]["reason"] == "not_yet_valid"
    assert simulated(service, person=STAFF, add=draft, at=later)["then"]["decision"] is True
    assert simulated(service, person=STAFF, add=[{"role": "staff", "not_after": soon}], at=later)["then"]["reason"] == "expired"


def test_assurance_and_properties_count_as_in_an_evaluation(service: Service) -> None:
    draft = [{"role": "staff", "assurance": 2}]
    assert simulated(service, person=STAFF, add=draft)["then"]["reason"] == "step_up"
    assert simulated(service, person=STAFF, add=draft, assurance=2)["then"]["decision"] is True
    unit = service.person(REGISTRAR).get("/api/v1/me").json()["unit"]
    here = [{"role": "staff", "unit": unit}]
    assert simulated(service, person=STAFF, add=here)["then"]["reason"] == "out_of_scope"
    told = simulated(service, add=here, properties={"resource.unit": service.person(STAFF).get("/api/v1/me").json()["unit"]})
    assert told["now"] is None
    assert told["then"] is None
    elsewhere = simulated(service, add=here, properties={"resource.unit": "00000000-0000-0000-0000-000000000000"})
    assert elsewhere["gaining"]["count"] == 0


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"application": "nowhere"}, "not-found"),
        ({"person": "nobody"}, "not-found"),
        ({"withdraw": ["g999999"]}, "not-found"),
        ({"action": "unregistered", "add": [{"role": "staff"}]}, "malformed"),
        ({"add": [{"role": "staff", "conditions": {"x.y": 1}}]}, "malformed"),
        ({"add": [{"role": "staff", "action": "read"}]}, "malformed"),
        ({"add": [{"role": "staff"}] * 51}, "malformed"),
        ({"properties": {"resource.colour": "red"}}, "malformed"),
        ({"properties": {"resource.unit": 1.5}}, "malformed"),
        ({"at": "tomorrow"}, "malformed"),
        ({"at": "2026-13-41T00:00:00Z"}, "malformed"),
        ({"assurance": 7}, "malformed"),
    ],
)
def test_what_cannot_be_imagined_is_refused_with_its_reason(service: Service, change: dict[str, Any], code: str) -> None:
    answer = service.person(SECURITY).post(ADDRESS, json=QUESTION | change)
    assert (answer.json().get("code"), answer.status_code) == (code, {"not-found": 404, "malformed": 400}[code]), answer.text


def test_only_security_administrators_and_auditors_may_imagine(service: Service) -> None:
    for uid, status in ((AUDITOR, 200), (SYSTEM, 403), (REGISTRAR, 403), (STAFF, 403)):
        assert service.person(uid).post(ADDRESS, json=QUESTION).status_code == status, uid
    assert service.application().post(ADDRESS, json=QUESTION).status_code == 403
