"""Who wrote before: what a starting process says about the earlier starts of its node that nobody has closed yet."""

from __future__ import annotations

from typing import Any

import orjson

from audit.append import Rows
from audit.counters import ranges

_STARTS = "SELECT body FROM trail_event WHERE object = ? AND code = 'AZ9002' ORDER BY t"
_LAST = "SELECT max(counter), max(settled) FROM trail_batch WHERE node = ? AND boot = ?"
_OPEN = "SELECT log, epoch, first, size FROM trail_batch WHERE node = ? AND boot = ? AND counter > ?"
_BODIES = "SELECT body FROM trail_event WHERE log = ? AND epoch = ? AND idx >= ? AND idx < ?"


def predecessors(rows: Rows, node: str) -> list[dict[str, Any]]:
    """Earlier starts of `node` that no later start has named: boot, last number, and the numbers that died with it."""
    starts = [orjson.loads(row[0]) for row in rows(_STARTS, (f"node:{node}",))]
    named = {earlier["boot"] for start in starts for earlier in start.get("d", {}).get("previous", [])}
    boots = [start["w"]["b"] for start in starts if start["w"]["b"] not in named]
    return [_account(rows, node, boot) for boot in boots[-64:]]


def _account(rows: Rows, node: str, boot: str) -> dict[str, Any]:
    [(last, settled)] = rows(_LAST, (node, boot))
    present: set[int] = set()
    for place in rows(_OPEN, (node, boot, settled)):
        for (body,) in rows(_BODIES, place):
            told = orjson.loads(body)
            if told["w"]["b"] == boot:
                present.add(told["w"]["s"])
                present.update(number for first, end in told.get("d", {}).get("numbers", []) for number in range(first, end + 1))
    lost = ranges(set(range(settled + 1, last + 1)) - present)
    return {"boot": boot, "last": last} | ({"lost": lost} if lost else {})
