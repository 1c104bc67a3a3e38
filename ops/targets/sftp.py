"""Backups on an SFTP server: the host's key is pinned, the account proves itself by a key file, and by nothing else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from hashlib import sha256 as sha256_hash
from pathlib import Path, PurePosixPath
from typing import TypeVar, cast
from urllib.parse import urlsplit

import asyncssh
from asyncssh import SFTPClient, SFTPError, SFTPOpUnsupported

from core.errors import Unavailable
from ops.targets.target import STALE, Stored, must_match, newest_first, private

#: Seconds for a connection, and for everything until somebody is logged in.
_CONNECT, _LOGIN = 10, 20
#: A server that does not answer this often, so many seconds apart, is gone.
_ALIVE, _TIMES = 10, 3
_CHUNK = 4 << 20

T = TypeVar("T")


class Sftp:
    """See `Target`. `known_hosts` is a file of OpenSSH's format; a host that it does not name is refused."""

    def __init__(self, url: str, key: Path, known_hosts: Path) -> None:
        parts = urlsplit(url)
        self.name, self._host, self._port = url, parts.hostname or "", parts.port or 22
        self._user, self._folder = parts.username or "", PurePosixPath(parts.path)
        self._key, self._known_hosts = key, known_hosts

    def put(self, path: Path, sha256: str) -> None:
        """Store the file under its own name: whole and read back, or not at all."""
        self._run(lambda sftp: self._put(sftp, path, sha256))

    def listing(self) -> list[Stored]:
        """The backups there, the newest first."""
        return newest_first(self._run(self._listing))

    def get(self, name: str, into: Path) -> Path:
        """Fetch a backup into the folder `into`."""
        self._run(lambda sftp: sftp.get(self._at(name), str(into / name)))
        return into / name

    def remove(self, name: str) -> None:
        """Take a backup away."""
        self._run(lambda sftp: sftp.remove(self._at(name)))

    async def _put(self, sftp: SFTPClient, path: Path, sha256: str) -> None:
        await self._sweep(sftp)
        part = self._at(f".{path.name}.upload")
        try:
            await sftp.put(str(path), part)
            must_match(self.name, path.name, sha256, await _read_back(sftp, part))
            await sftp.rename(part, self._at(path.name))
        except BaseException:
            with suppress(SFTPError, OSError):  # what failed may be the connection itself: then the next upload sweeps
                await sftp.remove(part)
            raise

    async def _listing(self, sftp: SFTPClient) -> list[Stored]:
        return [Stored(str(each.filename), each.attrs.size or 0) for each in await sftp.readdir(str(self._folder))]

    async def _sweep(self, sftp: SFTPClient) -> None:
        for each in await sftp.readdir(str(self._folder)):
            name = str(each.filename)
            if name.startswith(".yumen-") and name.endswith(".upload") and (each.attrs.mtime or 0) < time.time() - STALE.total_seconds():
                await sftp.remove(self._at(name))

    def _at(self, name: str) -> str:
        return str(self._folder / name)

    def _run(self, work: Callable[[SFTPClient], Awaitable[T]]) -> T:
        async def session() -> T:
            async with self._connected() as sftp:
                return await work(sftp)

        try:
            return asyncio.run(session())
        except (asyncssh.Error, OSError, TimeoutError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise Unavailable("`{target}` cannot be used: {reason}", target=self.name, reason=reason) from error

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[SFTPClient]:
        connection = asyncssh.connect(
            self._host,
            self._port,
            username=self._user,
            known_hosts=str(self._known_hosts),
            client_keys=[str(private(self._key))],
            preferred_auth="publickey",
            agent_path=None,
            config=None,
            connect_timeout=_CONNECT,
            login_timeout=_LOGIN,
            keepalive_interval=_ALIVE,
            keepalive_count_max=_TIMES,
        )
        async with connection as connected, connected.start_sftp_client() as sftp:
            yield sftp


async def _read_back(sftp: SFTPClient, path: str) -> str:
    """SHA-256 of what the server has, after it was told to put it on its disk (where it knows how)."""
    found = sha256_hash()
    async with sftp.open(path, "rb") as file:
        with suppress(SFTPOpUnsupported):
            await file.fsync()
        while piece := await file.read(_CHUNK):
            found.update(cast("bytes", piece))  # opened as binary, which its types do not tell
    return found.hexdigest()
