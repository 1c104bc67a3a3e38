"""What people get wrong, and what comes between: wrong and used codes, ended sessions, pressing twice, going back, two tabs, no network.

Each ends on a page that says what to do, in the reader's language, and nothing has happened twice.
"""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from audit import search
from tests.pages.conftest import Portal, Visitor
from tests.pages.test_ways import PASSWORD, ask

pytestmark = [pytest.mark.component("chromium", "cjk-font"), pytest.mark.journey]

WAITING_KEYS = """() => new Promise((done) => {
    indexedDB.open('yumen').onsuccess = (opened) => {
        const keys = opened.target.result.transaction('waiting').objectStore('waiting').getAllKeys();
        keys.onsuccess = () => done(keys.result.length);
    };
})"""

LANGUAGES = pytest.mark.parametrize("lang", ["zh", pytest.param("en", marks=pytest.mark.proof)])
#: Where pages are made by other words than the usual ones, both languages belong to the suite.
BOTH = pytest.mark.parametrize("lang", ["zh", "en"])


def told(lang: str, chinese: str, english: str) -> str:
    return chinese if lang == "zh" else english


def events(own: Portal, query: str) -> list[Any]:
    with own.node.database.reading() as session:
        return [entry.body for entry in search.find(session, search.parse_query(query), limit=500).entries]


def waiting(own: Portal) -> int:
    """A request of 张三 that waits."""
    return ask(own.session("zhangsan"))


def type_in(page: Page, own: Portal, uid: str, code: str) -> None:
    page.fill("#uid", uid)
    page.fill("#password", own.accounts[uid]["password"])
    page.fill("#code", code)
    page.click("main form button.btn-jade")


@BOTH
def test_a_wrong_and_a_used_code_say_what_to_do(own: Portal, lang: str) -> None:
    page = own.visitor(lang).open("/login")
    own.wait(60)
    code = own.code("lisi")
    type_in(page, own, "lisi", f"{(int(code) + 1) % 1_000_000:06}")
    expect(page.locator(".note.bad")).to_contain_text(told(lang, "账号、密码或动态口令有误", "Name, password or code is wrong"))
    assert page.input_value("#uid") == "lisi"
    assert page.input_value("#password") == ""
    type_in(page, own, "lisi", code)
    expect(page.locator("h1")).to_have_text(told(lang, "我的证书", "My certificates"))
    other = own.visitor(lang).open("/login")
    type_in(other, own, "lisi", code)
    expect(other.locator(".note.bad")).to_contain_text(told(lang, "已经用过", "This code was used already; wait"))


@LANGUAGES
def test_an_ended_session_leads_to_the_entrance_and_back_to_the_same_page(own: Portal, lang: str) -> None:
    visitor = own.session("zhangsan", lang)
    page = visitor.open("/")
    own.jump(hours=2)
    page.get_by_role("link", name=told(lang, "我的登录", "My sign-ins")).click()
    expect(page.locator("h1")).to_have_text(told(lang, "登录", "Sign in"))
    type_in(page, own, "zhangsan", own.code("zhangsan"))
    page.wait_for_url("**/account")


@BOTH
def test_a_decision_after_the_session_has_ended_decides_nothing_and_leads_back_to_the_request(own: Portal, lang: str) -> None:
    request = waiting(own)
    page = own.session("zhaoliu", lang).open(f"/desk/requests/{request}")
    own.jump(hours=2)
    page.click("[data-approve]")
    expect(page.locator("main .soft").first).to_have_text("401")
    page.locator("main .btn-jade").click()
    type_in(page, own, "zhaoliu", own.code("zhaoliu"))
    page.wait_for_url(f"**/desk/requests/{request}")
    page.click("[data-approve]")
    expect(page.locator(".note.good")).to_contain_text(told(lang, "已批准", "Approved"))
    assert len(events(own, f"obj:request:{request} code:CA1002")) == 1


def test_pressing_twice_decides_once(own: Portal) -> None:
    request = waiting(own)
    page = own.session("zhaoliu").open(f"/desk/requests/{request}")
    page.dblclick("[data-approve]")
    expect(page.locator(".note.good")).to_contain_text("已批准")
    assert len(events(own, f"obj:request:{request} code:CA1002")) == 1


