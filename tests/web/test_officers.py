"""What officers do over REST: one-time codes, applications and grants, confirmations, blocks, explanations."""

from __future__ import annotations

import pyotp
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.web.conftest import AUDITOR, FAR_REGISTRAR, OTHER_STAFF, OWNER, REGISTRAR, SECURITY, STAFF, SYSTEM, Service, csr_pem

pytestmark = pytest.mark.slow


def unit_of(service: Service, uid: str) -> str:
    return service.person(uid).get("/api/v1/me").json()["unit"]


def test_codes_are_enrolled_with_password_and_registrars_code_and_a_password_alone_gains_nothing(service: Service) -> None:
    account = service.account(OTHER_STAFF)
    uid, password = account["uid"], account["password"]
    stranger = service.client()
    alone = stranger.post("/api/v1/totp/enrolments", json={"uid": uid, "password": password, "code": "aaaaa-bbbbb"})
    assert (alone.status_code, alone.json()["code"]) == (401, "unauthenticated")
    handed = service.person(SECURITY).post("/api/v1/totp/codes", json={"person": uid})
    assert handed.status_code == 201, handed.text
    code = handed.json()["code"]
    begun = stranger.post("/api/v1/totp/enrolments", json={"uid": uid, "password": password, "code": code})
    assert begun.status_code == 201, begun.text
    generator = pyotp.TOTP(begun.json()["secret"])
    assert begun.json()["uri"].startswith("otpauth://totp/")
    proof = {"uid": uid, "password": password, "code": code}
    wrong = stranger.post("/api/v1/totp/enrolments/confirm", json=proof | {"totp": "000000"})
    assert wrong.status_code == 401
    finished = stranger.post("/api/v1/totp/enrolments/confirm", json=proof | {"totp": generator.now()})
    assert finished.status_code == 200, finished.text
    recovery = finished.json()["codes"]
    service.replaced(account, begun.json()["secret"])
    assert len(recovery) == 10
    again = stranger.post("/api/v1/totp/enrolments", json=proof)
    assert again.status_code == 401  # the registrar's code is used up
    by_recovery = stranger.post("/api/v1/sessions", json={"uid": uid, "password": password, "totp": recovery[0]})
    assert by_recovery.status_code == 201
    assert stranger.post("/api/v1/sessions", json={"uid": uid, "password": password, "totp": recovery[0]}).status_code == 401


def test_codes_are_enrolled_in_a_session_begun_by_certificate_without_a_registrar(service: Service) -> None:
    taken = service.enrol(STAFF)
    token = service.client(cert=taken.files).post("/api/v1/sessions").json()["token"]
    client = service.client(cert=taken.files, token=token)
    begun = client.post("/api/v1/totp/enrolments")
    assert begun.status_code == 201, begun.text
    finished = client.post("/api/v1/totp/enrolments/confirm", json={"totp": pyotp.TOTP(begun.json()["secret"]).now()})
    assert len(finished.json()["codes"]) == 10
    service.replaced(service.account(STAFF), begun.json()["secret"])
    assert service.client().post("/api/v1/totp/enrolments").status_code == 401


def test_codes_are_handed_out_in_scope_never_to_oneself(service: Service) -> None:
    for uid, person, status in ((REGISTRAR, REGISTRAR, 403), (FAR_REGISTRAR, STAFF, 403), (STAFF, STAFF, 403), (REGISTRAR, "nobody", 404)):
        assert service.person(uid).post("/api/v1/totp/codes", json={"person": person}).status_code == status, (uid, person)


