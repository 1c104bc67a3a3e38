"""A real headless Chromium and a running demonstration, shared by all page tests."""

from __future__ import annotations

import datetime as dt
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyotp
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from core.clock import system
from core.settings import load
from ops import running
from ops.demo import make_demo
from ops.node import Node
from tests import components
from tests.ports import free_ports
from web import server

# How soon a page shows something is no claim here: a busy machine is slow, not wrong.
expect.set_options(timeout=30_000)

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium of the distribution."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=components.browser(), args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture(autouse=True)
def _windows_are_closed(request: pytest.FixtureRequest) -> Iterator[None]:
    """End what a test leaves open: pages that wait for an answer go on asking."""
    if "browser" not in request.fixturenames:
        yield
        return
    browser: Browser = request.getfixturevalue("browser")
    before = set(browser.contexts)
    yield
    for context in set(browser.contexts) - before:
        context.close()


@dataclass
class Visitor:
    """One browser of one person, and everything its pages complained about."""

    context: BrowserContext
    page: Page
    complaints: list[str]

    def open(self, address: str) -> Page:
        """Go to an address of the portal."""
        self.page.goto(address)
        return self.page


class Years:
    """The machine's clock, and how far a test has moved it."""

    def __init__(self) -> None:
        self.ahead = dt.timedelta()

    def __call__(self) -> dt.datetime:
        return system() + self.ahead


@dataclass
class Portal:
    """A running demonstration and the ways of its people."""

    url: str
    node: Node
    browser: Browser
    accounts: dict[str, dict[str, Any]]
    #: The portal's clock where it may be moved.
    years: Years | None = None

    def visitor(self, lang: str = "zh", **options: Any) -> Visitor:
        """A fresh browser that speaks `lang`."""
        locale = {"zh": "zh-CN", "en": "en-GB"}[lang]
        context = self.browser.new_context(ignore_https_errors=True, base_url=self.url, locale=locale, **options)
        page = context.new_page()
        visitor = Visitor(context, page, [])
        page.on("console", lambda message: _note(visitor, message))
        page.on("pageerror", lambda error: visitor.complaints.append(f"{page.url}: {error}"))
        return visitor

    def login(self, visitor: Visitor, uid: str) -> Page:
        """Come in as `uid`, by the form; waits for the next one-time code when this one was used."""
        account = self.accounts[uid]
        for _ in range(3):
            page = visitor.open("/login")
            page.fill("#uid", uid)
            page.fill("#password", account["password"])
            page.fill("#code", self.code(uid))
            page.click("main form button.btn-jade")
            if "/login" not in page.url:
                return page
            self.wait(30 - self.node.clock().timestamp() % 30)  # a used code is a failure, and five of them would lock the account
        raise AssertionError(f"{uid} cannot come in: {page.inner_text('main')}")

    def code(self, uid: str) -> str:
        """The one-time code of now."""
        return pyotp.TOTP(self.accounts[uid]["totp"]).at(self.node.clock())

    def wait(self, seconds: float) -> None:
        """Let time pass: really, or by the clock where it may be moved."""
        if self.years is None:
            time.sleep(seconds)
        else:
            self.years.ahead += dt.timedelta(seconds=seconds)

    def jump(self, **far: float) -> None:
        """Move the clock so far that every session has ended."""
        assert self.years is not None
        self.years.ahead += dt.timedelta(**far)
        for account in self.accounts.values():
            account.pop("cookie", None)

    def session(self, uid: str, lang: str = "zh", **options: Any) -> Visitor:
        """A browser in which `uid` is signed in already: the cookie of one login, shared by many tests."""
        visitor = self.visitor(lang, **options)
        if "cookie" not in self.accounts[uid]:
            first = self.visitor()
            self.login(first, uid)
            self.accounts[uid]["cookie"] = [one for one in first.context.cookies() if one["name"] == "__Host-yumen"]
            first.context.close()
        visitor.context.add_cookies(self.accounts[uid]["cookie"])
        return visitor


def _note(visitor: Visitor, message: ConsoleMessage) -> None:
    expected = "Failed to load resource: the server responded with a status of 4"
    if message.type in {"error", "warning"} and not message.text.startswith(expected):
        visitor.complaints.append(f"{visitor.page.url}: {message.text}")


@contextmanager
def open_portal(home: Path, browser: Browser, years: Years | None = None) -> Iterator[Portal]:
    """A demonstration of its own in `home`, served over TLS with its worker."""
    https, http = free_ports(2)
    where = {
        "YUMEN_WEB_HTTPS": f"127.0.0.1:{https}",
        "YUMEN_WEB_HTTP": f"127.0.0.1:{http}",
        "YUMEN_WEB_HTTPS_URL": f"https://localhost:{https}",
        "YUMEN_WEB_HTTP_URL": f"http://127.0.0.1:{http}",
    }
    make_demo(home, where, tell=lambda _: None)
    settings = load({"YUMEN_HOME": str(home)})
    accounts = {one["uid"]: one for one in json.loads((home / "demo.json").read_text("utf-8"))["accounts"]}
    with running.embedded(settings, years or system) as node:
        servers = server.serve(node)
        servers.start()
        yield Portal(settings.web.https_url, node, browser, accounts, years)
        servers.stop()


@pytest.fixture(scope="session")
def portal(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """The demonstration that most tests share."""
    with open_portal(tmp_path_factory.mktemp("pages") / "var", browser) as opened:
        yield opened


@pytest.fixture(scope="session")
def own(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """A demonstration whose clock may be moved, and where anything may be revoked."""
    with open_portal(tmp_path_factory.mktemp("own") / "var", browser, Years()) as opened:
        yield opened


@pytest.fixture(scope="session")
def screenshots() -> Path | None:
    """Where pictures of every page are left for people to look at: the folder that `YUMEN_SCREENSHOTS` names, if it does."""
    named = os.environ.get("YUMEN_SCREENSHOTS")
    if named:
        Path(named).mkdir(parents=True, exist_ok=True)
    return Path(named) if named else None
