"""The file of a backup: records one after the other, written and read in one pass with little memory.

A record is a letter, a length in four bytes and that many bytes. `H` tells in plain JSON whose backup it is and carries its
sealed key, so that the worker's unsealing secret alone opens it. `F` begins a file, `C` is a piece of it: compressed, then
AES-256-GCM under a key of this archive alone, with the record's number as nonce, so that none can be left out, moved or
repeated. `M` is the manifest in plain JSON, with the hash of everything before it; `S` its signature (Ed25519). Whoever has
the public key can see that an archive is whole without being able to read it.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any, NamedTuple

import orjson
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from core.errors import Malformed
from core.seal import Carried

MAGIC = b"yumen-backup-1\n"
#: How finished archives are named: names sort by time.
NAME = re.compile(r"yumen-(\d{8}T\d{6}Z)-[0-9a-f]{8}\.backup")
#: What is encrypted at once: larger pieces need more memory, smaller ones more calls.
PIECE = 1 << 20
#: No record is longer: a manifest names every file, a piece grows by a little when it cannot be compressed.
_LONGEST = 16 << 20
_DOMAIN = b"yumen backup manifest\n"


class Entry(NamedTuple):
    """One file of an archive."""

    name: str
    mode: int


class Kept(NamedTuple):
    """What the manifest says of one file: its length in bytes and its SHA-256 in hex."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Header:
    """The first record: which backup, and the key that only the unsealing secret opens."""

    id: str
    key: Carried
    raw: bytes


def public_key(seed: bytes) -> bytes:
    """The key that shows whether archives under `seed` are whole."""
    return _signer(seed).public_key().public_bytes_raw()


class Writer:
    """Writes one archive into `file`: `add` files, then `finish`."""

    def __init__(self, file: IO[bytes], key: Carried, seed: bytes) -> None:
        """`seed` is what `key` opens to."""
        self.id = secrets.token_hex(16)
        self._file, self._seed = file, seed
        self._digest = hashlib.sha256()
        self._records = 0
        self.files: list[Kept] = []
        raw = orjson.dumps({"id": self.id, "salt": key.salt.hex(), "sealed": key.sealed.hex()}, option=orjson.OPT_SORT_KEYS)
        self._cipher = _cipher(seed, raw)
        self._put(MAGIC)
        self._record(b"H", raw)

    def add(self, entry: Entry, data: Iterable[bytes]) -> Kept:
        """Add a file whose bytes come in any portions."""
        self._encrypted(b"F", orjson.dumps({"name": entry.name, "mode": entry.mode}))
        size, digest = 0, hashlib.sha256()
        for piece in _pieces(data):
            size += len(piece)
            digest.update(piece)
            self._encrypted(b"C", piece)
        self.files.append(Kept(entry.name, size, digest.hexdigest()))
        return self.files[-1]

    def finish(self, told: Mapping[str, Any]) -> None:
        """Write the manifest, which tells `told` besides the files, and its signature."""
        manifest = {**told, "files": [list(kept) for kept in self.files], "id": self.id, "sha256": self._digest.hexdigest()}
        raw = orjson.dumps(manifest, option=orjson.OPT_SORT_KEYS)
        self._record(b"M", raw)
        self._record(b"S", _signer(self._seed).sign(_DOMAIN + raw))

    def _encrypted(self, letter: bytes, data: bytes) -> None:
        self._records += 1
        self._record(letter, self._cipher.encrypt(_nonce(self._records), zlib.compress(data, 1), letter))

    def _record(self, letter: bytes, data: bytes) -> None:
        self._put(letter + len(data).to_bytes(4, "big") + data)

    def _put(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)


