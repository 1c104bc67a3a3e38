"""What officers get wrong, and what comes between, at the acts of their offices: the same list as for staff and registrars.

Each ends on a page that says what to do, in the reader's language; nothing that was typed is lost, and nothing has happened twice.
"""

from __future__ import annotations

import time
import uuid
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from audit.event import Event, Kind
from audit.permit import Actor
from authz import ldif, people, province
from authz.people import Entry
from ops.pairs.people import Directory
from ops.reconcile import Reconciler
from tests.pages.conftest import Portal, Visitor
from tests.pages.test_mistakes import events, told, type_in

pytestmark = [pytest.mark.component("chromium", "cjk-font"), pytest.mark.journey]

MANY = 10_000
#: Longer than any line, without a place to break it.
LONG = "Llanfairpwllgwyngyllgogerychwyrndrobwllllantysiliogogogoch" * 4
LONG_CHINESE = "江州省人民政府办公厅电子政务统一身份认证与授权管理平台" * 8


def either(first: str) -> pytest.MarkDecorator:
    """One language in the suite, turn about; the other one in the long form."""
    other = "en" if first == "zh" else "zh"
    return pytest.mark.parametrize("lang", [first, pytest.param(other, marks=pytest.mark.proof)])


def tabs(visitor: Visitor, address: str) -> tuple[Page, Page]:
    """The same page twice."""
    first, second = visitor.open(address), visitor.context.new_page()
    second.goto(address)
    return first, second


def refused(page: Page, status: str, way_on: Locator) -> None:
    """A page that says no leads on by a way that is open."""
    expect(page.locator("main .soft").first).to_have_text(status)
    way_on.click()
    expect(page.locator("main .lede[role=alert]")).to_have_count(0)


def before(page: Page) -> Locator:
    """The way back to what the form stood on."""
    return page.locator("main .btn-quiet", has_text="前一页").or_(page.get_by_role("link", name="Back to the page before"))


def fill_in(page: Page, **fields: str) -> None:
    for name, text in fields.items():
        page.fill(f"#{name}", text)


def person(own: Portal, uid: str) -> str:
    return own.node.world.current().directory.by_uid[uid].id


@either("zh")
def test_an_ended_session_does_nothing_and_leads_back_to_where_each_officer_was(own: Portal, lang: str) -> None:
    other = told(lang, "en", "zh")
    security, auditor, system = own.session("zhengshi", lang), own.session("qianyi", other), own.session("wujiu", lang)
    fill_in(security.open("/security/account"), uid="wangwu", reason="lost")
    auditor.open("/trail?q=code:CA1005")
    system.open("/applications/oa")
    done = len(events(own, "code:account.blocked")), len(events(own, "code:trail.exported"))
    own.jump(hours=2)
    pressed = (
        (security, "zhengshi", "button.btn-stop", "**/security/account"),
        (auditor, "qianyi", "form[action*=export] button", "**/trail?q=code*CA1005"),
        (system, "wujiu", "form[action$=active] button", "**/applications/oa"),
    )
    for visitor, uid, button, place in pressed:
        visitor.page.click(button)
        expect(visitor.page.locator("main .soft").first).to_have_text("401")
        visitor.page.locator("main .btn-jade").click()
        type_in(visitor.page, own, uid, own.code(uid))
        visitor.page.wait_for_url(place)
        own.accounts[uid]["cookie"] = [one for one in visitor.context.cookies() if one["name"] == "__Host-yumen"]
    assert done == (len(events(own, "code:account.blocked")), len(events(own, "code:trail.exported")))
    assert own.node.world.refresh().applications["oa"].active
    with auditor.page.expect_download() as download:
        auditor.page.click("form[action*=export] button")
    assert zipfile.is_zipfile(download.value.path())


