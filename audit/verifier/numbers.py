"""Completeness before the tree: each process numbers its events, and every number must be there, voided or declared lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Writer = tuple[str, str]
Ranges = list[tuple[int, int]]

#: A longer range in one entry is not believed: it would only exhaust the reader.
_MOST = 1 << 20


class Numbers:
    """Collects the writer numbers of all entries of all logs, in any order."""

    def __init__(self) -> None:
        self._seen: dict[Writer, set[int]] = {}
        self._whole: dict[Writer, int] = {}
        self._last: dict[Writer, int] = {}
        self._ended: set[Writer] = set()

    def note(self, body: Mapping[str, Any]) -> None:
        """Take one entry's number into account, and what it says about other numbers."""
        told = body.get("w")
        if not isinstance(told, dict):
            return
        node, boot = str(told.get("n")), str(told.get("b"))
        self._add((node, boot), told.get("s"), told.get("s"))
        details = body.get("d", {})
        if body.get("code") == "AZ9004":
            for first, last in details.get("numbers", []):
                self._add((node, boot), first, last)
        for earlier in details.get("previous", []) if body.get("code") in {"AZ9002", "CA9002"} else []:
            writer = (node, str(earlier.get("boot")))
            self._ended.add(writer)
            self._last[writer] = max(self._last.get(writer, 0), int(earlier.get("last", 0)))
            for first, last in earlier.get("lost", []):
                self._add(writer, first, last)

    def _add(self, writer: Writer, first: object, last: object) -> None:
        if not isinstance(first, int) or not isinstance(last, int) or last - first > _MOST:
            return
        seen, whole = self._seen.setdefault(writer, set()), self._whole.get(writer, 0)
        seen.update(range(first, last + 1))
        self._last[writer] = max(self._last.get(writer, 0), last)
        while whole + 1 in seen:
            whole += 1
            seen.discard(whole)
        self._whole[writer] = whole

    def missing(self, *, ended: bool) -> dict[Writer, Ranges]:
        """Numbers that never arrived, by writer: of those that have ended, or of those that may still be running."""
        found: dict[Writer, Ranges] = {}
        for writer, last in self._last.items():
            if (writer in self._ended) is not ended:
                continue
            at, gaps = self._whole.get(writer, 0) + 1, []
            for number in [*sorted(n for n in self._seen.get(writer, ()) if n >= at), last + 1]:
                if number > at:
                    gaps.append((at, number - 1))
                at = number + 1
            if gaps:
                found[writer] = gaps
        return found
