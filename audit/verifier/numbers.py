"""Completeness before the tree: each process numbers its events, and every number must be there, voided or declared lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Writer = tuple[str, str]
Ranges = list[tuple[int, int]]

#: A longer range in one entry is not believed: it would only exhaust the reader.
_MOST = 1 << 20
#: Of so many lost writers it is remembered how far they came.
_KEPT = 64


class Numbers:
    """Collects the writer numbers of all entries of all logs, in any order."""

    def __init__(self) -> None:
        self._seen: dict[Writer, set[int]] = {}
        self._whole: dict[Writer, int] = {}
        self._last: dict[Writer, int] = {}
        self._ended: set[Writer] = set()
        #: Writers that were declared lost, with their last number then: a greater one shows that they go on.
        self._lost: dict[Writer, int] = {}

    @property
    def running(self) -> dict[Writer, int]:
        """The last number of each writer that has neither ended nor is lost."""
        return {who: last for who, last in self._last.items() if who not in self._ended and last > self._lost.get(who, -1)}

    def note(self, body: Mapping[str, Any]) -> None:
        """Take one entry's number into account, and what it says about other numbers."""
        told = body.get("w")
        if not isinstance(told, dict):
            return
        node, boot = str(told.get("n")), str(told.get("b"))
        self._add((node, boot), told.get("s"), told.get("s"))
        details, code = body.get("d", {}), body.get("code")
        if code == "AZ9004":
            self._all((node, boot), details.get("numbers", []))
        elif code == "AZ9006":
            self._ended.add((node, boot))
            self._all((node, boot), details.get("open", []))
        elif code == "AZ9007":
            # Not ended: whoever was only frozen goes on later, and nothing that it does then is a finding.
            writer = self._closed(str(body.get("obj")).removeprefix("node:"), details)
            self._lost[writer] = int(details.get("last", 0))
        elif code in {"AZ9002", "CA9002"}:
            self._ended.update(self._closed(node, earlier) for earlier in details.get("previous", []))

    def _closed(self, node: str, told: Mapping[str, Any]) -> Writer:
        """What somebody else says of a writer: its last number, and the numbers that died with it."""
        writer = (node, str(told.get("boot")))
        self._last[writer] = max(self._last.get(writer, 0), int(told.get("last", 0)))
        self._all(writer, told.get("lost", []))
        return writer

    def _all(self, writer: Writer, ranges: Any) -> None:
        for first, last in ranges:
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
        writers = [writer for writer in self._last if (writer in self._ended) is ended]
        return {writer: gaps for writer in writers if (gaps := self.gaps(writer, self._last[writer]))}

    def gaps(self, writer: Writer, last: int) -> Ranges:
        """Numbers of `writer` up to `last` that never arrived."""
        at, gaps = self._whole.get(writer, 0) + 1, []
        for number in [*sorted(n for n in self._seen.get(writer, ()) if at <= n <= last), last + 1]:
            if number > at:
                gaps.append((at, number - 1))
            at = number + 1
        return gaps

    def declare(self, writer: Writer, ranges: Ranges) -> None:
        """Take note that these numbers were told of as missing: once is enough."""
        self._all(writer, ranges)

    def state(self) -> list[list[Any]]:
        """What must be known to go on later: of each writer that may write again its last number, and what is whole."""
        silent = [writer for writer in self._lost if writer not in self._ended][-_KEPT:]
        kept = {**self.running, **{writer: self._last[writer] for writer in silent}}
        return [
            [*writer, last, self._lost.get(writer, -1), self._whole.get(writer, 0), _ranges(self._seen.get(writer, set()))]
            for writer, last in kept.items()
        ]

    @classmethod
    def resumed(cls, state: list[list[Any]]) -> Numbers:
        """As they were when `state` was given."""
        numbers = cls()
        for node, boot, last, lost, whole, seen in state:
            writer = (str(node), str(boot))
            numbers._whole[writer], numbers._last[writer] = int(whole), int(last)
            numbers._all(writer, seen)
            if lost >= 0:
                numbers._lost[writer] = int(lost)
        return numbers


def _ranges(numbers: set[int]) -> list[list[int]]:
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return found
