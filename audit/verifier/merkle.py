"""RFC 6962 Merkle trees: hashes, the right edge, tiles of 256, inclusion and consistency proofs. Bytes in, bytes out.

The algorithms are those of RFC 9162 section 2.1; nodes come from a getter, so that no storage is known here.
`Node(level, index)` is the root of the perfect subtree over the leaves `[index << level, (index + 1) << level)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256

from .errors import Tampered

#: Gives the root of a perfect subtree by (level, index).
Node = Callable[[int, int], bytes]

TILE_WIDTH = 256
EMPTY_ROOT = sha256(b"").digest()


def leaf_hash(entry: bytes) -> bytes:
    """Hash of one entry (RFC 9162 section 2.1.1)."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of two subtrees (RFC 9162 section 2.1.1)."""
    return sha256(b"\x01" + left + right).digest()


class Frontier:
    """The right edge of a tree: one hash per one-bit of its size, largest subtree first."""

    __slots__ = ("edge", "size")

    def __init__(self, size: int = 0, edge: bytes = b"") -> None:
        """Resume at `size` with the hashes that `encode` gave."""
        if len(edge) != 32 * size.bit_count():
            raise Tampered(f"the edge of a tree of {size} entries has {size.bit_count()} hashes, not {len(edge) / 32:g}")
        self.size = size
        self.edge = [edge[at : at + 32] for at in range(0, len(edge), 32)]

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Append leaf hashes."""
        edge, size = self.edge, self.size
        for leaf in leaves:
            carry, digest = size, leaf
            while carry & 1:
                digest = sha256(b"\x01" + edge.pop() + digest).digest()
                carry >>= 1
            edge.append(digest)
            size += 1
        self.size = size

    def root(self) -> bytes:
        """The root hash at this size."""
        if not self.edge:
            return EMPTY_ROOT
        digest = self.edge[-1]
        for left in reversed(self.edge[:-1]):
            digest = node_hash(left, digest)
        return digest

    def encode(self) -> bytes:
        """The edge as bytes, for `Frontier(size, edge)`."""
        return b"".join(self.edge)


def perfect_root(hashes: Sequence[bytes]) -> bytes:
    """Root over a power of two of hashes."""
    row = list(hashes)
    while len(row) > 1:
        row = [node_hash(row[at], row[at + 1]) for at in range(0, len(row), 2)]
    return row[0]


def split_tile(tile: bytes) -> list[bytes]:
    """The hashes of a tile, left to right."""
    return [tile[at : at + 32] for at in range(0, len(tile), 32)]


def range_root(node: Node, first: int, end: int) -> bytes:
    """Root of the subtree over the leaves `[first, end)`, where `first` is a multiple of the subtree's span."""
    parts = []
    while first < end:
        level = (end - first).bit_length() - 1
        if first:
            level = min(level, (first & -first).bit_length() - 1)
        parts.append(node(level, first >> level))
        first += 1 << level
    digest = parts.pop()
    while parts:
        digest = node_hash(parts.pop(), digest)
    return digest


def inclusion(node: Node, index: int, size: int) -> list[bytes]:
    """Inclusion proof of the leaf `index` in the tree of `size` leaves (RFC 9162 section 2.1.3.1)."""
    if not 0 <= index < size:
        raise ValueError("no such leaf")
    path, first, end = [], 0, size
    while end - first > 1:
        middle = first + (1 << ((end - first - 1).bit_length() - 1))
        if index < middle:
            path.append(range_root(node, middle, end))
            end = middle
        else:
            path.append(range_root(node, first, middle))
            first = middle
    return path[::-1]


def consistency(node: Node, old: int, new: int) -> list[bytes]:
    """Consistency proof between the trees of `old` and `new` leaves (RFC 9162 section 2.1.4.1)."""
    if not 0 <= old <= new:
        raise ValueError("the old tree is larger than the new one")
    if old in {0, new}:
        return []
    path, first, end, whole = [], 0, new, True
    while old != end:
        middle = first + (1 << ((end - first - 1).bit_length() - 1))
        if old <= middle:
            path.append(range_root(node, middle, end))
            end = middle
        else:
            path.append(range_root(node, first, middle))
            first, whole = middle, False
    if not whole:
        path.append(range_root(node, first, end))
    return path[::-1]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that `leaf` stands at `index` of the tree (RFC 9162 section 2.1.3.2).

    Raises:
        Tampered: it does not.
    """
    if not 0 <= index < size:
        raise Tampered(f"entry {index} lies outside a tree of {size} entries", index)
    low, high, digest = index, size - 1, leaf
    for sibling in proof:
        if high == 0:
            raise Tampered(f"the inclusion proof of entry {index} is too long", index)
        if low & 1 or low == high:
            digest = node_hash(sibling, digest)
            while not low & 1 and low:
                low, high = low >> 1, high >> 1
        else:
            digest = node_hash(digest, sibling)
        low, high = low >> 1, high >> 1
    if high != 0 or digest != root:
        raise Tampered(f"entry {index} is not in the tree of {size} entries", index)


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the tree of `new` leaves extends that of `old` leaves (RFC 9162 section 2.1.4.2).

    Raises:
        Tampered: it does not; the range names what lies between the two heads.
    """
    if old > new:
        raise Tampered(f"the tree shrank from {old} to {new} entries", new, old - 1)
    if old in {0, new}:
        if proof or (old == new and old_root != new_root) or (old == 0 and old_root != EMPTY_ROOT):
            raise Tampered(f"two different trees of {old} entries", 0, max(old - 1, 0))
        return
    if _climb(old, new, old_root, proof) != (old_root, new_root):
        raise Tampered(f"the tree of {new} entries does not extend the trusted tree of {old} entries", 0, new - 1)


def _climb(old: int, new: int, old_root: bytes, proof: Sequence[bytes]) -> tuple[bytes, bytes] | None:
    """The two roots that `proof` leads to, or None when its length is wrong."""
    path = list(proof) if old & (old - 1) else [old_root, *proof]
    if not path:
        return None
    low, high = old - 1, new - 1
    while low & 1:
        low, high = low >> 1, high >> 1
    first = second = path[0]
    for sibling in path[1:]:
        if high == 0:
            return None
        if low & 1 or low == high:
            first, second = node_hash(sibling, first), node_hash(sibling, second)
            while not low & 1 and low:
                low, high = low >> 1, high >> 1
        else:
            second = node_hash(second, sibling)
        low, high = low >> 1, high >> 1
    return (first, second) if high == 0 else None
