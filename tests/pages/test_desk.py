"""The registrar's desk: ten thousand in the queue, very long names, and a working day without a mouse."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from audit.permit import Action, Actor, ActorKind
from authz import ldif, people, province
from authz.caller import Caller
from authz.decide import Target, require
from authz.people import Person
from ca.registration import Draft
from ca.subjects import facts
from certs import csr
from tests.ca.crowd import crowd
from tests.ca.town import make_csr
from tests.pages.conftest import Portal
from tests.pages.test_ways import ask

pytestmark = [pytest.mark.component("chromium", "cjk-font"), pytest.mark.journey]

#: As long as a common name may be (64 octets), with nowhere to break it.
LONG = "Wolfeschlegelsteinhausenbergerdorff" + "阿卜杜热合曼买买提"
LONG_UNIT = "清河县" + "人力资源和社会保障事业发展综合服务" * 3 + "中心"
MANY = 10_000
#: Texts that stand out of their boxes.
CUT = "[...document.querySelectorAll('td, dd, h1')].filter((one) => one.scrollWidth > one.clientWidth + 1).map((one) => one.innerText)"


def clerk(place: str) -> str:
    """The DN of the first clerk of the unit at `place`, as the directory compares it."""
    return people.normal_dn(province.person_dn(next(one.uid for one in province.demonstration().clerks if one.place == place), place))


def wait_for(own: Portal, known: Callable[[Person], bool]) -> Person:
    """The person of whom `known` holds, once the directory has been read again."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        if found := next(filter(known, own.node.world.refresh().directory.people.values()), None):
            return found
        time.sleep(0.1)
    raise AssertionError("the directory was not read again")


@pytest.fixture(scope="module")
def crowded(own: Portal) -> Iterator[Portal]:
    """A portal in which ten thousand wait at the desk of 松岭县, all with a very long name in a very long unit."""
    path = own.node.settings.home / "directory.ldif"
    entries = list(ldif.LdifDirectory(path).read().entries)
    whose = clerk("renshe.songling.yunshan.jiangzhou")
    unit = people.normal_dn(province.unit_dn("renshe.songling.yunshan.jiangzhou"))
    changed = {whose: {"displayname": (LONG,)}, unit: {"ou;lang-zh": (LONG_UNIT,)}}
    assert {people.normal_dn(entry.dn) for entry in entries} >= set(changed)
    ldif.write(path, [entry._replace(attributes={**entry.attributes, **changed.get(people.normal_dn(entry.dn), {})}) for entry in entries])
    person = wait_for(own, lambda one: one.name == LONG)
    about = facts(own.node.world.current(), f"person:{person.id}")
    caller = Caller(actor=Actor(ActorKind.PERSON, person.id, "password+totp"), person=person)
    permit = require(own.node.world, own.node.trail, caller, Action.REQUEST_SUBMIT, Target(about.ref, about.unit, about.owner))
    crowd(own.node.trail, permit, Draft(profile="staff-sign", csr=csr.parse(make_csr()), facts=about), MANY)
    return own


@pytest.mark.parametrize(("lang", "many"), [("zh", "等待办理：10,000 件"), ("en", "Waiting: 10,000.")])
def test_ten_thousand_wait_and_the_page_is_there_at_once(crowded: Portal, lang: str, many: str) -> None:
    visitor = crowded.session("zhouba", lang)
    visitor.open("/desk")
    began = time.perf_counter()
    page = visitor.open("/desk")
    took = time.perf_counter() - began
    expect(page.locator(".lede")).to_contain_text(many)
    assert page.locator("[data-rows] tbody tr").count() == 50
    assert took < 3, took
    first = page.locator("[data-rows] tbody a").first.get_attribute("href")
    page.click("[rel=next]")
    assert page.locator("[data-rows] tbody a").first.get_attribute("href") != first
    page.click("text=/回到等待最久的|Back to the longest/")
    assert page.locator("[data-rows] tbody a").first.get_attribute("href") == first


@pytest.mark.parametrize("width", [360, 768, 1440, 1920])
def test_very_long_names_break_rather_than_the_page(crowded: Portal, width: int) -> None:
    visitor = crowded.session("zhouba", viewport={"width": width, "height": 900})
    page = visitor.open("/desk")
    expect(page.locator("[data-rows] tbody a").first).to_have_text(LONG)
    href = page.locator("[data-rows] tbody a").first.get_attribute("href")
    for place in ("/desk", href, "/account"):
        page.goto(place)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, place
        assert page.evaluate(CUT) == [], place


