"""The emergency plan says what can be done: its commands exist, both languages say the same, and what it promises was tried."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from cli.main import main
from tests.shape.rules import ROOT

PLAN = ROOT / "docs" / "emergency-plan"
LANGUAGES = ("en", "zh")


def text(language: str) -> str:
    return (PLAN / f"{language}.md").read_text("utf-8")


def lines(language: str) -> list[str]:
    """Every line of every block of commands."""
    return [line for block in re.findall(r"^```sh\n(.*?)^```", text(language), re.DOTALL | re.MULTILINE) for line in block.splitlines()]


def inline(language: str) -> list[str]:
    """Commands in running text."""
    return [found for found in re.findall(r"`([^`\n]+)`", text(language)) if found.startswith(("yumen ", "yumen-operator "))]


OURS = re.compile(r"(?:[A-Z_]+=\S+ )*(?:yumen|yumen-operator) ")
COMMANDS = [each for each in dict.fromkeys([*lines("en"), *inline("en")]) if OURS.match(each)]


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_and_option_of_the_plan_exists(line: str):
    words = shlex.split(line)
    while words[0] not in {"yumen", "yumen-operator"}:
        words.pop(0)
    command: click.Command = main
    context, rest = click.Context(main, info_name="yumen"), words[1:]
    while isinstance(command, click.Group):
        name = rest.pop(0)
        found = command.get_command(context, name)
        assert found is not None, f"there is no command {name}"
        command = found
    options = {option: each for each in command.params if isinstance(each, click.Option) for option in each.opts}
    given = [word for word in rest if word.startswith("--")]
    assert [word for word in given if word not in options] == []
    plain, taken = [], iter(rest)
    for word in taken:
        if word not in options:
            plain.append(word)
        elif not options[word].is_flag:
            next(taken)
    arguments = [each for each in command.params if isinstance(each, click.Argument)]
    assert len(plain) <= len(arguments) or any(each.nargs == -1 for each in arguments)
    assert len([each for each in arguments if each.required]) <= len(plain)


def test_both_languages_give_the_same_commands_in_the_same_order():
    assert lines("en") == lines("zh")
    assert inline("en") == inline("zh")


def test_both_languages_have_the_same_sections():
    shape = [[len(level) for level in re.findall(r"^(#+) ", text(language), re.MULTILINE)] for language in LANGUAGES]
    assert shape[0] == shape[1]
    rows = [text(language).count("\n|") for language in LANGUAGES]
    assert rows[0] == rows[1]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_disaster_is_found_from_the_first_page(language: str):
    anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^## (.+)$", text(language), re.MULTILINE)}
    links = re.findall(r"\]\(#([^)]+)\)", text(language))
    assert len(links) >= 6
    assert [link for link in links if link not in anchors] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_files_that_the_plan_names_are_files_of_a_home(language: str):
    """Names that were changed in the code would send the operator to nothing."""
    from ops import homes

    home = Path("/var/lib/yumen")
    known = {str(homes.notes_folder(home)), str(homes.notes_folder(home) / "ca.note"), str(home)}
    known |= {str(home / name) for name in ("keys/worker", "keys/worker/ca/staff.sealed", "keys/web/session.sealed", "first-codes.txt")}
    known |= {str(home / name) for name in ("drill.md", "assess.md")}
    named = {found.rstrip("/") for found in re.findall(r"/var/lib/yumen[\w./-]*", text(language))}
    assert named - known - {"/var/lib/yumen.damaged"} == set()