def test_an_application_is_registered_granted_keyed_and_unkeyed(service: Service) -> None:
    unit = unit_of(service, STAFF)
    body = {"id": "fin", "name": "财务", "unit": unit, "owner": OWNER, "actions": ["pay"], "types": ["bill"]}
    assert service.person(SECURITY).post("/api/v1/applications", json=body).status_code == 403
    made = service.person(SYSTEM).post("/api/v1/applications", json=body)
    assert made.status_code == 201, made.text
    assert made.json()["receipts"][0].startswith("ca/1/")
    assert service.person(SYSTEM).post("/api/v1/applications", json=body).json()["code"] == "conflict"
    assert "fin" in [one["id"] for one in service.person(STAFF).get("/api/v1/applications").json()["items"]]

    grant = {"application": "fin", "action": "pay", "type": "bill", "role": "staff", "unit": unit}
    assert service.person(SYSTEM).post("/api/v1/grants", json=grant).status_code == 403
    added = service.person(SECURITY).post("/api/v1/grants", json=grant)
    again = service.person(SECURITY).post("/api/v1/grants", json=grant)
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    assert added.status_code == 201, added.text

    assert service.person(STAFF).post("/api/v1/applications/fin/keys", json={}).status_code == 403
    key = service.person(OWNER).post("/api/v1/applications/fin/keys", json={}).json()
    assert key["key"].startswith(f"yk_{key['id']}_")
    application = service.client(token=key["key"])
    asked = {
        "subject": {"type": "user", "id": STAFF},
        "action": {"name": "pay"},
        "resource": {"type": "bill", "id": "b1", "properties": {"unit": unit}},
    }
    allowed = application.post("/access/v1/evaluation", json=asked).json()
    assert (allowed["decision"], allowed["context"]["rule"]) == (True, added.json()["id"])
    elsewhere = {"type": "bill", "id": "b1", "unit": unit_of(service, FAR_REGISTRAR)}
    assert service.person(OWNER).post("/api/v1/applications/fin/resources", json=elsewhere).status_code == 403
    assert service.person(SECURITY).post("/api/v1/applications/fin/resources", json=elsewhere).status_code == 200
    overruled = application.post("/access/v1/evaluation", json=asked).json()
    assert (overruled["decision"], overruled["context"]["reason"]) == (False, "out_of_scope"), overruled
    assert service.person(SECURITY).post("/api/v1/applications/fin/resources", json=elsewhere | {"unit": unit}).status_code == 200
    assert application.post("/access/v1/evaluation", json=asked).json()["decision"]
    assert service.person(SECURITY).delete(f"/api/v1/applications/fin/grants/{added.json()['id']}").status_code == 200
    denied = application.post("/access/v1/evaluation", json=asked).json()
    assert (denied["decision"], denied["context"]["reason"]) == (False, "no_grant")
    assert service.person(OWNER).delete(f"/api/v1/applications/fin/keys/{key['id']}").status_code == 200
    assert application.post("/access/v1/evaluation", json=asked).status_code == 401


def test_an_application_that_is_switched_off_is_let_in_nowhere_and_let_in_again(service: Service) -> None:
    unit = unit_of(service, STAFF)
    body = {"id": "off", "name": "停用", "unit": unit, "owner": OWNER, "actions": ["read"], "types": ["doc"]}
    assert service.person(SYSTEM).post("/api/v1/applications", json=body).status_code == 201
    key = service.person(OWNER).post("/api/v1/applications/off/keys", json={}).json()["key"]
    service.person(SECURITY).post("/api/v1/grants", json={"application": "off", "action": "read", "type": "doc", "role": "staff"})
    asked = {"subject": {"type": "user", "id": STAFF}, "action": {"name": "read"}, "resource": {"type": "doc", "id": "1"}}
    taken = {"profile": "application", "csr": csr_pem(ec.generate_private_key(ec.SECP256R1())), "for": "application:off"}
    application, switch = service.client(token=key), "/api/v1/applications/off/active"
    calls = [
        lambda: application.post("/access/v1/evaluation", json=asked),
        lambda: application.post("/access/v1/evaluations", json={"evaluations": [asked]}),
        lambda: application.post("/access/v1/search/subject", json=asked | {"subject": {"type": "user"}}),
        lambda: application.get("/api/v1/me"),
    ]
    assert calls[0]().json()["decision"]
    for uid in (STAFF, REGISTRAR, AUDITOR, OWNER):
        assert service.person(uid).put(switch, json={"active": False}).status_code == 403
    for by in (SYSTEM, SECURITY):
        done = service.person(by).put(switch, json={"active": False})
        assert done.status_code == 200, done.text
        assert [call().status_code for call in calls] == [401] * len(calls)
        refused = service.person(OWNER).post("/api/v1/requests", json=taken)
        assert refused.status_code in {404, 409}, refused.text
        assert service.person(by).put(switch, json={"active": False}).json()["code"] == "conflict"
        assert service.person(by).put(switch, json={"active": True}).status_code == 200
        assert calls[0]().json()["decision"]
    events = service.events("code:CA4014")
    assert [event["body"]["d"] for event in events[:4]] == [{"active": True}, {"active": False}] * 2
    assert service.person(SYSTEM).put("/api/v1/applications/nowhere/active", json={"active": False}).status_code == 404


def test_a_switched_off_application_is_refused_with_its_certificate(service: Service) -> None:
    switch = "/api/v1/applications/hr/active"
    assert service.application("hr").get("/api/v1/me").status_code == 200
    assert service.person(SECURITY).put(switch, json={"active": False}).status_code == 200
    try:
        assert service.application("hr").get("/api/v1/me").status_code == 401
    finally:
        assert service.person(SECURITY).put(switch, json={"active": True}).status_code == 200
    assert service.application("hr").get("/api/v1/me").status_code == 200


