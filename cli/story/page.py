"""Enrolment by the page, in headless Chromium: the key is made in the browser, the page is closed and opened again."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cli.story.enrolments import PASSWORD, Asked, Enrolled, open_pkcs12
from cli.story.people import fresh_code
from cli.story.stage import Stage, StoryBroken

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

#: How long a page may take to show what is awaited, in milliseconds.
_PATIENCE = 20_000


def why_no_browser() -> str:
    """What is missing for this scene, or nothing."""
    if importlib.util.find_spec("playwright") is None:
        return "Playwright is not installed (it comes with `make test`)"
    return "" if _chromium() else "Chromium is not installed (Debian: apt install chromium)"


def _chromium() -> str | None:
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


Browse = Callable[[], "BrowserContext"]


@contextmanager
def by_page(stage: Stage, uid: str) -> Iterator[Asked]:
    """The request, made in a browser whose profile stays on disk: its page is closed while the registrar decides."""
    from playwright.sync_api import sync_playwright

    profile = stage.folder / f"{uid}.browser"
    with sync_playwright() as playwright:

        def browser() -> BrowserContext:
            # The demonstration's root is in no store of this machine; everything else of the story verifies it.
            return playwright.chromium.launch_persistent_context(
                str(profile), executable_path=_chromium(), ignore_https_errors=True, locale="zh-CN", args=["--no-sandbox"]
            )

        with browser() as context:
            request = _ask(context.new_page(), stage, uid)
        yield Asked(request, lambda: _fetch(browser, stage, uid, request))


def _ask(page: Page, stage: Stage, uid: str) -> str:
    page.set_default_timeout(_PATIENCE)
    page.goto(f"{stage.url}/certificates/new")
    _login(page, stage, uid)
    page.locator("a.btn-jade").first.click()
    page.locator("#password").fill(PASSWORD)
    page.locator("#again").fill(PASSWORD)
    page.locator("[data-enrol] button").click()
    page.wait_for_selector("[data-waiting]")
    return page.url.rstrip("/").rpartition("/")[2]


def _fetch(browser: Browse, stage: Stage, uid: str, request: str) -> Enrolled:
    out = stage.folder / f"{uid}.p12"
    with browser() as context:
        page = context.new_page()
        page.set_default_timeout(_PATIENCE)
        page.goto(f"{stage.url}/requests/{request}")
        _login(page, stage, uid)
        page.wait_for_selector("[data-finish]:not([hidden])")
        page.locator("#password").fill(PASSWORD)
        with page.expect_download() as download:
            page.locator("[data-finish] button").click()
        download.value.save_as(out)
        serial = str(page.locator("[data-finish]").get_attribute("data-chain")).split("/")
    found = next((part for part in serial if len(part) >= 16), "")
    if not found:
        raise StoryBroken(f"the page names no serial: {serial}")
    return Enrolled(uid, request, found, open_pkcs12(stage, out))


def _login(page: Page, stage: Stage, uid: str) -> None:
    """Log in where the page asks for it; a code that was used already is followed by the next one."""
    account = stage.account(uid)
    for steps in (0, 1):
        if urlsplit(page.url).path != "/login":
            return
        page.locator("[name=uid]").fill(uid)
        page.locator("[name=password]").fill(account["password"])
        page.locator("[name=code]").fill(fresh_code(account["totp"], steps))
        page.locator("form").first.locator("button").click()
        page.wait_for_load_state()
    if urlsplit(page.url).path == "/login":
        raise StoryBroken(f"{uid} cannot log in on the page: {page.locator('main').inner_text()[:300]}")