class Reader:
    """Reads one archive from `file`, from its beginning. Nothing that it gives counts before `manifest` is there."""

    def __init__(self, file: IO[bytes]) -> None:
        """Read the first record.

        Raises:
            Malformed: not a backup, or damaged.
        """
        self._file = file
        self._digest = hashlib.sha256()
        self._records = 0
        self._manifest: dict[str, Any] | None = None
        if self._take(len(MAGIC)) != MAGIC:
            raise Malformed("this is no backup of Yumen, or one of another version; name a file that `yumen backup` made")
        letter, raw = self._next()
        if letter != b"H":
            raise _damaged()
        self.header = _header(raw)

    @property
    def manifest(self) -> Mapping[str, Any]:
        """What the archive says of itself; there only after everything was read and found whole."""
        if self._manifest is None:
            raise RuntimeError("the archive was not read to its end")
        return self._manifest

    def pieces(self, seed: bytes) -> Iterator[tuple[Entry, bytes]]:
        """Every file piece by piece, the first of each being empty; the manifest is checked when the last one was taken.

        Raises:
            Malformed: a record was changed, left out, moved or added, or the archive ends in the middle.
        """
        cipher, entry, found = _cipher(seed, self.header.raw), None, _Found()
        while True:
            letter, data = self._next()
            if letter == b"M":
                self._end(data, public_key(seed))
                if found.files != [tuple(kept) for kept in self.manifest.get("files", ())]:
                    raise _damaged()
                return
            self._records += 1
            piece = _decrypted(cipher, self._records, letter, data)
            if letter == b"F":
                entry = found.begin(piece)
                yield entry, b""
            elif letter == b"C" and entry is not None:
                found.add(piece)
                yield entry, piece
            else:
                raise _damaged()

    def verify(self, key: bytes) -> None:
        """Read to the end without opening anything: whether the archive is whole and signed by the public `key`.

        Raises:
            Malformed: as for `pieces`.
        """
        while (record := self._next())[0] != b"M":
            pass
        self._end(record[1], key)

    def _end(self, raw: bytes, key: bytes) -> None:
        before = self._before
        letter, signature = self._next()
        try:
            if letter != b"S" or self._file.read(1):
                raise _damaged()
            Ed25519PublicKey.from_public_bytes(key).verify(signature, _DOMAIN + raw)
            manifest = orjson.loads(raw)
        except (InvalidSignature, ValueError) as error:
            raise _damaged() from error
        if manifest.get("sha256") != before or manifest.get("id") != self.header.id:
            raise _damaged()
        self._manifest = manifest

    def _next(self) -> tuple[bytes, bytes]:
        """The next record; remembers the hash of everything before it."""
        self._before = self._digest.hexdigest()
        head = self._take(5)
        size = int.from_bytes(head[1:], "big")
        if size > _LONGEST:
            raise _damaged()
        return head[:1], self._take(size)

    def _take(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) < size:
            raise Malformed("the backup ends in the middle: it is incomplete; take another copy of it, or an older one")
        self._digest.update(data)
        return data


class _Found:
    """What was read of each file."""

    def __init__(self) -> None:
        self._sizes: list[tuple[str, int, Any]] = []

    def begin(self, raw: bytes) -> Entry:
        told = orjson.loads(raw)
        self._sizes.append((told["name"], 0, hashlib.sha256()))
        return Entry(told["name"], told["mode"])

    def add(self, piece: bytes) -> None:
        name, size, digest = self._sizes[-1]
        digest.update(piece)
        self._sizes[-1] = name, size + len(piece), digest

    @property
    def files(self) -> list[tuple[str, int, str]]:
        return [(name, size, digest.hexdigest()) for name, size, digest in self._sizes]


def _pieces(data: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of one size."""
    waiting = bytearray()
    for portion in data:
        waiting += portion
        while len(waiting) >= PIECE:
            yield bytes(waiting[:PIECE])
            del waiting[:PIECE]
    if waiting:
        yield bytes(waiting)


def _decrypted(cipher: AESGCM, number: int, letter: bytes, data: bytes) -> bytes:
    try:
        return zlib.decompress(cipher.decrypt(_nonce(number), data, letter))
    except (InvalidTag, ValueError, zlib.error) as error:
        raise _damaged() from error


def _header(raw: bytes) -> Header:
    try:
        told = orjson.loads(raw)
        key = Carried(bytes.fromhex(told["salt"]), bytes.fromhex(told["sealed"]))
        known = str(told["id"])
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged() from error
    if len(key.salt) != 16:
        raise _damaged()
    return Header(known, key, raw)


def _cipher(seed: bytes, header: bytes) -> AESGCM:
    """The header holds 128 random bits, so that no two archives share a key."""
    return AESGCM(HKDFExpand(SHA256(), 32, b"yumen backup encrypt " + hashlib.sha256(header).digest()).derive(seed))


def _signer(seed: bytes) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(HKDFExpand(SHA256(), 32, b"yumen backup sign").derive(seed))


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "big")


def _damaged() -> Malformed:
    return Malformed("the backup is damaged: its bytes are not those that were written; take another copy of it, or an older one")
