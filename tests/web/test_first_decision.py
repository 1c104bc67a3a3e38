"""The page "first decision in ten minutes": everything on it that is to be copied is copied from it here, and run."""

from __future__ import annotations

import html
import json
import os
import re
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.nginx import Nginx
from tests.ports import free_ports
from tests.web.conftest import AUDITOR, OWNER, SECURITY, STAFF, SYSTEM, Service
from tests.web.pki import make

pytestmark = pytest.mark.slow

SNIPPET = re.compile(r'data-snippet="([a-z-]+)">(.*?)</pre>', re.DOTALL)
TOKEN = re.compile(r'name="csrf_token" value="([^"]+)"')
SITE = "listen 127.0.0.1:{port}; location / {{ return 200 '$http_yumen_user $http_yumen_roles'; }}"


def copied(page: str) -> dict[str, str]:
    """The lines that are to be copied, by what they are."""
    return {name: html.unescape(text) for name, text in SNIPPET.findall(page)}


def key_made(service: Service, application: str) -> str:
    """The page that the owner sees after a click on the button that makes a key."""
    with service.browser(OWNER) as browser:
        page = browser.get(f"/applications/{application}/start")
        assert page.status_code == 200, page.text
        made = browser.post(
            f"/applications/{application}/keys", data={"csrf_token": TOKEN.findall(page.text)[0]}, headers={"Referer": str(page.url)}
        )
        assert made.status_code == 200, made.text
        return made.text


def shell(text: str, folder: Path) -> str:
    """What these lines print at a terminal."""
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    ended = subprocess.run(["bash", "-euc", text], cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=20)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.component("curl")
def test_the_lines_of_the_page_give_the_decision_that_it_foretells(service: Service, tmp_path: Path):
    page = key_made(service, "oa")
    lines = copied(page)
    with service.browser(OWNER) as browser:
        (tmp_path / "root.pem").write_bytes(browser.get("/applications/oa/root.pem").content)
    told = json.loads(shell(lines["export"] + lines["curl"], tmp_path))
    assert told["decision"] is (">Allowed<" in page)
    assert f'<code translate="no">{told["context"]["rule"]}</code>' in page
    key = re.findall(r"yk_[0-9a-f]{16}", lines["export"])[0]
    assert service.events("code:CA4006")[0]["body"]["d"]["key"] == key.removeprefix("yk_")
    with service.browser(OWNER) as browser:
        again = browser.get("/applications/oa/start").text
        assert key not in again
        assert f"{key}_…" in browser.get("/applications/oa").text


def test_the_page_is_for_who_may_read_the_register(service: Service):
    for uid, status in ((OWNER, 200), (SECURITY, 200), (SYSTEM, 200), (AUDITOR, 200), (STAFF, 403)):
        with service.browser(uid) as browser:
            for part in ("", "/start", "/nginx.conf", "/root.pem", "/clients.pem"):
                assert browser.get(f"/applications/oa{part}").status_code == status, (uid, part)
            assert browser.get("/applications/nowhere/start").status_code == 404


def test_only_the_owner_makes_a_key_and_only_with_the_forms_token(service: Service):
    with service.browser(SECURITY) as browser:
        token = TOKEN.findall(browser.get("/applications/oa/start").text)[0]
        fields = {"Referer": f"{service.told['https']}/applications/oa/start"}
        assert browser.post("/applications/oa/keys", data={"csrf_token": token}, headers=fields).status_code == 403
    with service.browser(OWNER) as browser:
        assert browser.post("/applications/oa/keys", data={}).status_code == 400


@dataclass
class Site:
    """An application's nginx, made of what the page gives."""

    nginx: Nginx
    port: int
    folder: Path


@pytest.fixture
def site(service: Service, tmp_path: Path) -> Iterator[Site]:
    unit = service.person(STAFF).get("/api/v1/me").json()["unit"]
    facts = {"name": "十分钟", "unit": unit, "owner": OWNER, "actions": ["get"], "types": ["path"], "asserts": [], "proxy": True}
    assert service.person(SYSTEM).post("/api/v1/applications", json={"id": "minutes", **facts}).status_code == 201
    grant = {"application": "minutes", "action": "get", "type": "path", "role": "staff"}
    assert service.person(SECURITY).post("/api/v1/grants", json=grant).status_code == 201
    lines = copied(key_made(service, "minutes"))
    (files := tmp_path / "minutes").mkdir()
    port, behind = free_ports(2)
    nginx = Nginx(tmp_path / "nginx", (), {})
    with service.browser(OWNER) as browser:
        for name in ("root.pem", "clients.pem"):
            (files / name).write_bytes(browser.get(f"/applications/minutes/{name}").content)
        conf = browser.get("/applications/minutes/nginx.conf").text
    assert conf == lines["nginx"]
    shell((lines["export"] + lines["key-file"]).replace("/etc/nginx/minutes/", f"{files}/"), tmp_path)
    authority = make("authority")
    make("localhost", authority).write(files, "server")
    authority.write(tmp_path, "authority")
    for text, instead in {
        "/etc/nginx/minutes/": f"{files}/",
        "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
        "127.0.0.1:8000": f"127.0.0.1:{behind}",
    }.items():
        assert text in conf
        conf = conf.replace(text, instead)
    (tmp_path / "nginx" / "conf.d" / "minutes.conf").write_text(conf)
    (tmp_path / "nginx" / "conf.d" / "behind.conf").write_text(f"server {{ {SITE.format(port=behind)} }}")
    nginx.start()
    yield Site(nginx, port, tmp_path)
    nginx.stop()


@pytest.mark.component("nginx")
def test_an_nginx_with_the_file_of_the_page_asks_the_gate(service: Service, site: Site):
    staff = service.enrol(STAFF)
    for cert, status, said in ((staff.files, 200, f"{STAFF} staff"), (None, 401, "no_certificate")):
        with httpx.Client(verify=_trusting(site, cert), trust_env=False) as user:
            answer = user.get(f"https://localhost:{site.port}/reports/1")
        assert answer.status_code == status, site.nginx.log()
        assert said in (answer.text if status == 200 else answer.headers["Yumen-Reason"])
    assert (site.folder / "minutes" / "key.conf").stat().st_mode & 0o777 == 0o600
    service.person(STAFF).post(f"/api/v1/certificates/{staff.serial}/revoke", json={"reason": "superseded"})


def _trusting(site: Site, cert: tuple[Path, Path] | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=site.folder / "authority.pem")
    if cert:
        context.load_cert_chain(*cert)
    return context
