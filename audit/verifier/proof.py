"""C2SP tlog-proof: one text file that proves, without any service, that an entry is in a log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .errors import Unreadable
from .merkle import leaf_hash, verify_inclusion
from .note import Checkpoint, Note, VerifierKey, decode64, encode64, open_checkpoint, parse_number

_FIRST_LINE = "c2sp.org/tlog-proof@v1"


@dataclass(frozen=True)
class Proof:
    """Index, inclusion path (leaf's sibling first), the signed checkpoint, and opaque extra data that proves nothing."""

    index: int
    path: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes | None = None

    @classmethod
    def parse(cls, data: bytes) -> Proof:
        """Read a tlog-proof.

        Raises:
            Unreadable: not a tlog-proof.
        """
        head, blank, checkpoint = data.partition(b"\n\n")
        try:
            lines = head.decode("ascii").split("\n")
        except UnicodeDecodeError as error:
            raise Unreadable("the proof is not ASCII") from error
        if not blank or lines.pop(0) != _FIRST_LINE:
            raise Unreadable(f"a proof begins with `{_FIRST_LINE}` and carries a checkpoint after an empty line")
        extra = decode64(lines.pop(0)[6:], "the extra data") if lines and lines[0].startswith("extra ") else None
        if not lines or not lines[0].startswith("index "):
            raise Unreadable("the proof names no index")
        index = parse_number(lines.pop(0)[6:], "the index")
        path = tuple(decode64(line, "a proof hash") for line in lines)
        if len(path) > 63 or any(len(digest) != 32 for digest in path):
            raise Unreadable("the proof has hashes that are not 32 bytes long, or too many")
        Note.parse(checkpoint)
        return cls(index, path, checkpoint, extra)

    def encode(self) -> bytes:
        """The text."""
        lines = [_FIRST_LINE]
        if self.extra is not None:
            lines.append("extra " + encode64(self.extra))
        lines.append(f"index {self.index}")
        lines += map(encode64, self.path)
        return "\n".join(lines).encode() + b"\n\n" + self.checkpoint

    def verify(self, entry: bytes, keys: Sequence[VerifierKey]) -> Checkpoint:
        """The trusted head under which `entry` stands at `index`.

        Raises:
            Tampered: it does not, or no trusted key signed the checkpoint.
        """
        head = open_checkpoint(self.checkpoint, keys)
        verify_inclusion(leaf_hash(entry), self.index, head.size, self.path, head.root)
        return head
