"""The ways of people through the pages, in a real browser against a running demonstration."""

from __future__ import annotations

import re
import subprocess
import time
import zipfile
from pathlib import Path

import httpx
import pyotp
import pytest
from playwright.sync_api import Page, expect

from authz import ldif, people, province
from tests.pages.conftest import Portal, Visitor

pytestmark = [pytest.mark.component("chromium", "openssl"), pytest.mark.journey]

PASSWORD = "Lantern over 9 hills"


def ask(visitor: Visitor) -> int:
    """The first two screens; gives the number of the request."""
    page = visitor.open("/certificates/new")
    page.click("main a.btn-jade")
    page.fill("#password", PASSWORD)
    page.fill("#again", PASSWORD)
    page.click("form[data-enrol] button")
    page.wait_for_url("**/requests/*")
    return int(page.url.rpartition("/")[2])


def approve(portal: Portal, uid: str, request: int) -> Page:
    """A registrar approves."""
    page = portal.session(uid).open(f"/desk/requests/{request}")
    page.click("form button.btn-jade")
    return page


def token(page: Page) -> str:
    """The form token of the open page."""
    return str(page.get_attribute("input[name=csrf_token]", "value"))


def test_certificate_in_three_screens_with_the_page_closed_meanwhile(portal: Portal, tmp_path: Path) -> None:
    visitor = portal.session("zhangsan", "en")
    request = ask(visitor)
    expect(visitor.page.locator("main")).to_contain_text("You may close this page")
    visitor.page.close()
    approve(portal, "zhaoliu", request)
    page = visitor.context.new_page()
    page.goto(f"/requests/{request}")
    page.wait_for_selector("form[data-finish]:not([hidden])")
    page.fill("#password", "not the password at all")
    page.click("form[data-finish] button")
    expect(page.locator("[data-problem]")).to_contain_text("does not open the key")
    page.fill("#password", PASSWORD)
    with page.expect_download() as download:
        page.click("form[data-finish] button")
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    expect(page.locator("[data-status]")).to_contain_text("deleted")
    opened = subprocess.run(
        ["openssl", "pkcs12", "-in", str(file), "-nodes", "-passin", f"pass:{PASSWORD}"],
        capture_output=True,
        text=True,
        errors="replace",
        check=True,
    )
    assert opened.stdout.count("BEGIN CERTIFICATE") == 2
    assert "BEGIN PRIVATE KEY" in opened.stdout
    page.reload()
    expect(page.locator("[data-elsewhere]")).to_be_visible()
    expect(page.locator("form[data-finish]")).to_be_hidden()
    assert visitor.complaints == []
    visitor.context.close()


def test_key_and_password_never_leave_the_browser(portal: Portal) -> None:
    visitor = portal.session("zhangsan")
    sent: list[str] = []
    visitor.page.on("request", lambda request: sent.append(f"{request.url} {request.post_data or ''}"))
    ask(visitor)
    assert any("CERTIFICATE+REQUEST" in one for one in sent)
    assert not any("PRIVATE" in one or "Lantern" in one for one in sent)
    assert all(one.startswith((portal.url, "blob:")) for one in sent)
    visitor.context.close()


def test_without_scripts_the_page_offers_the_command(portal: Portal) -> None:
    visitor = portal.session("zhangsan", java_script_enabled=False)
    page = visitor.open("/certificates/new/key")
    expect(page.locator("pre")).to_have_text(f"yumen enroll --server {portal.url}")
    expect(page.locator("form[data-enrol]")).to_be_hidden()
    visitor.context.close()


@pytest.mark.parametrize(
    ("uid", "reason"), [("zhangsan", "需要“注册员”角色"), ("zhouba", "由当地负责人员办理"), ("qianyi", "需要“注册员”角色")]
)
def test_wrong_officers_cannot_approve(portal: Portal, uid: str, reason: str) -> None:
    request = ask(portal.session("wangwu") if uid == "qianyi" else portal.session("zhangsan"))
    page = portal.session(uid).open("/")
    page.evaluate(
        """([address, token]) => {
            const form = Object.assign(document.createElement('form'), {method: 'post', action: address});
            for (const [name, value] of [['csrf_token', token], ['comment', '']]) {
                form.append(Object.assign(document.createElement('input'), {name, value}));
            }
            document.body.append(form);
            form.submit();
        }""",
        [f"/desk/requests/{request}/approve", token(page)],
    )
    expect(page.locator("main")).to_contain_text(reason)
    assert portal.session("zhaoliu").open(f"/desk/requests/{request}").query_selector(".chip.wait") or uid == "qianyi"


def test_refusal_needs_a_word_and_the_person_reads_it(portal: Portal) -> None:
    staff = portal.session("zhangsan")
    request = ask(staff)
    desk = portal.session("sunqi").open(f"/desk/requests/{request}")
    desk.click("form .btn-stop")
    expect(desk.locator("main")).to_contain_text("驳回须附说明")
    desk.goto(f"/desk/requests/{request}")
    desk.fill("#comment", "请先更正目录中的单位")
    desk.click("form .btn-stop")
    expect(staff.page.locator("main")).to_contain_text("请先更正目录中的单位")


