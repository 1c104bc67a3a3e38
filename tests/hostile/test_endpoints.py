"""Every address, form and header field, given what nobody sends in good faith: a refusal, soon, and never a failure of ours."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.hostile.conftest import browser, demonstration, form_token, raw
from tests.web.conftest import AUDITOR, REGISTRAR, SECURITY, STAFF, Service
from web import door
from web.app import create_app
from web.decisions import DECISION_ROUTES
from web.declare import Opening, openings
from web.gate import GATE_ROUTES
from web.hot import STATUS_ROUTES

pytestmark = pytest.mark.slow

#: Seconds that an answer may take.
SOON = 3.0
JSON = "application/json"
#: Media type and body.
BODIES = (
    *((JSON, b""), (JSON, b"null"), (JSON, b"[]"), (JSON, b'"x"'), (JSON, b"{"), (JSON, b"\xff\xfe{}"), (JSON, b"[" * 50_000)),
    *((JSON, b'{"a":' * 20_000), (JSON, b'{"' + b"a" * 60_000 + b'":1}'), (JSON, b'{"id":1e999}'), (JSON, b'{"a":1,"a":2}')),
    *(
        (JSON, b"9" * 5_000),
        (JSON, b'{"\\ud800":"\\u0000"}'),
        ("", b"{}"),
        ("text/plain", b"{}"),
        (JSON + "; charset=utf-16", b"\xff\xfe{\0}\0"),
    ),
    *(
        ("application/x-www-form-urlencoded", b"a=b"),
        ("multipart/form-data", b"--x"),
        ("multipart/form-data; boundary=" + "x" * 200, b"--x"),
    ),
    ("application/ocsp-request", b"\x30\x84\xff\xff\xff\xff"),
)
FIELDS = (
    *("Accept: */*;q=x, ,;,text/html;q=9999999", "Accept: " + "a" * 8_000, "Accept-Language: " + "zh;q=1e999,*;q=-1, " * 100),
    *("Range: bytes=9-1,-0", 'If-None-Match: "', "If-Modified-Since: Thu, 99 Foo 99999 99:99:99 GMT", "Cookie: " + "=;=;=;" * 999),
    *(
        "Cookie: __Host-yumen=" + "%00" * 999,
        "Cookie: __Host-yumen-form=eyJhIjoxfQ.x.y; yumen-lang=../../x",
        "Cookie: __Host-yumen=\xff\xfe",
    ),
    *(
        "Authorization: Basic " + "=" * 999,
        "Authorization: Bearer ys_\xe9",
        "Authorization: Bearer",
        "X-Request-ID: a b\tc",
        "Origin: https://[",
    ),
    *(
        "X-Forwarded-For: 999.1.1.1, ::g",
        "Referer: http://[::1",
        "Content-Type: multipart/form-data; boundary*=x''%ff",
        "Expect: 200-maybe",
    ),
    *("Transfer-Encoding: identity", "Upgrade: h2c", "Host: [::1", "Host: a@b:c", "TE: trailers", "Content-Length: 99999999999"),
    *("Content-Length: 5", "X: " + "y" * 40_000, "X-Real-IP: 1.2.3.4", 'Forwarded: for="', "Accept-Encoding: *;q=0, identity;q=0"),
)
PATHS = (
    *("/", "/login", "/trail", "/desk", "/system", "/api/v1/me", "/api/v1/certificates?q=%ff&q=%ff", "/certificates/%ff%fe"),
    *(
        "/static/%2e%2e/x",
        "/static/yumen.css",
        "/ocsp/staff/%ff",
        "/\xff\xfe",
        "/?" + "a=b&" * 2_000,
        "/" + "a" * 30_000,
        "*",
        "//",
        "/%zz",
    ),
)
#: What any form might ask for.
NAMES = (
    "uid password code csr comment reason q person role unit digest application active name actions types asserts owner id effect at text "
    "title url mail after limit"
)
VALUES = ("", "x" * 20_000, "\u0001\u202e\U0001f600", "-1", "2026-99-99T99:99:99Z")


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with demonstration(tmp_path_factory.mktemp("target")) as found:
        yield found


def asked(service: Service, client: httpx.Client, method: str, path: str, **what: object) -> httpx.Response | None:
    """The answer; none when the server broke the connection off, which a request that is none may meet."""
    began = time.monotonic()
    try:
        answer = client.request(method, path, **what)  # type: ignore[arg-type]
    except httpx.TransportError:
        answer = None
    assert time.monotonic() - began < SOON, (method, path)
    assert answer is None or answer.status_code < 500 or answer.json()["code"] == "unavailable", (method, path, what, answer.text[:500])
    return answer


def programs(service: Service) -> Iterator[tuple[str, str, httpx.Client]]:
    """Every address for programs that takes a body, with somebody who may come in."""
    who = {Opening.APPLICATION: service.application(), Opening.PERSON: service.client(token=service.session(SECURITY))}
    app = create_app(service.node)
    for rule in app.url_map.iter_rules():
        if door.for_programs(rule.rule):
            wanted = openings(app.view_functions[rule.endpoint])
            client = next((who[one] for one in (Opening.PERSON, Opening.APPLICATION) if one in wanted), service.client())
            for method in sorted((rule.methods or set()) & {"POST", "PUT", "DELETE", "PATCH"}):
                yield method, re.sub(r"<[^>]+>", "1", rule.rule), client
    for route in (*DECISION_ROUTES, *GATE_ROUTES, *STATUS_ROUTES):
        for method in set(route.methods) & {"POST"}:
            yield method, route.rule.replace("<authority>", "staff"), who[Opening.APPLICATION]


def test_no_body_makes_an_address_fail(target: Service) -> None:
    tried = 0
    for method, path, client in programs(target):
        for media, body in BODIES:
            answer = asked(target, client, method, path, content=body, headers={"Content-Type": media} if media else {})
            assert answer is not None
            if answer.status_code == 200 and path.startswith("/ocsp/"):
                assert answer.content == bytes.fromhex("30030a0101"), body[:50]  # malformedRequest (RFC 6960 section 4.2.1)
            tried += 1
    assert tried > 600


def test_ten_megabytes_are_refused_unread(target: Service) -> None:
    for client, path in (
        (target.client(token=target.session(STAFF)), "/api/v1/requests"),
        (target.application(), "/access/v1/evaluation"),
    ):
        answer = asked(target, client, "POST", path, content=b" " * 10_000_000, headers={"Content-Type": JSON})
        assert answer is None or answer.status_code == 413


def test_no_header_field_and_no_address_makes_anything_fail(target: Service) -> None:
    cookie = f"Cookie: __Host-yumen={target.session(AUDITOR)}"
    requests = [(path, field) for path in ("/", "/login", "/api/v1/me", "/static/yumen.css") for field in FIELDS]
    for path, field in [*requests, *((path, "X: y") for path in PATHS)]:
        said = field if field.startswith(("Cookie", "Host")) else f"{cookie}\r\n{field}"
        host = "" if field.startswith("Host") else "Host: localhost\r\n"
        waits = field.startswith("Content-Length")  # for the body that never comes
        began = time.monotonic()
        request = f"GET {path} HTTP/1.1\r\n{host}{said}\r\nConnection: close\r\n\r\n".encode("latin-1")
        heard = raw(target, request, silence=0.3 if waits else 3.0)
        status = re.match(rb"HTTP/1\.[01] (\d)", heard)
        assert waits or (status and status[1] in b"234"), (path[:80], field[:80], heard[:300])
        assert time.monotonic() - began < SOON * 2


def test_no_form_fails_whatever_it_is_filled_in_with(target: Service) -> None:
    app = create_app(target.node)
    forms = [rule.rule for rule in app.url_map.iter_rules() if "POST" in (rule.methods or ()) and not door.for_programs(rule.rule)]
    forms.remove("/logout")
    for uid in (STAFF, REGISTRAR, SECURITY):
        with browser(target, uid) as client:
            token = form_token(client.get("/authenticator"))
            client.headers["Cookie"] += "".join(f"; {name}={value}" for name, value in client.cookies.items())
            client.headers["Referer"] = f"{target.told['https']}/"
            client.cookies.clear()
            passed = 0
            for rule, value in ((rule, value) for rule in forms for value in VALUES):
                form = dict.fromkeys(NAMES.split(), value) | {"csrf_token": token}
                answer = client.post(re.sub(r"<[^>]+>", "1", rule), data=form)
                assert answer.status_code < 500 or answer.status_code == 503, (uid, rule, value[:20], answer.text[:300])
                passed += answer.status_code != 400
            assert passed > len(forms), "the form protection let nothing through: this tested only it"
