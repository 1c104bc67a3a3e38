"""The verifier's Ed25519 against the vectors of RFC 8032 section 7.1 and against `cryptography`."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from audit.verifier.ed25519 import valid
from tests.examples import examples

VECTORS = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]
ORDER = 2**252 + 27742317777372353535851937790883648493


@pytest.mark.parametrize(("public", "message", "signature"), VECTORS)
def test_the_standards_vectors_hold_and_their_neighbours_do_not(public: str, message: str, signature: str) -> None:
    key, text, signed = bytes.fromhex(public), bytes.fromhex(message), bytes.fromhex(signature)
    assert valid(key, text, signed)
    assert not valid(key, text + b"x", signed)
    for at in (0, 31, 32, 63):
        assert not valid(key, text, signed[:at] + bytes([signed[at] ^ 1]) + signed[at + 1 :])
    assert not valid(bytes.fromhex(VECTORS[0][0] if public != VECTORS[0][0] else VECTORS[1][0]), text, signed)


def test_truncated_and_malleable_signatures_are_refused() -> None:
    key, signed = bytes.fromhex(VECTORS[0][0]), bytes.fromhex(VECTORS[0][2])
    assert not valid(key, b"", signed[:-1])
    assert not valid(key[:-1], b"", signed)
    larger = int.from_bytes(signed[32:], "little") + ORDER
    assert not valid(key, b"", signed[:32] + larger.to_bytes(32, "little"))


def test_encodings_of_no_point_are_refused() -> None:
    signed = bytes.fromhex(VECTORS[0][2])
    beyond = (2**255 - 19).to_bytes(32, "little")
    assert not valid(beyond, b"", signed)
    assert not valid((2).to_bytes(32, "little"), b"", signed)
    minus_zero = (1 | 1 << 255).to_bytes(32, "little")
    assert not valid(minus_zero, b"", signed)


@examples(25)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200), st.integers(0, 511))
def test_it_agrees_with_cryptography(seed: bytes, message: bytes, bit: int) -> None:
    key = Ed25519PrivateKey.from_private_bytes(seed)
    public, signed = key.public_key().public_bytes_raw(), key.sign(message)
    assert valid(public, message, signed)
    flipped = (int.from_bytes(signed, "big") ^ 1 << bit).to_bytes(64, "big")
    assert not valid(public, message, flipped)
