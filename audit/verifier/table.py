"""The events of a bundle as a table for people (CSV, RFC 4180): it follows from the events, so the verifier makes it anew.

A cell that a spreadsheet would take for a formula begins with an apostrophe. Every cell is quoted; the text begins with a
byte order mark, without which common programs do not read Chinese.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from collections.abc import Iterable, Mapping
from typing import Any

COLUMNS = (
    *("log", "index", "time", "code", "act", "outcome", "reason", "actor_kind", "actor", "authenticated_by", "certificate_used", "roles"),
    *("object", "certificate", "unit", "rule", "revision", "request", "node", "boot", "number", "id", "details"),
)
#: What begins a formula in one program or another, ASCII or full width.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def table(events: Iterable[tuple[str, int, bytes]]) -> bytes:
    """The table of `events`: log with epoch, index and exact body each. The same events give the same bytes."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for log, index, body in events:
        writer.writerow([_cell(value) for value in _row(log, index, _read(body))])
    return ("\ufeff" + out.getvalue()).encode("utf-8", "surrogatepass")


def _row(log: str, index: int, body: Mapping[str, Any]) -> tuple[Any, ...]:
    actor, rule, writer = body.get("actor", {}), body.get("pol", {}), body.get("w", {})
    details = json.dumps(body["d"], ensure_ascii=False, sort_keys=True) if "d" in body else ""
    return (
        *(log, index, _time(body.get("t")), body.get("code", ""), body.get("act", ""), body.get("out", ""), body.get("rsn", "")),
        *(actor.get("k", ""), actor.get("id", ""), actor.get("auth", ""), actor.get("ser", ""), " ".join(actor.get("roles", ()))),
        *(body.get("obj", ""), body.get("cert", ""), body.get("scope", ""), rule.get("rule", ""), rule.get("rev", ""), body.get("req", "")),
        *(writer.get("n", ""), writer.get("b", ""), writer.get("s", ""), body.get("id", ""), details),
    )


def _read(body: bytes) -> dict[str, Any]:
    """What stands in `body`; nothing when somebody made it unreadable, which the proof tells."""
    try:
        told = json.loads(body)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _time(microseconds: object) -> str:
    if not isinstance(microseconds, int):
        return ""
    moment = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc) + dt.timedelta(microseconds=microseconds)  # noqa: UP017 - as old as may be
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _cell(value: object) -> str:
    text = str(value)
    return "'" + text if text.lstrip(" \u00a0\u3000").startswith(_FORMULA) or text.startswith(_FORMULA) else text
