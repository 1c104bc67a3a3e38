"""The tree against the definition in RFC 6962 section 2.1, written down a second time as recursion."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.verifier.errors import Tampered
from audit.verifier.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency,
    inclusion,
    leaf_hash,
    node_hash,
    range_root,
    verify_consistency,
    verify_inclusion,
)

SIZES = st.integers(1, 700)
LEAVES = [leaf_hash(str(number).encode()) for number in range(700)]


def root_by_definition(leaves: list[bytes]) -> bytes:
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return node_hash(root_by_definition(leaves[:half]), root_by_definition(leaves[half:]))


def node(level: int, index: int) -> bytes:
    return root_by_definition(LEAVES[index << level : (index + 1) << level])


@given(SIZES)
def test_the_edge_leads_to_the_root_of_the_definition(size: int) -> None:
    tree = Frontier()
    tree.extend(LEAVES[: size // 2])
    tree = Frontier(tree.size, tree.encode())
    tree.extend(LEAVES[size // 2 : size])
    assert tree.root() == root_by_definition(LEAVES[:size]) == range_root(node, 0, size)


def test_the_known_roots_of_small_trees() -> None:
    # The first leaves of the certificate-transparency test suite.
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    tree = Frontier()
    tree.extend([leaf_hash(b"")])
    assert tree.root().hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    tree.extend([leaf_hash(b"\x00")])
    assert tree.root().hex() == "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"


def test_an_edge_of_another_size_is_refused() -> None:
    with pytest.raises(Tampered):
        Frontier(3, LEAVES[0])


@given(SIZES, st.data())
def test_every_entry_is_proved_and_no_other_in_its_place(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof, root = inclusion(node, index, size), root_by_definition(LEAVES[:size])
    verify_inclusion(LEAVES[index], index, size, proof, root)
    wrong = [(LEAVES[index], (index + 1) % size, proof) if size > 1 else (b"\0" * 32, index, proof), (LEAVES[index], index, [*proof, root])]
    if proof:
        wrong += [(LEAVES[index], index, proof[:-1]), (LEAVES[index], index, [bytes(32), *proof[1:]])]
    for leaf, place, path in wrong:
        with pytest.raises(Tampered):
            verify_inclusion(leaf, place, size, path, root)
    for place in (size, -1):
        with pytest.raises(Tampered):
            verify_inclusion(LEAVES[index], place, size, proof, root)


@given(SIZES, st.data())
def test_every_older_tree_is_a_prefix_and_no_other_is(size: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(0, size))
    proof = consistency(node, old, size)
    old_root, root = root_by_definition(LEAVES[:old]), root_by_definition(LEAVES[:size])
    verify_consistency(old, size, old_root, root, proof)
    for old_claim, claim, path in (
        (leaf_hash(b"other"), root, proof),
        (old_root, leaf_hash(b"other"), proof),
        (old_root, root, [*proof, root]),
    ):
        if old == 0 and claim != root:
            continue  # every tree extends the empty one
        with pytest.raises(Tampered):
            verify_consistency(old, size, old_claim, claim, path)
    if 0 < old < size:
        with pytest.raises(Tampered):
            verify_consistency(old, size, old_root, root, [])
        with pytest.raises(Tampered):
            verify_consistency(size, old, root, old_root, proof)


def test_proofs_of_what_is_not_there_are_not_made() -> None:
    with pytest.raises(ValueError, match="no such leaf"):
        inclusion(node, 3, 3)
    with pytest.raises(ValueError, match="larger"):
        consistency(node, 4, 3)