@either("en")
def test_an_account_is_blocked_and_let_in_once_without_a_network_with_a_slip_and_in_two_tabs(own: Portal, lang: str) -> None:
    visitor = own.session("zhengshi", lang)
    first, second = tabs(visitor, "/security/account")
    number = len(events(own, f"obj:person:{person(own, 'wangwu')} code:account.blocked"))
    for page in (first, second):
        fill_in(page, uid="wangwu", reason="phone lost")
    visitor.context.set_offline(True)
    first.click("button.btn-stop")
    expect(first.locator(".note.bad")).to_contain_text(told(lang, "网络不通", "nothing was sent"))
    assert (first.input_value("#uid"), first.input_value("#reason")) == ("wangwu", "phone lost")
    visitor.context.set_offline(False)
    first.dblclick("button.btn-stop")
    expect(first.locator(".note.good")).to_contain_text(told(lang, "已停用", "is blocked"))
    second.click("button.btn-stop")
    expect(second.locator(".note.bad")).to_contain_text(told(lang, "已经停用", "blocked already"))
    assert second.input_value("#uid") == "wangwu"
    second.click("button[formaction$=unblock]")
    expect(second.locator(".note.good")).to_contain_text(told(lang, "已恢复", "may come in again"))
    fill_in(first, uid="wangwu")
    first.click("button[formaction$=unblock]")
    expect(first.locator(".note.bad")).to_contain_text(told(lang, "并未停用", "is not blocked"))
    fill_in(first, uid="zhengshi", reason="by mistake")
    first.click("button.btn-stop")
    expect(first.locator(".note.bad")).to_contain_text(told(lang, "自己的事项", "what is their own"))
    fill_in(first, uid="wang wu")
    first.click("button.btn-stop")
    expect(first.locator(".note.bad")).to_contain_text("wang wu")
    assert first.input_value("#reason") == "by mistake"
    assert len(events(own, f"obj:person:{person(own, 'wangwu')} code:account.blocked")) == number + 1


@either("zh")
def test_a_role_is_withdrawn_and_confirmed_once_in_two_tabs_and_going_back_shows_it(own: Portal, lang: str) -> None:
    visitor = own.session("zhengshi", lang)
    words = {"confirm": told(lang, "确认", "Confirm"), "withdraw": told(lang, "撤回", "Withdraw")}
    for act, code in (("withdraw", "person.unconfirmed"), ("confirm", "person.confirmed")):
        number = len(events(own, f"obj:person:{person(own, 'zhouba')} code:{code}"))
        first, second = tabs(visitor, "/security?q=zhouba")
        for page in (first, second):
            page.locator("tbody button", has_text=words[act]).click()
        expect(first.locator(".note.good")).to_be_visible()
        assert first.url.endswith("/security?q=zhouba")
        refused(second, "409", before(second))
        assert second.url.endswith("/security?q=zhouba")
        first.go_back()
        expect(first.locator("tbody button", has_text=words[act])).to_have_count(0)
        assert len(events(own, f"obj:person:{person(own, 'zhouba')} code:{code}")) == number + 1


@either("en")
def test_a_grant_is_added_once_and_one_that_another_has_just_withdrawn_is_not_approved_any_more(own: Portal, lang: str) -> None:
    visitor = own.session("zhengshi", lang)
    imagined = "/applications/oa/ask?action=read&type=document&effect=forbid&role=auditor&least=2&until=2090-01-01"
    first, second = tabs(visitor, imagined)
    add = told(lang, "新增这条授权", "Add this grant")
    first.get_by_role("button", name=add).dblclick()
    expect(first.locator(".note.good")).to_be_visible()
    second.get_by_role("button", name=add).click()
    refused(second, "409", before(second))
    assert second.url.endswith("/applications/oa")
    grant = events(own, "code:grant.added")[0]["d"]["grant"]
    assert [one["d"]["grant"] for one in events(own, "code:grant.added")].count(grant) == 1
    for page in (first, second):
        page.goto(f"/applications/oa/ask?action=read&type=document&withdraw={grant}")
    first.locator("button.btn-stop").click()
    expect(first.locator(".note.good")).to_be_visible()
    second.locator("main form[method=get] button").click()  # looked at once more before it is done
    expect(second.locator(".note.bad")).to_contain_text(grant)
    assert second.locator("button.btn-stop").count() == 0
    first.go_back()
    expect(first.locator(".note.bad")).to_contain_text(grant)
    second.goto("/applications/oa/ask?action=read&type=document&effect=permit&role=boss")
    expect(second.locator(".note.warn")).to_contain_text(told(lang, "没有人的答复会改变", "Nobody's answer changes"))
    second.goto("/applications/oa/ask?action=read&type=document&effect=permit&role=auditor&until=1066-10-14")
    expect(second.locator(".wrong")).to_contain_text(told(lang, "合理的日期", "a day of this age"))


