"""How commands speak: tables for people, one JSON document with `--json`, progress on standard error, exit codes.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import click
import structlog
from rich.console import Console
from rich.table import Table

from core.errors import Error
from core.settings import BadSettings

FAILED = 1

F = TypeVar("F", bound=Callable[..., Any])


def json_option(function: F) -> F:
    """The option `--json` that every command has."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")(function)


class Command(click.Command):
    """A command that shows its example under the help and turns domain errors into exit code 1."""

    def __init__(self, *args: Any, example: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.example = example

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the example."""
        with formatter.section("Example"):
            formatter.write_text(self.example)

    def invoke(self, ctx: click.Context) -> Any:
        """Run, and end with 1 when the domain says no. What is logged meanwhile goes beside the answer, not into it."""
        structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr), cache_logger_on_first_use=False)
        try:
            return super().invoke(ctx)
        except (Error, BadSettings) as error:
            fail(error, as_json=bool(ctx.params.get("as_json")))


class Group(click.Group):
    """A group whose commands are `Command`s."""

    command_class = Command
    group_class = type


def fail(error: Error | BadSettings, *, as_json: bool) -> None:
    """Say what went wrong and leave with exit code 1."""
    code = error.code if isinstance(error, Error) else "settings"
    if as_json:
        facts = {
            key: value for key, value in getattr(error, "facts", {}).items() if isinstance(value, str | int | bool | list | dict | None)
        }
        click.echo(json.dumps({**facts, "code": code, "detail": str(error)}, ensure_ascii=False))
    else:
        click.echo(f"{code}: {error}", err=True)
    sys.exit(FAILED)


def show(value: Any, *, as_json: bool, text: Callable[[], None] | None = None) -> None:
    """Print `value` as JSON, or run `text`, or print its members line by line."""
    if as_json:
        click.echo(json.dumps(value, ensure_ascii=False, indent=1))
    elif text:
        text()
    elif isinstance(value, Mapping):
        lines(value)
    else:
        click.echo(str(value))


def lines(value: Mapping[str, Any]) -> None:
    """One line a member, names aligned."""
    width = max((len(name) for name in value), default=0)
    for name, member in value.items():
        shown = member if isinstance(member, str) else json.dumps(member, ensure_ascii=False)
        click.echo(f"{name.replace('_', ' ').ljust(width)}  {shown}")


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """A table of the named columns; says so when there is nothing."""
    if not rows:
        click.echo("nothing found")
        return
    grid = Table(*(column.replace("_", " ") for column in columns), box=None, pad_edge=False)
    for row in rows:
        grid.add_row(*(_cell(row.get(column)) for column in columns))
    console = Console(soft_wrap=False)
    console.print(grid, markup=False, highlight=False) if console.is_terminal else _plain(rows, columns)


def _plain(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    click.echo("\t".join(columns))
    for row in rows:
        click.echo("\t".join(_cell(row.get(column)) for column in columns))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@contextmanager
def progress(what: str) -> Iterator[Callable[[str], None]]:
    """A moving line on standard error while something takes its time; call the given function to say how far it is."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield functools.partial(_tell_once, [what], what)
        return
    with console.status(what) as status:
        yield lambda now: status.update(f"{what}: {now}")


def _tell_once(last: list[str], what: str, now: str) -> None:
    """Where no line can move, each change is a line of its own."""
    if last[0] != now:
        last[0] = now
        click.echo(f"{what}: {now}", err=True)
