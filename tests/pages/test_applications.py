"""The ways of an application from its registration to its first decision, by the three people who have a word in it."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.pages.conftest import Portal, Visitor

pytestmark = [pytest.mark.component("chromium"), pytest.mark.journey]

SAYS = {
    "zh": {
        "registered": "已登记",
        "added": "已新增",
        "withdrawn": "已撤回",
        "key": "密钥仅显示这一次",
        "gone": "不再被接受",
        "taken": "已登记；请另选",
        "none": "没有名为",
        "add": "新增这条授权",
        "off": "已停用",
    },
    "en": {
        "registered": "Registered.",
        "added": "Added as",
        "withdrawn": "Withdrawn. It counts",
        "key": "the only time the key is shown",
        "gone": "not accepted any more",
        "taken": "registered already",
        "none": "No unit is called",
        "add": "Add this grant",
        "off": "Switched off",
    },
}


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_an_application_from_its_registration_to_its_key(portal: Portal, lang: str) -> None:
    said, name = SAYS[lang], f"way-{lang}"
    system, security, owner = (portal.session(uid, lang) for uid in ("wujiu", "zhengshi", "fenger"))
    page = _described(system, name)
    page.click("main form button")
    expect(page.locator(".note.bad")).to_contain_text(said["none"])
    expect(page.locator("#actions")).to_have_value("read change")  # nothing that was typed is lost
    page.fill("#unit", "临河市/清河县" if lang == "zh" else "Qinghe County")
    page.click("main form button")
    expect(page.locator(".note.good")).to_contain_text(said["registered"])
    expect(page.locator("h1")).to_have_text("<b>档案</b> & files")
    page = _described(system, name)
    page.fill("#unit", "清河县")
    page.click("main form button")
    expect(page.locator(".note.bad")).to_contain_text(said["taken"])

    page = security.open(f"/applications/{name}/ask?effect=permit")
    page.select_option("#action", "read")
    page.fill("#role", "staff")
    page.fill("#person", "nobody")
    page.click("main form button")
    expect(page.locator(".note.bad")).to_contain_text("nobody")
    page.fill("#person", "zhangsan")
    page.click("main form button")
    expect(page.locator("tbody tr")).to_have_count(2)
    expect(page.locator(".chip.good")).to_have_count(1)
    assert int(page.locator("dd").first.inner_text().split(":")[0]) > 5
    page.get_by_role("button", name=said["add"]).click()
    expect(page.locator(".note.good")).to_contain_text(said["added"])
    expect(page.locator("tbody tr")).to_have_count(1)
    second = security.context.new_page()
    second.goto(page.url)
    for each in (page, second):  # two tabs withdraw the same grant
        each.locator("tbody a").click()
    page.locator("button.btn-stop").click()
    expect(page.locator(".note.good")).to_contain_text(said["withdrawn"])
    assert second.locator("h1").count() == 1
    if second.locator("button.btn-stop").count():
        second.locator("button.btn-stop").click()
    assert second.locator("main .soft").first.inner_text() == "404"

    page = owner.open(f"/applications/{name}/start")
    page.click("main form button")
    expect(page.locator(".note.good")).to_contain_text(said["key"])
    assert re.match(r"export YUMEN_KEY=yk_[0-9a-f]{16}_", page.locator("[data-snippet=export]").inner_text())
    page = owner.open(f"/applications/{name}")
    page.locator("section", has_text="yk_").locator("tbody button").click()
    expect(page.locator(".note.good")).to_contain_text(said["gone"])
    assert page.locator("main form").count() == 1  # only a key can be made: no grant added, nothing switched

    page = system.open(f"/applications/{name}")
    page.locator("form[action$=active] button").click()
    expect(page.locator(".chip.bad")).to_have_text(said["off"])
    assert not portal.node.world.refresh().applications[name].active
    page.locator("form[action$=active] button").click()
    assert portal.node.world.refresh().applications[name].active
    page.locator("form[action$=proxy] button").click()
    assert portal.node.world.refresh().applications[name].proxy
    for visitor in (system, security, owner):
        assert visitor.complaints == []
        visitor.context.close()


def _described(visitor: Visitor, name: str) -> Page:
    """The form, filled in, but for a unit that there is not."""
    page = visitor.open("/applications/new")
    facts = {"id": name, "name": "<b>档案</b> & files", "owner": "fenger", "actions": "read change", "types": "file", "unit": "nowhere"}
    for field, text in facts.items():
        page.fill(f"#{field}", text)
    return page


def test_who_has_no_part_in_an_application_is_told_so(portal: Portal) -> None:
    for uid, address in (("zhangsan", "/applications/oa"), ("fenger", "/applications/new"), ("fenger", "/applications/oa/ask")):
        page = portal.session(uid, "en").open(address)
        assert page.locator("h1").inner_text() == "Not allowed", (uid, address)
    page = portal.session("zhangsan", "en").open("/applications")
    expect(page.locator(".empty")).to_be_visible()
