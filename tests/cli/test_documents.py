from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cli.main import main
from cli.output import Command
from cli.reference import reference

DOCS = Path(__file__).parents[2] / "docs" / "cli.md"


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if isinstance(command, click.Group):
        for name, each in command.commands.items():
            yield from leaves(each, (*path, name))
    else:
        yield path, command


COMMANDS = dict(leaves(main))


def test_the_page_is_what_the_commands_say():
    assert DOCS.read_text("utf-8") == reference()


def test_the_commands_of_the_contract_are_there():
    wanted = (
        "init serve worker status login enroll|ca ceremony|ca list|ca show|audit verify|audit head|audit search|audit prove|audit export"
    )
    wanted += "|authz explain|authz who-can|authz simulate|authz replay|request submit|request approve|cert revoke"
    names = {name for part in wanted.split("|")[1:] for name in [part]} | set(wanted.split("|")[0].split())
    assert names <= {" ".join(path) for path in COMMANDS}


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example_and_json(path):
    command = COMMANDS[path]
    assert isinstance(command, Command)
    assert command.example.startswith(f"yumen {' '.join(path)}")
    assert [parameter for parameter in command.params if "--json" in parameter.opts]
    shown = CliRunner().invoke(main, [*path, "--help"])
    assert shown.exit_code == 0
    assert command.example[:40] in shown.output


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_option_and_command_says_what_it_is(path):
    command = COMMANDS[path]
    assert command.help
    assert [each.name for each in command.params if isinstance(each, click.Option) and not each.help] == []


def test_wrong_usage_is_exit_two():
    assert CliRunner().invoke(main, ["nonsense"]).exit_code == 2
    assert CliRunner().invoke(main, ["cert", "revoke"]).exit_code == 2


def test_a_missing_home_is_exit_one_and_says_what_to_do(tmp_path):
    ended = CliRunner(env={"YUMEN_HOME": str(tmp_path / "none"), "YUMEN_SETTINGS": ""}).invoke(main, ["status"])
    assert ended.exit_code == 1
    assert "yumen init --demo" in ended.output