@pytest.mark.parametrize("word", ["approve", "refuse"])
def test_a_decision_sent_twice_at_once_without_scripts_counts_once(own: Portal, word: str) -> None:
    request = waiting(own)
    page = own.session("zhaoliu").open(f"/desk/requests/{request}")
    answers = page.evaluate(
        """async ([address, token]) => {
            const body = () => new URLSearchParams({csrf_token: token, comment: 'once'});
            const twice = [1, 2].map(() => fetch(address, {method: 'POST', body: body()}));
            return (await Promise.all(twice)).map((answer) => answer.status);
        }""",
        [f"/desk/requests/{request}/{word}", page.get_attribute("[data-decide] input[name=csrf_token]", "value")],
    )
    assert answers[0] == 200 or answers[1] == 200
    assert set(answers) <= {200, 409}
    assert len(events(own, f"obj:request:{request} code:{'CA1002' if word == 'approve' else 'CA1003'}")) == 1


@LANGUAGES
def test_going_back_to_a_decided_request_shows_that_it_is_decided(own: Portal, lang: str) -> None:
    request = waiting(own)
    page = own.session("zhaoliu", lang).open(f"/desk/requests/{request}")
    page.fill("#comment", "seen")
    page.click("[data-approve]")
    expect(page.locator(".note.good")).to_be_visible()
    page.go_back()
    expect(page.locator("[data-decide]")).to_have_count(0)
    expect(page.locator(".life")).to_contain_text("seen")


def test_going_back_after_signing_out_shows_nothing(own: Portal) -> None:
    visitor = own.visitor()
    own.login(visitor, "sunqi")
    visitor.open("/account")
    visitor.page.click(".who button")
    visitor.page.wait_for_url("**/login*")
    visitor.page.go_back()
    expect(visitor.page.locator("h1")).to_have_text("登录")


@LANGUAGES
def test_the_second_of_two_tabs_is_told_that_the_first_was_quicker(own: Portal, lang: str) -> None:
    request = waiting(own)
    visitor = own.session("zhaoliu", lang)
    first, second = visitor.open(f"/desk/requests/{request}"), visitor.context.new_page()
    second.goto(f"/desk/requests/{request}")
    first.click("[data-approve]")
    second.fill("#comment", "no")
    second.click("[data-refuse]")
    expect(second.locator("main .soft").first).to_have_text("409")
    expect(second.locator("h1")).to_have_text(told(lang, "已不能这样做", "Not possible any more"))
    second.locator("main .btn-jade").click()
    second.wait_for_url("**/desk")
    assert events(own, f"obj:request:{request} code:CA1003") == []


def test_two_registrars_at_once_both_see_who_decided(own: Portal) -> None:
    request = waiting(own)
    one = own.session("zhaoliu").open(f"/desk/requests/{request}")
    other = own.session("sunqi").open(f"/desk/requests/{request}")
    one.click("[data-approve]")
    other.click("[data-approve]")
    expect(other.locator("main .soft").first).to_have_text("409")
    other.goto(f"/desk/requests/{request}")
    expect(other.locator(".life")).to_contain_text("赵六")


def test_two_tabs_of_the_key_page_make_two_requests_and_lose_no_key(own: Portal) -> None:
    visitor = own.session("zhangsan")
    pages = [visitor.open("/certificates/new/key"), visitor.context.new_page()]
    pages[1].goto("/certificates/new/key")
    for page in pages:
        page.fill("#password", PASSWORD)
        page.fill("#again", PASSWORD)
    for page in pages:
        page.locator("form[data-enrol] button").dblclick()
    for page in pages:
        page.wait_for_url("**/requests/*")
    assert len({page.url for page in pages}) == 2
    assert pages[0].evaluate(WAITING_KEYS) == 2


@BOTH
def test_a_request_made_without_a_network_is_sent_when_it_is_back(own: Portal, lang: str) -> None:
    visitor = own.session("zhangsan", lang)
    page = visitor.open("/certificates/new/key")
    page.fill("#password", PASSWORD)
    page.fill("#again", PASSWORD)
    visitor.context.set_offline(True)
    page.click("form[data-enrol] button")
    expect(page.locator("[data-problem]")).to_contain_text(told(lang, "网络不通", "No connection"))
    visitor.context.set_offline(False)
    mine = f"code:CA1001 actor:{own.node.world.current().directory.by_uid['zhangsan'].id}"
    before = len(events(own, mine))
    page.click("form[data-enrol] button")
    page.wait_for_url("**/requests/*")
    assert len(events(own, mine)) == before + 1
    visitor.context.set_offline(True)
    expect(page.locator("[data-unreachable]")).to_be_visible()
    visitor.context.set_offline(False)
    expect(page.locator("[data-unreachable]")).to_be_hidden()
    visitor.context.close()


