"""Writes `docs/cli.md` from the commands themselves: `python -m cli.reference > docs/cli.md`. A test compares the two."""

from __future__ import annotations

from collections.abc import Iterator

import click

from cli.main import main

_HEAD = """# The `yumen` command

Written from the commands themselves by `.venv/bin/python -m cli.reference > docs/cli.md`.

Every command has `--help` with an example, and `--json`. Exit codes: 0 done, 1 refused or failed, 2 wrong usage.
"""


def reference() -> str:
    """The whole page."""
    top = click.Context(main, info_name="yumen", terminal_width=100, max_content_width=100, **main.context_settings)
    return "\n".join([_HEAD, *map(_page, _walk(top))])


def _walk(context: click.Context) -> Iterator[click.Context]:
    yield context
    if isinstance(context.command, click.Group):
        for name, command in sorted(context.command.commands.items()):
            yield from _walk(click.Context(command, info_name=name, parent=context, terminal_width=100, max_content_width=100))


def _page(context: click.Context) -> str:
    return f"## {context.command_path}\n\n```text\n{context.get_help()}\n```\n"


if __name__ == "__main__":
    print(reference(), end="")
