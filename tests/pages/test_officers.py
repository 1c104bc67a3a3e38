"""The ways of security and system administrators, with the mistakes that people make."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from audit.event import Event, Kind
from audit.permit import Actor
from authz.explain import MOST, Able
from authz.people import Person
from ops.pairs.people import Directory
from ops.reconcile import Reconciler
from tests.pages.conftest import Portal
from web.pages import held

pytestmark = [pytest.mark.component("chromium"), pytest.mark.journey]

SAYS = {
    "zh": {
        "account": "账户",
        "reason": "请说明停用账户的原因",
        "twice": "已经停用",
        "blocked": "已停用",
        "back": "已恢复",
        "barred": "账户不可用",
        "nobody": "此处无人",
    },
    "en": {
        "account": "An account",
        "reason": "Say why the account is blocked",
        "twice": "blocked already",
        "blocked": "is blocked",
        "back": "may come in again",
        "barred": "Account barred",
        "nobody": "Nobody may do this",
    },
}


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_an_account_is_blocked_and_let_in_again(portal: Portal, lang: str) -> None:
    said = SAYS[lang]
    registrar = portal.session("sunqi", lang)
    assert registrar.open("/desk").locator("h1").inner_text() in {"受理台", "The desk"}
    visitor = portal.session("zhengshi", lang)
    page = visitor.open("/security")
    page.get_by_role("link", name=said["account"]).click()
    page.fill("#uid", "sunqi")
    page.click("button.btn-stop")
    expect(page.locator(".note.bad")).to_contain_text(said["reason"])
    for answer in (said["blocked"], ""):  # the second time from another tab that still shows the form
        page = visitor.open("/security/account")
        page.fill("#uid", " sunqi ")
        page.fill("#reason", "手机遗失 <script>alert(1)</script>")
        page.click("button.btn-stop")
        if answer:
            expect(page.locator(".note.good")).to_contain_text(answer)
        else:
            expect(page.locator(".note.bad")).to_contain_text(said["twice"])
    page = visitor.open("/security?q=sunqi")
    expect(page.locator("tbody tr")).to_contain_text(said["barred"])
    assert registrar.open("/desk").locator("h1").inner_text() not in {"受理台", "The desk"}
    page = visitor.open("/security/account")
    page.fill("#uid", "nobody-of-that-name")
    page.locator("button[formaction$=unblock]").click()
    expect(page.locator(".note.bad")).to_contain_text("nobody-of-that-name")
    page.fill("#uid", "sunqi")
    page.locator("button[formaction$=unblock]").click()
    expect(page.locator(".note.good")).to_contain_text(said["back"])
    assert registrar.open("/desk").locator("h1").inner_text() in {"受理台", "The desk"}
    assert visitor.complaints + registrar.complaints == []
    visitor.context.close()
    registrar.context.close()


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_who_may_is_asked_and_answered(portal: Portal, lang: str) -> None:
    said = SAYS[lang]
    page = portal.session("zhengshi", lang).open("/security/ask")
    page.select_option("#action", "request:approve")
    page.fill("#person", "zhouba")
    page.fill("#unit", "清河县")
    page.click("main form button")
    expect(page.locator("main dl")).to_contain_text("request-approve.registrar")
    expect(page.locator(".chip.bad")).to_be_visible()
    page.fill("#person", "")
    page.click("main form button")
    expect(page.locator("tbody")).to_contain_text("zhaoliu")
    assert "zhouba" not in page.inner_text("tbody")
    page.fill("#unit", "江州省")
    page.click("main form button")
    expect(page.locator(".empty")).to_contain_text(said["nobody"])
    page.fill("#unit", "nowhere")
    page.click("main form button")
    expect(page.locator(".note.bad")).to_contain_text("nowhere")
    expect(page.locator("#action")).to_have_value("request:approve")


def test_a_list_of_those_who_may_says_when_it_is_cut() -> None:
    """So many need a role that is confirmed one by one; the list is as long as the answer of the policy page can be."""
    one = Able(Person("", "", "", "", "", "", "", "", active=True), "rule")
    assert [held.Explained(None, None, [one] * number).cut for number in (MOST - 1, MOST)] == [False, True]


def test_each_place_is_for_those_who_work_there(portal: Portal) -> None:
    for uid, address in (("zhangsan", "/security"), ("zhaoliu", "/system"), ("fenger", "/security/ask"), ("wujiu", "/security/ask")):
        assert portal.session(uid, "en").open(address).locator("h1").inner_text() == "Not allowed", (uid, address)
    for address in ("/security", "/system", "/applications", "/security/ask"):
        assert "/login?next=" in portal.visitor("en").open(address).url


def test_the_system_page_says_how_keys_lists_and_jobs_are(portal: Portal) -> None:
    page = portal.session("wujiu", "en").open("/system")
    expect(page.locator(".note.good")).to_contain_text("Ready")
    expect(page.locator("main")).to_contain_text("A worker leads")
    expect(page.locator("tr", has=page.locator("code", has_text="staff")).first).to_contain_text("ecdsa-p256-sha256")


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_a_contradiction_is_taken_note_of_by_two_offices(portal: Portal, lang: str) -> None:
    """An event whose fact is not there: the demonstration is healed by it in the end, so the second language makes another."""
    event = Event(kind=Kind.ACCOUNT_BLOCKED, actor=Actor.service("test"), object=f"person:p_nobody_{lang}")
    portal.node.trail.append([event])
    _compare(portal)
    security, auditor = portal.session("zhengshi", lang), portal.session("qianyi", lang)
    page = security.open("/security/contradictions")
    mine = page.locator("section", has_text=f"p_nobody_{lang}")
    expect(mine.locator(".chip.bad")).to_be_visible()
    mine.locator("button").click()
    expect(mine.locator("input:invalid")).to_have_count(1)  # a word is needed
    mine.locator("input[name=comment]").fill("备份中也没有 =1+1")
    mine.locator("button").click()
    expect(page.locator(".note.good")).to_be_visible()
    assert mine.locator("form").count() == 0
    assert portal.session("wujiu", lang).open("/security/contradictions").locator("h1").inner_text() in {"不允许", "Not allowed"}
    system = portal.session("wujiu", lang).open("/system")
    expect(system.locator(".note.bad").first).to_contain_text("contradictions between facts and the trail")
    page = auditor.open("/security/contradictions")
    mine = page.locator("section", has_text=f"p_nobody_{lang}")
    expect(mine.locator(".life li")).to_have_count(1)
    mine.locator("input[name=comment]").fill("已查明")
    mine.locator("button").click()
    expect(mine.locator(".life li")).to_have_count(2)
    _compare(portal)
    expect(auditor.open("/security/contradictions").locator("section", has_text=f"p_nobody_{lang}").locator(".chip.idle")).to_be_visible()
    assert portal.session("wujiu", lang).open("/system").locator(".note.bad").count() == 0
    assert security.complaints + auditor.complaints == []


def _compare(portal: Portal) -> None:
    Reconciler(portal.node.trail, Directory(portal.node.trail, portal.node.world)).turn()
