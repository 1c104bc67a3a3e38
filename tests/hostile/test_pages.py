"""What comes from the directory, from requests and from clients is text, on every page and in every list; and pages keep to themselves."""

from __future__ import annotations

import csv
import html.parser
import io
import re
from collections import Counter
from collections.abc import Iterator
from urllib.parse import quote, urljoin, urlsplit

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from tests.hostile.conftest import PAYLOAD, browser, form_token, raw
from tests.web.conftest import AUDITOR, OWNER, REGISTRAR, SECURITY, STAFF, SYSTEM, Service
from web import door
from web.app import create_app
from web.pages import entrance

pytestmark = pytest.mark.slow

PEOPLE = (STAFF, REGISTRAR, AUDITOR, SECURITY, SYSTEM, OWNER)
#: Most pages that one walk looks at.
MOST = 60
#: Where text of an address comes back on the page.
ECHOING = (
    "/trail?q={0}",
    "/desk/certificates?holder={0}",
    "/{0}",
    "/certificates/{0}",
    "/desk/certificates/{0}",
    "/login?next=/{0}",
    "/login?lang={0}",
)
FORMULA = tuple("=+-@\t\r")
ASSETS = ("//", "/static", "/bootstrap")


class Marks(html.parser.HTMLParser):
    """Elements, attributes, addresses and texts of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags, self.attributes, self.links, self.text = set[str](), set[str](), list[str](), ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name in {"href", "action", "src", "formaction"}]

    def handle_data(self, data: str) -> None:
        self.text += data


def walk(client: httpx.Client) -> Iterator[httpx.Response]:
    """Every page that can be reached by links, from the first on; of pages of one kind at most three."""
    waiting, seen, kinds = ["/", *(address.format(quote(PAYLOAD, safe="")) for address in ECHOING)], set[str](), Counter[str]()
    while waiting and len(seen) < MOST:
        address = waiting.pop(0)
        kind = re.sub(r"[0-9a-f]{8,}|\d+", "#", urlsplit(address).path)
        if address in seen or kinds[kind] == 3:
            continue
        seen.add(address)
        kinds[kind] += 1
        answer = client.get(address)
        yield answer
        links = read(answer).links if answer.headers.get("content-type", "").startswith("text/html") else []
        waiting += [link for link in [*links, answer.headers.get("location", "")] if link.startswith("/") and not link.startswith(ASSETS)]


def read(answer: httpx.Response) -> Marks:
    marks = Marks()
    marks.feed(answer.text)
    return marks


def csr_with_payload() -> str:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, PAYLOAD), x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, PAYLOAD)])
    made = x509.CertificateSigningRequestBuilder().subject_name(name).sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return made.public_bytes(Encoding.PEM).decode()


@pytest.fixture(scope="module")
def lived(poisoned: Service) -> Service:
    """A service in which everybody has said the payload wherever he may say anything."""
    clients = {uid: poisoned.client(token=poisoned.session(uid)) for uid in PEOPLE}
    unit = clients[STAFF].get("/api/v1/me").json()["unit"]
    asked = [clients[STAFF].post("/api/v1/requests", json={"profile": "staff-sign", "csr": csr_with_payload()}) for _ in range(3)]
    assert [answer.status_code for answer in asked] == [201] * 3, asked[0].text
    for answer, word in zip(asked, ("approve", "refuse"), strict=False):
        said = clients[REGISTRAR].post(f"/api/v1/requests/{answer.json()['id']}/{word}", json={"comment": PAYLOAD})
        assert said.status_code == 200, said.text
    application = {"id": "evil", "name": PAYLOAD, "unit": unit, "owner": OWNER, "actions": ["read"], "types": ["x"]}
    assert clients[SYSTEM].post("/api/v1/applications", json=application).status_code == 201
    assert clients[SECURITY].post("/api/v1/persons/wangwu/block", json={"reason": PAYLOAD}).status_code == 200
    server = {"ref": "server:evil", "name": PAYLOAD, "owner": STAFF, "unit": unit, "names": ["evil.example"]}
    assert clients[REGISTRAR].post("/api/v1/assets", json=server).status_code == 201
    return poisoned


@pytest.mark.parametrize("uid", ["", *PEOPLE])
def test_no_text_becomes_markup_a_formula_or_an_address_of_another_site(lived: Service, uid: str) -> None:
    pages, shown = 0, 0
    with browser(lived, uid) as client:
        answers = list(walk(client))
    for answer in answers:
        assert answer.status_code < 500 or answer.status_code == 503, answer.url  # 503: no checkpoint covers a new entry yet
        kind = answer.headers.get("content-type", "")
        if kind.startswith("text/html"):
            marks = read(answer)
            pages, shown = pages + 1, shown + ("x-evil" in marks.text)
            assert "x-evil" not in marks.tags, answer.url
            assert "onevil" not in marks.attributes, answer.url
            assert not {name for name in marks.attributes if name.startswith("on")} | ({"style"} & marks.attributes), answer.url
            assert "54444439" not in answer.text
            outside = [link for link in marks.links if urlsplit(urljoin(str(answer.url), link)).netloc != answer.url.netloc.decode()]
            assert outside == [], answer.url
            assert not [link for link in marks.links if urlsplit(link).scheme not in {"", "https", "data"}]
        if kind.startswith("text/csv"):
            cells = [cell for row in csv.reader(io.StringIO(answer.text)) for cell in row]
            assert not [cell for cell in cells if cell.startswith(FORMULA)], answer.url
    assert pages >= 8
    assert not uid or shown, "the walk saw none of the names that it is about"


@pytest.mark.parametrize("uid", ["", *PEOPLE])
def test_no_page_is_kept_framed_or_loads_anything_from_elsewhere(lived: Service, uid: str) -> None:
    with browser(lived, uid) as client:
        answers = list(walk(client))
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy, answer.url
        assert "unsafe" not in policy
        assert "//" not in policy, answer.url
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store", answer.url
        assert answer.headers["referrer-policy"] == "same-origin"
        assert "max-age" in answer.headers["strict-transport-security"]


def test_a_form_without_its_token_or_from_another_site_does_nothing(lived: Service) -> None:
    """Every form that there is, as somebody who is signed in."""
    app = create_app(lived.node)
    forms = [rule for rule in app.url_map.iter_rules() if "POST" in (rule.methods or ()) and not door.for_programs(rule.rule)]
    assert len(forms) > 10
    home = lived.told["https"]
    with browser(lived, STAFF) as client:
        good = form_token(client.get("/authenticator"))
        before = lived.node.world.current().revision
        for rule in forms:
            for token, referer in (
                ("", home),
                (good + "x", home),
                (good, "https://elsewhere.example/"),
                (good, ""),
            ):
                address = re.sub(r"<[^>]+>", "1", rule.rule)
                answer = client.post(address, data={"csrf_token": token}, headers={"Referer": referer})
                assert answer.status_code == 400, (address, token, referer)
        assert lived.node.world.current().revision == before
        assert client.get("/").status_code == 200  # and nobody was signed out


def test_who_plants_a_cookie_before_the_login_holds_nothing_after_it(lived: Service) -> None:
    planted, told = "ys_" + "A" * 43, lived.credentials(STAFF)
    with browser(lived, "") as client:
        token = form_token(client.get("/login", headers={"Cookie": f"__Host-yumen={planted}"}))
        kept = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
        form = {"csrf_token": token, "uid": told["uid"], "password": told["password"], "code": told["totp"]}
        fields = {"Cookie": f"{kept}; __Host-yumen={planted}", "Referer": f"{lived.told['https']}/login"}
        welcome = client.post("/login", data=form, headers=fields)
        assert welcome.status_code == 302, welcome.text
        (given,) = [line for line in welcome.headers.get_list("set-cookie") if line.startswith("__Host-yumen=")]
        assert planted not in given
        assert {"Secure", "HttpOnly", "Path=/", "SameSite=Strict"} <= set(given.split("; "))
        assert "Domain" not in given
        client.cookies.clear()
        assert client.get("/", headers={"Cookie": f"__Host-yumen={planted}"}).status_code == 302


@pytest.mark.parametrize(
    "wanted",
    [
        *("//elsewhere.example", "///elsewhere.example", "/\\elsewhere.example", "\\\\elsewhere.example", "https://elsewhere.example"),
        *(
            "https:elsewhere.example",
            "/\t/elsewhere.example",
            "/\n/elsewhere.example",
            "javascript:alert(1)",
            "data:text/html,x",
            ".elsewhere",
        ),
        *(" //elsewhere.example", "/\r\nLocation: //elsewhere.example", "/%5celsewhere.example/..//", "@elsewhere.example", ""),
    ],
)
def test_nobody_is_sent_elsewhere_after_the_login(lived: Service, wanted: str) -> None:
    with create_app(lived.node).test_request_context("/login", query_string={"next": wanted}):
        onward = entrance._next()
    assert urlsplit(urljoin("https://localhost/login", onward)).netloc == "localhost"


@pytest.mark.parametrize(
    "path", ["//elsewhere.example", "//elsewhere.example/login", "/\\elsewhere.example", "/.//elsewhere.example", "///x.example/%2e%2e"]
)
def test_no_address_makes_a_page_or_a_redirect_that_leads_elsewhere(lived: Service, path: str) -> None:
    host = urlsplit(lived.told["https"])
    heard = raw(lived, f"GET {path} HTTP/1.1\r\nHost: {host.netloc}\r\nConnection: close\r\n\r\n".encode())
    head, _, body = heard.decode().partition("\r\n\r\n")
    marks = Marks()
    marks.feed(body)
    links = [*marks.links, *re.findall(r"(?im)^location: (.*)\r$", head)]
    assert [link for link in links if urlsplit(urljoin(f"{lived.told['https']}/x", link)).netloc != host.netloc] == []
