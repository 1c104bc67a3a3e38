"""The session that `yumen login` leaves behind: one file of mode 0600 under the user's configuration folder.

`YUMEN_SESSION` names another file, for people who hold several sessions at once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cli.client.api import Server
from core.errors import Unauthenticated


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Who is logged in where, until when."""

    server: Server
    uid: str
    #: RFC 3339 time, as the server said it.
    expires_at: str


def session_file(environ: Mapping[str, str]) -> Path:
    """Where the session is kept for this user."""
    if named := environ.get("YUMEN_SESSION"):
        return Path(named)
    folder = environ.get("XDG_CONFIG_HOME")
    return (Path(folder) if folder else Path.home() / ".config") / "yumen" / "session.json"


def save(session: Session, path: Path) -> None:
    """Keep `session` in `path`, readable by this user only."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    server = session.server
    value = {
        "url": server.url,
        "ca_file": str(server.ca_file.absolute()),
        "token": server.token,
        "cert_file": str(server.cert_file.absolute()) if server.cert_file else "",
        "key_file": str(server.key_file.absolute()) if server.key_file else "",
        "uid": session.uid,
        "expires_at": session.expires_at,
    }
    write_private(path, json.dumps(value, indent=1).encode())


def write_private(path: Path, data: bytes) -> None:
    """Replace `path` by `data` with mode 0600 from its first byte on."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.unlink(missing_ok=True)
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)


def load(path: Path) -> Session:
    """The session kept in `path`.

    Raises:
        Unauthenticated: there is none, or the file is damaged.
    """
    try:
        value = json.loads(path.read_bytes())
        server = Server(
            url=value["url"],
            ca_file=Path(value["ca_file"]),
            token=value["token"],
            cert_file=Path(value["cert_file"]) if value["cert_file"] else None,
            key_file=Path(value["key_file"]) if value["key_file"] else None,
        )
        return Session(server=server, uid=value["uid"], expires_at=value["expires_at"])
    except FileNotFoundError:
        raise Unauthenticated("nobody is logged in; run `yumen login` first") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Unauthenticated("the session file `{path}` cannot be read; run `yumen login` again", path=path) from error


def forget(path: Path) -> None:
    """Remove the kept session, if there is one."""
    path.unlink(missing_ok=True)
