"""A question to an application that is only imagined: from the words of a command, and its answer for people."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, BinaryIO

import click

from cli import output


def body(
    *,
    kind: str,
    properties: Iterable[str],
    permit: Iterable[str],
    forbid: Iterable[str],
    draft: BinaryIO | None,
    **plain: Any,
) -> dict[str, Any]:
    """What is sent. `properties` are `NAME=VALUE`, `permit` and `forbid` are `ROLE@UNIT`; of `plain` what was given.

    Raises:
        click.BadParameter: one of them is not written like that.
    """
    drafts = _drafts(draft) + [_grant(text, effect) for effect, texts in (("permit", permit), ("forbid", forbid)) for text in texts]
    given = {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items() if value not in (None, ())}
    return {**given, "type": kind, "properties": dict(map(_property, properties)), "add": drafts}


def tell(answer: dict[str, Any]) -> None:
    """Print both answers as a table, and whose answer changes."""
    if answer["now"]:
        rows = [{"which": which, **answer[which]} for which in ("now", "then")]
        output.table(rows, ["which", "decision", "reason", "rule", "role"])
    for word in ("gaining", "losing"):
        side = answer[word]
        names = ", ".join(f"{one['name']} ({one['uid']})" for one in side["first"])
        more = side["count"] - len(side["first"])
        click.echo(f"{word}: {side['count']}" + (f": {names}" if names else "") + (f", and {more} more" if more else ""))


def _drafts(file: BinaryIO | None) -> list[Any]:
    try:
        found = json.load(file) if file else []
    except ValueError as error:
        raise click.BadParameter(f"not JSON: {error}", param_hint="--draft") from error
    if not isinstance(found, list):
        raise click.BadParameter("must hold a JSON list of grants", param_hint="--draft")
    return found


def _grant(text: str, effect: str) -> dict[str, str]:
    role, _, unit = text.partition("@")
    return {"role": role, "unit": unit, "effect": effect}


def _property(text: str) -> tuple[str, Any]:
    """A value that reads as a number or a boolean of JSON is one."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise click.BadParameter(f"`{text}` is not NAME=VALUE", param_hint="--property")
    try:
        read = json.loads(value)
    except ValueError:
        return name, value
    return name, read if isinstance(read, bool | int) else value
