"""Enrolment by the page, in headless Chromium: the key is made in the browser, the browser is closed and opened again."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import os
import re
import shutil
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

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


@contextmanager
def by_page(stage: Stage, uid: str) -> Iterator[Asked]:
    """The request, made in a browser whose profile stays on disk; it is closed, and opened again before the registrar decides."""
    from playwright.sync_api import sync_playwright

    profile, trusted = stage.folder / f"{uid}.browser", f"--ignore-certificate-errors-spki-list={_own_key(stage)}"
    with sync_playwright() as playwright:

        def browser() -> BrowserContext:
            return playwright.chromium.launch_persistent_context(
                str(profile), executable_path=_chromium(), locale="zh-CN", chromium_sandbox=os.geteuid() != 0, args=[trusted]
            )

        with browser() as context:
            request = _ask(context.new_page(), stage, uid)
        with browser() as context:
            page = _come_back(context.new_page(), stage, uid, request)
            yield Asked(request, lambda: _fetch(page, stage, uid, request))


def _own_key(stage: Stage) -> str:
    """The pin of the service's own key, taken from a connection that was verified: its root is in no store of this machine."""
    address = urlsplit(stage.url)
    context = ssl.create_default_context(cafile=str(stage.ca_file))
    host, port = address.hostname or "", address.port or 443
    with socket.create_connection((host, port), timeout=5) as plain, context.wrap_socket(plain, server_hostname=host) as secured:
        key = x509.load_der_x509_certificate(secured.getpeercert(binary_form=True) or b"").public_key()
    return base64.b64encode(hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()).decode()


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


def _come_back(page: Page, stage: Stage, uid: str, request: str) -> Page:
    """The same browser, opened again: the page still waits, and will see the approval by itself."""
    page.set_default_timeout(_PATIENCE)
    page.goto(f"{stage.url}/requests/{request}")
    _login(page, stage, uid)
    page.wait_for_selector("[data-waiting]")
    return page


def _fetch(page: Page, stage: Stage, uid: str, request: str) -> Enrolled:
    out = stage.folder / f"{uid}.p12"
    page.wait_for_selector("[data-finish]:not([hidden])")
    page.locator("#password").fill(PASSWORD)
    with page.expect_download() as download:
        page.locator("[data-finish] button").click()
    download.value.save_as(out)
    address = str(page.locator("[data-finish]").get_attribute("data-chain"))
    serial = re.search(r"/([0-9a-f]{16,40})/", address)
    if serial is None:
        raise StoryBroken(f"the page names no serial: {address}")
    return Enrolled(uid, request, serial[1], open_pkcs12(stage, out))


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
