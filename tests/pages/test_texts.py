"""Texts: every one has its Chinese, with the same facts in it, and nothing can be said that no catalogue knows."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from babel.messages.pofile import read_po
from flask import Flask
from flask_babel import gettext

from audit.permit import Action
from core.errors import Conflict, Denied
from tests.shape.rules import ROOT
from web.pages import catalogue, language, words
from web.pages.problem import said

SOURCE = language.FOLDER / "zh" / "LC_MESSAGES" / "messages.po"
PLACEHOLDER = re.compile(r"\{[a-z_]+(?:\.[a-z_]+)?\}|%\([a-z_]+\)s|`")


@pytest.fixture(scope="module")
def kept() -> dict[str, str]:
    with SOURCE.open("rb") as file:
        return {str(message.id): str(message.string) for message in read_po(file, locale="zh") if message.id}


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    """Every text that may be said, with a file that says it."""
    return dict(catalogue.texts())


def test_every_text_has_its_chinese(kept: dict[str, str], texts: dict[str, str]) -> None:
    """When this fails: `python -m web.pages.catalogue`, then fill in what it names."""
    assert [f"{path}: {text}" for text, path in texts.items() if not kept.get(text)] == []


def test_no_text_stands_in_the_catalogue_that_nobody_says(kept: dict[str, str], texts: dict[str, str]) -> None:
    assert sorted(set(kept) - set(texts)) == []


def test_a_translation_tells_the_same_facts(kept: dict[str, str]) -> None:
    changed = [text for text, chinese in kept.items() if sorted(PLACEHOLDER.findall(text)) != sorted(PLACEHOLDER.findall(chinese))]
    assert changed == []


def test_a_translation_is_chinese(kept: dict[str, str]) -> None:
    bare = {text: PLACEHOLDER.sub("", text) for text in kept}
    assert [text for text, chinese in kept.items() if re.search("[a-z]{3}", bare[text]) and not re.search("[\u4e00-\u9fff]", chinese)] == []


def _raised() -> Iterator[tuple[Path, ast.Call]]:
    for room in catalogue.ROOMS:
        for path in sorted((catalogue.ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in catalogue.ERRORS and node.args:
                    yield path, node


def test_no_error_is_made_from_a_text_that_no_catalogue_sees(texts: dict[str, str]) -> None:
    unseen = []
    for path, call in _raised():
        first = call.args[0]
        literal = isinstance(first, ast.Constant) and first.value in texts
        by_name = isinstance(first, ast.Name | ast.Subscript)  # `by_name` and `WORDS` are gathered by the catalogue
        if not literal and not by_name:
            unseen.append(f"{path.relative_to(catalogue.ROOT)}:{call.lineno}")
    assert unseen == []


@pytest.fixture
def app() -> Flask:
    app = Flask("test")
    language.register(app)
    return app


@pytest.mark.parametrize(
    ("query", "cookie", "header", "expected"),
    [
        ("", "", "", "zh"),
        ("", "", "fr", "zh"),
        ("", "", "en-GB,en;q=0.8", "en"),
        ("", "", "zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("", "en", "zh-CN", "en"),
        ("?lang=zh", "en", "en", "zh"),
        ("?lang=en", "", "", "en"),
        ("?lang=xx", "", "", "zh"),
    ],
)
def test_language_is_the_asked_one_then_the_remembered_then_the_browsers_then_chinese(
    app: Flask, query: str, cookie: str, header: str, expected: str
) -> None:
    headers = {"Accept-Language": header} if header else {}
    with app.test_request_context(f"/{query}", headers=headers | ({"Cookie": f"{language.COOKIE}={cookie}"} if cookie else {})):
        assert language.chosen() == expected


def test_error_reads_as_a_sentence_in_the_readers_language(app: Flask) -> None:
    error = Conflict("you have decided on request `{request}` already; another officer must", request=7)
    with app.test_request_context("/?lang=en"):
        assert said(error) == "You have decided on request `7` already; another officer must."
    with app.test_request_context("/?lang=zh"):
        assert said(error) == "您已对申请 `7` 作过决定；须由另一位注册员办理。"


def test_stored_words_in_an_error_are_translated_too(app: Flask) -> None:
    error = Denied(
        "this needs the role {needed}; ask somebody who holds it, or your security administrator", needed="registrar/security-admin"
    )
    with app.test_request_context("/?lang=zh"):
        assert "注册员/安全管理员" in said(error)


def test_what_a_caller_typed_is_never_taken_for_a_template(app: Flask) -> None:
    error = Conflict("you have decided on request `{request}` already; another officer must", request="{0.__class__} %(x)s %d")
    with app.test_request_context("/?lang=zh"):
        assert "{0.__class__} %(x)s %d" in said(error)
        assert gettext("100 % {sure}") == "100 % {sure}"


def test_every_reason_of_a_refusal_has_words() -> None:
    assert set(catalogue.WORDS) - set(words.REASON) == set()


def test_a_stale_compiled_catalogue_is_compiled_again(tmp_path: Path) -> None:
    source = tmp_path / "zh" / "LC_MESSAGES" / "messages.po"
    source.parent.mkdir(parents=True)
    source.write_bytes(SOURCE.read_bytes())
    language.compile_catalogue(source)
    first = source.with_suffix(".mo").stat().st_mtime_ns
    language.compile_catalogue(source)
    assert source.with_suffix(".mo").stat().st_mtime_ns == first
    assert list(source.parent.glob("*.[0-9]*")) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not write")
def test_who_may_not_write_to_the_code_starts_with_the_catalogue_that_is_there() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        source = Path(folder) / "zh" / "LC_MESSAGES" / "messages.po"
        source.parent.mkdir(parents=True)
        source.write_bytes(SOURCE.read_bytes())
        language.compile_catalogue(source)
        Path(folder).chmod(0o755)
        os.utime(source.with_suffix(".mo"), (0, 0))  # older than its source, as after an upgrade
        call = f"from pathlib import Path; from web.pages import language; language.compile_catalogue(Path({str(source)!r}))"
        nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-c", call]
        ended = subprocess.run(nobody, cwd=ROOT, capture_output=True, text=True, check=False, env={"PYTHONDONTWRITEBYTECODE": "1"})
        assert (ended.returncode, ended.stderr) == (0, "")


def test_every_act_of_the_policy_page_has_a_word() -> None:
    assert sorted(set(map(str, Action)) ^ set(words.ACTION)) == []
