"""From the first ceremony to the first certificate: the whole story over HTTPS, each process with its own user and its own role."""

from __future__ import annotations

import os
import pty
import re
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pyotp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from authz import province
from tests.ops.processes import CEREMONY, WEB, WORKER, Place, as_user, may, password, people, problems, wait_for
from tests.postgres import Cluster
from tests.web.conftest import csr_pem

pytestmark = [pytest.mark.slow, pytest.mark.component("postgresql")]

NAMED = {"zhaoliu", "sunqi", "zhouba", "wujiu", "zhengshi", "qianyi"}
CODE = re.compile(r"^  ([a-z2-7-]{11})  (\w+) \(", re.MULTILINE)


class Service:
    """The running service as people see it."""

    def __init__(self, place: Place, codes: str) -> None:
        self.place, self.codes = place, {uid: code for code, uid in CODE.findall(codes)}
        self.text = codes
        context = ssl.create_default_context(cadata=(place.home / "root.pem").read_text())
        self.client = httpx.Client(base_url=place.addresses["YUMEN_WEB_HTTPS_URL"], verify=context, trust_env=False)
        self._tokens: dict[str, str] = {}

    def begin(self, uid: str, *, password: str, code: str) -> httpx.Response:
        return self.client.post("/api/v1/totp/enrolments", json={"uid": uid, "password": password, "code": code})

    def enrol(self, uid: str, code: str) -> None:
        """Enrol a generator, and log in with its next code."""
        word = password(uid)
        begun = self.begin(uid, password=word, code=code)
        assert begun.status_code == 201, begun.text
        generator, now = pyotp.TOTP(begun.json()["secret"]), int(time.time())
        finish = {"uid": uid, "password": word, "code": code, "totp": generator.at(now)}
        finished = self.client.post("/api/v1/totp/enrolments/confirm", json=finish)
        assert finished.status_code == 200, finished.text
        assert len(finished.json()["codes"]) == 10
        opened = self.client.post("/api/v1/sessions", json={"uid": uid, "password": word, "totp": generator.at(now + 30)})
        assert opened.status_code == 201, opened.text
        self._tokens[uid] = opened.json()["token"]

    def bearer(self, uid: str) -> dict[str, str]:
        """What a person who has logged in sends along."""
        return {"Authorization": f"Bearer {self._tokens[uid]}"}

    def call(self, uid: str, method: str, path: str, **more: Any) -> Any:
        """What a person gets; anything but a success is a failure of the test."""
        answer = self.client.request(method, f"/api/v1{path}", headers=self.bearer(uid), **more)
        assert answer.status_code < 300, f"{path}: {answer.status_code} {answer.text}"
        return answer.json() if "json" in answer.headers["Content-Type"] else answer


@pytest.fixture(scope="module")
def place(cluster: Cluster) -> Iterator[Place]:
    found = Place(cluster)
    found.prepare()
    try:
        assert (made := found.run("init")).returncode == 0, made.stderr
        (found.folder / "ceremony.toml").write_text(CEREMONY + people())
        yield found
    finally:
        found.close()


@pytest.fixture(scope="module")
def service(place: Place) -> Iterator[Service]:
    out = place.home / "codes.txt"
    held = place.run("ca", "ceremony", str(place.folder / "ceremony.toml"), "--codes", str(out))
    assert held.returncode == 0, held.stderr
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert not (WEB != WORKER and may(WEB, "-r", out))
    place.work()
    place.serve()
    found = Service(place, out.read_text())
    assert [code for code in found.codes.values() if code in held.stdout + held.stderr] == []
    yield found
    found.client.close()


def test_without_a_place_for_the_codes_nothing_is_made(place: Place):
    ceremony = str(place.folder / "ceremony.toml")
    assert problems(place.run("ca", "ceremony", ceremony), ["--codes", "terminal"]) == []
    assert problems(place.run("ca", "ceremony", ceremony, "--json"), []) == []
    for path in (place.home / "yumen.toml", place.folder / "nowhere" / "codes.txt"):
        refused = place.run("ca", "ceremony", ceremony, "--codes", str(path))
        assert (refused.returncode, "name a new file" in refused.stderr) == (2, True)
    assert not (place.home / "root.pem").exists()


def test_each_person_named_gets_one_code_with_its_end(service: Service):
    assert service.codes.keys() == NAMED
    assert len(set(service.codes.values())) == len(NAMED)
    assert service.text.count(" UTC\n") == len(NAMED)


def test_a_second_ceremony_gives_none(service: Service):
    more = CEREMONY.replace('name = "province"', 'name = "later"')
    again = service.place.folder / "again.toml"
    out = service.place.home / "more.txt"
    again.write_text(more)
    held = service.place.run("ca", "ceremony", str(again), "--codes", str(out))
    assert held.returncode == 0, held.stderr
    again.write_text(more + people())
    assert problems(service.place.run("ca", "ceremony", str(again), "--codes", str(out)), ["only the first ceremony"]) == []
    assert not out.exists()


