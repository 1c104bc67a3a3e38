"""A new unsealing secret for the sealed keys of one owner: all of them, or none.

The keys are sealed anew in a folder beside the old one, opened there as the next process would, and then the two folders change
places in one step of the kernel. Wherever this is broken off, the home opens with exactly one of the two secrets: `homes.half_sealed`
says with which, and the same command once more goes on. Nothing that the former secret opens is left at the end.
"""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from audit import history
from audit.event import Event, Kind
from audit.permit import Action, Permit
from authz.decide import Target, service_permit
from core.errors import Conflict, Malformed, Unavailable
from core.seal import Vault, same, settle, write_durably
from core.settings import Settings
from ops import homes, rights
from ops.claims import Claim
from ops.homes import OWNERS, are_swapped, keys_folder, resealing_folder
from ops.init import Say
from ops.node import Node, open_node

#: `renameat2` of Linux: paths are as they are, and both exist.
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def reseal(settings: Settings, owner: str, secret: Path, *, tell: Say) -> int:
    """Seal the keys of `owner` under the secret in the file `secret`, while nothing of the home runs that makes keys. Gives their number.

    Raises:
        Malformed: the secret lies in the home.
        Conflict: a demonstration, a process runs, or the secret opens something already.
        Unavailable: a secret is too short, others may read it, or it does not open the keys; the home or its trail cannot be used.
    """
    _must_fit(settings, owner, secret)
    _must_be_alone(settings.home)
    folder, place = keys_folder(settings.home, owner), resealing_folder(settings.home, owner)
    swapped = are_swapped(place, folder)
    if not swapped:
        _must_be_new(settings, secret)
    node = open_node(_naming(settings, owner, secret) if swapped else settings, role="operator", with_keys=True)
    try:
        permit = service_permit(node.world, node.trail, "operator", Action.KEYS_RESEAL, Target(f"keys:{owner}"))
        vault = node.web_vault if owner == "web" else node.worker_vault
        assert vault is not None
        keys = {name: vault.get(name) for name in vault.names()}  # all open, with the secret that opens them now
        if not swapped:
            tell("sealing")
            _seal_beside(keys, folder, place, secret)
        tell("recording")
        _record(node, folder, len(keys), permit)
    finally:
        node.close()
    _clear(place)
    return len(keys)


def _must_fit(settings: Settings, owner: str, secret: Path) -> None:
    if settings.demo:
        raise Conflict("the keys of a demonstration are public; make a home of production")
    homes.must_be_whole(settings.home)
    rights.must_own(settings)
    rights.must_be_private(settings, owner, secret)
    if secret.resolve().is_relative_to(settings.home.resolve()):
        raise Malformed("`{secret}` lies in the home, whose backups would hold it; put it somewhere else", secret=secret)
    named = homes.secrets(settings)
    if named["web_secret"] == named["worker_secret"]:
        raise Conflict(
            "`keys.web_secret` and `keys.worker_secret` name one file; copy it, and name the copy in one of them", file=named["web_secret"]
        )


def _must_be_alone(home: Path) -> None:
    """Nobody else makes keys meanwhile. Processes that only serve, as another user, cannot; they go on until they are started anew."""
    for path in sorted((home / "writers").glob("*.lock")):
        claim = Claim(path)
        try:
            if not claim.take():
                raise Conflict("`{process}` runs in this home; end it first", process=path.stem)
        except PermissionError:
            continue
        claim.release()


def _naming(settings: Settings, owner: str, secret: Path) -> Settings:
    """The settings, as they must be from now on."""
    return replace(settings, keys=replace(settings.keys, **{f"{owner}_secret": secret}))


def _must_be_new(settings: Settings, secret: Path) -> None:
    if any(same(secret, named) for named in homes.secrets(settings).values()):
        raise Conflict("`{secret}` opens keys of this home already; make another one with `openssl rand -base64 32`", secret=secret)


def _seal_beside(keys: Mapping[str, bytes], folder: Path, place: Path, secret: Path) -> None:
    """These keys under `secret`, in the place of `folder`; nothing has changed when this raises."""
    _clear(place)  # what was broken off
    place.mkdir(mode=0o700)
    try:
        _seal(keys, place / "keys", like=folder, secret=secret)
        write_durably(place / "salt", (place / "keys" / "salt").read_bytes())
        settle(place.parent)
        _swap(folder, place / "keys")
        settle(folder.parent)
        settle(place)
    except BaseException:
        if not are_swapped(place, folder):
            _clear(place)
        raise


def _seal(keys: Mapping[str, bytes], made: Path, *, like: Path, secret: Path) -> None:
    now = like.stat()
    made.mkdir(mode=0o700)
    os.chown(made, -1, now.st_gid)
    made.chmod(now.st_mode & 0o7777)
    fresh = Vault(made, secret)
    for name, value in keys.items():
        fresh.put(name, value)
    again = Vault(made, secret)  # as the next process opens it
    if {name: again.get(name) for name in again.names()} != keys:
        raise RuntimeError("a key that was sealed anew does not open")
    for each in (*(path for path in made.rglob("*") if path.is_dir()), made):
        settle(each)


def _swap(folder: Path, made: Path) -> None:
    """Let both change places; back again when one holds what the other does not: somebody began to work meanwhile."""
    _exchange(folder, made)
    if _files(folder) != _files(made):
        _exchange(folder, made)
        raise Conflict("keys were made in `{folder}` meanwhile; end whatever runs in this home", folder=folder)


def _files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*.sealed")}


def _exchange(one: Path, other: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE):
        raise Unavailable(
            "this disk cannot let `{folder}` and the folder with its new keys change places: {reason}; nothing was changed",
            folder=one,
            reason=os.strerror(ctypes.get_errno()),
        )


def _record(node: Node, folder: Path, number: int, permit: Permit) -> None:
    """Tell it, once: the salt says which sealing it was."""
    salt = (folder / "salt").read_bytes().hex()
    with node.database.reading() as session:
        if any(told.details.get("salt") == salt for told in history.newest(session, Kind.KEYS_RESEALED, len(OWNERS) + 1)):
            return
    node.trail.append([Event.under(permit, Kind.KEYS_RESEALED, permit.resource, details={"keys": number, "salt": salt})])


def _clear(place: Path) -> None:
    """Take away what the former secret opens, then the sign that this is under way."""
    if place.exists():
        if (place / "keys").exists():
            shutil.rmtree(place / "keys")
        settle(place)
        shutil.rmtree(place)
        settle(place.parent)
