"""What is documented is true, and what is true is documented."""

from __future__ import annotations

import ast
import dataclasses
import datetime as dt
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from audit.event import Kind
from authz.policy import POLICY
from certs.profiles import PROFILES
from core.errors import Error
from core.settings import Settings
from tests.shape.rules import ROOT, sources
from web.problems import STATUS

DOCS = ROOT / "docs"
_ROW = re.compile(r"^\| `([^`]+)` \| ([^|]+) \|(.*)$", re.MULTILINE)


def _rows(page: str) -> dict[str, tuple[str, str]]:
    """First cell in backticks -> second and remaining cells of every table row of a page."""
    return {match[1]: (match[2].strip(), match[3]) for match in _ROW.finditer((DOCS / page).read_text("utf-8"))}


def _kinds(kind: type[Error] = Error) -> Iterator[type[Error]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _kinds(child)


def test_every_error_code_is_documented_with_its_status() -> None:
    documented = {code: int(cells[0]) for code, cells in _rows("errors.md").items()}
    assert documented == dict(STATUS)
    assert set(STATUS) == {kind.code for kind in _kinds() if kind.__module__ == "core.errors"}


def _written(value: Any) -> str:
    """A default as the settings page writes it."""
    if isinstance(value, dt.timedelta):
        units = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1))
        milliseconds = value // dt.timedelta(milliseconds=1)
        # 24 hours are written as hours: a lifetime of a day is meant as its hours.
        name, size = next((name, size) for name, size in units if milliseconds % size == 0 and milliseconds // size > (name == "d"))
        return f"`{milliseconds // size}{name}`"
    return "none" if value in (Path(), "") else f"`{value}`"


def test_every_setting_is_documented_with_its_default() -> None:
    expected = {"mode": "`production`"}
    for section, kind in get_type_hints(Settings).items():
        if dataclasses.is_dataclass(kind):
            for field in dataclasses.fields(kind):
                default = field.default if field.default is not dataclasses.MISSING else field.default_factory()
                expected[f"{section}.{field.name}"] = _written(default)
    assert {name: cells[0] for name, cells in _rows("settings.md").items()} == expected


def test_every_event_kind_is_documented() -> None:
    text = (DOCS / "events.md").read_text("utf-8")
    assert [kind.code for kind in Kind if kind.code not in text or kind.value.name not in text] == []
    assert sorted(set(re.findall(r"\b(?:CA|AZ)\d{4}\b", text)) - {kind.code for kind in Kind}) == []


def test_every_policy_row_is_documented() -> None:
    text = (DOCS / "policy.md").read_text("utf-8")
    assert [rule.id for rule in POLICY if f"`{rule.id}`" not in text] == []


def test_every_profile_is_documented() -> None:
    text = (DOCS / "profiles.md").read_text("utf-8")
    assert [name for name in PROFILES if f"`{name}`" not in text] == []


_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
#: Import name where it is not the package's own.
_IMPORTED_AS = {
    "argon2-cffi": "argon2",
    "bootstrap-flask": "flask_bootstrap",
    "flask-babel": "flask_babel",
    "flask-wtf": "flask_wtf",
    "prometheus-client": "prometheus_client",
    "pyopenssl": "OpenSSL",
}
#: Needed, though nothing of ours imports them.
_NOT_IMPORTED = {"setuptools": "installs the `yumen` command"}


def _names(requirements: list[str]) -> list[str]:
    return [re.match(r"[a-z0-9-]+", requirement)[0] for requirement in requirements]


def test_every_dependency_is_documented_and_no_other() -> None:
    wanted = _names(_PROJECT["project"]["dependencies"]) + _names(_PROJECT["dependency-groups"]["dev"])
    assert sorted(_rows("dependencies.md")) == sorted(wanted)


def test_every_dependency_is_imported() -> None:
    imported: set[str] = set()
    for source in sources():
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            if isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").partition(".")[0])
    wanted = {name: _IMPORTED_AS.get(name, name) for name in _names(_PROJECT["project"]["dependencies"])}
    assert [name for name, module in wanted.items() if module not in imported and name not in _NOT_IMPORTED] == []


@pytest.mark.parametrize("lock", ["requirements.txt", "requirements-dev.txt"])
def test_lock_is_hashed_and_names_no_index(lock: str) -> None:
    pins = re.split(r"\n(?=\S)", (ROOT / lock).read_text("utf-8").strip())
    assert [pin for pin in pins if not re.match(r"[a-z0-9_.-]+==\S+( ; [^\n]+?)? \\\n    --hash=sha256:[0-9a-f]{64}", pin)] == []


def test_lock_satisfies_what_is_declared() -> None:
    run = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements.txt").read_text("utf-8"), re.MULTILINE))
    dev = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements-dev.txt").read_text("utf-8"), re.MULTILINE))
    assert set(_names(_PROJECT["project"]["dependencies"])) <= run
    assert set(_names(_PROJECT["dependency-groups"]["dev"])) <= dev


def _tracked(*endings: str) -> list[Path]:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return [ROOT / name for name in names if name.endswith(endings) and (ROOT / name).is_file()]


def test_links_between_pages_lead_somewhere() -> None:
    links = [(page, target) for page in _tracked(".md") for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text("utf-8"))]
    inside = [(page, target) for page, target in links if "://" not in target]
    assert [f"{page.relative_to(ROOT)}: {target}" for page, target in inside if not (page.parent / target).exists()] == []


def test_commands_of_the_readme_exist() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z]+)", text)) <= targets
    assert {"run", "test", "check", "demo", "proof", "bench"} <= set(re.findall(r"`make ([a-z]+)", text))


def test_tests_that_pages_name_exist() -> None:
    """A promise is documented together with the test that tries to break it: `tests/room/test_x.py::test_claim` or a file."""
    broken = []
    for page in _tracked(".md"):
        for file, claim in re.findall(r"`(tests/[\w/.]+)(?:::(\w+))?`", page.read_text("utf-8")):
            path = ROOT / file
            if not path.exists() or (claim and f"def {claim}(" not in path.read_text("utf-8")):
                broken.append(f"{page.relative_to(ROOT)}: {file} {claim}")
    assert broken == []


def test_decisions_are_numbered_and_name_their_price() -> None:
    pages = sorted((DOCS / "adr").glob("*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        text = page.read_text("utf-8")
        assert re.match(rf"# {int(page.name[:4])}\. ", text), page.name
        assert [part for part in ("## Context", "## Decision", "## What it costs") if part not in text] == [], page.name


def test_no_path_of_a_machine_is_committed() -> None:
    here = str(ROOT)
    texts = _tracked(".py", ".md", ".toml", ".txt", ".html", ".js", ".css", ".po", "Makefile", "run")
    assert [str(path.relative_to(ROOT)) for path in texts if here in path.read_text("utf-8")] == []