@pytest.mark.parametrize("word", ["", "wrong", "the code itself"])
def test_a_code_without_the_password_gains_nothing(service: Service, word: str):
    code = service.codes["zhouba"]
    answer = service.begin("zhouba", password=code if "code" in word else word, code=code)
    assert answer.status_code in {400, 401}, answer.text
    opened = service.client.post("/api/v1/sessions", json={"uid": "zhouba", "password": word, "totp": code})
    assert opened.status_code in {400, 401, 429}


def test_the_password_and_somebody_elses_code_gain_nothing(service: Service):
    answer = service.begin("sunqi", password=password("sunqi"), code=service.codes["zhaoliu"])
    assert answer.status_code == 401


def test_the_whole_story_needs_no_more_rights_than_each_role_has(service: Service):
    for uid in ("zhaoliu", "zhengshi", "wujiu", "qianyi"):
        service.enrol(uid, service.codes[uid])
    used = service.begin("zhaoliu", password=password("zhaoliu"), code=service.codes["zhaoliu"])
    assert used.status_code == 401
    for uid, registrar in (("zhangsan", "zhaoliu"), ("fenger", "zhengshi")):
        service.enrol(uid, service.call(registrar, "POST", "/totp/codes", json={"person": uid})["code"])

    asked = service.call(
        "zhangsan", "POST", "/requests", json={"profile": "staff-sign", "csr": csr_pem(ec.generate_private_key(ec.SECP256R1()))}
    )
    service.call("zhaoliu", "POST", f"/requests/{asked['id']}/approve", json={"comment": "seen"})
    wait_for(lambda: service.call("zhangsan", "GET", f"/requests/{asked['id']}")["state"] == "issued", 5)
    serial = service.call("zhangsan", "GET", f"/requests/{asked['id']}")["serial"]
    service.call("zhaoliu", "POST", f"/certificates/{serial}/revoke", json={"reason": "keyCompromise"})

    def listed() -> bool:
        crl = httpx.get(f"{service.place.addresses['YUMEN_WEB_HTTP_URL']}/crl/staff/0.crl", trust_env=False)
        return crl.status_code == 200 and bool(
            x509.load_der_x509_crl(crl.content).get_revoked_certificate_by_serial_number(int(serial, 16))
        )

    wait_for(listed, 60)

    accounts = {account.uid: account for account in province.accounts(seed=7)}
    unit = accounts["zhangsan"].unit
    about = {"id": "fin", "name": "Finance", "unit": unit, "owner": "fenger", "actions": ["read"], "types": ["bill"]}
    service.call("wujiu", "POST", "/applications", json=about)
    key = service.call("fenger", "POST", "/applications/fin/keys", json={})["key"]
    service.call("zhengshi", "POST", "/grants", json={"application": "fin", "action": "read", "type": "bill", "role": "staff"})
    question = {
        "subject": {"type": "user", "id": "zhangsan"},
        "action": {"name": "read"},
        "resource": {"type": "bill", "id": "1", "properties": {"unit": unit}},
    }

    def allowed() -> bool:
        asked = service.client.post("/access/v1/evaluation", json=question, headers={"Authorization": f"Bearer {key}"})
        assert asked.status_code == 200, asked.text
        return bool(asked.json()["decision"])

    wait_for(allowed, 3)

    service.call("zhengshi", "POST", "/persons/lisi/block", json={"reason": "left"})
    service.call("zhengshi", "POST", "/persons/lisi/unblock", json={})
    assert service.call("qianyi", "GET", "/events", params={"q": f"obj:request:{asked['id']}"})["items"]
    assert service.call("qianyi", "POST", "/exports", json={"q": "code:CA*"}).content.startswith(b"PK")
    service.call("zhangsan", "DELETE", "/sessions/current")
    assert service.client.get("/readyz").json()["reasons"] == []


def test_a_security_administrator_clears_a_stopped_authority_with_the_rights_of_the_web_role(service: Service):
    def stop(why: str) -> None:
        with service.place.cluster.connect(service.place.database) as connection:
            connection.execute("SET session_replication_role = replica")  # as nobody of the service can
            connection.execute("UPDATE ca_authority SET stopped = %s WHERE id = 'staff'", (why,))

    def resume(uid: str) -> int:
        return service.client.post("/api/v1/cas/staff/resume", headers=service.bearer(uid), json={}).status_code

    assert [resume(uid) for uid in ("zhengshi", "wujiu", "qianyi")] == [409, 403, 403]
    stop("for this test")
    assert resume("zhengshi") == 200
    stop("")
    assert service.call("qianyi", "GET", "/events", params={"q": "code:CA2004"})["items"]


