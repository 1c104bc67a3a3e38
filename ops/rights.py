"""Who may read and write what in a home that processes of two users share: looked at before anything is opened.

One user owns the home and runs the worker and the commands of the operator; another serves. Both are of the group of
the home, which reads what serving needs. What is wrong is named all at once, each with what to do.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from structlog import get_logger

from core.errors import Unavailable
from core.settings import Settings
from ops.homes import OWNERS, SHARED, secrets

log = get_logger()


def must_fit(settings: Settings, *, with_keys: bool) -> None:
    """Check modes and owners of the home and of its unsealing secrets for this process; in the embedded form nothing is shared.

    Raises:
        Unavailable: somebody may read or write what is not his, or this process may not do its part.
    """
    if settings.embedded:
        return
    if with_keys:
        must_own(settings)
    found = [*_folders(settings), *_secrets(settings)]
    owner = _stat(settings.home / "keys" / "worker")
    if with_keys:
        found += _missing(settings, ("", *SHARED), ("worker_secret", "web_secret"), writes=tuple(SHARED))
    else:
        found += _missing(settings, ("keys/web", "notes", "tls"), ("web_secret",), writes=("writers",))
        if owner and os.geteuid() in {0, owner.st_uid}:
            log.warning("serving as the user of the worker: who takes this process over has the authorities' keys; give it its own user")
        else:
            found += _too_much(settings)
    if found:
        raise Unavailable("the rights of the home do not fit: {problems}; see docs/operating.md", problems="; ".join(found))


def must_own(settings: Settings) -> None:
    """Check that what this process writes into a shared home belongs to the user who works, be it root that runs it.

    Raises:
        Unavailable: the home belongs to somebody else.
    """
    home = _stat(settings.home)
    if not settings.embedded and home and home.st_uid != os.geteuid():
        raise Unavailable(
            "the home `{home}` belongs to user {owner}; run this as that user, because the worker could not read what you write",
            home=settings.home,
            owner=home.st_uid,
        )


def must_be_private(settings: Settings, owner: str, path: Path) -> None:
    """Check that nobody else may read the file, which is to be the unsealing secret of `owner`.

    Raises:
        Unavailable: somebody may.
    """
    if found := list(_secret(settings, owner, path)):
        raise Unavailable("the rights of the home do not fit: {problems}; see docs/operating.md", problems="; ".join(found))


def _folders(settings: Settings) -> Iterator[str]:
    for name, mode in SHARED.items():
        folder = settings.home / name
        if (found := _stat(folder)) is None:
            continue  # behind a closed folder, or told as missing
        allowed = mode & 0o777
        if found.st_mode & 0o777 & ~allowed:
            yield f"`{folder}` has mode {stat.S_IMODE(found.st_mode):o}: `chmod {mode:o} {folder}`"


def _secrets(settings: Settings) -> Iterator[str]:
    for owner in OWNERS:
        yield from _secret(settings, owner, secrets(settings)[f"{owner}_secret"])


def _secret(settings: Settings, owner: str, path: Path) -> Iterator[str]:
    """What is wrong with the file as the unsealing secret of `owner`; the group may read that of web processes."""
    home, found, shared = _stat(settings.home), _stat(path), owner == "web"
    if found is None:
        return
    if found.st_mode & 0o027:
        yield f"others may read or change `{path}` of mode {stat.S_IMODE(found.st_mode):o}: `chmod {'640' if shared else '400'} {path}`"
    elif not shared and found.st_mode & 0o040 and home and found.st_gid == home.st_gid:
        yield f"the group of the home may read `{path}`: `chmod 400 {path}`"


def _missing(settings: Settings, folders: tuple[str, ...], needed: tuple[str, ...], *, writes: tuple[str, ...]) -> Iterator[str]:
    """What this process needs and may not do."""
    for name in dict.fromkeys((*folders, *writes)):
        folder = settings.home / name
        if _stat(folder) is None:
            yield f"`{folder}` is missing or cannot be reached: run `yumen init` as the user of the worker"
        elif not _may(folder, os.R_OK | os.X_OK | (os.W_OK if name in writes else 0)):
            yield f"user {os.geteuid()} may not use `{folder}`: run this as the user that it belongs to, or put the user into its group"
    for name in needed:
        path = secrets(settings)[name]
        if not _may(path, os.R_OK):
            yield f"user {os.geteuid()} may not read `{path}` (keys.{name})"


def _too_much(settings: Settings) -> Iterator[str]:
    """What a process that serves must not be able to do."""
    for path in (settings.home / "keys" / "worker", secrets(settings)["worker_secret"]):
        if _may(path, os.R_OK):
            yield f"this process serves and may read `{path}`: let it belong to the user of the worker, and to no group of this one"
    for name in SHARED.keys() - {"writers"}:
        if _may(settings.home / name, os.W_OK):
            yield f"this process serves and may write to `{settings.home / name}`: let it belong to the user of the worker"


def _may(path: Path, what: int) -> bool:
    return os.access(path, what, effective_ids=True)


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None
