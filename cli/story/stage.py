"""Where the story plays: the running service of a demonstration home, or a fresh one in a folder of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.client.api import Api, Server
from core.errors import Error, Unavailable

Tell = Callable[[str], None]

_READY_SECONDS = 60.0


class StoryBroken(Exception):
    """Something happened that must not, or did not happen in time: what was expected, and what came."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A running demonstration, and a folder for the files of the people in the story."""

    home: Path
    folder: Path
    #: `demo.json`.
    told: dict[str, Any]

    @property
    def url(self) -> str:
        """The portal."""
        return str(self.told["https"])

    @property
    def ca_file(self) -> Path:
        """The root that everybody in the story trusts."""
        return Path(self.told["ca_file"])

    def account(self, uid: str) -> dict[str, Any]:
        """What `demo.json` tells of a person."""
        return next(each for each in self.told["accounts"] if each["uid"] == uid)

    def application(self, name: str) -> Server:
        """An application with its client certificate."""
        each = next(each for each in self.told["applications"] if each["id"] == name)
        return Server(url=self.url, ca_file=self.ca_file, cert_file=Path(each["cert"]), key_file=Path(each["key"]))

    def verifier_keys(self) -> list[Path]:
        """The public keys of the logs, as the auditor wrote them down at the ceremony."""
        return [self.home / "notes" / f"{log}.vkey" for log in ("ca", "access")]


@contextmanager
def stage(home: Path, tell: Tell) -> Iterator[Stage]:
    """The service of `home` when it answers, else a fresh one that ends with the block."""
    with tempfile.TemporaryDirectory(prefix="yumen-story-") as folder:
        if _ready(home):
            tell(f"the service of {home} is running; the story plays there")
            yield Stage(home, Path(folder), json.loads((home / "demo.json").read_bytes()))
            return
        tell("no service is running; a fresh one is made for this story")
        with fresh_service(Path(folder) / "var", tell) as made:
            yield Stage(made, Path(folder), json.loads((made / "demo.json").read_bytes()))


@contextmanager
def fresh_service(home: Path, tell: Tell) -> Iterator[Path]:
    """`yumen init --demo` and `yumen serve` on ports of their own, ended by SIGTERM.

    Raises:
        StoryBroken: it does not get ready, or does not end gracefully.
    """
    environ = {**os.environ, "YUMEN_HOME": str(home), **_addresses()}
    environ.pop("YUMEN_SETTINGS", None)
    began = time.monotonic()
    subprocess.run([*_YUMEN, "init", "--demo"], env=environ, check=True, capture_output=True)  # noqa: S603 - our own command
    tell(f"`yumen init --demo` took {time.monotonic() - began:.1f} s")
    began = time.monotonic()
    log = home.with_name("serve.log").open("wb")
    process = subprocess.Popen([*_YUMEN, "serve"], env=environ, stdout=log, stderr=log)  # noqa: S603 - our own command
    try:
        while not _ready(home):
            if process.poll() is not None or time.monotonic() - began > _READY_SECONDS:
                raise StoryBroken(f"the service does not get ready:\n{home.with_name('serve.log').read_text('utf-8', 'replace')}")
            time.sleep(0.05)
        tell(f"`yumen serve` was ready after {time.monotonic() - began:.1f} s")
        yield home
    finally:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        if process.poll() is None:
            process.kill()
            process.wait()
        log.close()
    if process.returncode:
        raise StoryBroken(f"the service ended with {process.returncode}:\n{home.with_name('serve.log').read_text('utf-8', 'replace')}")


#: The command that runs beside this interpreter.
_YUMEN = (sys.executable, "-m", "cli.main")


def _ready(home: Path) -> bool:
    try:
        told = json.loads((home / "demo.json").read_bytes())
        with Api(Server(url=told["https"], ca_file=Path(told["ca_file"])), timeout_seconds=2) as api:
            return bool(api.get("/readyz")["status"] == "ready")
    except (OSError, ValueError, KeyError, Unavailable, Error):
        return False


def _addresses() -> dict[str, str]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    https, http = (one.getsockname()[1] for one in held)
    for one in held:
        one.close()
    return {
        "YUMEN_WEB_HTTPS": f"127.0.0.1:{https}",
        "YUMEN_WEB_HTTP": f"127.0.0.1:{http}",
        "YUMEN_WEB_HTTPS_URL": f"https://localhost:{https}",
        "YUMEN_WEB_HTTP_URL": f"http://127.0.0.1:{http}",
    }
