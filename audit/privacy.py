"""Personal data in the trail: pseudonyms, salted commitments with their openings, and the blind index.

All keys here derive from one privacy key. A commitment is `SHA-256(salt ‖ field ‖ value)` with a salt of its own, so it
can be neither guessed nor linked; its opening lives beside the trail and can be erased.
"""

from __future__ import annotations

import base64
import hmac
import secrets
import uuid
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
        self._pseudonym, self._blind, self._keyed = (hmac.digest(key, label, "sha256") for label in (b"pseudonym", b"blind", b"keyed"))

    def pseudonym(self, entry_uuid: str | uuid.UUID) -> str:
        """The id of a person in the trail: `p_` and 32 hex digits, the same for ever for one entryUUID."""
        value = entry_uuid if isinstance(entry_uuid, uuid.UUID) else uuid.UUID(entry_uuid)
        return "p_" + hmac.digest(self._pseudonym, value.bytes, "sha256")[:16].hex()

    def keyed(self, label: str, text: str) -> str:
        """A keyed hash (32 hex digits) of a text that must not be stored, such as the name typed at a failed login."""
        return hmac.digest(self._keyed, label.encode() + b"\0" + text.encode(errors="surrogatepass"), "sha256")[:16].hex()

    def blind(self, field: str, value: str) -> bytes:
        """What the blind index holds for `value` of `field` (16 bytes)."""
        return hmac.digest(self._blind, field.encode() + b"\0" + value.encode(), "sha256")[:16]

    def commit(self, field: str, value: str) -> tuple[str, Opening]:
        """The commitment (base64) that the body carries, and the opening that is kept apart."""
        salt = secrets.token_bytes(16)
        digest = sha256(salt + field.encode() + value.encode()).digest()
        return base64.b64encode(digest).decode(), Opening(field, salt, value, self.blind(field, value))
