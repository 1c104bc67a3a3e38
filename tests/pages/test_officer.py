"""The auditor's ways: is all well, what happened to whom, why was this refused, what goes out; with the mistakes people make."""

from __future__ import annotations

import csv
import io
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.pages.conftest import Portal
from tests.pages.test_ways import approve, ask, token

pytestmark = [pytest.mark.component("chromium", "openssl"), pytest.mark.journey]

#: What the pages say, by language.
SAID = {
    "zh": {"verified": "全量核验", "refused": "为何被拒绝？", "save": "保存此查询", "export": "导出这些记录及证明", "remove": "删除此查询"},
    "en": {
        "verified": "Verified whole",
        "refused": "Why was this refused?",
        "save": "Save this search",
        "export": "Export these with proofs",
        "remove": "Remove this saved search",
    },
}


def search(page: Page, q: str) -> None:
    page.fill("#q", q)
    page.press("#q", "Enter")


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_an_officer_sees_whether_all_is_well_and_finds_why_somebody_was_refused(portal: Portal, lang: str) -> None:
    said = SAID[lang]
    refused = portal.session("zhangsan").open("/desk")
    assert refused.locator("main .soft").first.inner_text() == "403"
    visitor = portal.session("qianyi", lang)
    page = visitor.open("/trail")
    expect(page.locator(".vitals .stamp")).to_be_visible()
    expect(page.locator(".vitals")).to_contain_text(said["verified"])
    search(page, "out:nothing colour:red")
    expect(page.locator(".note.bad")).to_contain_text("colour")
    search(page, "code:AZ1002 out:deny")
    expect(page.locator(".bars a").first).to_be_attached()
    page.click(".ledger a >> nth=0")
    page.click(f"text={said['refused']}")
    expect(page.locator("h1")).to_have_text(said["refused"])
    expect(page.locator(".note.bad")).to_be_visible()
    assert visitor.complaints == []
    visitor.context.close()


def test_a_certificate_and_its_holder_have_a_life_that_can_be_read(portal: Portal) -> None:
    staff = portal.session("zhangsan")
    request = ask(staff)
    approve(portal, "sunqi", request)
    staff.page.wait_for_selector("form[data-finish]", state="attached")
    serial = staff.page.inner_text(".pass code")
    page = portal.session("qianyi", "en").open(f"/trail/certificates/{serial}")
    told = page.locator(".life >> nth=0 >> li > a").all_inner_texts()
    assert told == ["certificate requested", "request approved", "signature intended", "certificate issued"]
    expect(page.locator(".pass .holder")).to_have_text("张三")
    page.goto("/trail")
    page.click("details:has(#uid) summary")
    page.fill("#uid", "zhangsan")
    page.press("#uid", "Enter")
    expect(page.locator("h1")).to_contain_text("Zhang")
    expect(page.locator(".life")).to_contain_text("certificate requested")
    page.goto("/trail/persons?uid=nobody-at-all")
    assert page.locator("main .soft").first.inner_text() == "404"


def test_a_bar_leads_to_its_own_stretch_of_time(portal: Portal) -> None:
    page = portal.session("qianyi", "en").open("/trail?q=code:CA4001")
    number = int(page.locator("section:has(.bars) .between .soft").first.inner_text().split()[0])
    bar = page.locator(".bars a").last
    label = bar.get_attribute("aria-label") or ""
    bar.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#q")).to_have_value(re.compile("code:CA4001 since:.* until:.*"))
    assert 0 < page.locator(".ledger tbody tr").count() <= number
    assert label.rpartition("refused ")[2] == "0"


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_searches_are_saved_shared_and_removed(portal: Portal, lang: str) -> None:
    said, name = SAID[lang], f"=1+1 <b>拒绝</b> {lang}"
    page = portal.session("qianyi", lang).open("/trail?q=out:deny+code:AZ1002")
    page.click(f"text={said['save']}")
    page.fill("#title", name)
    page.check("#shared")
    page.press("#title", "Enter")
    link = page.get_by_role("link", name=name)
    expect(link).to_be_visible()
    page.goto("/trail")
    link.click()
    expect(page.locator("#q")).to_have_value("out:deny code:AZ1002")
    page.get_by_role("button", name=said["remove"]).click()
    expect(page.get_by_role("link", name=name)).to_have_count(0)
    events = page.goto("/trail?q=code:search.saved")
    assert events
    assert page.locator(".ledger tbody tr").count() >= 1


def test_nobody_removes_the_search_of_somebody_else_or_saves_nonsense(portal: Portal) -> None:
    visitor = portal.session("qianyi", "en")
    page = visitor.open("/trail")
    sent = {"csrf_token": token(page)}
    cookies = {one["name"]: one["value"] for one in visitor.context.cookies()}
    with httpx.Client(verify=False, base_url=portal.url, cookies=cookies, headers={"Referer": portal.url}) as client:
        assert client.post("/trail/searches/0123456789abcdef/drop", data=sent).status_code == 404
        for q, title in (("out:deny", ""), ("out:deny", "  "), ("out:deny", "x" * 81), ("colour:red", "x"), ("", "x")):
            assert client.post("/trail/searches", params={"q": q}, data=sent | {"title": title}).status_code == 400, (q, title)
    assert portal.session("zhangsan", "en").open("/trail/persons/p_" + "0" * 32).locator("main .soft").first.inner_text() == "403"


def test_what_goes_out_holds_a_table_and_is_verified_by_the_one_file_that_travels_along(portal: Portal, tmp_path: Path) -> None:
    page = portal.session("qianyi", "en").open("/trail?q=log:ca")
    with page.expect_download() as download:
        page.click(f"text={SAID['en']['export']}")
    download.value.save_as(tmp_path / "export.zip")
    with zipfile.ZipFile(tmp_path / "export.zip") as archive:
        (tmp_path / "yumen-verify.pyz").write_bytes(archive.read("yumen-verify.pyz"))
        rows = list(csv.DictReader(io.StringIO(archive.read("events.csv").decode("utf-8-sig"), newline="")))
        assert len(rows) == archive.read("events.jsonl").count(b"\n")
    notes = portal.node.settings.home / "notes"
    keys = [part for key in sorted(notes.glob("*.vkey")) for part in ("--key", key.read_text().strip())]
    command = [sys.executable, "-I", "-S", "yumen-verify.pyz", "export.zip", *keys]
    ran = subprocess.run(command, cwd=tmp_path, env={}, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert f"holds: {len(rows)} events" in ran.stdout