@pytest.mark.parametrize(
    "change",
    [
        {"assurance": 7},
        {"effect": "maybe"},
        {"not_before": "tomorrow"},
        {"action": "unregistered"},
        {"conditions": {"x.y": 1}},
        {"more": 1},
    ],
)
def test_a_grant_that_makes_no_sense_is_malformed(service: Service, change: dict[str, object]) -> None:
    grant = {"application": "oa", "action": "read", "type": "document", "role": "staff"} | change
    assert service.person(SECURITY).post("/api/v1/grants", json=grant).json()["code"] == "malformed"


def test_an_asset_is_registered_by_a_registrar_of_its_unit(service: Service) -> None:
    body = {"ref": "server:www", "name": "网站", "owner": OTHER_STAFF, "unit": unit_of(service, STAFF), "names": ["www.qinghe.example"]}
    assert service.person(FAR_REGISTRAR).post("/api/v1/assets", json=body).status_code == 403
    assert service.person(REGISTRAR).post("/api/v1/assets", json=body | {"names": ["*.example"]}).json()["code"] == "malformed"
    assert service.person(REGISTRAR).post("/api/v1/assets", json=body).status_code == 201
    assert service.person(REGISTRAR).post("/api/v1/assets", json=body).json()["code"] == "conflict"


def test_a_withdrawn_asset_gets_no_certificate_and_frees_its_names(service: Service) -> None:
    body = {"ref": "server:old", "name": "旧网站", "owner": OTHER_STAFF, "unit": unit_of(service, STAFF), "names": ["site.qinghe.example"]}
    registrar = service.person(REGISTRAR)
    assert registrar.post("/api/v1/assets", json=body).status_code == 201
    assert registrar.post("/api/v1/assets", json=body | {"ref": "server:new"}).json()["code"] == "conflict"
    assert service.person(FAR_REGISTRAR).delete("/api/v1/assets/server:old").status_code == 403
    assert registrar.delete("/api/v1/assets/server:old").status_code == 200
    assert registrar.delete("/api/v1/assets/server:old").json()["code"] == "not-found"
    assert registrar.delete("/api/v1/assets/application:oa").status_code in {403, 404}
    asked = {"profile": "server", "csr": csr_pem(ec.generate_private_key(ec.SECP256R1())), "for": "server:old"}
    assert service.person(OTHER_STAFF).post("/api/v1/requests", json=asked).json()["code"] == "conflict"
    assert registrar.post("/api/v1/assets", json=body | {"ref": "server:new"}).status_code == 201


def test_a_blocked_person_is_refused_at_the_next_request(service: Service) -> None:
    uid = OTHER_STAFF
    client = service.person(uid)
    assert client.get("/api/v1/me").status_code == 200
    assert service.person(SYSTEM).post(f"/api/v1/persons/{uid}/block", json={"reason": "lost"}).status_code == 403
    assert service.person(SECURITY).post(f"/api/v1/persons/{uid}/block", json={"reason": "lost"}).status_code == 200
    assert client.get("/api/v1/me").json()["reason"] == "blocked"
    assert service.person(SECURITY).post(f"/api/v1/persons/{uid}/unblock", json={}).status_code == 200
    assert client.get("/api/v1/me").status_code == 200


def test_a_role_is_confirmed_by_a_security_administrator_for_somebody_else(service: Service) -> None:
    registrar = service.person(REGISTRAR).get("/api/v1/me").json()
    held = next(role for role in registrar["roles"] if role["role"] == "registrar")
    security = service.person(SECURITY)
    path = f"/api/v1/persons/{REGISTRAR}/confirmations"
    assert security.post(path, json=held).json()["code"] == "conflict"
    assert service.person(AUDITOR).post(f"{path}/withdraw", json=held).status_code == 403
    assert security.post(f"{path}/withdraw", json=held).status_code == 200
    roles = {role["role"] for role in service.person(REGISTRAR).get("/api/v1/me").json()["roles"]}
    assert "registrar" not in roles
    assert security.post(path, json=held).status_code == 200
    assert "registrar" in {role["role"] for role in service.person(REGISTRAR).get("/api/v1/me").json()["roles"]}
    own = security.get("/api/v1/me").json()["roles"][0]
    assert security.post(f"/api/v1/persons/{SECURITY}/confirmations", json=own).json()["reason"] == "own-request"
    assert security.post("/api/v1/persons/nobody/confirmations", json=held).status_code == 404


