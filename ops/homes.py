"""Where things lie in a home, and the two vaults that its unsealing secrets open."""

from __future__ import annotations

import dataclasses
import os
import stat
from pathlib import Path

from core.errors import Unavailable
from core.seal import Vault
from core.settings import Settings

#: The folders of a home that processes of two users share: one user owns and writes them, his group reads them. `keys/worker`
#: is his alone; in `writers` each process keeps the name that it writes under, and takes away nobody else's.
SHARED = {
    "": 0o2750,
    "keys": 0o2750,
    "keys/web": 0o2750,
    "keys/worker": 0o700,
    "notes": 0o2750,
    "tls": 0o2750,
    "writers": 0o3770,
}


#: Whose keys have an unsealing secret of their own: web processes, and the worker.
OWNERS = ("web", "worker")


def make(home: Path, *, shared: bool = False) -> None:
    """The folder of a home and that of its keys, which no stranger may look into and nobody else may write to.

    With `shared` all folders, for two users: what is read goes to the group of the home's own folder.

    Raises:
        PermissionError: a folder that others may enter belongs to somebody else.
    """
    for name, mode in SHARED.items() if shared else ():
        folder = home / name
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if folder.stat().st_gid != home.stat().st_gid:
            os.chown(folder, -1, home.stat().st_gid)
        if stat.S_IMODE(folder.stat().st_mode) != mode:
            folder.chmod(mode)
    if shared:
        return
    for folder in (home, home / "keys"):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        mode = stat.S_IMODE(folder.stat().st_mode)
        if mode & 0o027:
            folder.chmod(mode & 0o750)


def database_file(home: Path) -> Path:
    """The SQLite database."""
    return home / "yumen.db"


def root_file(home: Path) -> Path:
    """The root certificates, PEM: what clients of this home trust."""
    return home / "root.pem"


def tls_file(home: Path) -> Path:
    """The chain of the HTTPS listener, PEM, leaf first; its key is sealed as `tls/server`."""
    return home / "tls" / "server.pem"


def tls_key_file(home: Path) -> Path:
    """The listener's key where nginx reads it, PEM: only behind nginx, which ends TLS there."""
    return home / "tls" / "server.key"


def client_cas_file(home: Path) -> Path:
    """The authorities whose certificates nginx asks clients for, PEM."""
    return home / "tls" / "clients.pem"


def notes_folder(home: Path) -> Path:
    """The last signed checkpoint of each log, kept outside the database."""
    return home / "notes"


def restoring_file(home: Path) -> Path:
    """Stands in a home while a restore fills it: what is there meanwhile must not be used."""
    return home / "restoring"


def keys_folder(home: Path, owner: str) -> Path:
    """The sealed keys of `owner`, one of `OWNERS`."""
    return home / "keys" / owner


def resealing_folder(home: Path, owner: str) -> Path:
    """Stands in a home while the keys of `owner` are sealed anew, and is in no backup."""
    return home / f"resealing-{owner}"


def are_swapped(place: Path, folder: Path) -> bool:
    """Whether the keys that were sealed anew in `place` are where they belong, in `folder`: their salt was noted beside them."""
    made = place / "salt"
    return made.exists() and made.read_bytes() == (folder / "salt").read_bytes()


def half_sealed(home: Path) -> list[str]:
    """Where sealing keys anew was broken off, one sentence each, and which secret opens the keys now."""
    found = []
    for owner in OWNERS:
        place = resealing_folder(home, owner)
        which = "new" if are_swapped(place, keys_folder(home, owner)) else "former"
        if any(place.glob("*")):
            again = f"end whatever runs, and run `yumen keys reseal {owner}` again"
            found.append(f"sealing the keys of {owner} anew was broken off: the {which} secret opens them; {again}")
    return found


def must_be_whole(home: Path) -> None:
    """Check that no restore into this home was broken off.

    Raises:
        Unavailable: one was, or is under way.
    """
    if restoring_file(home).exists():
        raise Unavailable("a restore into `{home}` is under way or was broken off: empty the folder, then restore again", home=home)


def accounts_file(home: Path) -> Path:
    """What only a demonstration may write down: accounts, passwords, one-time secrets, API keys."""
    return home / "demo.json"


def secret_file(home: Path) -> Path:
    """The unsealing secret of a demonstration, beside its home."""
    return home.with_name(home.name + ".secret")


def web_vault(settings: Settings) -> Vault:
    """The keys of web processes."""
    return Vault(keys_folder(settings.home, "web"), secrets(settings)["web_secret"])


def worker_vault(settings: Settings) -> Vault:
    """The keys of the worker: authorities and logs. No web process can read its secret in production."""
    return Vault(keys_folder(settings.home, "worker"), secrets(settings)["worker_secret"])


def secrets(settings: Settings) -> dict[str, Path]:
    """The files of the unsealing secrets, by setting."""
    named = {"web_secret": settings.keys.web_secret, "worker_secret": settings.keys.worker_secret}
    return {name: secret_file(settings.home) if path == Path() else path for name, path in named.items()}


def outside(settings: Settings) -> dict[str, Path]:
    """The files that the settings name and no backup of the home holds, by setting: secrets, and whatever lies elsewhere."""
    found = {f"keys.{name}": path for name, path in secrets(settings).items()}
    for section in ("directory", "notices", "backup"):
        values = dataclasses.asdict(getattr(settings, section))
        named = {
            f"{section}.{name}": settings.home / value for name, value in values.items() if isinstance(value, Path) and value != Path()
        }
        found |= {name: path for name, path in named.items() if not path.is_relative_to(settings.home)}
    return found
