"""The file that the page made signs its holder in: from a browser's own store, and over Playwright's client certificates."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserType, expect

from tests.pages.conftest import CHROMIUM_FLAGS, Portal
from tests.pages.test_ways import PASSWORD, approve, ask

pytestmark = [pytest.mark.component("chromium", "cjk-font"), pytest.mark.slow]

#: Where Debian's Chromium reads what an administrator decided for every profile.
POLICIES = Path("/etc/chromium/policies/managed")


@pytest.fixture(scope="module")
def held(portal: Portal, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The PKCS#12 file that 张三 downloaded."""
    staff = portal.session("zhangsan")
    approve(portal, "zhaoliu", ask(staff))
    staff.page.wait_for_selector("form[data-finish]:not([hidden])")
    staff.page.fill("#password", PASSWORD)
    with staff.page.expect_download() as download:
        staff.page.click("form[data-finish] button")
    path = tmp_path_factory.mktemp("held") / "person.p12"
    download.value.save_as(path)
    return path


def test_the_file_from_the_page_signs_its_holder_in(portal: Portal, held: Path) -> None:
    visitor = portal.visitor(client_certificates=[{"origin": portal.url, "pfxPath": str(held), "passphrase": PASSWORD}])
    page = visitor.open("/login")
    page.click("form[action*=certificate] button")
    expect(page.locator(".who")).to_contain_text("张三")


def test_without_a_certificate_the_page_says_what_to_do(portal: Portal) -> None:
    page = portal.visitor().open("/login")
    page.click("form[action*=certificate] button")
    expect(page.locator(".note.bad")).to_contain_text("浏览器没有出示证书")


@pytest.fixture
def chosen_by_policy(portal: Portal) -> Iterator[None]:
    """Tell every Chromium of this machine to show a certificate to the portal without asking."""
    if os.geteuid():
        pytest.skip("only root writes browser policies")
    POLICIES.mkdir(parents=True, exist_ok=True)
    policy = POLICIES / f"yumen-test-{os.getpid()}.json"
    choice = json.dumps({"pattern": portal.url, "filter": {}})
    policy.write_text(json.dumps({"AutoSelectCertificateForUrls": [choice]}), "utf-8")
    yield
    policy.unlink()


@pytest.mark.component("nss")
def test_a_browser_that_holds_certificate_and_root_in_its_store_signs_in(
    portal: Portal, held: Path, chosen_by_policy: None, tmp_path: Path
) -> None:
    store = tmp_path / ".pki" / "nssdb"
    store.mkdir(parents=True)
    for command in (
        ["certutil", "-N", "--empty-password"],
        ["certutil", "-A", "-n", "DEMO root", "-t", "C,,", "-i", str(portal.node.settings.home / "root.pem")],
        ["pk12util", "-i", str(held), "-W", PASSWORD],
    ):
        subprocess.run([command[0], "-d", f"sql:{store}", *command[1:]], check=True, capture_output=True)

    chromium: BrowserType = portal.browser.browser_type
    context = chromium.launch_persistent_context(
        tmp_path / "profile",
        executable_path=shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome"),
        args=CHROMIUM_FLAGS,
        env={**os.environ, "HOME": str(tmp_path)},
        locale="zh-CN",
    )
    page = context.pages[0]
    page.goto(f"{portal.url}/login")  # no certificate error is forgiven: the store trusts the root
    page.click("form[action*=certificate] button")
    expect(page.locator(".who")).to_contain_text("张三")
    context.close()