def test_the_same_request_sent_twice_is_taken_in_once(own: Portal) -> None:
    """The answer was lost on its way, and the browser sends the form again."""
    visitor = own.session("zhangsan")
    sent: list[str] = []
    visitor.page.on("request", lambda request: sent.append(request.post_data or "") if request.method == "POST" else None)
    ask(visitor)
    again = visitor.page.evaluate(
        "async (body) => (await fetch('/requests', {method: 'POST', body: new URLSearchParams(body)})).url", next(filter(None, sent))
    )
    assert again == visitor.page.url


@LANGUAGES
@pytest.mark.parametrize("uid", ["zhangsan", "zhouba"])
def test_a_forbidden_page_says_why_and_leads_on(own: Portal, uid: str, lang: str) -> None:
    request = waiting(own)
    page = own.session(uid, lang).open("/trail" if uid == "zhangsan" else f"/desk/requests/{request}")
    expect(page.locator("main .soft").first).to_have_text("403")
    why = told(lang, "审计员", "needs the role Auditor") if uid == "zhangsan" else told(lang, "清河县", "this belongs to Qinghe County")
    expect(page.locator(".lede")).to_contain_text(why)
    page.locator("main .btn-jade").click()
    expect(page.locator("main .soft", has_text="403")).to_have_count(0)


@LANGUAGES
def test_empty_lists_say_what_will_stand_there(own: Portal, lang: str) -> None:
    page = own.session("wujiu", lang).open("/")
    expect(page.locator(".empty")).to_contain_text(told(lang, "您还没有证书", "You have no certificate yet"))
    desk = own.session("zhouba", lang).open("/desk?q=nobody")
    expect(desk.locator(".empty")).to_be_visible()
    desk.goto("/desk/certificates?holder=nobody")
    expect(desk.locator(".empty")).to_be_visible()
    desk.goto("/lost")
    expect(desk.locator("main li").first).to_contain_text(told(lang, "没有仍然有效的证书", "no certificate that is still good"))


def test_a_refusal_without_a_word_keeps_the_page_and_asks_for_it(own: Portal) -> None:
    request = waiting(own)
    page = own.session("zhaoliu", "en").open(f"/desk/requests/{request}")
    page.fill("#comment", "   ")
    page.click("[data-refuse]")
    expect(page.locator(".wrong")).to_contain_text("say what the person should do next")
    expect(page.locator("#comment")).to_have_attribute("aria-invalid", "true")
    page.fill("#comment", "x" * 501)
    page.click("[data-refuse]")
    expect(page.locator(".wrong")).to_contain_text("too long")
    assert page.input_value("#comment") == "x" * 501
    assert events(own, f"obj:request:{request} code:CA1003") == []


@LANGUAGES
def test_a_code_for_nobody_is_asked_for_again_on_the_same_page(own: Portal, lang: str) -> None:
    page = own.session("zhaoliu", lang).open("/desk/codes")
    for uid, why in (("zhang san", told(lang, "核对拼写", "check the spelling")), ("zhouba", told(lang, "松岭县", "Songling County"))):
        page.fill("#uid", uid)
        page.click("main form button")
        expect(page.locator(".note.bad")).to_contain_text(why)
        assert page.input_value("#uid") == uid
    assert page.locator(".secret").count() == 0


def test_revoking_twice_is_no_mistake_that_needs_to_be_told(own: Portal) -> None:
    staff: Visitor = own.session("zhangsan")
    request = ask(staff)
    own.session("zhaoliu").open(f"/desk/requests/{request}").click("[data-approve]")
    staff.page.wait_for_selector("form[data-finish]", state="attached")
    serial = staff.page.inner_text(".pass code")
    tabs = [staff.open(f"/certificates/{serial}"), staff.context.new_page()]
    tabs[1].goto(f"/certificates/{serial}")
    for tab in tabs:
        tab.click("details.stop summary")
        tab.click("details.stop button")
        expect(tab.locator(".stamp")).to_have_text("已吊销")
    assert len(events(own, f"cert:{serial} code:CA1007")) == 1