def test_a_waiting_page_turns_by_itself_and_revoking_ends_the_certificate(portal: Portal) -> None:
    staff = portal.session("zhangsan")
    request = ask(staff)
    approve(portal, "sunqi", request)
    staff.page.wait_for_selector("form[data-finish]", state="attached")
    serial = staff.page.inner_text(".pass code")
    desk = portal.session("zhaoliu").open("/desk/certificates")
    desk.fill("#holder", serial)
    desk.click("main form button")
    desk.click(f"a[href$='{serial}']")
    desk.click("details.stop summary")
    desk.select_option("#reason", "keyCompromise")
    desk.click("details.stop button")
    expect(desk.locator(".stamp")).to_have_text("已吊销")
    expect(staff.open(f"/certificates/{serial}").locator("main")).to_contain_text("密钥泄露")


def test_login_says_the_same_for_unknown_names_and_wrong_passwords(portal: Portal) -> None:
    told = set()
    for uid, password in (("nobody-here", "x"), ("fenger", "wrong")):
        page = portal.visitor().open("/login")
        page.fill("#uid", uid)
        page.fill("#password", password)
        page.fill("#code", "000000")
        page.click("main form button.btn-jade")
        told.add(page.inner_text(".note.bad"))
        assert page.input_value("#password") == ""
    assert len(told) == 1


def test_a_code_is_taken_once(portal: Portal) -> None:
    account = portal.accounts["lisi"]
    portal.login(portal.visitor(), "lisi")
    page = portal.visitor("en").open("/login")
    page.fill("#uid", "lisi")
    page.fill("#password", account["password"])
    page.fill("#code", pyotp.TOTP(account["totp"]).now())
    page.click("main form button.btn-jade")
    expect(page.locator(".note.bad")).to_contain_text("This code was used already")


@pytest.mark.parametrize("wanted", ["//evil.example/", "/\\evil.example", "https://evil.example/", "javascript:alert(1)"])
def test_login_leads_nowhere_else(portal: Portal, wanted: str) -> None:
    with httpx.Client(verify=False, base_url=portal.url) as client:
        page = client.get("/login", params={"next": wanted})
    actions = re.findall(r'action="([^"]*)"', page.text)
    assert actions == ["/login", "/login/certificate"]


def test_form_without_its_token_changes_nothing(portal: Portal) -> None:
    cookies = {one["name"]: one["value"] for one in portal.session("zhangsan").context.cookies()}
    with httpx.Client(verify=False, base_url=portal.url, cookies=cookies) as client:
        assert client.get("/").status_code == 200
        assert client.post("/requests", data={"csr": "x"}).status_code == 400
        assert client.post("/logout").status_code == 400
        assert client.get("/").status_code == 200


def test_signing_out_ends_the_session_everywhere(portal: Portal) -> None:
    visitor = portal.visitor()
    page = portal.login(visitor, "wangwu")
    kept = {one["name"]: one["value"] for one in visitor.context.cookies()}
    page.click(".who button")
    page.wait_for_url("**/login*")
    with httpx.Client(verify=False, base_url=portal.url, cookies=kept) as client:
        assert client.get("/").status_code == 302


def test_session_cookie_is_fenced(portal: Portal) -> None:
    cookie = next(one for one in portal.session("zhaoliu").context.cookies() if one["name"] == "__Host-yumen")
    assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, True, "Strict", "/")


def test_authenticator_is_connected_with_the_registrars_code_and_recovery_codes_work_once(portal: Portal) -> None:
    registrar = portal.session("zhaoliu").open("/desk/codes")
    registrar.fill("#uid", "zhangsan")
    registrar.click("main form button")
    code = registrar.inner_text(".secret")
    page = portal.visitor().open("/login/enrol")
    page.fill("#uid", "zhangsan")
    page.fill("#password", portal.accounts["zhangsan"]["password"])
    page.fill("#code", code)
    page.click("main form button")
    expect(page.locator(".qr svg")).to_be_visible()
    page.click("details summary")
    secret = page.inner_text("details .well")
    page.fill("#password", portal.accounts["zhangsan"]["password"])
    page.fill("#code", pyotp.TOTP(secret).now())
    page.click("main form button")
    recovery = page.inner_text(".codes li >> nth=0")
    portal.accounts["zhangsan"]["totp"] = secret
    for expected in ("my", "again"):
        page = portal.visitor().open("/login/recover")
        page.fill("#uid", "zhangsan")
        page.fill("#password", portal.accounts["zhangsan"]["password"])
        page.fill("#code", recovery)
        page.click("main form button")
        assert ("/login" not in page.url) is (expected == "my")


def test_the_trail_is_verified_and_leaves_with_its_proofs(portal: Portal, tmp_path: Path) -> None:
    visitor = portal.session("qianyi")
    page = visitor.open("/trail?q=log:ca")
    page.click(".ledger a >> nth=-1")
    expect(page.locator(".proof")).to_contain_text("已在树中证实", timeout=5_000)
    page.goto("/trail?q=log:ca")
    with page.expect_download() as download:
        page.click("text=导出这些记录及证明")
    file = tmp_path / "export.zip"
    download.value.save_as(file)
    assert {"manifest.json", "events.jsonl", "yumen-verify.pyz"} <= set(zipfile.ZipFile(file).namelist())
    page.click("text=立即核验")
    expect(page.locator(".stamp.good")).to_have_count(2)


