"""Notes, checkpoints and proofs: read strictly, written back byte for byte, believed only under a key from outside."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.checkpoint import LogKey
from audit.verifier.errors import Tampered, Unreadable
from audit.verifier.merkle import EMPTY_ROOT, leaf_hash
from audit.verifier.note import Checkpoint, Note, Signature, VerifierKey, open_checkpoint
from audit.verifier.proof import Proof

KEY = LogKey(b"\x01" * 32)
TRUSTED = KEY.verifier_key("yumen.test/ca/1")
HEAD = Checkpoint("yumen.test/ca/1", 1, leaf_hash(b"entry"))
NOTE = KEY.sign(HEAD)
GOLDEN = (
    "yumen.test/ca/1\n1\n2cLWa1IsJSJyj1Of+fZ7hdQN7/8JX8ilKMmU9PNbs94=\n\n"
    "— yumen.test/ca/1 RDIvUCR0uc05hj64fR1ZI4lJITixsjyWJUqvxjKmLdwv+1S1zfAKqNiB3n4rdMx0CYdFTU6alcXkvf/U+RdA2eVulQ4=\n"
)


def test_the_published_example_of_the_note_format_verifies() -> None:
    """The example of golang.org/x/mod/sumdb/note."""
    key = VerifierKey.parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    note = (
        "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n"
        "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
    )
    assert Note.parse(note.encode()).must_be_signed([key]) == key


def test_the_golden_checkpoint_does_not_change() -> None:
    assert NOTE.decode() == GOLDEN
    assert open_checkpoint(NOTE, [TRUSTED]) == HEAD


def test_a_note_is_believed_under_the_right_key_only() -> None:
    stranger = LogKey(b"\x09" * 32)
    for keys in ([], [stranger.verifier_key(HEAD.origin)], [KEY.verifier_key("yumen.test/access/1")]):
        with pytest.raises(Tampered, match="no trusted key"):
            open_checkpoint(NOTE, keys)
    with pytest.raises(Tampered, match="no trusted key"):
        open_checkpoint(stranger.sign(HEAD), [TRUSTED])


def test_a_wrong_signature_under_a_trusted_name_rejects_the_whole_note() -> None:
    good = Note.parse(NOTE)
    wrong = Signature(TRUSTED.name, TRUSTED.key_id, bytes(64))
    for signatures in ((wrong,), (wrong, *good.signatures), (*good.signatures, wrong)):
        with pytest.raises(Tampered, match="does not hold"):
            Note(good.text, signatures).must_be_signed([TRUSTED])


def test_a_head_of_another_log_is_refused_even_when_its_key_signed() -> None:
    foreign = Checkpoint("yumen.test/access/1", 1, HEAD.root).encode()
    signature = Signature(TRUSTED.name, TRUSTED.key_id, KEY._key.sign(foreign.encode()))
    with pytest.raises(Tampered, match=r"about `yumen\.test/access/1`"):
        open_checkpoint(Note(foreign, (signature,)).encode(), [TRUSTED])


def test_unknown_signatures_are_ignored_as_witnesses_will_add_them() -> None:
    good = Note.parse(NOTE)
    witness = Signature("witness.example", b"\1\2\3\4", b"anything")
    assert open_checkpoint(Note(good.text, (witness, *good.signatures)).encode(), [TRUSTED]) == HEAD


@pytest.mark.parametrize("cut", range(1, len(NOTE)))
def test_a_truncated_note_is_never_believed(cut: int) -> None:
    with pytest.raises((Unreadable, Tampered)):
        open_checkpoint(NOTE[:cut], [TRUSTED])


@pytest.mark.parametrize("at", range(len(NOTE)))
def test_a_changed_note_is_never_believed(at: int) -> None:
    with pytest.raises((Unreadable, Tampered)):
        open_checkpoint(NOTE[:at] + bytes([NOTE[at] ^ 1]) + NOTE[at + 1 :], [TRUSTED])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "origin\n",
        "origin\n1\n",
        "origin\n01\n" + "A" * 43 + "=\n",
        "origin\n-1\n" + "A" * 43 + "=\n",
        "origin\n9223372036854775808\n" + "A" * 43 + "=\n",
        "origin\n1\nAAAA\n",
        "origin\n1\n" + "A" * 42 + "B=\n",
        "origin\n1\n" + "A" * 43 + "=\n\nmore\n",
        "\n1\n" + "A" * 43 + "=\n",
    ],
)
def test_what_is_no_checkpoint_is_unreadable(text: str) -> None:
    with pytest.raises(Unreadable):
        Checkpoint.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        "a+b+c",
        "na me+c74f20a3+ARpc",
        TRUSTED.encode().replace("+", "+0", 1),
        "n+00000000+" + TRUSTED.encode().split("+", 2)[2],
        "n+00000000+AAAA",
    ],
)
def test_what_is_no_verifier_key_is_unreadable(text: str) -> None:
    with pytest.raises(Unreadable):
        VerifierKey.parse(text)


NAMES = st.text(st.characters(categories=["L", "N", "P"], exclude_characters="+"), min_size=1, max_size=20)
LINES = st.text(st.characters(categories=["L", "N", "P", "Zs"]), max_size=20)
HASHES = st.binary(min_size=32, max_size=32)
SIGNATURES = st.builds(Signature, NAMES, st.binary(min_size=4, max_size=4), st.binary(min_size=1, max_size=80))
HEADS = st.builds(Checkpoint, LINES.filter(bool), st.integers(0, 2**63 - 1), HASHES, st.lists(LINES.filter(bool), max_size=2).map(tuple))
NOTES = st.builds(lambda head, signatures: Note(head.encode(), tuple(signatures)), HEADS, st.lists(SIGNATURES, min_size=1, max_size=3))


@given(NOTES)
def test_notes_are_written_back_byte_for_byte(note: Note) -> None:
    assert Note.parse(note.encode()) == note
    assert Checkpoint.parse(note.text).encode() == note.text


@given(
    st.builds(
        Proof,
        st.integers(0, 2**63 - 1),
        st.lists(HASHES, max_size=63).map(tuple),
        NOTES.map(Note.encode),
        st.none() | st.binary(max_size=30),
    )
)
def test_proofs_are_written_back_byte_for_byte(proof: Proof) -> None:
    assert Proof.parse(proof.encode()) == proof


@given(
    st.binary(max_size=300)
    | st.builds(lambda data, at, new: data[:at] + new + data[at + 1 :], NOTES.map(Note.encode), st.integers(0, 200), st.binary(max_size=2))
)
def test_whatever_parses_as_a_note_re_encodes_to_the_same_bytes(data: bytes) -> None:
    try:
        note = Note.parse(data)
    except Unreadable:
        return
    assert note.encode() == data


PROOFS = st.builds(
    Proof, st.integers(0, 99), st.lists(HASHES, max_size=3).map(tuple), st.just(NOTE), st.none() | st.binary(max_size=9)
).map(Proof.encode)


@given(
    st.binary(max_size=300)
    | st.builds(lambda data, at, new: data[:at] + new + data[at + 1 :], PROOFS, st.integers(0, 300), st.binary(max_size=2))
)
def test_whatever_parses_as_a_proof_re_encodes_to_the_same_bytes(data: bytes) -> None:
    try:
        proof = Proof.parse(data)
    except Unreadable:
        return
    assert proof.encode() == data


def test_a_proof_holds_for_its_entry_only() -> None:
    proof = Proof(0, (), NOTE, b"context")
    assert proof.verify(b"entry", [TRUSTED]) == HEAD
    with pytest.raises(Tampered, match="entry 0"):
        proof.verify(b"another", [TRUSTED])
    with pytest.raises(Tampered):
        Proof(1, (), NOTE).verify(b"entry", [TRUSTED])
    with pytest.raises(Tampered):
        Proof(0, (EMPTY_ROOT,), NOTE).verify(b"entry", [TRUSTED])


@pytest.mark.parametrize(
    "text",
    [
        "c2sp.org/tlog-proof@v2\nindex 0\n\n",
        "c2sp.org/tlog-proof@v1\nextra !\nindex 0\n\n",
        "c2sp.org/tlog-proof@v1\nindex 00\n\n",
        "c2sp.org/tlog-proof@v1\nindex 0\nAAAA\n\n",
        "c2sp.org/tlog-proof@v1\n\n",
        "c2sp.org/tlog-proof@v1\nindex 0\n",
    ],
)
def test_what_is_no_proof_is_unreadable(text: str) -> None:
    with pytest.raises(Unreadable):
        Proof.parse(text.encode() + NOTE)