def test_a_decision_is_explained_and_who_may_is_listed(service: Service) -> None:
    unit = unit_of(service, STAFF)
    auditor = service.person(AUDITOR)
    told = auditor.get("/api/v1/authz/explain", params={"person": REGISTRAR, "action": "request:approve", "unit": unit}).json()
    assert (told["allowed"], told["rule"]) == (True, "request-approve.registrar")
    told = auditor.get("/api/v1/authz/explain", params={"person": FAR_REGISTRAR, "action": "request:approve", "unit": unit}).json()
    assert (told["allowed"], told["nearest"], told["lacked"]) == (False, "request-approve.registrar", "out-of-scope")
    able = auditor.post("/api/v1/authz/who-can", json={"action": "request:approve", "unit": unit}).json()["items"]
    assert REGISTRAR in [one["uid"] for one in able]
    assert FAR_REGISTRAR not in [one["uid"] for one in able]
    assert service.person(STAFF).post("/api/v1/authz/who-can", json={"action": "request:approve"}).status_code == 403
    assert auditor.post("/api/v1/authz/who-can", json={"action": "nonsense"}).json()["code"] == "malformed"
    assert auditor.post("/api/v1/directory/accept", json={"digest": "0" * 64}).status_code == 403
    assert service.person(SECURITY).post("/api/v1/directory/accept", json={"digest": "0" * 64}).json()["code"] == "conflict"


def test_a_recorded_decision_is_decided_again_with_the_grants_of_now(service: Service) -> None:
    grant = {"application": "oa", "action": "approve", "type": "document", "role": "staff"}
    security, auditor, application = service.person(SECURITY), service.person(AUDITOR), service.application()
    asked = {"subject": {"type": "user", "id": STAFF}, "action": {"name": "approve"}, "resource": {"type": "document", "id": "replayed"}}
    context = application.post("/access/v1/evaluation", json=asked).json()["context"]
    address = f"/api/v1/events/{context['receipt']['log']}/{context['receipt']['idx']}/replay"
    before = auditor.get(address)
    assert before.status_code == 200, before.text
    told = before.json()
    assert told["recorded"] == {
        "decision": False,
        "reason": "wrong_role",
        "rule": "",
        "revision": context["revision"],
    }
    assert (told["now"]["decision"], told["same"]) == (False, True)
    added = security.post("/api/v1/grants", json=grant).json()["id"]
    try:
        told = auditor.get(address, headers={"X-Request-ID": "replayed-1"}).json()
    finally:
        security.delete(f"/api/v1/applications/oa/grants/{added}")
    assert (told["recorded"]["decision"], told["same"]) == (False, False)
    assert (told["now"]["decision"], told["now"]["reason"], told["now"]["rule"]) == (True, "granted", added)
    assert told["now"]["revision"] > context["revision"]
    assert service.events("req:replayed-1 code:AZ4001")
    assert auditor.get(address).json()["same"] is True


def test_a_replay_is_refused_to_others_and_for_what_is_no_weighed_decision(service: Service) -> None:
    auditor = service.person(AUDITOR)
    asked = {"subject": {"type": "user", "id": "nobody"}, "action": {"name": "read"}, "resource": {"type": "document", "id": "replayed"}}
    receipt = service.application().post("/access/v1/evaluation", json=asked).json()["context"]["receipt"]
    address = f"/api/v1/events/{receipt['log']}/{receipt['idx']}/replay"
    for uid in (STAFF, REGISTRAR, SYSTEM, SECURITY):
        assert service.person(uid).get(address).status_code == 403, uid
    unweighed = auditor.get(address)
    assert (unweighed.status_code, unweighed.json()["code"]) == (409, "conflict")
    assert "unknown_subject" in unweighed.json()["detail"]
    other = service.events("code:CA1001")[0]
    refused = auditor.get(f"/api/v1/events/{other['log']}/{other['idx']}/replay")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert "is no decision" in refused.json()["detail"]
    assert auditor.get("/api/v1/events/access/1/999999999/replay").status_code == 404


def test_a_security_administrator_logs_somebody_out_everywhere(service: Service) -> None:
    first, second = service.person(FAR_REGISTRAR), service.client()
    other = second.post("/api/v1/sessions", json=service.credentials(FAR_REGISTRAR)).json()["token"]
    address = f"/api/v1/persons/{FAR_REGISTRAR}/sessions"
    for uid in (STAFF, REGISTRAR, SYSTEM, AUDITOR):
        assert service.person(uid).delete(address).status_code == 403
    ended = service.person(SECURITY).delete(address)
    assert ended.status_code == 200, ended.text
    assert len(ended.json()["receipts"]) >= 2
    assert first.get("/api/v1/me").status_code == 401
    assert service.client(token=other).get("/api/v1/me").status_code == 401
    assert service.person(SECURITY).delete(address).json()["code"] == "conflict"
    assert service.person(SECURITY).delete("/api/v1/persons/nobody/sessions").status_code == 404
    service.come_back(FAR_REGISTRAR)
    assert service.person(FAR_REGISTRAR).delete(address).status_code == 200, "one's own"
    service.come_back(FAR_REGISTRAR)