def test_pages_work_by_keyboard(portal: Portal) -> None:
    page = portal.session("zhaoliu").open("/desk")
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    expect(page.locator(".skip")).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.keyboard.press("Tab")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


def test_pages_are_usable_at_twice_the_size(portal: Portal) -> None:
    """200 % zoom on a 1280 pixel screen is a 640 pixel page."""
    visitor = portal.session("zhaoliu", viewport={"width": 640, "height": 400})
    for place in ("/desk", "/desk/certificates", "/desk/codes"):
        page = visitor.open(place)
        assert page.evaluate("document.documentElement.scrollWidth") <= 640


def test_each_person_sees_the_places_where_they_can_act(portal: Portal) -> None:
    seen = {}
    for uid in ("zhangsan", "zhaoliu", "qianyi", "zhengshi", "wujiu"):
        page = portal.session(uid, "en").open("/")
        seen[uid] = page.locator(".nav-main a").all_inner_texts()
    own = "My certificates"
    assert seen == {
        "zhangsan": [own],
        "zhaoliu": [own, "Desk"],
        "qianyi": [own, "Trail"],
        "zhengshi": [own, "Applications", "Security"],
        "wujiu": [own, "Applications", "System"],
    }


def test_login_lands_where_the_role_works(portal: Portal) -> None:
    page = portal.login(portal.visitor(), "zhouba")
    assert page.url.endswith("/desk")


def _uuid(portal: Portal, uid: str) -> str:
    return portal.node.world.current().directory.by_uid[uid].uuid


def test_a_role_counts_once_a_security_administrator_has_confirmed_it(portal: Portal) -> None:
    path = portal.node.settings.home / "directory.ldif"
    group = people.normal_dn(province.group_dn("registrar", "qinghe.linhe.jiangzhou"))
    member = province.person_dn("lisi", "gongan.linhe.jiangzhou")
    entries = list(ldif.LdifDirectory(path).read().entries)
    at = next(at for at, entry in enumerate(entries) if people.normal_dn(entry.dn) == group)
    kept = entries[at].attributes
    entries[at] = people.Entry(entries[at].dn, {**kept, "member": (*kept["member"], member)})
    ldif.write(path, entries)
    portal.node.world.refresh()
    assert portal.session("lisi").open("/desk").locator("h1").inner_text() == "不允许"
    page = portal.session("zhengshi").open("/security")
    row = page.locator("tr", has_text="李四")
    expect(row).to_contain_text("未确认")
    assert "无人确认的角色：1 项" in page.inner_text("main")
    row.locator("button").click()
    expect(page.locator("tr", has_text="李四")).to_contain_text("已确认")
    assert "无人确认" not in page.inner_text("main")
    assert portal.session("lisi").open("/desk").locator("h1").inner_text() == "受理台"
    assert portal.session("wujiu").open("/security").locator("main form[method=post]").count() == 0
    ldif.write(path, [entry if at != number else people.Entry(entry.dn, kept) for number, entry in enumerate(entries)])
    until = time.monotonic() + 5
    while "registrar" in {one.role for one in portal.node.world.refresh().directory.holdings[_uuid(portal, "lisi")]}:
        assert time.monotonic() < until
        time.sleep(0.05)
    page.goto("/security?q=lisi")
    expect(page.locator("tbody tr")).to_contain_text("目录中已无")
    assert "目录已不再授予、但确认仍在的角色：1 项" in page.inner_text("main")
    page.locator("tbody button").click()
    expect(page.locator(".note.good")).to_contain_text("已撤回")
    page.goto("/security?q=lisi")
    expect(page.locator(".empty")).to_be_visible()


def test_a_security_administrator_logs_somebody_out(portal: Portal) -> None:
    other = portal.session("wangwu")
    assert "/login" not in other.open("/").url
    page = portal.session("zhengshi").open("/security/account")
    for told in ("王五 的所有会话均已结束", "没有登录会话"):
        page.locator("input[name=uid]").fill("wangwu")
        page.get_by_role("button", name="结束所有会话").click()
        expect(page.locator("main")).to_contain_text(told)
        page.goto("/security/account")
    assert "/login" in other.open("/").url
    del portal.accounts["wangwu"]["cookie"]


@pytest.mark.parametrize(
    "address",
    [
        f"/requests/{10**30}",
        f"/certificates/{'f' * 200}",
        "/certificates/%00",
        f"/trail/ca/1/{10**30}",
        "/trail/nothing/1/1",
        "/desk/requests/0",
    ],
)
def test_addresses_of_nothing_are_answered_calmly(portal: Portal, address: str) -> None:
    page = portal.session("qianyi", "en").open(address)
    assert page.locator("main .soft").first.inner_text() in {"400", "403", "404"}