@either("zh")
def test_an_application_is_switched_once_in_two_tabs_and_a_key_is_made_once(own: Portal, lang: str) -> None:
    system, owner = own.session("wujiu", lang), own.session("fenger", lang)
    first, second = tabs(system, "/applications/oa")
    keys = len(events(own, "code:api-key.made"))
    first.locator("form[action$=active] button").click()
    expect(first.locator(".note.good")).to_be_visible()
    second.locator("form[action$=active] button").click()
    refused(second, "409", before(second))
    expect(second.locator("form[action$=active] button")).to_have_text(told(lang, "启用", "Switch on"))
    second.locator("form[action$=active] button").click()
    expect(second.locator(".note.good")).to_be_visible()
    page = owner.open("/applications/oa/start")
    page.locator("main form button").dblclick()
    expect(page.locator(".note.good")).to_be_visible()
    page.go_back()
    assert page.locator("[data-snippet=export]").inner_text().count("yk_") <= 1
    assert len(events(own, "code:api-key.made")) == keys + 1


@contextmanager
def contradiction(own: Portal) -> Iterator[str]:
    """An event whose fact is not there: whom it names, until the block is left; then another event puts it right."""
    named = f"person:p_{uuid.uuid4().hex}"
    _compare(own, Event(kind=Kind.ACCOUNT_BLOCKED, actor=Actor.service("test"), object=named))
    yield named.removeprefix("person:")
    _compare(own, Event(kind=Kind.ACCOUNT_UNBLOCKED, actor=Actor.service("test"), object=named))


def _compare(own: Portal, event: Event) -> None:
    own.node.trail.append([event])
    Reconciler(own.node.trail, Directory(own.node.trail, own.node.world)).turn()


@either("en")
def test_a_contradiction_gets_no_blank_word_and_one_from_two_tabs_and_going_back_shows_it(own: Portal, lang: str) -> None:
    with contradiction(own) as named:
        first, second = tabs(own.session("zhengshi", lang), "/security/contradictions")
        mine, other = (page.locator("section", has_text=named) for page in (first, second))
        number = len(events(own, "code:contradiction.accepted"))
        mine.locator("input[name=comment]").fill("   ")  # the browser takes this for a word
        mine.locator("button").click()
        expect(mine.locator("input[aria-invalid=true]")).to_have_count(1)
        expect(mine.locator(".wrong")).to_have_text(told(lang, "请填写此项。", "Please fill this in."))
        expect(first.locator(".note.bad")).to_contain_text(told(lang, "标出", "look at what is marked"))
        assert len(events(own, "code:contradiction.accepted")) == number
        mine.locator("input[name=comment]").fill("=1+1 not in the backup either")
        mine.locator("button").dblclick()
        expect(first.locator(".note.good")).to_be_visible()
        expect(mine.locator(".life li")).to_have_count(1)
        other.locator("input[name=comment]").fill("the same once more")
        other.locator("button").click()
        expect(second.locator(".note.bad")).to_contain_text(told(lang, "已接受过此项", "accepted this already"))
        expect(other.locator(".life li")).to_have_count(1)
        assert other.locator("form").count() == 0
        first.go_back()
        expect(mine.locator(".life li")).to_have_count(1)
        assert mine.locator("form").count() == 0
        assert len(events(own, "code:contradiction.accepted")) == number + 1