def test_the_codes_are_in_no_event_and_no_log(service: Service):
    handed = service.call("qianyi", "GET", "/events", params={"q": "code:AZ2006 out:ok", "limit": 50})["items"]
    assert len(handed) >= len(NAMED)
    assert "'id': 'ceremony', 'k': 'service'" in str(handed)
    told = str(handed) + "".join(path.read_text() for path in service.place.folder.glob("*.log"))
    with service.place.cluster.connect(service.place.database) as connection:
        told += str(connection.execute("SELECT convert_from(body, 'UTF8') FROM trail_event WHERE code IN ('AZ2006', 'CA2002')").fetchall())
    assert [code for code in service.codes.values() if code in told or code.replace("-", "") in told] == []


def test_no_address_and_no_body_with_the_character_that_no_text_may_have_is_an_error_of_ours(service: Service):
    """PostgreSQL refuses U+0000 in every text: the door does so before."""
    paths = service.client.get("/api/v1/openapi.json").json()["paths"]
    tried = 0
    for uid in ("qianyi", "zhaoliu", "wujiu", "zhengshi", "fenger"):
        headers = {"Authorization": f"Bearer {service._tokens[uid]}"}
        for rule, methods in paths.items():
            for method in methods:
                if rule == "/api/v1/sessions/current" or not rule.startswith("/api/"):
                    continue
                named = re.sub(r"{[^}]*}", "%00", rule)
                calls: list[tuple[str, dict[str, Any]]] = [(named, {})] if named != rule else []
                calls.append((f"{re.sub(r'{[^}]*}', '1', rule)}?q=%00", {}))
                if method != "get":
                    calls.append((re.sub(r"{[^}]*}", "1", rule), {"json": {"uid": "\0", "id": "\0", "comment": "\0"}}))
                for path, more in calls:
                    answer = service.client.request(method.upper(), path, headers=headers, **more)
                    assert answer.status_code == 400 or (more and answer.status_code < 500), (uid, method, path, more, answer.text)
                    tried += 1
    assert tried > 100


def test_who_never_enrolled_gets_a_new_code_and_the_old_one_ends(service: Service):
    out = service.place.home / "new.txt"
    made = service.place.run("ca", "first-codes", "--codes", str(out))
    assert made.returncode == 0, made.stderr
    new = {uid: code for code, uid in CODE.findall(out.read_text())}
    assert new.keys() == {"sunqi", "zhouba"}, "those who have enrolled get none from the operator"
    assert service.begin("sunqi", password=password("sunqi"), code=service.codes["sunqi"]).status_code == 401
    service.enrol("sunqi", new["sunqi"])


def test_at_a_terminal_the_codes_are_shown_there(service: Service):
    ours, theirs = pty.openpty()
    call = [*as_user(WORKER), sys.executable, "-m", "cli.main", "ca", "first-codes"]
    with subprocess.Popen(call, env=service.place.environ("yumen_worker"), cwd="/", stdout=theirs, stderr=subprocess.PIPE) as child:
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 4096):
                shown += part
        except OSError:  # the terminal is gone
            pass
        assert child.wait(60) == 0, child.stderr and child.stderr.read()
    os.close(ours)
    assert re.search(r"[a-z2-7]{5}-[a-z2-7]{5}  zhouba ", shown.decode())
    assert service.place.run("ca", "first-codes").returncode == 2


def test_a_restore_is_rehearsed_with_the_rights_that_each_role_has(service: Service):
    place = service.place
    empty = place.cluster.new_database("template0")
    assert place.run("backup").returncode == 0
    ended = place.run("drill", "restore", "--admin-url", place.cluster.url("admin", empty), "--json")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    with place.cluster.connect(empty) as connection:
        left = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname IN ('yumen', 'audit')").fetchall()
    assert left == [], "the database of the rehearsal is empty again"


def test_an_assessment_of_the_production_form_finds_nothing_to_put_right(service: Service):
    """After a backup was made and a restore rehearsed."""
    place = service.place
    ended = place.run("assess", "--json")
    assert "settings.addresses" in ended.stdout, ended.stderr
    assert ended.returncode == 1, "addresses of this machine alone are no addresses"
    known = {name: place.addresses[name] for name in ("YUMEN_WEB_HTTP_URL", "YUMEN_WEB_HTTPS_URL")}
    place.addresses |= {"YUMEN_WEB_HTTP_URL": "http://status.example", "YUMEN_WEB_HTTPS_URL": "https://yumen.example"}
    try:
        again = place.run("assess", "--json")
    finally:
        place.addresses |= known
    assert again.returncode == 0, again.stdout + again.stderr
