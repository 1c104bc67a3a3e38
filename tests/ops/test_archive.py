"""A backup file is read whole and unchanged, by whoever has its key; or not at all."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Iterator

import pytest

from core.errors import Malformed
from core.seal import Carried
from ops.archive import MAGIC, PIECE, Entry, Reader, Writer, public_key

SEED = bytes(range(32))
KEY = Carried(b"s" * 16, b"sealed")
FILES = {"database": b"rows " * 300_000, "home/empty": b"", "home/keys/web/salt": b"salt" * 4}


def archive(files: dict[str, bytes] = FILES, seed: bytes = SEED) -> bytes:
    file = io.BytesIO()
    writer = Writer(file, KEY, seed)
    for name, data in files.items():
        writer.add(Entry(name, 0o600), [data[:7], data[7:]])
    writer.finish({"made_at": "2026-03-01"})
    return file.getvalue()


def read(data: bytes, seed: bytes = SEED) -> dict[str, bytes]:
    reader, found = Reader(io.BytesIO(data)), {}
    for entry, piece in reader.pieces(seed):
        found[entry.name] = found.get(entry.name, b"") + piece
    assert reader.manifest["made_at"] == "2026-03-01"
    return found


def records(data: bytes) -> list[bytes]:
    """The records of an archive, each with its letter and length."""
    at, found = len(MAGIC), []
    while at < len(data):
        end = at + 5 + int.from_bytes(data[at + 1 : at + 5], "big")
        found.append(data[at:end])
        at = end
    return found


SMALL = archive({"home/a": b"one", "home/b": b"two"})


def test_what_was_written_is_read_again() -> None:
    assert read(archive()) == FILES


def test_the_manifest_names_every_file_with_its_hash() -> None:
    reader = Reader(io.BytesIO(archive()))
    assert [piece for _, piece in reader.pieces(SEED)]
    assert [(name, size) for name, size, _ in reader.manifest["files"]] == [(name, len(data)) for name, data in FILES.items()]


def test_a_changed_byte_is_found_wherever_it_is() -> None:
    for at in range(len(SMALL)):
        changed = bytearray(SMALL)
        changed[at] ^= 1
        with pytest.raises(Malformed):
            read(bytes(changed))


def test_an_archive_that_ends_early_is_incomplete() -> None:
    for end in range(len(SMALL)):
        with pytest.raises(Malformed):
            read(SMALL[:end])
    with pytest.raises(Malformed, match="incomplete"):
        read(SMALL[:-1])


def test_nothing_can_be_added_behind_the_end() -> None:
    with pytest.raises(Malformed, match="damaged"):
        read(SMALL + b"x")


def test_no_record_can_be_left_out_moved_or_repeated() -> None:
    whole = records(SMALL)
    for at in range(len(whole) - 1):
        for others in (
            [*whole[:at], *whole[at + 1 :]],
            [*whole[:at], whole[at + 1], whole[at], *whole[at + 2 :]],
            [*whole[: at + 1], *whole[at:]],
        ):
            with pytest.raises(Malformed):
                read(MAGIC + b"".join(others))


def test_a_manifest_of_another_archive_is_refused() -> None:
    other = archive({"home/a": b"one", "home/b": b"two"})
    with pytest.raises(Malformed, match="damaged"):
        read(MAGIC + b"".join([*records(SMALL)[:-2], *records(other)[-2:]]))


def test_another_key_opens_nothing() -> None:
    with pytest.raises(Malformed, match="damaged"):
        read(SMALL, bytes(32))


def test_the_public_key_alone_shows_that_it_is_whole() -> None:
    Reader(io.BytesIO(SMALL)).verify(public_key(SEED))
    for damaged, key in (
        (SMALL, public_key(bytes(32))),
        (SMALL[:60] + b"x" + SMALL[61:], public_key(SEED)),
        (SMALL[:-1], public_key(SEED)),
    ):
        with pytest.raises(Malformed):
            Reader(io.BytesIO(damaged)).verify(key)


def test_the_same_content_never_makes_the_same_bytes() -> None:
    assert records(archive())[2:] != records(archive())[2:]
    assert all(data not in archive() for data in (b"rows rows", b"salt" * 4))


def test_something_else_is_no_backup() -> None:
    with pytest.raises(Malformed, match="no backup of Yumen"):
        Reader(io.BytesIO(b"SQLite format 3\0" * 4))


def test_a_length_that_no_record_has_is_not_waited_for() -> None:
    with pytest.raises(Malformed, match="damaged"):
        Reader(io.BytesIO(MAGIC + b"H\xff\xff\xff\xff"))


def test_memory_does_not_grow_with_the_archive(tmp_path) -> None:
    def rows() -> Iterator[bytes]:
        for number in range(48):
            yield number.to_bytes(1) * PIECE

    tracemalloc.start()
    try:
        with (tmp_path / "large").open("wb") as file:
            writer = Writer(file, KEY, SEED)
            writer.add(Entry("database", 0o600), rows())
            writer.finish({})
        with (tmp_path / "large").open("rb") as file:
            size = sum(len(piece) for _, piece in Reader(file).pieces(SEED))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size == 48 * PIECE
    assert peak < 12 * PIECE
