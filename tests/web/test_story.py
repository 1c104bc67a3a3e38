"""The main story over REST, as the outside contract tells it."""

from __future__ import annotations

import io
import itertools
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from audit.verifier.proof import Proof
from tests.web.conftest import (
    AUDITOR,
    FAR_REGISTRAR,
    OTHER_STAFF,
    OWNER,
    REGISTRAR,
    SECOND_REGISTRAR,
    SECURITY,
    STAFF,
    SYSTEM,
    Service,
    csr_pem,
)

pytestmark = pytest.mark.slow


def submit(service: Service, uid: str, **more: str) -> dict[str, object]:
    body = {"profile": "staff-sign", "csr": csr_pem(ec.generate_private_key(ec.SECP256R1()))} | more
    answer = service.person(uid).post("/api/v1/requests", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_a_request_is_decided_by_the_right_registrar_only(service: Service) -> None:
    asked = submit(service, STAFF)
    assert (asked["state"], asked["serial"], asked["reasons"]) == ("submitted", None, [])
    path = f"/api/v1/requests/{asked['id']}/approve"
    for uid, reason in ((STAFF, "wrong-role"), (FAR_REGISTRAR, "out-of-scope"), (AUDITOR, "wrong-role"), (SYSTEM, "wrong-role")):
        answer = service.person(uid).post(path, json={"comment": ""})
        assert (answer.status_code, answer.json()["reason"]) == (403, reason), uid
    began = time.monotonic()
    approved = service.person(REGISTRAR).post(path, json={"comment": "seen the person"})
    assert (approved.status_code, approved.json()["state"]) == (200, "approved")
    serial = service.issued(STAFF, asked["id"])  # type: ignore[arg-type]
    assert time.monotonic() - began < 5
    assert serial == serial.lower()
    shown = service.person(STAFF).get(f"/api/v1/requests/{asked['id']}").json()
    assert shown["decisions"][0]["comment"] == "seen the person"


def test_nobody_decides_on_a_request_of_their_own(service: Service) -> None:
    asked = submit(service, REGISTRAR)
    answer = service.person(REGISTRAR).post(f"/api/v1/requests/{asked['id']}/approve", json={"comment": ""})
    assert (answer.status_code, answer.json()["reason"]) == (403, "own-request")
    refused = service.person(SECOND_REGISTRAR).post(f"/api/v1/requests/{asked['id']}/refuse", json={"comment": "not now"})
    assert (refused.status_code, refused.json()["state"]) == (200, "refused")
    again = service.person(SECOND_REGISTRAR).post(f"/api/v1/requests/{asked['id']}/approve", json={"comment": ""})
    assert again.json()["code"] == "conflict"


def test_names_come_from_the_directory_never_from_the_request(service: Service) -> None:
    taken = service.enrol(STAFF)
    leaf = x509.load_pem_x509_certificate(taken.pem.encode())
    assert leaf.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value == service.account(STAFF)["name"]
    assert "somebody else" not in leaf.subject.rfc4514_string()


def test_a_chain_is_leaf_first_without_the_root(service: Service) -> None:
    taken = service.enrol(STAFF)
    chain = x509.load_pem_x509_certificates(taken.pem.encode())
    assert f"{chain[0].serial_number:x}" == taken.serial
    for below, above in itertools.pairwise(chain):
        below.verify_directly_issued_by(above)
    root = x509.load_pem_x509_certificate(Path(service.told["ca_file"]).read_bytes())
    chain[-1].verify_directly_issued_by(root)
    assert root not in chain
    shown = service.person(STAFF).get(f"/api/v1/certificates/{taken.serial}").json()
    assert (shown["serial"], shown["standing"], shown["request"]) == (taken.serial, "valid", taken.request)


@pytest.mark.parametrize(
    "csr",
    ["", "nonsense", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"],
)
def test_what_is_no_request_is_malformed(service: Service, csr: str) -> None:
    answer = service.person(STAFF).post("/api/v1/requests", json={"profile": "staff-sign", "csr": csr})
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")


def test_a_profile_that_nobody_issues_and_a_subject_that_nobody_knows_are_refused(service: Service) -> None:
    csr = csr_pem(ec.generate_private_key(ec.SECP256R1()))
    unknown = service.person(STAFF).post("/api/v1/requests", json={"profile": "root", "csr": csr})
    assert unknown.json()["code"] == "not-found"
    nobody = service.person(STAFF).post("/api/v1/requests", json={"profile": "server", "csr": csr, "for": "server:nowhere"})
    assert nobody.json()["code"] == "not-found"
    others = service.person(OTHER_STAFF).post("/api/v1/requests", json={"profile": "server", "csr": csr, "for": "server:files"})
    assert (others.status_code, others.json()["reason"]) == (403, "not-owner")


def test_an_asset_gets_its_certificate_by_its_owner(service: Service) -> None:
    csr = csr_pem(ec.generate_private_key(ec.SECP256R1()))
    asked = service.person(STAFF).post("/api/v1/requests", json={"profile": "server", "csr": csr, "for": "server:files"}).json()
    assert asked["for"] == "server:files"
    decided = service.person(REGISTRAR).post(f"/api/v1/requests/{asked['id']}/approve", json={"comment": ""})
    assert decided.status_code == 200, decided.text
    serial = service.issued(STAFF, asked["id"])
    pem = service.person(STAFF).get(f"/api/v1/certificates/{serial}").json()["pem"]
    names = x509.load_pem_x509_certificate(pem.encode()).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["files.qinghe.example"]


def test_lists_show_ones_own_and_what_one_decides_on(service: Service) -> None:
    asked = submit(service, OTHER_STAFF)
    mine = service.person(OTHER_STAFF).get("/api/v1/requests").json()["items"]
    assert asked["id"] in [item["id"] for item in mine]
    me = service.person(OTHER_STAFF).get("/api/v1/me").json()["id"]
    assert {item["requester"] for item in mine} == {me}
    assert service.person(OTHER_STAFF).get("/api/v1/requests?profile=server").json()["items"] == []
    unit = asked["unit"]
    for uid in (REGISTRAR, FAR_REGISTRAR):
        units = {role["unit"] for role in service.person(uid).get("/api/v1/me").json()["roles"] if role["role"] == "registrar"}
        seen = [item["id"] for item in service.person(uid).get("/api/v1/requests").json()["items"]]
        assert (asked["id"] in seen) is (unit in units)
    everything = service.person(AUDITOR).get("/api/v1/requests").json()["items"]
    assert asked["id"] in [item["id"] for item in everything]


def test_pages_follow_each_other_without_gap_or_repeat(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.api.requests.PAGE", 2)
    monkeypatch.setattr("web.api.certificates.PAGE", 2)
    for _ in range(3):
        submit(service, STAFF)
    for path, key in (("/api/v1/requests", "id"), ("/api/v1/certificates", "serial")):
        found, after = [], None
        while True:
            page = service.person(AUDITOR).get(path, params={"after": after} if after else {}).json()
            found += [item[key] for item in page["items"]]
            after = page["next"]
            if not after:
                break
            assert len(page["items"]) == 2
        assert len(found) == len(set(found)) > 3


def test_certificates_are_found_by_what_is_known_of_them(service: Service) -> None:
    taken = service.enrol(STAFF)
    client = service.person(STAFF)
    assert next(one["serial"] for one in client.get("/api/v1/certificates", params={"mine": "1"}).json()["items"]) == taken.serial
    assert client.get("/api/v1/certificates", params={"standing": "suspended"}).json()["items"] == []
    assert client.get("/api/v1/certificates", params={"profile": "server", "mine": "1"}).status_code == 200
    own = service.application().get("/api/v1/certificates").json()["items"]
    assert {one["subject"] for one in own} == {"application:oa"}
    assert service.application().get(f"/api/v1/certificates/{taken.serial}").status_code == 403
    assert service.person(FAR_REGISTRAR).get(f"/api/v1/certificates/{taken.serial}").status_code == 403
    assert client.get("/api/v1/certificates/abcdef").json()["code"] == "not-found"


def test_suspended_released_revoked(service: Service) -> None:
    taken = service.enrol(STAFF)
    path = f"/api/v1/certificates/{taken.serial}"
    opened = service.client(cert=taken.files)
    assert service.person(STAFF).post(f"{path}/suspend", json={"reason": "certificateHold"}).json()["standing"] == "suspended"
    assert opened.post("/api/v1/sessions").json()["reason"] == "suspended"
    assert service.person(STAFF).post(f"{path}/release", json={"reason": "removeFromCRL"}).status_code == 403
    assert service.person(REGISTRAR).post(f"{path}/release", json={"reason": "keyCompromise"}).json()["code"] == "malformed"
    assert service.person(REGISTRAR).post(f"{path}/release", json={}).json()["standing"] == "valid"
    assert opened.post("/api/v1/sessions").status_code == 201
    assert service.person(REGISTRAR).post(f"{path}/revoke", json={"reason": "nonsense"}).json()["code"] == "malformed"
    assert service.person(REGISTRAR).post(f"{path}/revoke", json={"reason": "cessationOfOperation"}).json()["standing"] == "revoked"
    again = service.person(REGISTRAR).post(f"{path}/revoke", json={"reason": "cessationOfOperation"})
    assert again.json()["code"] == "conflict"


def test_authorities_are_told_to_who_is_known(service: Service) -> None:
    found = service.person(STAFF).get("/api/v1/cas").json()["items"]
    assert found[0]["parent"] is None
    assert {"staff", "servers", "applications"} <= {one["id"] for one in found}
    assert service.application().get("/api/v1/cas/staff").json()["profiles"] == ["staff-sign"]
    assert service.person(STAFF).get("/api/v1/cas/nobody").status_code == 404


def test_an_identity_is_verified_with_unit_and_roles(service: Service) -> None:
    taken = service.enrol(STAFF)
    found = service.application().post("/api/v1/identities/verify", json={"certificate": taken.pem}).json()
    assert (found["valid"], found["reasons"]) == (True, [])
    assert found["subject"]["id"] == STAFF
    assert found["unit"]["name"] == "清河县"
    assert "staff" in {role["role"] for role in found["roles"]}
    assert service.person(STAFF).post("/api/v1/identities/verify", json={"certificate": taken.pem}).status_code == 403
    assert service.application().post("/api/v1/identities/verify", json={"certificate": "x"}).json()["code"] == "malformed"


def test_the_auditor_finds_shows_proves_and_exports(service: Service, tmp_path: Path) -> None:
    taken = service.enrol(STAFF)
    found = service.events(f"code:CA1004 cert:{taken.serial}")
    assert len(found) == 1
    place = f"/api/v1/events/{found[0]['log']}/{found[0]['idx']}"
    auditor = service.person(AUDITOR)
    assert auditor.get(place).json() == found[0]
    assert auditor.get(f"/api/v1/events/ca/{found[0]['idx']}").json() == found[0]  # without an epoch: the present one
    proof = auditor.get(f"{place}/proof")
    assert proof.headers["content-type"].startswith("text/plain")
    assert Proof.parse(proof.content).index == found[0]["idx"]
    assert Proof.parse(auditor.get(f"/api/v1/events/ca/{found[0]['idx']}/proof").content).index == found[0]["idx"]
    exported = auditor.post("/api/v1/exports", json={"q": f"cert:{taken.serial}"})
    assert exported.headers["content-type"] == "application/zip"
    bundle = tmp_path / "bundle.zip"
    bundle.write_bytes(exported.content)
    with zipfile.ZipFile(io.BytesIO(exported.content)) as archive:
        (tmp_path / "verify.pyz").write_bytes(archive.read("yumen-verify.pyz"))
    keys = [part for path in sorted((service.node.settings.home / "notes").glob("*.vkey")) for part in ("--key", path.read_text().strip())]
    command = [sys.executable, "-I", "-S", "verify.pyz", "bundle.zip", *keys]
    checked = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    newest = service.events("code:AZ4002")[0]
    assert auditor.get(f"/api/v1/events/{newest['log']}/{newest['idx']}/proof").status_code == 200
    assert service.events("code:AZ4001")


def test_the_trail_is_for_auditors(service: Service) -> None:
    shown = ("", "/ca/1/0", "/ca/1/0/proof", "/ca/0", "/ca/0/proof")
    paths = (*(f"/api/v1/events{path}" for path in shown), "/log/ca/checkpoint", "/log/ca/1/tile/0/000.p/1")
    for path in paths:
        for uid in (STAFF, REGISTRAR, SYSTEM, SECURITY, OWNER):
            assert service.person(uid).get(path).status_code == 403, (uid, path)
        assert service.person(AUDITOR).get(path).status_code == 200, path
        assert service.application().get(path).status_code == 403
    assert service.person(STAFF).post("/api/v1/exports", json={"q": ""}).status_code == 403
    assert service.person(AUDITOR).get("/api/v1/events", params={"q": "nonsense"}).json()["code"] == "malformed"
    assert service.person(AUDITOR).get("/api/v1/events/ca/1/99999999").status_code == 404
    assert service.person(AUDITOR).get("/api/v1/events/nolog/1/0").status_code == 404
    assert service.person(AUDITOR).get("/api/v1/events/nolog/0").status_code == 404


def test_tiles_are_served_whole_and_in_parts(service: Service) -> None:
    auditor = service.person(AUDITOR)
    assert auditor.get("/log/ca/checkpoint").text.startswith("yumen.local/ca/1\n")
    assert auditor.get("/log/ca/1/checkpoint").status_code == 200
    assert len(auditor.get("/log/ca/1/tile/0/000.p/7").content) == 7 * 32
    assert auditor.get("/log/ca/tile/0/000.p/7").content == auditor.get("/log/ca/1/tile/0/000.p/7").content
    assert "immutable" in auditor.get("/log/ca/1/tile/0/000.p/7").headers["cache-control"]
    assert auditor.get("/log/ca/1/tile/entries/000.p/2").status_code == 200
    for path in ("tile/0/0", "tile/0/000.p/0", "tile/64/000", "tile/0/x999/999", "tile/../../x"):
        assert auditor.get(f"/log/ca/1/{path}").status_code == 404, path
    assert auditor.get("/log/ca/9/checkpoint").status_code == 404


def test_measurements_are_for_the_machine_itself_and_readiness_tells_reasons(service: Service) -> None:
    assert b"yumen_requests_total" in service.client().get("/metrics").content
    assert service.client().get("/healthz").json() == {"status": "live"}
    assert service.client().get("/readyz").json() == {"status": "ready", "reasons": []}