def test_registers_are_read_by_those_who_may_and_secrets_by_nobody(service: Service) -> None:
    grants, keys = "/api/v1/applications/oa/grants", "/api/v1/applications/oa/keys"
    made = service.person(OWNER).post(keys, json={}).json()
    mistaken = service.person(OWNER).delete(f"{keys}/{made['key']}")
    assert (mistaken.status_code, made["key"] in mistaken.text) == (404, False)
    for uid in (SYSTEM, SECURITY, AUDITOR, OWNER):
        read = service.person(uid).get(grants)
        assert read.status_code == 200, uid
        assert {"id", "role", "action", "effect", "withdrawn_at"} <= read.json()["items"][0].keys()
        shown = service.person(uid).get(keys)
        assert made["id"] in [key["id"] for key in shown.json()["items"]]
        assert made["key"].split("_")[2] not in shown.text
    for uid in (STAFF, FAR_REGISTRAR):
        assert service.person(uid).get(grants).status_code == 403
        assert service.person(uid).get(keys).status_code == 403
    assert service.person(AUDITOR).get("/api/v1/applications/nowhere/grants").status_code == 404
    assert service.person(AUDITOR).get(f"{grants}?after=nonsense").json()["code"] == "malformed"
    last = service.person(AUDITOR).get(grants).json()["items"][-1]["id"]
    assert service.person(AUDITOR).get(f"{grants}?after={last}").json() == {"items": [], "next": None}


def test_assets_are_listed_within_ones_scope(service: Service) -> None:
    body = {"ref": "server:list", "name": "网站", "owner": OTHER_STAFF, "unit": unit_of(service, STAFF), "names": ["list.qinghe.example"]}
    assert service.person(REGISTRAR).post("/api/v1/assets", json=body).status_code == 201

    def listed(uid: str) -> list[str]:
        return [one["ref"] for one in service.person(uid).get("/api/v1/assets").json()["items"]]

    for uid in (REGISTRAR, OTHER_STAFF, AUDITOR, SECURITY, SYSTEM):
        assert "server:list" in listed(uid), uid
    for uid in (STAFF, FAR_REGISTRAR):
        assert "server:list" not in listed(uid), uid
    assert "server:list" not in [one["ref"] for one in service.person(AUDITOR).get("/api/v1/assets?after=server:list").json()["items"]]


def test_contradictions_are_for_the_two_offices_and_what_is_not_there_is_not_accepted(service: Service) -> None:
    address = "/api/v1/contradictions"
    for uid, status in ((AUDITOR, 200), (SECURITY, 200), (SYSTEM, 403), (REGISTRAR, 403), (STAFF, 403)):
        assert service.person(uid).get(address).status_code == status, uid
    assert service.person(AUDITOR).get(address).json() == {"items": []}
    for uid, status in ((AUDITOR, 404), (SECURITY, 404), (STAFF, 403)):
        assert service.person(uid).post(f"{address}/{'0' * 32}/accept", json={"comment": "x"}).status_code == status, uid
    assert service.person(AUDITOR).post(f"{address}/{'0' * 32}/accept", json={"words": 1}).json()["code"] == "malformed"
    assert service.person(AUDITOR).post(f"{address}/{'x' * 3000}/accept", json={}).status_code == 404


def test_roles_are_listed_with_what_directory_and_confirmation_make_of_them(service: Service) -> None:
    held = next(role for role in service.person(REGISTRAR).get("/api/v1/me").json()["roles"] if role["role"] == "registrar")

    def agreement() -> str:
        items = service.person(SECURITY).get("/api/v1/roles").json()["items"]
        return next(one["agreement"] for one in items if (one["uid"], one["role"]) == (REGISTRAR, "registrar"))

    assert agreement() == "counts"
    path = f"/api/v1/persons/{REGISTRAR}/confirmations"
    assert service.person(SECURITY).post(f"{path}/withdraw", json=held).status_code == 200
    try:
        assert agreement() == "unconfirmed"
    finally:
        assert service.person(SECURITY).post(path, json=held).status_code == 200
    assert service.person(STAFF).get("/api/v1/roles").status_code == 403
    assert service.person(SECURITY).get("/api/v1/roles", params={"after": "1000000"}).json() == {"items": [], "next": None}
