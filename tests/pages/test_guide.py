"""The guide says what the product says, in both languages, and its pictures are of the pages as they are.

The journey plays in `make proof`; `make guide` plays it and puts its pictures into the guide.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from babel.messages.pofile import read_po
from playwright.sync_api import Browser, expect

from audit.permit import Action, Actor, ActorKind
from audit.record import recording
from authz import province
from authz.caller import Caller
from authz.decide import Target, require
from ca import registration
from ca.registration import Draft
from ca.subjects import facts
from certs import csr
from ops.pairs.people import Directory
from ops.reconcile import Reconciler
from tests.ca.town import make_csr
from tests.pages.conftest import Portal, Visitor, Years, open_portal
from tests.pages.test_ways import PASSWORD, approve, ask
from tests.shape.rules import ROOT
from web.pages import catalogue, language

GUIDE = ROOT / "docs" / "guide"
PAGES = sorted(path.name for path in (GUIDE / "en").glob("*.md"))
LANGUAGES = ("en", "zh")
#: Sections that every role has.
SECTIONS = {
    "What the messages mean": "提示的含义",
    "When it goes wrong": "出错时怎么办",
    "By keyboard": "键盘操作",
}
WIDTH, WEIGHT, ALL_WEIGHT = 1000, 80_000, 1_500_000

PICTURE = re.compile(r"!\[[^\]]+\]\(\.\./(images/[^)]+)\)")
QUOTED = re.compile(r"\*\*(.+?)\*\*", re.DOTALL)
PLACEHOLDER = re.compile(r"\{[a-z_]+(?:\.[a-z_]+)?\}|%\([a-z_]+\)s")
#: Where a quotation of a longer text may end.
PAUSE = re.compile(r"(?=[.:;,。：；，])|(?<=[。：；，？])|(?= \{| %\()|(?=\{|%\()")


def text(lang: str, page: str) -> str:
    return (GUIDE / lang / page).read_text("utf-8")


@pytest.fixture(scope="module")
def product() -> dict[str, re.Pattern[str]]:
    """What the product says in each language, whole or up to a pause."""
    with (language.FOLDER / "zh" / "LC_MESSAGES" / "messages.po").open("rb") as file:
        chinese = [str(message.string) for message in read_po(file, locale="zh") if message.id]
    return {"en": _pattern([known for known, _ in catalogue.texts()]), "zh": _pattern(chinese)}


def _pattern(texts: list[str]) -> re.Pattern[str]:
    said = set()
    for known in texts:
        for end in (*(found.start() for found in PAUSE.finditer(known)), len(known)):
            said.add(known[:end].rstrip(" .。`“"))
    return re.compile("|".join(_as_said(one) for one in sorted(said) if one and not PLACEHOLDER.match(one.lstrip("`“"))))


def _as_said(known: str) -> str:
    """A text with its facts filled in; as the first of a sentence it has a capital."""
    filled = r"\S{1,12}".join(re.escape(part) for part in PLACEHOLDER.split(known))
    return f"(?:{filled}|{filled[0].upper()}{filled[1:]})[.。]?" if filled[0].isalpha() else filled + "[.。]?"


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("page", PAGES)
def test_what_the_guide_quotes_is_what_the_product_says(product: dict[str, re.Pattern[str]], lang: str, page: str) -> None:
    quoted = [" ".join(found.split()) for found in QUOTED.findall(text(lang, page))]
    assert len(quoted) > 10
    assert [one for one in quoted if not product[lang].fullmatch(one)] == []


def test_both_languages_have_the_same_pages_pictures_and_sections() -> None:
    assert sorted(path.name for path in (GUIDE / "zh").glob("*.md")) == PAGES
    assert len(PAGES) == 6
    for page in PAGES:
        english, chinese = text("en", page), text("zh", page)
        headings = [re.findall(r"^(#+) (.+)$", told, re.MULTILINE) for told in (english, chinese)]
        assert [level for level, _ in headings[0]] == [level for level, _ in headings[1]], page
        known = {first: second for (_, first), (_, second) in zip(*headings, strict=True) if first in SECTIONS}
        assert known == SECTIONS, page
        assert [name.replace("/en/", "/zh/") for name in PICTURE.findall(english)] == PICTURE.findall(chinese), page
        assert english.count("\n| ") == chinese.count("\n| "), page


def test_every_picture_is_there_small_and_used() -> None:
    used = [GUIDE / name for lang in LANGUAGES for page in PAGES for name in PICTURE.findall(text(lang, page))]
    kept = sorted((GUIDE / "images").rglob("*.png"))
    assert sorted(set(used)) == kept
    wrong = [path.name for path in kept if _width(path) != WIDTH or path.stat().st_size > WEIGHT]
    assert wrong == []
    assert sum(path.stat().st_size for path in kept) < ALL_WEIGHT


def _width(path: Path) -> int:
    return int(struct.unpack(">I", path.read_bytes()[16:20])[0])


def test_the_index_names_every_page() -> None:
    index = (GUIDE / "README.md").read_text("utf-8")
    assert [page for lang in LANGUAGES for page in PAGES if f"]({lang}/{page})" not in index] == []


@pytest.fixture
def town(browser: Browser, tmp_path: Path) -> Iterator[Portal]:
    """A demonstration that only the guide changes."""
    with open_portal(tmp_path / "var", browser, Years()) as opened:
        yield opened


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    """Where the pictures go: into the guide when asked for, otherwise nowhere."""
    return GUIDE / "images" if os.environ.get("YUMEN_GUIDE") == "1" else tmp_path


class Camera:
    """Takes each picture in both languages."""

    def __init__(self, town: Portal, gallery: Path) -> None:
        self.town, self.gallery = town, gallery
        self.taken: set[str] = set()

    def visitor(self, uid: str) -> Visitor:
        """A browser of `uid` as wide as a picture; of nobody without one."""
        size = {"width": WIDTH, "height": 600}
        return self.town.session(uid, viewport=size) if uid else self.town.visitor(viewport=size)

    def take(self, name: str, visitor: Visitor, address: str, ready: str = "main", height: int = 600) -> None:
        """The top of the page at `address` as soon as `ready` is there."""
        for lang in LANGUAGES:
            page = visitor.open(f"{address}{'&' if '?' in address else '?'}lang={lang}")
            page.wait_for_selector(ready)
            page.wait_for_load_state("networkidle")
            path = self.gallery / lang / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(smaller(page.screenshot(clip={"x": 0, "y": 0, "width": WIDTH, "height": height})))
        self.taken.add(f"{name}.png")


def smaller(png: bytes) -> bytes:
    """The same picture, packed as tightly as PNG allows (PNG specification, section 11.2.4)."""
    chunks, at = [], 8
    while at < len(png):
        size = int.from_bytes(png[at : at + 4])
        chunks.append((png[at + 4 : at + 8], png[at + 8 : at + 8 + size]))
        at += size + 12
    data = zlib.compress(zlib.decompress(b"".join(body for kind, body in chunks if kind == b"IDAT")), 9)
    kept = [(b"IHDR", chunks[0][1]), (b"IDAT", data), (b"IEND", b"")]
    return png[:8] + b"".join(len(body).to_bytes(4) + kind + body + zlib.crc32(kind + body).to_bytes(4) for kind, body in kept)


@pytest.mark.component("chromium", "cjk-font")
@pytest.mark.journey
@pytest.mark.proof
def test_each_role_goes_its_way_and_the_guide_shows_it(town: Portal, gallery: Path) -> None:
    camera = Camera(town, gallery)
    camera.take("sign-in", camera.visitor(""), "/login")
    _security(camera)
    _applications(camera)
    _trail(camera)
    camera.take("system", camera.visitor("wujiu"), "/system", ".note.good")
    _staff_and_registrar(camera)
    _a_year_later(camera)
    assert camera.taken == {Path(name).name for page in PAGES for name in PICTURE.findall(text("en", page))}


def _staff_and_registrar(camera: Camera) -> None:
    """Others wait already when 张三 asks; he gets his certificate."""
    for place in ("renshe.qinghe.linhe.jiangzhou", "gongan.qinghe.linhe.jiangzhou"):
        _clerk_asks(camera.town, place)
        camera.town.jump(minutes=47)
    staff = camera.visitor("zhangsan")
    request = ask(staff)
    desk = camera.visitor("zhaoliu")
    camera.take("desk-queue", desk, "/desk", "[data-keys]:not([hidden])")
    camera.take("desk-request", desk, f"/desk/requests/{request}", "[data-keys]:not([hidden])")
    approve(camera.town, "zhaoliu", request)
    camera.take("staff-ready", staff, f"/requests/{request}", "form[data-finish]:not([hidden])")
    staff.page.fill("#password", PASSWORD)
    with staff.page.expect_download():
        staff.page.click("form[data-finish] button")


def _clerk_asks(town: Portal, place: str) -> None:
    uid = next(one.uid for one in province.demonstration().clerks if one.place == place)
    directory = town.node.world.current().directory
    person = directory.by_uid[uid]
    about = facts(town.node.world.current(), f"person:{person.id}")
    caller = Caller(actor=Actor(ActorKind.PERSON, person.id, "password+totp"), person=person)
    permit = require(town.node.world, town.node.trail, caller, Action.REQUEST_SUBMIT, Target(about.ref, about.unit, about.owner))
    with recording(town.node.trail) as tx:
        registration.submit(tx, permit=permit, draft=Draft(profile="staff-sign", csr=csr.parse(make_csr()), facts=about))


def _security(camera: Camera) -> None:
    visitor = camera.visitor("zhengshi")
    camera.take("security-roles", visitor, "/security")
    camera.take("security-ask", visitor, "/security/ask?action=request:approve&unit=清河县", "tbody")


def _applications(camera: Camera) -> None:
    camera.take("application-new", camera.visitor("wujiu"), "/applications/new")
    owner = camera.visitor("fenger")
    camera.take("application", owner, "/applications/oa")
    camera.take("application-start", owner, "/applications/oa/start")


def _trail(camera: Camera) -> None:
    """Somebody is refused, and the auditor sees why, and that all is well."""
    camera.town.session("zhangsan").open("/desk")
    Reconciler(camera.town.node.trail, Directory(camera.town.node.trail, camera.town.node.world)).turn()
    auditor = camera.visitor("qianyi")
    page = auditor.open("/trail")
    page.locator(".page-head .btn-jade").click()
    expect(page.locator(".stamp.good")).to_have_count(2)
    camera.take("trail-overview", auditor, "/trail", ".vitals .stamp.good", 560)
    page.goto("/trail?q=code:AZ1002+out:deny")
    page.locator(".ledger a").first.click()
    camera.take("trail-why", auditor, f"{page.url.removeprefix(camera.town.url)}/why", ".note.bad")


def _a_year_later(camera: Camera) -> None:
    camera.town.jump(days=345)
    camera.take("staff-home", camera.visitor("zhangsan"), "/", ".pass .btn-jade", 560)
