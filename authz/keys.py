"""The secret keys of identity and authorization, each for one purpose, from the vault that web processes open."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field

from core.seal import Vault


@dataclass(frozen=True, slots=True)
class Keys:
    """32 bytes for each purpose."""

    session: bytes = field(repr=False)
    api_key: bytes = field(repr=False)
    otp: bytes = field(repr=False)

    def token(self, text: str) -> bytes:
        """The keyed hash by which a session token is stored."""
        return hmac.digest(self.session, b"session " + text.encode(errors="replace"), "sha256")

    def api(self, text: str) -> bytes:
        """The keyed hash by which an API key's secret is stored."""
        return hmac.digest(self.api_key, b"api-key " + text.encode(errors="replace"), "sha256")

    def code(self, purpose: str, text: str) -> bytes:
        """The keyed hash by which a recovery or enrolment code is stored."""
        return hmac.digest(self.otp, f"{purpose} ".encode() + text.encode(errors="replace"), "sha256")


def open_keys(vault: Vault) -> Keys:
    """The keys from `vault`; those that are missing are made first, which only the process that makes a home may do."""
    return Keys(*(vault.secret(purpose) for purpose in ("session", "api-key", "otp")))
