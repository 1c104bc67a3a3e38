"""Personal data in the trail: pseudonyms, salted commitments with their openings, and the blind index.

All keys here derive from one privacy key. A commitment is `SHA-256(salt ‖ field ‖ value)` with a salt of its own, so it
can be neither guessed nor linked; its opening lives beside the trail and can be erased.
"""

from __future__ import annotations

import hmac
import uuid
from binascii import b2a_base64
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple


class Opening(NamedTuple):
    """What opens one commitment: field, salt, value, and the keyed hash that search uses."""

    field: str
    salt: bytes
    value: str
    blind: bytes


class Privacy:
    """Names persons without naming them. Holds the privacy key; safe to share between threads."""

    def __init__(self, key: bytes) -> None:
        if len(key) < 32:
            raise ValueError("the privacy key has fewer than 32 bytes")
        keys = (hmac.digest(key, label, "sha256") for label in (b"pseudonym", b"blind", b"keyed"))
        self._pseudonym, self._blind, self._keyed = (hmac.new(derived, digestmod="sha256") for derived in keys)
        #: The same few addresses and objects come again and again.
        self.blind = lru_cache(maxsize=4096)(self._hashed)

    def pseudonym(self, entry_uuid: str | uuid.UUID) -> str:
        """The id of a person in the trail: `p_` and 32 hex digits, the same for ever for one entryUUID."""
        value = entry_uuid if isinstance(entry_uuid, uuid.UUID) else uuid.UUID(entry_uuid)
        return "p_" + _short(self._pseudonym, value.bytes).hex()

    def keyed(self, label: str, text: str) -> str:
        """A keyed hash (32 hex digits) of a text that must not be stored, such as the name typed at a failed login."""
        return _short(self._keyed, label.encode() + b"\0" + text.encode(errors="surrogatepass")).hex()

    def _hashed(self, field: str, value: str) -> bytes:
        """What the blind index holds for `value` of `field` (16 bytes)."""
        return _short(self._blind, field.encode() + b"\0" + value.encode())

    def commit(self, field: str, value: str, salt: bytes) -> tuple[str, Opening]:
        """The commitment (base64) that the body carries, and the opening that is kept apart; `salt` is 16 fresh random bytes."""
        digest = sha256(salt + field.encode() + value.encode()).digest()
        return b2a_base64(digest, newline=False).decode(), Opening(field, salt, value, self.blind(field, value))


def _short(keyed: hmac.HMAC, message: bytes) -> bytes:
    """16 bytes of HMAC-SHA-256. A copy of what the key began: the function for one call would let go of the interpreter each time."""
    mac = keyed.copy()
    mac.update(message)
    return mac.digest()[:16]
