"""Secrets at rest: Argon2id over an unsealing secret, HKDF per purpose, AES-256-GCM bound to the purpose.

A vault is a folder of sealed files that one unsealing secret opens. The secret is a file outside the home and is never
in a backup; Argon2id runs once per secret and process, each purpose then has a key of its own. Sealed files are readable
for the group where their folder is.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import NamedTuple

from argon2.low_level import Type, hash_secret_raw
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from core.errors import NotFound, Unavailable

_MAGIC = b"yumen-sealed-1\n"


class Carried(NamedTuple):
    """One sealed value with the salt of its vault."""

    salt: bytes
    sealed: bytes


class Vault:
    """The sealed files of one owner (`web` or `worker`): `put`, `get`, `secret`, `names`. Values are opaque bytes."""

    def __init__(self, folder: Path, secret: Path) -> None:
        """Open the vault in `folder` (made when missing) with the unsealing secret in the file `secret`.

        Raises:
            Unavailable: the secret cannot be read, or is too short.
        """
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._group = folder.stat().st_mode & 0o050
        word = _word(secret)
        salt = folder / "salt"
        if not salt.exists():
            self._write(salt, secrets.token_bytes(16))
        self._salt = salt.read_bytes()
        self._master = _master(word, self._salt)

    def put(self, purpose: str, value: bytes) -> None:
        """Seal `value` under `purpose` (such as `ca/staff`); durable when this returns. Never overwrites.

        Raises:
            Unavailable: the vault was sealed anew since it was opened; what this secret sealed would never open again.
        """
        if (self._folder / "salt").read_bytes() != self._salt:
            raise Unavailable(
                "the keys in `{folder}` were sealed anew while this process ran; start it again with their new unsealing secret",
                folder=self._folder,
            )
        path = self._path(purpose)
        if path.exists():
            raise RuntimeError(f"sealed value {purpose} exists already")
        nonce = secrets.token_bytes(12)
        if not path.parent.exists():
            path.parent.mkdir(parents=True, mode=0o700)
            path.parent.chmod(path.parent.stat().st_mode & 0o7000 | 0o700 | self._group)
        self._write(path, _MAGIC + nonce + _cipher(self._master, purpose).encrypt(nonce, value, _MAGIC + purpose.encode()))

    def get(self, purpose: str) -> bytes:
        """What was sealed under `purpose`.

        Raises:
            NotFound: nothing was sealed under it.
            Unavailable: the file was damaged, moved from another purpose, or sealed with another secret.
        """
        return _opened(self._master, purpose, self._sealed(purpose))

    def carried(self, purpose: str) -> Carried:
        """What `unseal` needs to open `purpose` elsewhere; worth nothing without the unsealing secret.

        Raises:
            NotFound: nothing was sealed under it.
        """
        return Carried(self._salt, self._sealed(purpose))

    def secret(self, purpose: str) -> bytes:
        """The 32 random bytes of `purpose`, made and sealed at first use; raises as `get` and `put`."""
        try:
            return self.get(purpose)
        except NotFound:
            try:
                self.put(purpose, secrets.token_bytes(32))
            except PermissionError as error:
                raise Unavailable(
                    "the sealed key `{purpose}` is missing and this user may not make it; run `yumen init` as the user of the worker",
                    purpose=purpose,
                ) from error
            return self.get(purpose)

    def names(self) -> list[str]:
        """The purposes that are sealed here, sorted."""
        return sorted(str(path.relative_to(self._folder).with_suffix("")) for path in self._folder.rglob("*.sealed"))

    def _sealed(self, purpose: str) -> bytes:
        try:
            return self._path(purpose).read_bytes()
        except FileNotFoundError:
            raise NotFound("no sealed key `{purpose}`", purpose=purpose) from None

    def _write(self, path: Path, data: bytes) -> None:
        write_durably(path, data, 0o600 | self._group & 0o040)

    def _path(self, purpose: str) -> Path:
        return self._folder / f"{purpose}.sealed"


def unseal(carried: Carried, purpose: str, secret: Path) -> bytes:
    """What was sealed under `purpose`, opened without its vault.

    Raises:
        Unavailable: the file `secret` cannot be read, or is not the secret that it was sealed with.
    """
    return _opened(_master(_word(secret), carried.salt), purpose, carried.sealed)


def same(one: Path, other: Path) -> bool:
    """Whether both files hold the same unsealing secret.

    Raises:
        Unavailable: one cannot be read, or is too short.
    """
    return _word(one) == _word(other)


def _word(secret: Path) -> bytes:
    try:
        word = secret.read_bytes().strip()
    except OSError as error:
        raise Unavailable(
            "the unsealing secret `{path}` cannot be read: {reason}; put it back, or name another file in the settings",
            path=secret,
            reason=error.strerror,
        ) from error
    if len(word) < 16:
        raise Unavailable(
            "the unsealing secret `{path}` is shorter than 16 characters; make one with `openssl rand -base64 32`", path=secret
        )
    return word


def _master(word: bytes, salt: bytes) -> bytes:
    return hash_secret_raw(word, salt, time_cost=3, memory_cost=65_536, parallelism=1, hash_len=32, type=Type.ID)


def _cipher(master: bytes, purpose: str) -> AESGCM:
    return AESGCM(HKDFExpand(SHA256(), 32, b"yumen seal " + purpose.encode()).derive(master))


def _opened(master: bytes, purpose: str, sealed: bytes) -> bytes:
    head, nonce, body = sealed[: len(_MAGIC)], sealed[len(_MAGIC) : len(_MAGIC) + 12], sealed[len(_MAGIC) + 12 :]
    try:
        return _cipher(master, purpose).decrypt(nonce, body, head + purpose.encode())
    except (InvalidTag, ValueError) as error:
        raise Unavailable(
            "the sealed key `{purpose}` does not open: wrong unsealing secret or damaged file; name the right one, or restore it",
            purpose=purpose,
        ) from error


def write_durably(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace the file at `path` so that after a crash there is the old or the new one, whole (write, fsync, rename, fsync)."""
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)  # whatever the umask takes away
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    settle(path.parent)


def settle(folder: Path) -> None:
    """Make durable what was made, renamed or removed in `folder`."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
