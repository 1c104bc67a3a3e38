"""C2SP signed notes and checkpoints: read strictly, written back byte for byte.

A note's text means nothing until a signature of a key that is trusted *from outside* was verified over it.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from . import ed25519
from .errors import Tampered, Unreadable

ED25519 = b"\x01"
MAX_NOTE_BYTES = 1 << 16

_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")
_SPACE = re.compile(r"\s")


def decode64(text: str, what: str) -> bytes:
    """Standard base64, and only its one canonical spelling.

    Raises:
        Unreadable: anything else.
    """
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise Unreadable(f"{what} is not base64") from error
    if encode64(data) != text:
        raise Unreadable(f"{what} is not canonical base64")
    return data


def encode64(data: bytes) -> str:
    """Standard base64 with padding."""
    return base64.b64encode(data).decode("ascii")


def parse_number(text: str, what: str) -> int:
    """A decimal without leading zeroes, below 2^63."""
    if not _NUMBER.fullmatch(text) or int(text) >= 1 << 63:
        raise Unreadable(f"{what} is not a decimal number")
    return int(text)


@dataclass(frozen=True)
class VerifierKey:
    """A public key with the name it signs under, as handed over outside: `<name>+<key id, hex>+<base64>`."""

    name: str
    public: bytes

    @property
    def key_id(self) -> bytes:
        """The first four bytes of SHA-256 over name, newline, signature type and key."""
        return sha256(self.name.encode() + b"\n" + ED25519 + self.public).digest()[:4]

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Read the one-line form.

        Raises:
            Unreadable: not a verifier key of Ed25519, or its id does not fit its key.
        """
        parts = text.strip().split("+", 2)
        if len(parts) != 3 or not parts[0] or _SPACE.search(parts[0]):
            raise Unreadable("a verifier key is written `name+id+base64`")
        data = decode64(parts[2], "the verifier key")
        if len(data) != 33 or data[:1] != ED25519:
            raise Unreadable("the verifier key is not an Ed25519 key")
        key = cls(parts[0], data[1:])
        if key.key_id.hex() != parts[1]:
            raise Unreadable("the verifier key's id does not belong to its name and key; it was damaged in copying")
        return key

    def encode(self) -> str:
        """The one-line form."""
        return f"{self.name}+{self.key_id.hex()}+{encode64(ED25519 + self.public)}"


@dataclass(frozen=True)
class Signature:
    """One signature line: the signer's name, the key id and the signature bytes."""

    name: str
    key_id: bytes
    data: bytes


@dataclass(frozen=True)
class Note:
    """Text (ending in a newline) and the signatures over it."""

    text: str
    signatures: tuple[Signature, ...]

    @classmethod
    def parse(cls, data: bytes) -> Note:
        """Read a note.

        Raises:
            Unreadable: not a signed note.
        """
        if len(data) > MAX_NOTE_BYTES:
            raise Unreadable("the note is longer than 64 KiB")
        try:
            whole = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise Unreadable("the note is not UTF-8") from error
        if any(ord(char) < 0x20 and char != "\n" for char in whole):
            raise Unreadable("the note has control characters")
        text, blank, lines = whole.rpartition("\n\n")
        if not blank or not text or not lines.endswith("\n"):
            raise Unreadable("the note is truncated: text, an empty line and signature lines are expected")
        return cls(text + "\n", tuple(_signature(line) for line in lines[:-1].split("\n")))

    def encode(self) -> bytes:
        """The note's bytes."""
        lines = [f"— {one.name} {encode64(one.key_id + one.data)}\n" for one in self.signatures]
        return (self.text + "\n" + "".join(lines)).encode()

    def must_be_signed(self, keys: Iterable[VerifierKey]) -> VerifierKey:
        """The first trusted key that signed this note.

        Raises:
            Tampered: no trusted key signed it, or a signature under a trusted key does not hold.
        """
        known = {(key.name, key.key_id): key for key in keys}
        found = None
        for one in self.signatures:
            key = known.get((one.name, one.key_id))
            if key is None:
                continue
            if not ed25519.valid(key.public, self.text.encode(), one.data):
                raise Tampered(f"the signature of `{one.name}` does not hold")
            found = found or key
        if found is None:
            raise Tampered("no trusted key signed this note")
        return found


def _signature(line: str) -> Signature:
    parts = line.split(" ")
    if len(parts) != 3 or parts[0] != "—" or not parts[1] or "+" in parts[1] or _SPACE.search(parts[1]):
        raise Unreadable("a signature line is written `— name base64`")
    data = decode64(parts[2], "a signature")
    if len(data) < 5:
        raise Unreadable("a signature is truncated")
    return Signature(parts[1], data[:4], data[4:])


@dataclass(frozen=True)
class Checkpoint:
    """A tree head: the log's origin, the number of entries, the root over them."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Read a note's text as a checkpoint.

        Raises:
            Unreadable: not a checkpoint.
        """
        lines = text.split("\n")
        if len(lines) < 4 or lines[-1] or not all(lines[:-1]):
            raise Unreadable("a checkpoint has an origin, a size and a root, one a line")
        root = decode64(lines[2], "the root hash")
        if len(root) != 32:
            raise Unreadable("the root hash has not 32 bytes")
        return cls(lines[0], parse_number(lines[1], "the tree size"), root, tuple(lines[3:-1]))

    def encode(self) -> str:
        """The note text that is signed."""
        return "\n".join((self.origin, str(self.size), encode64(self.root), *self.extensions)) + "\n"


def open_checkpoint(data: bytes, keys: Sequence[VerifierKey]) -> Checkpoint:
    """The checkpoint in the note `data`, once a trusted key of the same origin has signed it.

    Raises:
        Unreadable: no note, or no checkpoint in it.
        Tampered: not signed by a trusted key, or signed by the key of another log.
    """
    note = Note.parse(data)
    key = note.must_be_signed(keys)
    head = Checkpoint.parse(note.text)
    if head.origin != key.name:
        raise Tampered(f"the note is about `{head.origin}` but the trusted key belongs to `{key.name}`")
    return head
