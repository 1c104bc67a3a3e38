"""The look: readable by contrast in light and dark, small, from nowhere else, without inline code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

WEB = Path(__file__).parents[2] / "web"
STYLE = (WEB / "static" / "yumen.css").read_text("utf-8")
TEMPLATES = sorted((WEB / "templates").rglob("*.html"))

#: Text on ground, as the parts use them.
PAIRS = [
    *((ink, ground) for ink in ("ink", "ink-soft", "jade", "seal") for ground in ("paper", "sheet")),
    ("ink", "well"),
    ("ink-soft", "well"),
    ("ink", "jade-wash"),
    ("jade", "jade-wash"),
    ("ink", "seal-wash"),
    ("seal", "seal-wash"),
    ("ink", "amber-wash"),
    ("amber", "amber-wash"),
    ("on-jade", "jade-fill"),
    ("on-jade", "jade-press"),
    ("on-jade", "seal-fill"),
]


def _tokens(scheme: str) -> dict[str, str]:
    light, dark = (
        dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", block)) for block in re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)[:2]
    )
    return light if scheme == "light" else light | dark


def _luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, two: str) -> float:
    bright, dim = sorted((_luminance(one), _luminance(two)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("ink", "ground"), PAIRS)
def test_text_is_readable_on_its_ground(scheme: str, ink: str, ground: str) -> None:
    """WCAG 2.2 section 1.4.3, level AA."""
    tokens = _tokens(scheme)
    assert _contrast(tokens[ink], tokens[ground]) >= 4.5


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_focus_and_borders_of_fields_are_seen(scheme: str) -> None:
    """WCAG 2.2 section 1.4.11: 3 to 1 for what one must see to operate it."""
    tokens = _tokens(scheme)
    for mark in ("focus", "line-firm"):
        assert min(_contrast(tokens[mark], tokens[ground]) for ground in ("paper", "sheet")) >= 3


def test_own_assets_of_a_page_are_under_a_hundred_kilobytes() -> None:
    assert sum(path.stat().st_size for path in (WEB / "static").iterdir()) < 100_000


def test_templates_name_no_other_host_and_hold_no_inline_code() -> None:
    for path in TEMPLATES:
        text = path.read_text("utf-8")
        assert not re.search(r"https?://|//cdn", text.replace("http://www.w3.org/2000/svg", "")), path
        assert not re.search(r"\son[a-z]+=|\sstyle=|<style|javascript:", text), path
        assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", text)), path


def test_no_template_switches_escaping_off() -> None:
    assert [path for path in TEMPLATES if re.search(r"\|\s*safe\b|autoescape\s+false", path.read_text("utf-8"))] == []


def test_style_sheet_takes_nothing_from_elsewhere() -> None:
    assert "url(" not in STYLE
    assert "@import" not in STYLE


def test_every_form_that_changes_something_carries_its_token() -> None:
    for path in TEMPLATES:
        text = path.read_text("utf-8")
        for form in re.findall(r"<form[^>]*method=\"post\".*?</form>", text, re.DOTALL):
            assert "csrf()" in form or "data-finish" in form, path


def test_password_of_the_key_has_no_name_and_so_is_never_sent() -> None:
    for name in ("key.html", "request.html"):
        fields = re.findall(r"<input[^>]*type=\"password\"[^>]*>", (WEB / "templates" / "staff" / name).read_text("utf-8"))
        assert fields
        assert all("name=" not in field for field in fields)
