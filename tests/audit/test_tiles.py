"""The published log: C2SP tile addresses, tiles of any width, proofs that other people's code accepts."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.tiles import PublishedLog, TilePath
from audit.verifier.errors import Tampered
from audit.verifier.merkle import Frontier, leaf_hash, verify_consistency
from audit.verifier.trail import TrustedTrail
from core.errors import NotFound, Unavailable
from tests.audit.homes import Home, decision


@pytest.mark.parametrize(
    ("path", "tile"),
    [
        ("tile/0/000", TilePath(0, 0)),
        ("tile/0/x001/x234/067", TilePath(0, 1_234_067)),
        ("tile/63/x001/000.p/255", TilePath(63, 1000, 255)),
        ("tile/entries/999.p/1", TilePath(None, 999, 1)),
    ],
)
def test_addresses_are_those_of_the_standard(path: str, tile: TilePath) -> None:
    assert TilePath.parse(path) == tile
    assert tile.encode() == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile/0/0",
        "tile/64/000",
        "tile/00/000",
        "tile/0/x000/001",
        "tile/0/001/002",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/-1/000",
        "tile/0/000/",
    ],
)
def test_every_other_spelling_is_refused(path: str) -> None:
    with pytest.raises(NotFound):
        TilePath.parse(path)


@given(st.builds(TilePath, st.none() | st.integers(0, 63), st.integers(0, (1 << 55) - 1), st.none() | st.integers(1, 255)))
def test_addresses_are_written_back_as_they_were_read(tile: TilePath) -> None:
    assert TilePath.parse(tile.encode()) == tile


@given(st.text(st.sampled_from("tile/0123x.p/entries"), max_size=30))
def test_whatever_parses_as_an_address_is_its_one_spelling(path: str) -> None:
    with suppress(NotFound):
        assert TilePath.parse(path).encode() == path


def test_tiles_of_every_width_hold_the_leaves(home: Home) -> None:
    home.trail.append([decision(number) for number in range(598)])
    with home.database.reading() as session:
        log = PublishedLog(session, "access")
        leaves = log.leaves(0, 600)
        assert log.name == "access/1"
        assert log.tile(0, 0) == b"".join(leaves[:256])
        assert log.tile(0, 2, 88) == b"".join(leaves[512:])
        assert log.tile(0, 2, 5) == b"".join(leaves[512:517])
        assert len(log.tile(1, 0, 2)) == 64
        for level, n, width in ((0, 2, 89), (0, 2, None), (0, 3, 1), (1, 0, 3), (2, 0, 1)):
            with pytest.raises(NotFound):
                log.tile(level, n, width)


def test_entry_bundles_hold_the_exact_bodies(home: Home) -> None:
    home.trail.append([decision(number) for number in range(10)])
    with home.database.reading() as session:
        log = PublishedLog(session, "access", 1)
        bundle, leaves = log.entries(0, 12), log.leaves(0, 12)
        with pytest.raises(NotFound):
            log.entries(0)
    for leaf in leaves:
        length = int.from_bytes(bundle[:2], "big")
        assert leaf_hash(bundle[2 : 2 + length]) == leaf
        bundle = bundle[2 + length :]
    assert bundle == b""


def test_every_entry_has_a_receipt_that_verifies_offline(home: Home) -> None:
    home.trail.append([decision(number) for number in range(700)])
    with home.database.reading() as session, pytest.raises(Unavailable, match="try again in a second"):
        PublishedLog(session, "access").receipt(0)
    home.publisher.publish()
    home.trail.append([decision(700)])
    with home.database.reading() as session:
        log = PublishedLog(session, "access")
        for index in (0, 1, 255, 256, 511, 512, 700, 701):
            body = log.entries(index // 256, index % 256 + 1)[-1000:]
            proof = log.receipt(index)
            head = proof.verify(body[body.rindex(b'{"act"') :], home.keys)
            assert (head.origin, head.size, proof.index) == ("yumen.test/access/1", 702, index)
        with pytest.raises(Unavailable, match="entry `702`"):
            log.receipt(702)
        for index in (703, -1):
            with pytest.raises(NotFound):
                log.receipt(index)


def test_a_watcher_follows_the_log_from_head_to_head(home: Home) -> None:
    [_, first] = home.save_heads()
    watcher = TrustedTrail(first)
    home.trail.append([decision(number) for number in range(300)])
    [other, second] = home.save_heads()
    with home.database.reading() as session:
        log = PublishedLog(session, "access")
        proof = log.consistency(first.size, second.size)
        verify_consistency(first.size, second.size, first.root, second.root, proof)
        edge = log.edge(second.size)
        bundles = log.entries(0) + log.entries(1, second.size - 256)
    assert Frontier(second.size, edge).root() == second.root
    with pytest.raises(Tampered):
        watcher.advance(second, proof[1:])
    with pytest.raises(Tampered, match="not of"):
        watcher.advance(other, [])
    watcher.advance(second, proof)
    bodies = []
    while bundles:
        length = int.from_bytes(bundles[:2], "big")
        bodies.append(bundles[2 : 2 + length])
        bundles = bundles[2 + length :]
    watcher.check(bodies)
    with pytest.raises(Tampered, match="where the trusted head"):
        watcher.check(bodies[:-1])
    with pytest.raises(Tampered, match="do not lead"):
        watcher.check([bodies[1], bodies[0], *bodies[2:]])


def test_a_log_that_is_not_there_is_not_found(home: Home) -> None:
    with home.database.reading() as session:
        for log, epoch in (("other", None), ("ca", 2)):
            with pytest.raises(NotFound):
                PublishedLog(session, log, epoch)
