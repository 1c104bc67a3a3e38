"""Every page as each role, in both languages: readable for everybody (axe-core, light and dark), nothing untranslated, nothing wider
than a small phone, light, and from nowhere else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from audit.search import find, parse_query
from tests.pages.conftest import Portal, Visitor
from web import door
from web.app import create_app

pytestmark = [pytest.mark.component("chromium", "cjk-font", "openssl"), pytest.mark.journey]

#: What each persona can open, one address a word; `{…}` is filled with what the story below has made.
_ADDRESSES = {
    "": "/login /login/enrol /login/recover /style /no-such-page",
    "zhangsan": "/ /certificates/new /certificates/new/key /requests/{open} /requests/{issued} /requests/{refused} /certificates/{serial}"
    " /certificates/{revoked} /certificates/{serial}/renew /account /lost /authenticator /desk /trail /desk/requests/{open}",
    "wangwu": "/ /requests/{open}",
    "zhaoliu": "/desk /desk/requests/{open} /desk/requests/{issued} /desk/certificates /desk/certificates/{serial} /desk/codes /"
    " /desk/certificates?holder=nobody /desk?q=nobody /desk/requests/{refused}",
    "zhouba": "/desk /account /lost /desk/requests/{open}",
    "qianyi": "/trail /trail?q=out:deny /trail?q=colour:red /trail?q=code:CA9001 /trail/ca/1/0 /trail/ca/9/0 /security /system"
    " /trail/{refusal} /trail/{refusal}/why /trail/persons?uid=zhangsan /trail/persons/p_00000000000000000000000000000000"
    " /trail/certificates/{revoked} /trail/certificates/0",
    "zhengshi": "/security /security/account /security/contradictions /security/ask /security/ask?action=request:approve&unit=清河县"
    " /security/ask?action=request:approve&person=zhouba"
    " /security/ask?action=trail:read&person=nobody /system / /applications /applications/oa /applications/oa/ask?effect=permit"
    " /applications/oa/ask?person=zhangsan&action=approve&type=document&effect=permit&role=staff&least=2&until=2030-01-01",
    "wujiu": "/system /security / /applications/new /applications/oa",
    "fenger": "/ /applications /applications?q=nothing /applications/oa /applications/oa/start /applications/nowhere",
}
PLACES = {uid: addresses.split() for uid, addresses in _ADDRESSES.items()}

#: Addresses that are answered by a file or by a word for a script.
NO_PAGES = {
    *("static", "bootstrap.static", "enrolment.state", "staff.chain", "trail.proof"),
    *("applications.nginx", "applications.root", "applications.clients"),
}

AXE = Axe()
#: Each language in one colour scheme; the other two in the long form.
LOOKS = [("zh", "light"), ("en", "dark"), *(pytest.param(*look, marks=pytest.mark.proof) for look in (("zh", "dark"), ("en", "light")))]

#: Bytes that this page and our own files in it have, and where anything in it comes from.
LOADED = """() => {
    const all = performance.getEntriesByType('resource');
    const own = all.filter((one) => new URL(one.name).pathname.startsWith('/static/'));
    const page = performance.getEntriesByType('navigation')[0];
    const weight = own.reduce((sum, one) => sum + one.decodedBodySize, page.decodedBodySize);
    return [weight, [...new Set(all.map((one) => new URL(one.name).origin))]];
}"""

TEXTS = """() => {
    const found = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const holder = walker.currentNode.parentElement;
        if (holder.closest('[translate=no], code, pre, script, noscript')) continue;
        const text = walker.currentNode.data.trim();
        if (text) found.push(text);
    }
    for (const element of document.querySelectorAll('[aria-label], [placeholder], [title], [data-label]')) {
        if (element.closest('[translate=no]')) continue;
        for (const name of ['aria-label', 'title', 'data-label']) if (element.hasAttribute(name)) found.push(element.getAttribute(name));
    }
    for (const element of document.querySelectorAll('form')) {
        for (const [name, value] of Object.entries(element.dataset)) if (name !== 'named') found.push(value);
    }
    return found.concat([document.title]);
}"""

HAN = re.compile(r"[\u3400-\u9fff]")
#: Two Latin words in a row are a sentence that nobody translated; names of things we quote are not.
LATIN = re.compile(r"[A-Za-z]{2,}[ ,][A-Za-z]{2,}")
QUOTED = re.compile(r"`[^`]*`|yumen (?:enroll|audit verify)|/[\w./-]+|[0-9a-f]{16,}")


@pytest.fixture(scope="module")
def story(portal: Portal) -> dict[str, Any]:
    """One request of each kind, made by people in their browsers."""
    made: dict[str, Any] = {}
    for name in ("issued", "revoked", "refused", "open"):
        visitor = portal.session("zhangsan")
        made[name] = _ask(visitor)
        if name == "open":
            continue
        desk = portal.session("zhaoliu").open(f"/desk/requests/{made[name]}")
        desk.fill("#comment", "身份证件与本人相符" if name != "refused" else "请先更正目录中的单位")
        desk.click("button.btn-jade" if name != "refused" else "form button.btn-stop")
        if name == "refused":
            continue
        visitor.page.wait_for_selector("[data-finish]", state="attached")
        made[f"{name}-serial"] = visitor.page.inner_text(".pass code")
    page = portal.session("zhangsan").open(f"/certificates/{made['revoked-serial']}")
    page.click("details.stop summary")
    page.select_option("#reason", "superseded")
    page.click("details.stop button")
    portal.session("zhangsan").open("/desk")
    with portal.node.database.reading() as session:
        refusal = find(session, parse_query("code:authz.refuse"), limit=1).entries[0]
    return {
        **made,
        "serial": made["issued-serial"],
        "revoked": made["revoked-serial"],
        "refusal": f"{refusal.log}/{refusal.epoch}/{refusal.idx}",
    }


def _ask(visitor: Visitor) -> int:
    page = visitor.open("/certificates/new/key")
    page.fill("#password", "Lantern over 9 hills")
    page.fill("#again", "Lantern over 9 hills")
    page.click("form[data-enrol] button")
    page.wait_for_url("**/requests/*")
    return int(page.url.rpartition("/")[2])


@pytest.mark.parametrize(("lang", "scheme"), LOOKS)
@pytest.mark.parametrize("uid", PLACES)
def test_every_page_of_a_role_is_readable_translated_and_fits_a_small_phone(
    portal: Portal, story: dict[str, Any], screenshots: Path | None, uid: str, lang: str, scheme: str
) -> None:
    wrong: list[str] = []
    visitor = portal.session(uid, lang) if uid else portal.visitor(lang)
    for number, place in enumerate(PLACES[uid]):
        page = visitor.open(place.format(**story))
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        where = f"{uid or 'anyone'} {place} [{lang}, {scheme}]"
        wrong += [*_problems(page, lang, where), *_heavy(page, portal.url, where), *_unreadable(page, where)]
        if screenshots:
            _picture(visitor, screenshots, f"{uid or 'anyone'}-{number}-{lang}")
    visitor.context.close()
    assert wrong + visitor.complaints == []


def test_every_page_is_walked(portal: Portal) -> None:
    app = create_app(portal.node)
    addresses = app.url_map.bind("localhost")
    made = {"open": 1, "issued": 1, "refused": 1, "serial": "1f", "revoked": "1f", "refusal": "access/1/1"}
    places = [place.format(**made).partition("?")[0] for places in PLACES.values() for place in places if "no-such" not in place]
    walked = {addresses.match(place)[0] for place in places}
    rules = [rule for rule in app.url_map.iter_rules() if "GET" in (rule.methods or ()) and not door.for_programs(rule.rule)]
    assert {rule.endpoint for rule in rules} - walked == NO_PAGES


def _unreadable(page: Page, where: str) -> list[str]:
    """What axe-core finds."""
    found = AXE.run(page).response["violations"]
    return [f"{where}: {one['id']} {node['target']} {node['failureSummary']}" for one in found for node in one["nodes"]]


def _heavy(page: Page, origin: str, where: str) -> list[str]:
    weight, origins = page.evaluate(LOADED)
    found = [] if weight <= 100_000 else [f"{where}: {weight} bytes of our own"]
    return found + [f"{where}: loads from {one}" for one in origins if one != origin]


def _problems(page: Page, lang: str, where: str) -> list[str]:
    page.set_viewport_size({"width": 360, "height": 720})
    found = []
    if (width := page.evaluate("document.documentElement.scrollWidth")) > 360:
        found.append(f"{where}: {width} pixels wide")
    if page.evaluate("document.documentElement.lang") != {"zh": "zh-CN", "en": "en"}[lang]:
        found.append(f"{where}: says it is in another language")
    if len(page.query_selector_all("h1:not([role])")) != 1:
        found.append(f"{where}: not one heading")
    foreign = LATIN if lang == "zh" else HAN
    found += [f"{where}: {text!r}" for text in page.evaluate(TEXTS) if foreign.search(QUOTED.sub("", text))]
    return found


def _picture(visitor: Visitor, folder: Path, name: str) -> None:
    visitor.page.screenshot(path=folder / f"{name}-phone.png", full_page=True)
    visitor.page.set_viewport_size({"width": 1200, "height": 800})
    for scheme, ending in (("light", ""), ("dark", "-dark")):
        visitor.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        visitor.page.screenshot(path=folder / f"{name}{ending}.png", full_page=True)
