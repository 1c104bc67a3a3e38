"""Every event of a process carries a number; a number that never reaches the tree is voided there.

So a reader of the trail can say not only that nothing was changed in it, but also that nothing was lost before it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from collections.abc import Set as AbstractSet

Ranges = list[list[int]]


def ranges(numbers: Iterable[int]) -> Ranges:
    """Sorted numbers as inclusive ranges: `{1, 2, 3, 7}` is `[[1, 3], [7, 7]]`."""
    found: Ranges = []
    for number in sorted(numbers):
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return found


class Counters:
    """The numbers of this process: 1, 2, 3, … Safe to share between threads."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._last = 0
        #: Numbers under way, in order: a dictionary keeps the order in which they were taken.
        self._open: dict[int, None] = {}
        self._owed: set[int] = set()

    def take(self) -> int:
        """The next number: from now on it must either land in the tree or be owed a void."""
        with self._mutex:
            self._last += 1
            self._open[self._last] = None
            return self._last

    def owe(self, numbers: Iterable[int]) -> None:
        """These numbers were rolled back: the next batch voids them."""
        with self._mutex:
            self._owed.update(numbers)

    def collect_owed(self) -> set[int]:
        """Hand over what is owed; whoever takes it either lands it or owes it again."""
        with self._mutex:
            owed, self._owed = self._owed, set()
            return owed

    def under_way(self) -> set[int]:
        """Numbers that were taken, and neither landed nor are owed a void."""
        with self._mutex:
            return self._open.keys() - self._owed

    def settled_with(self, numbers: AbstractSet[int]) -> int:
        """Up to which number nothing is open, once `numbers` have landed."""
        with self._mutex:
            return next((number - 1 for number in self._open if number not in numbers), self._last)

    def land(self, numbers: Iterable[int]) -> None:
        """These numbers are durable, as entries or as voided."""
        with self._mutex:
            for number in numbers:
                self._open.pop(number, None)
