"""Who comes in, by what, and what is recorded of those who do not."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from tests.web.conftest import AUDITOR, FAR_REGISTRAR, OTHER_STAFF, REGISTRAR, STAFF, Issued, Service
from tests.web.pki import make

pytestmark = pytest.mark.slow

JSON = {"Content-Type": "application/json"}
QUESTION = {
    "subject": {"type": "user", "id": STAFF},
    "action": {"name": "document.read"},
    "resource": {"type": "document", "id": "d1"},
}


@pytest.fixture(scope="module")
def staff(service: Service) -> Issued:
    """A certificate of the first staff account; whoever revokes one takes another."""
    return service.enrol(STAFF)


def refused(answer: httpx.Response, status: int, code: str, reason: str = "") -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem.get("reason", "")) == (status, code, reason), problem
    assert problem["detail"]
    assert answer.headers["x-request-id"] in problem["instance"]
    return problem


# -- passwords and codes


def test_a_login_gives_a_token_and_no_cookie(service: Service) -> None:
    token = service.token(STAFF)
    assert token.startswith("ys_")
    assert service.person(STAFF).get("/api/v1/me").json()["kind"] == "person"
    answer = service.client().post("/api/v1/sessions", json={"uid": STAFF, "password": "wrong", "totp": "000000"})
    assert "set-cookie" not in answer.headers


def test_a_wrong_password_and_an_unknown_name_are_refused_alike_and_recorded(service: Service) -> None:
    for uid in ("fenger", "nobody-of-this-name"):
        answer = service.client().post("/api/v1/sessions", json={"uid": uid, "password": "wrong", "totp": "000000"})
        refused(answer, 401, "unauthenticated")
        assert "name, password or code is wrong" in answer.json()["detail"]
        assert service.events(f"code:AZ2002 req:{answer.headers['x-request-id']}")


def test_a_code_is_good_once(service: Service) -> None:
    body = service.credentials("wangwu")
    assert service.client().post("/api/v1/sessions", json=body).status_code == 201
    answer = service.client().post("/api/v1/sessions", json=body)
    refused(answer, 429, "code-used")
    assert 0 < int(answer.headers["retry-after"]) <= 30
    wrong = service.client().post("/api/v1/sessions", json=body | {"password": "wrong"})
    assert wrong.json()["code"] == "unauthenticated"  # told only after a right password


def test_a_session_ends_when_it_is_ended(service: Service) -> None:
    token = service.client().post("/api/v1/sessions", json=service.credentials("fenger")).json()["token"]
    client = service.client(token=token)
    assert client.delete("/api/v1/sessions/current").status_code == 204
    refused(client.get("/api/v1/me"), 401, "unauthenticated", "ended")


@pytest.mark.parametrize("field", ["Basic YTpi", "Bearer", "Bearer x", "Bearer ys_", "ys_abc", "Bearer ys_" + "a" * 600, "Bearer yk_x_y"])
def test_what_is_no_token_of_ours_is_refused(service: Service, field: str) -> None:
    refused_answer = service.client().get("/api/v1/me", headers={"Authorization": field})
    assert refused_answer.status_code == 401
    assert refused_answer.headers["www-authenticate"].startswith("Bearer")


# -- cookies


def test_the_cookie_of_pages_counts_nowhere_under_api(service: Service) -> None:
    cookie = {"Cookie": f"__Host-yumen={service.token(STAFF)}"}
    refused(service.client().get("/api/v1/me", headers=cookie), 401, "unauthenticated")
    assert service.client().get("/", headers=cookie).status_code == 200


def test_a_bearer_token_counts_on_no_page(service: Service) -> None:
    answer = service.person(STAFF).get("/")
    assert answer.status_code == 302
    assert "/login" in answer.headers["location"]


# -- certificates of people


def test_a_persons_certificate_opens_a_session_and_nothing_else(service: Service, staff: Issued) -> None:
    client = service.client(cert=staff.files)
    refused(client.get("/api/v1/me"), 401, "unauthenticated", "session-needed")
    refused(client.post("/api/v1/requests", json={"profile": "staff-sign", "csr": "x"}), 401, "unauthenticated", "session-needed")
    opened = client.post("/api/v1/sessions")
    assert opened.status_code == 201
    assert opened.json()["assurance"] == "cert"
    assert "set-cookie" not in opened.headers


def test_a_session_begun_by_certificate_is_good_over_that_certificate_only(service: Service, staff: Issued) -> None:
    token = service.client(cert=staff.files).post("/api/v1/sessions").json()["token"]
    assert service.client(cert=staff.files, token=token).get("/api/v1/me").json()["auth"] == "cert"
    refused(service.client(token=token).get("/api/v1/me"), 401, "unauthenticated", "other-certificate")
    other = service.enrol(STAFF)
    refused(service.client(cert=other.files, token=token).get("/api/v1/me"), 401, "unauthenticated", "other-certificate")


def test_a_password_session_over_ones_own_certificate_is_one_caller(service: Service, staff: Issued) -> None:
    assert service.client(cert=staff.files, token=service.token(STAFF)).get("/api/v1/me").status_code == 200


def test_two_credentials_that_name_two_callers_are_refused(service: Service, staff: Issued) -> None:
    for cert, token in (
        (staff.files, service.token(REGISTRAR)),
        (staff.files, service.files("oa")["api_key"]),
        (service.application_files("oa"), service.token(STAFF)),
        (service.application_files("oa"), service.files("hr")["api_key"]),
    ):
        refused(service.client(cert=cert, token=token).get("/api/v1/me"), 400, "malformed", "two-callers")


def test_a_login_over_somebody_elses_certificate_or_token_is_refused(service: Service, staff: Issued) -> None:
    body = service.credentials(REGISTRAR)
    for client in (
        service.client(cert=staff.files),
        service.client(cert=service.application_files("oa")),
        service.person(STAFF),
        service.client(token=service.files("oa")["api_key"]),
    ):
        refused(client.post("/api/v1/sessions", json=body), 400, "malformed", "two-callers")


def test_a_page_looks_at_the_cookie_whatever_the_connections_certificate(service: Service, staff: Issued) -> None:
    cookie = {"Cookie": f"__Host-yumen={service.token(REGISTRAR)}"}
    assert service.client(cert=staff.files).get("/", headers=cookie).status_code == 200
    bound = service.client(cert=staff.files).post("/api/v1/sessions").json()["token"]
    assert service.client(cert=staff.files).get("/", headers={"Cookie": f"__Host-yumen={bound}"}).status_code == 200
    assert service.client().get("/", headers={"Cookie": f"__Host-yumen={bound}"}).status_code == 302


def test_a_form_without_its_token_is_refused_and_on_record(service: Service) -> None:
    cookie = {"Cookie": f"__Host-yumen={service.token(STAFF)}"}
    answer = service.client().post("/requests", headers=cookie, data={"csr": "x"})
    assert answer.status_code == 400
    assert service.events(f"code:AZ1005 req:{answer.headers['x-request-id']}")


def test_a_revoked_certificate_is_refused_at_once_readably_and_on_record(service: Service) -> None:
    taken = service.enrol(STAFF)
    client = service.client(cert=taken.files)
    token = client.post("/api/v1/sessions").json()["token"]
    session = service.client(cert=taken.files, token=token)
    assert session.get("/api/v1/me").status_code == 200
    revoked = service.person(STAFF).post(f"/api/v1/certificates/{taken.serial}/revoke", json={"reason": "keyCompromise"})
    assert revoked.json()["standing"] == "revoked"
    began = time.monotonic()
    answer = client.post("/api/v1/sessions")
    refused(answer, 401, "unauthenticated", "revoked")
    refused(session.get("/api/v1/me"), 401, "unauthenticated", "revoked")
    checked = service.application().post("/api/v1/identities/verify", json={"certificate": taken.pem}).json()
    assert (checked["valid"], checked["reasons"]) == (False, ["revoked"])
    assert time.monotonic() - began < 2
    assert service.events(f"code:AZ2008 req:{answer.headers['x-request-id']}")


def test_a_strangers_certificate_is_refused_and_counted_not_recorded(service: Service, tmp_path: Path) -> None:
    client = service.client(cert=make("stranger").write(tmp_path, "stranger"))
    answer = client.post("/api/v1/sessions")
    refused(answer, 401, "unauthenticated", "unknown-issuer")
    assert service.events(f"req:{answer.headers['x-request-id']}") == []
    service.node.noise.flush(everything=True)
    assert any(event["body"]["d"]["kind"] == "unknown-issuer" for event in service.events("code:AZ2009"))


# -- certificates of applications


def test_an_application_acts_by_its_certificate_or_its_key(service: Service) -> None:
    assert service.application().get("/api/v1/me").json()["auth"] == "cert"
    assert service.client(token=service.files("oa")["api_key"]).get("/api/v1/me").json()["auth"] == "api-key"
    assert service.client(cert=service.application_files("oa"), token=service.files("oa")["api_key"]).get("/api/v1/me").status_code == 200


@pytest.mark.parametrize(
    "media", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonp", ""]
)
def test_a_form_cannot_make_a_browser_act_with_its_certificate(service: Service, media: str) -> None:
    answer = service.application().post("/api/v1/identities/verify", content=b"", headers={"Content-Type": media} if media else {})
    refused(answer, 400, "malformed", "content-type")
    assert service.events(f"code:AZ1005 req:{answer.headers['x-request-id']}")


@pytest.mark.parametrize(
    "origin", ["null", "https://evil.example", "http://localhost:8443", "https://localhost:1", "https://localhost.evil.example", ""]
)
def test_another_sites_page_cannot_act_with_a_certificate(service: Service, origin: str, staff: Issued) -> None:
    refused(
        service.application().post("/access/v1/evaluation", json=QUESTION, headers={"Origin": origin}), 400, "malformed", "foreign-origin"
    )
    refused(service.client(cert=staff.files).post("/api/v1/sessions", headers={"Origin": origin}), 400, "malformed", "foreign-origin")


def test_every_state_change_by_certificate_wants_json_also_without_a_body(service: Service) -> None:
    for method, path in (("DELETE", "/api/v1/sessions/current"), ("POST", "/api/v1/applications/oa/keys")):
        refused(service.application().request(method, path), 400, "malformed", "content-type")
        refused(service.application().request(method, path, headers=JSON), 403, "denied", "wrong-kind")


def test_ones_own_origin_may(service: Service) -> None:
    own = {"Origin": service.told["https"]}
    assert service.application().post("/access/v1/evaluation", json=QUESTION, headers=own).status_code == 200


def test_an_application_is_no_person_and_a_person_is_no_application(service: Service) -> None:
    refused(service.application().get("/api/v1/requests"), 403, "denied", "wrong-kind")
    answer = service.person(STAFF).post("/access/v1/evaluation", json=QUESTION)
    refused(answer, 403, "denied", "wrong-kind")
    assert service.events(f"code:AZ1005 req:{answer.headers['x-request-id']}")


# -- attacks on input


@pytest.mark.parametrize(
    "name",
    [
        "Client-Cert",
        "Client-Cert-Chain",
        "X-Client-Cert",
        "X-Client-Verify",
        "X-Forwarded-Client-Cert",
        "X-Forwarded-Tls-Client-Cert",
        "X-SSL-Client-Cert",
        "X-SSL-Client-Verify",
        "SSL-Client-Cert",
        "SSL-CLIENT-S-DN",
        "X-ARR-ClientCert",
        "Yumen-Subject-Cert",
        "Yumen-Anything",
        "X-Remote-User",
        "X-Subject",
    ],
)
@pytest.mark.parametrize("path", ["/api/v1/me", "/access/v1/evaluation", "/", "/healthz", "/ocsp/staff"])
def test_forged_certificate_fields_are_refused_everywhere(service: Service, name: str, path: str) -> None:
    for method in ("GET", "POST"):
        refused(service.client().request(method, path, headers={name: ":MIIB:"}), 400, "malformed", "forged-header")


def test_a_known_callers_forged_field_is_recorded_a_strangers_counted(service: Service) -> None:
    for client, path, count in (
        (service.application(), "/access/v1/evaluation", 1),
        (service.person(STAFF), "/api/v1/me", 1),
        (service.client(), "/api/v1/me", 0),
    ):
        answer = client.get(path, headers={"Client-Cert": ":MIIB:"})
        refused(answer, 400, "malformed", "forged-header")
        assert len(service.events(f"code:AZ1005 req:{answer.headers['x-request-id']}")) == count


@pytest.mark.parametrize(
    "body", [b'{"reason":"x","reason":"y"}', b'{"reason":1}', b"[]", b"nonsense", b'{"reason":"x","more":1}', b'{"reason":"\xff"}']
)
def test_bad_json_is_refused_and_on_record(service: Service, body: bytes) -> None:
    answer = service.person(STAFF).post("/api/v1/certificates/1/revoke", content=body, headers=JSON)
    refused(answer, 400, "malformed")
    recorded = service.events(f"code:AZ1005 req:{answer.headers['x-request-id']}")
    assert recorded[0]["body"]["obj"] == "route:/api/v1/certificates/<serial>/revoke"


def test_json_under_another_name_is_refused(service: Service) -> None:
    answer = service.person(STAFF).post(
        "/api/v1/requests", content=b'{"profile":"staff-sign","csr":"x"}', headers={"Content-Type": "text/plain"}
    )
    refused(answer, 400, "malformed", "content-type")


def test_a_large_body_is_refused_unread(service: Service) -> None:
    body = b"a" * (service.node.settings.web.max_body_bytes + 1)
    for client, path in (
        (service.person(STAFF), "/api/v1/requests"),
        (service.application(), "/access/v1/evaluation"),
        (service.client(), "/"),
    ):
        answer = client.post(path, content=body, headers=JSON)
        refused(answer, 413, "too-large")
        known = client is not service.client()
        assert len(service.events(f"code:AZ1005 req:{answer.headers['x-request-id']}")) == known


def test_unknown_addresses_and_methods_are_problems(service: Service) -> None:
    refused(service.client().get("/api/v1/nothing"), 404, "not-found")
    refused(service.client().put("/api/v1/me"), 405, "malformed", "method")
    assert "GET" in service.client().put("/api/v1/me").headers["allow"]
    refused(service.person(STAFF).get("/api/v1/requests?colour=red"), 400, "malformed")
    refused(service.person(STAFF).get("/api/v1/requests?after=1&after=2"), 400, "malformed")
    refused(service.person(STAFF).get("/api/v1/requests?after=x"), 400, "malformed")


def test_a_request_id_is_echoed_and_recorded_only_when_it_looks_like_one(service: Service) -> None:
    for given in ("my-id.7", "a b", 'x,y;z="1"', "x" * 200, "<script>"):
        answer = service.person(FAR_REGISTRAR).get("/api/v1/events", headers={"X-Request-ID": given})
        assert answer.headers["x-request-id"] == given
        assert (answer.json()["instance"] == f"urn:yumen:request:{given}") == (given == "my-id.7")
        recorded = service.events(f"req:{answer.json()['instance'].rpartition(':')[2]}")
        assert [event["body"]["code"] for event in recorded] == ["AZ1002"]
    for bad in (b"\xc3\xbc", b"x" * 2000):
        assert service.client().get("/healthz", headers={b"X-Request-ID": bad}).headers["x-request-id"].encode() != bad


# -- the trail


def test_strangers_are_counted_not_recorded(service: Service) -> None:
    answer = service.client().get("/api/v1/requests")
    refused(answer, 401, "unauthenticated")
    assert service.events(f"req:{answer.headers['x-request-id']}") == []


def test_a_refusal_by_policy_is_recorded_once(service: Service) -> None:
    answer = service.person(FAR_REGISTRAR).get(f"/api/v1/requests/{service.enrol(STAFF).request}")
    refused(answer, 403, "denied", "out-of-scope")
    recorded = service.events(f"req:{answer.headers['x-request-id']}")
    assert [event["body"]["code"] for event in recorded] == ["AZ1002"]


def test_a_refusal_inside_the_act_is_recorded_after_the_rollback(service: Service) -> None:
    taken = service.enrol(STAFF)
    again = service.person(REGISTRAR).post(f"/api/v1/requests/{taken.request}/approve", json={"comment": ""})
    refused(again, 409, "conflict")
    assert [event["body"]["code"] for event in service.events(f"req:{again.headers['x-request-id']}")] == ["AZ1005"]


@pytest.mark.embedded
def test_when_the_trail_cannot_be_written_the_answer_is_no(service: Service) -> None:
    """Acts, decisions and logins are refused with 503; status already recorded is still served."""
    held = service.node.database
    application, person = service.application(), service.person(STAFF)
    service.person(OTHER_STAFF), service.person(AUDITOR)  # logged in before the trail closes
    with held.writing() as session:
        session.execute(text("SELECT 1"))
        for answer in (
            application.post("/access/v1/evaluation", json=QUESTION, timeout=20),
            person.post("/api/v1/certificates/1/revoke", content=b"nonsense", headers=JSON, timeout=20),
            service.client().post("/api/v1/sessions", json={"uid": STAFF, "password": "x", "totp": "000000"}, timeout=20),
        ):
            refused(answer, 503, "unavailable")
            assert answer.headers["retry-after"]
        assert service.client().get("/readyz").status_code == 503
        assert service.client().get("/crl/staff/0.crl").status_code == 200
    until = time.monotonic() + 10
    while service.client().get("/readyz").status_code != 200 and time.monotonic() < until:
        time.sleep(0.2)
    assert application.post("/access/v1/evaluation", json=QUESTION).status_code == 200