FORBIDDEN = {
    "zhengshi": ("/trail", "审计员", "Auditor"),
    "qianyi": ("/security/account", "安全管理员", "Security administrator"),
    "wujiu": ("/security/contradictions", "安全管理员", "Security administrator"),
    "fenger": ("/system", "系统管理员", "System administrator"),
}


@either("en")
def test_a_page_of_another_office_says_whose_it_is_and_nobody_acts_there(own: Portal, lang: str) -> None:
    for uid, (address, chinese, english) in FORBIDDEN.items():
        page = own.session(uid, lang).open(address)
        expect(page.locator(".lede")).to_contain_text(told(lang, chinese, english))
        refused(page, "403", page.locator("main .btn-jade"))
    page = own.session("zhangsan", lang).open("/security")  # three offices may look there
    expect(page.locator(".lede")).to_contain_text(
        told(lang, "系统管理员/安全管理员/审计员", "System administrator/Security administrator/Auditor")
    )
    number = len(events(own, "code:account.blocked"))
    page = own.session("wujiu", lang).open("/system")
    answer = page.evaluate(
        """async (token) => (await fetch('/security/account/block', {
            method: 'POST', body: new URLSearchParams({csrf_token: token, uid: 'nobody', reason: 'x'})})).status""",
        page.get_attribute("input[name=csrf_token]", "value"),
    )
    assert answer == 403
    assert len(events(own, "code:account.blocked")) == number


@either("zh")
def test_empty_lists_of_every_office_say_what_to_do(own: Portal, lang: str) -> None:
    for uid, address in (
        ("zhengshi", "/security?q=nobody-here"),
        ("zhengshi", "/security/contradictions"),
        ("wujiu", "/applications?q=nothing-here"),
        ("qianyi", "/trail?q=code:AZ9999"),
    ):
        page = own.session(uid, lang).open(address)
        expect(page.locator(".empty p")).to_be_visible()
        assert page.locator("tbody tr").count() == 0
    with page.expect_download() as download:
        page.click("form[action*=export] button")
    with zipfile.ZipFile(download.value.path()) as archive:
        assert archive.read("events.jsonl") == b""


@contextmanager
def directory_with(own: Portal, *changes: Entry) -> Iterator[None]:
    """The directory with these entries, new ones or in the place of those of the same DN, until the block is left."""
    path = own.node.settings.home / "directory.ldif"
    kept = list(ldif.LdifDirectory(path).read().entries)
    _put(own, path, list({people.normal_dn(entry.dn): entry for entry in (*kept, *changes)}.values()))
    yield
    _put(own, path, kept)


def _put(own: Portal, path: Path, entries: list[Entry]) -> None:
    known = own.node.world.current().directory
    ldif.write(path, entries)
    _until(lambda: own.node.world.refresh().directory is not known)


