"""What people do with what is theirs: renew it, end it when a device is lost, look at what happened to it."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from audit import search
from ca import certificates
from tests.pages.conftest import Portal, Visitor
from tests.pages.test_ways import PASSWORD, approve, ask

pytestmark = [pytest.mark.component("chromium", "cjk-font"), pytest.mark.journey]


def certified(own: Portal, folder: Path) -> tuple[str, Path]:
    """A certificate with its key, downloaded as people do; its serial and its file."""
    visitor = own.session("zhangsan")
    approve(own, "zhaoliu", ask(visitor))
    return fetched(visitor, folder)


def fetched(visitor: Visitor, folder: Path) -> tuple[str, Path]:
    """The certificate of the request that the page shows, as a file."""
    visitor.page.wait_for_selector("form[data-finish]:not([hidden])")
    visitor.page.fill("#password", PASSWORD)
    with visitor.page.expect_download() as download:
        visitor.page.click("form[data-finish] button")
    serial = visitor.page.inner_text(".pass code")
    download.value.save_as(folder / f"{serial}.p12")
    return serial, folder / f"{serial}.p12"


def renew(visitor: Visitor) -> None:
    """One click on the certificate, and the password of the new key."""
    page = visitor.open("/")
    page.locator(".pass").get_by_role("link", name="续期").click()
    page.fill("#password", PASSWORD)
    page.fill("#again", PASSWORD)
    page.click("form[data-enrol] button")
    page.wait_for_url("**/requests/*")


def test_a_certificate_is_renewed_with_one_click_and_no_registrar(own: Portal, tmp_path: Path) -> None:
    first, file = certified(own, tmp_path)
    assert own.session("zhangsan").open("/").locator(".pass").get_by_role("link", name="续期").count() == 0
    own.jump(days=345)
    shown = [{"origin": own.url, "pfxPath": str(file), "passphrase": PASSWORD}]
    visitor = own.visitor(client_certificates=shown)
    visitor.open("/login").click("form[action*=certificate] button")
    renew(visitor)
    second, _ = fetched(visitor, tmp_path)
    assert second != first
    page = visitor.open("/")
    expect(page.locator(".pass code").first).to_have_text(second)
    assert first in page.locator(".pass code").all_inner_texts()
    assert page.locator(".pass").get_by_role("link", name="续期").count() == 0  # the first has been renewed
    assert visitor.complaints == []


def test_without_the_old_certificate_a_registrar_looks_at_the_renewal(own: Portal, tmp_path: Path) -> None:
    certified(own, tmp_path)
    own.jump(days=345)
    visitor = own.session("zhangsan")
    renew(visitor)
    expect(visitor.page.locator("main")).to_contain_text("等待注册员")
    asked = visitor.page.url.rpartition("/")[2]
    desk = own.session("zhaoliu").open(f"/desk/requests/{asked}")
    expect(desk.locator("main")).to_contain_text("本次为续期")
    desk.click("[data-approve]")
    fetched(visitor, tmp_path)


def test_a_renewal_too_early_is_answered_calmly(own: Portal, tmp_path: Path) -> None:
    page = own.session("zhangsan").open("/")
    serial = page.locator(".pass code").first.inner_text()
    page.goto(f"/certificates/{serial}/renew")
    expect(page.locator(".note")).to_contain_text("不能续期")


def test_a_lost_device_ends_everything_with_one_confirmation(own: Portal) -> None:
    visitor, other = own.session("zhangsan"), own.visitor()
    own.login(other, "zhangsan")
    page = visitor.open("/lost")
    named = page.locator("main li code").all_inner_texts()
    assert named
    page.click(".btn-stop")
    expect(page.locator(".note.good")).to_contain_text("证书全部失效")
    assert page.locator(".stamp.good").count() == 0
    assert "/login" in other.open("/").url
    page.goto("/lost")
    expect(page.locator("main")).to_contain_text("您没有仍然有效的证书")
    page.click(".btn-stop")
    expect(page.locator(".note.good")).to_be_visible()
    with own.node.database.reading() as session:
        found = [certificates.get(session, serial) for serial in named]
    assert {(str(one.standing), one.revocation.reason) for one in found} == {("revoked", "keyCompromise")}


def test_a_server_that_somebody_answers_for_is_not_lost_with_their_phone(own: Portal) -> None:
    page = own.session("zhangsan").open("/lost")
    assert page.locator("main li code").count() == 0


def test_people_see_what_was_decided_about_them_and_who_signed_in(own: Portal) -> None:
    visitor = own.session("zhangsan")
    approve(own, "zhaoliu", ask(visitor))
    page = own.visitor().open("/login")
    page.fill("#uid", "zhangsan")
    page.fill("#password", "not this one")
    page.fill("#code", "000000")
    page.click("main form button.btn-jade")
    page = visitor.open("/account")
    rows = page.locator("section[aria-labelledby=told] tbody tr")
    expect(rows.filter(has_text="登录失败").first).to_contain_text("未登录者")
    expect(rows.filter(has_text="登录失败").first).to_contain_text("127.0.0.1")
    expect(rows.filter(has_text="批准申请").first).to_contain_text("赵六")
    expect(page.locator("section[aria-labelledby=open]")).to_contain_text("当前这个")


def test_people_see_what_applications_were_told_about_them(own: Portal) -> None:
    told = json.loads((own.node.settings.home / "demo.json").read_text("utf-8"))
    key = next(one["api_key"] for one in told["applications"] if one["id"] == "oa")
    with httpx.Client(verify=False, base_url=own.url, headers={"Authorization": f"Bearer {key}"}) as client:
        for action in ("read", "approve"):
            asked = {"subject": {"type": "user", "id": "zhangsan"}, "action": {"name": action}}
            client.post("/access/v1/evaluation", json={**asked, "resource": {"type": "document", "id": "plan-2026"}}).raise_for_status()
    rows = own.session("zhangsan").open("/account").locator("section[aria-labelledby=told] tbody tr")
    for row, texts in ((0, ("办公系统", "approve · document", "拒绝")), (1, ("办公系统", "read · document", "允许"))):
        for text in texts:
            expect(rows.nth(row)).to_contain_text(text)


def test_reading_ones_own_history_is_in_the_trail_and_nobody_elses_is_shown(own: Portal) -> None:
    page = own.session("wangwu").open("/account")
    expect(page.locator("main")).not_to_contain_text("赵六")
    person = own.node.world.current().directory.by_uid["wangwu"]
    with own.node.database.reading() as session:
        found = search.find(session, search.parse_query(f"obj:person:{person.id} code:AZ4001")).entries
    assert [entry.body["pol"]["rule"] for entry in found] == ["history-read.own"]


def test_signing_out_elsewhere_keeps_this_session(own: Portal) -> None:
    other = own.visitor()
    own.login(other, "wangwu")
    page = own.session("wangwu").open("/account")
    page.get_by_role("button", name="结束其他各处的登录").click()
    expect(page.locator(".note.good")).to_be_visible()
    assert page.get_by_role("button", name="结束其他各处的登录").count() == 0
    assert "/login" in other.open("/").url