def test_one_in_ten_thousand_is_found_by_name_account_and_number(crowded: Portal) -> None:
    number = ask(crowded.session("wangwu"))
    page = crowded.session("zhouba").open("/desk")
    for wanted in ("王五", "wangwu", str(number)):
        page.fill("#q", wanted)
        page.click("form[role=search] button")
        expect(page.locator("[data-rows] tbody tr")).to_have_count(1)
        expect(page.locator("[data-rows] tbody tr")).to_contain_text("王五")
    page.fill("#q", "赵六")
    page.click("form[role=search] button")
    expect(page.locator(".empty")).to_contain_text("没有符合")
    page.click("text=显示全部")
    expect(page.locator(".lede")).to_contain_text("10,001")


@pytest.fixture
def three(own: Portal) -> list[int]:
    """Three requests of 张三 wait in 清河县."""
    staff = own.session("zhangsan")
    return [ask(staff) for _ in range(3)]


def ready(page: Page) -> None:
    """Until the page listens to keys."""
    page.wait_for_selector("[data-keys]:not([hidden])")


def focused(page: Page) -> str:
    """What the focus is on."""
    return str(page.evaluate("document.activeElement.innerText || document.activeElement.id"))


def test_a_queue_is_worked_through_by_keyboard_alone(own: Portal, three: list[int]) -> None:
    desk = own.session("zhaoliu", "en")
    page = desk.open("/desk")
    press = page.keyboard.press
    ready(page)
    waiting = page.locator("[data-rows] tbody tr").count()
    press("j")
    press("j")
    press("k")
    assert focused(page) == page.locator("[data-rows] tbody a").first.inner_text()
    press("Enter")
    page.wait_for_url("**/desk/requests/*")
    first = page.url
    ready(page)
    press("n")
    page.wait_for_url(lambda url: url != first)
    page.go_back()
    page.wait_for_url(first)
    ready(page)
    press("a")
    assert focused(page) == "Approve"
    assert page.url == first  # the key alone decides nothing
    press("Enter")
    expect(page.locator(".note.good")).to_contain_text("Approved: 张三")
    second = page.url
    ready(page)
    assert second != first
    press("r")
    page.keyboard.type("j a r: bring your identity card")
    assert page.input_value("#comment") == "j a r: bring your identity card"
    press("Tab")
    press("Tab")
    assert focused(page) == "Refuse"
    press("Enter")
    expect(page.locator(".note.good")).to_contain_text("Refused: 张三")
    assert page.url not in {first, second}
    ready(page)
    press("u")
    page.wait_for_url("**/desk")
    expect(page.locator("[data-rows] tbody tr")).to_have_count(waiting - 2)
    assert desk.complaints == []


def test_keys_can_be_switched_off_and_stay_off(own: Portal, three: list[int]) -> None:
    page = own.session("sunqi").open("/desk")
    ready(page)
    page.keyboard.press("?")
    page.get_by_label("使用这些快捷键").uncheck()
    page.reload()
    ready(page)
    page.keyboard.press("j")
    assert page.evaluate("document.activeElement === document.body")
    page.keyboard.press("?")
    page.get_by_label("使用这些快捷键").check()
    page.locator("h1").click()
    page.keyboard.press("j")
    assert page.evaluate("document.activeElement.matches('[data-rows] a')")
    page.keyboard.press("Tab")  # never a trap
    assert not page.evaluate("document.activeElement === document.querySelector('[data-rows] a')")


def test_what_a_registrar_should_notice_stands_beside_the_request(own: Portal, three: list[int]) -> None:
    path = own.node.settings.home / "directory.ldif"
    before = list(ldif.LdifDirectory(path).read().entries)
    other = clerk("renshe.qinghe.linhe.jiangzhou")
    mine = people.normal_dn(province.person_dn("zhangsan", "qinghe.linhe.jiangzhou"))
    changes = {other: {"displayname": ("张三",)}, mine: {"mail": ("other@jiangzhou.example",)}}
    ldif.write(path, [one._replace(attributes={**one.attributes, **changes.get(people.normal_dn(one.dn), {})}) for one in before])
    wait_for(own, lambda one: one.mail == "other@jiangzhou.example")
    page = own.session("zhaoliu").open(f"/desk/requests/{three[2]}")
    notes = page.locator(".note")
    expect(notes.filter(has_text="申请之后有变更")).to_be_visible()
    expect(notes.filter(has_text="另有申请正在办理")).to_contain_text(f"№ {three[1]}")
    expect(notes.filter(has_text="同名人员")).to_contain_text("清河县人社局")
    expect(page.locator(".differs")).to_have_text("other@jiangzhou.example")
    ldif.write(path, before)
    own.node.world.refresh()