def _until(so: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not so():
        assert time.monotonic() < end
        time.sleep(0.02)


def _entry(own: Portal, dn: str) -> Entry:
    path = own.node.settings.home / "directory.ldif"
    return next(entry for entry in ldif.LdifDirectory(path).read().entries if people.normal_dn(entry.dn) == people.normal_dn(dn))


@either("en")
def test_ten_thousand_rows_are_leafed_through_and_searched(own: Portal, lang: str) -> None:
    one = _entry(own, province.person_dn("zhangsan", "qinghe.linhe.jiangzhou"))
    group = _entry(own, province.group_dn("registrar", "qinghe.linhe.jiangzhou"))
    dns = [one.dn.replace("zhangsan", f"many{number:05}") for number in range(MANY)]
    facts = [{"uid": (f"many{at:05}",), "entryuuid": (str(uuid.UUID(int=at + 1)),)} for at in range(MANY)]
    many = [Entry(dn, {**one.attributes, **each}) for dn, each in zip(dns, facts, strict=True)]
    everybody = Entry(group.dn, {**group.attributes, "member": (*group.attributes["member"], *dns)})
    for part in range(0, MANY, 1000):
        own.node.trail.append(
            [Event(kind=Kind.LOGIN_FAILED, actor=Actor.service("test"), object=f"person:p_many{part + at}") for at in range(1000)]
        )
    path = own.node.settings.home / "directory.ldif"
    kept = list(ldif.LdifDirectory(path).read().entries)
    _put(own, path, [*(entry for entry in kept if entry.dn != group.dn), *many, everybody])
    visitor = own.session("zhengshi", lang)
    page = visitor.open("/security")
    expect(page.locator("main")).to_contain_text(str(MANY))
    more = told(lang, "更多", "More")
    page.get_by_role("link", name=more).click()
    expect(page.locator("tbody tr")).to_have_count(50)
    page.goto("/security?q=many&after=9950")
    expect(page.locator("tbody tr").last).to_contain_text("many09999")
    assert page.get_by_role("link", name=more).count() == 0
    page.fill("#q", "many04242")
    page.press("#q", "Enter")
    expect(page.locator("tbody tr")).to_have_count(1)
    page.goto("/security/ask?action=request:approve&unit=清河县")
    expect(page.locator("tbody")).to_contain_text("zhaoliu")
    ldif.write(path, kept)
    _until(lambda: own.node.world.refused)
    for number, page in enumerate(tabs(visitor, "/security")):  # so many gone at once are held back until they are accepted, once
        page.get_by_role("button", name=told(lang, "接受变更", "Accept the change")).click()
        if number:
            refused(page, "409", page.locator("main .btn-jade"))
        else:
            expect(page.locator(".note.good")).to_be_visible()
    page = own.session("qianyi", lang).open("/trail?q=actor:service:test+code:login.failed")
    expect(page.locator(".ledger tbody tr")).to_have_count(25)
    page.get_by_role("link", name=told(lang, "更早", "Older")).click()
    expect(page.locator(".ledger tbody tr")).to_have_count(25)
    page.goto("/trail")
    page.click("form[action*=export] button")
    refused(page, "400", page.locator("main .btn-jade"))


@either("zh")
def test_very_long_names_stay_on_a_small_page(own: Portal, lang: str) -> None:
    system, security, auditor = (own.session(uid, lang, viewport={"width": 360, "height": 720}) for uid in ("wujiu", "zhengshi", "qianyi"))
    name, action = f"long-{lang}-{'x' * 30}", "read-" + "y" * 120
    page = system.open("/applications/new")
    fill_in(page, id=name, name=LONG, owner="fenger", unit="清河县", actions=action, types="z" * 128, asserts=f"resource.{'p' * 60}")
    page.click("main form button")
    expect(page.locator(".note.good")).to_be_visible()
    asked = f"/applications/{name}/ask?action={action}&type={'z' * 128}&effect=permit&role={'r' * 64}"
    page = security.open(asked)
    page.get_by_role("button", name=told(lang, "新增这条授权", "Add this grant")).click()
    expect(page.locator(".note.good")).to_be_visible()
    places = [
        (security, f"/applications/{name}"),
        (security, asked),
        (security, "/applications"),
        (security, f"/applications/{name}/start"),
    ]
    dn = province.person_dn("zhouba", "songling.yunshan.jiangzhou")
    entry = _entry(own, dn)
    named = Entry(dn, {**entry.attributes, "displayname": (LONG_CHINESE,), "cn": (LONG,), "sn": (LONG,)})
    with directory_with(own, named):
        long = own.session("zhouba", lang, viewport={"width": 360, "height": 720})
        places += [(long, "/"), (long, "/account"), (long, "/certificates/new"), (long, "/desk")]
        places += [(security, "/security?q=zhouba"), (security, "/security/ask?action=request:approve&person=zhouba")]
        places += [(auditor, "/trail"), (auditor, f"/trail/persons/{person(own, 'zhouba')}"), (auditor, "/trail?q=code:grant.added")]
        wide = [where for visitor, where in places if visitor.open(where).evaluate("document.documentElement.scrollWidth") > 360]
    assert wide == []
