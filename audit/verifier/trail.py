"""A trail that somebody trusts up to a head, and how that trust moves forward."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .errors import Tampered
from .merkle import Frontier, leaf_hash, verify_consistency
from .note import Checkpoint


class TrustedTrail:
    """One log as its watcher knows it: the newest head that was linked to the first one trusted from outside."""

    def __init__(self, head: Checkpoint) -> None:
        self.head = head

    def advance(self, new: Checkpoint, proof: Sequence[bytes]) -> None:
        """Trust `new` instead of the present head.

        Raises:
            Tampered: `new` is of another log, is shorter, or `proof` does not link the two roots (RFC 9162 section 2.1.4).
        """
        if new.origin != self.head.origin:
            raise Tampered(f"the head is of `{new.origin}`, not of `{self.head.origin}`")
        verify_consistency(self.head.size, new.size, self.head.root, new.root, proof)
        self.head = new

    def check(self, entries: Iterable[bytes]) -> None:
        """Check that `entries`, from index 0 on, are exactly what the head covers.

        Raises:
            Tampered: too few or too many, or the root differs.
        """
        tree = Frontier()
        tree.extend(leaf_hash(entry) for entry in entries)
        if tree.size != self.head.size:
            first, last = sorted((tree.size, self.head.size))
            raise Tampered(f"{tree.size} entries where the trusted head covers {self.head.size}", first, last - 1)
        if tree.root() != self.head.root:
            raise Tampered("the entries do not lead to the trusted root", 0, max(tree.size - 1, 0))
