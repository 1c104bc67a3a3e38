"""Three ways to a certificate: the command, the page in a browser, and REST with a request that openssl made."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.client import session
from cli.client.api import Api
from cli.story.people import login
from cli.story.stage import Stage, StoryBroken

#: The password under which everybody in the story keeps a key.
PASSWORD = "jade-gate-at-dawn"  # noqa: S105 - a story

#: Within this time of the last approval the certificate is there.
ISSUED_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A certificate in hand: whose, its serial, chain with key in one PEM file."""

    uid: str
    request: str
    serial: str
    pem: Path


@dataclass(frozen=True, slots=True)
class Asked:
    """A request on its way, and how its certificate is fetched once it was approved."""

    request: str
    fetch: Callable[[], Enrolled]


def by_command(stage: Stage, uid: str) -> Asked:
    """`yumen enroll`: asks and ends; run again after the approval it fetches the certificate."""
    out, kept = stage.folder / f"{uid}.p12", stage.folder / f"{uid}.session"
    with login(stage, uid) as api:
        tomorrow = (dt.datetime.now(dt.UTC) + dt.timedelta(days=1)).isoformat()
        session.save(session.Session(server=api.server, uid=uid, expires_at=tomorrow), kept)
    environ = {**os.environ, "YUMEN_SESSION": str(kept), "YUMEN_P12_PASSWORD": PASSWORD}
    command = [sys.executable, "-m", "cli.main", "enroll", "--json", "--url", stage.url, "--uid", uid, "--out", str(out)]
    asked = _run(command, environ)

    def fetch() -> Enrolled:
        told = _run([*command, "--patience", "20"], environ)
        return Enrolled(uid, str(told["request"]), told["serial"], open_pkcs12(stage, out))

    return Asked(str(asked["request"]), fetch)


def _run(command: list[str], environ: dict[str, str]) -> dict[str, Any]:
    ended = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    if ended.returncode:
        raise StoryBroken(f"{' '.join(command[2:])} ended with {ended.returncode}: {ended.stdout}{ended.stderr}")
    told: dict[str, Any] = json.loads(ended.stdout)
    return told


def by_openssl(stage: Stage, uid: str) -> tuple[Api, Asked]:
    """REST with a request that openssl made: the person's session, and the request."""
    key, csr = stage.folder / f"{uid}.key", stage.folder / f"{uid}.csr"
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(key))
    openssl("req", "-new", "-key", str(key), "-subj", "/CN=whatever the person likes", "-out", str(csr))
    api = login(stage, uid)
    request = api.post("/api/v1/requests", {"profile": "staff-sign", "csr": csr.read_text("ascii")})
    number = str(request["id"])
    return api, Asked(number, lambda: _collect(api, stage, uid, number, key))


def await_serial(api: Api, request: str) -> str:
    """The serial, polled for as a client would.

    Raises:
        StoryBroken: it is not there in time.
    """
    began = time.monotonic()
    while time.monotonic() - began < ISSUED_SECONDS:
        shown = api.get(f"/api/v1/requests/{request}")
        if shown["state"] == "issued":
            return str(shown["serial"])
        time.sleep(0.1)
    raise StoryBroken(f"request {request} is still {shown['state']} after {ISSUED_SECONDS} s: {shown['reasons']}")


def _collect(api: Api, stage: Stage, uid: str, request: str, key: Path) -> Enrolled:
    """Chain and key in one PEM file."""
    serial = await_serial(api, request)
    pem = stage.folder / f"{uid}.pem"
    chain = api.text(f"/api/v1/certificates/{serial}", "application/pem-certificate-chain")
    pem.write_text(chain + key.read_text("ascii"), "ascii")
    return Enrolled(uid, request, serial, pem)


def open_pkcs12(stage: Stage, path: Path) -> Path:
    """Open a PKCS#12 file with openssl and check its chain; gives certificates and key as PEM, leaf first."""
    pem = path.with_suffix(".pem")
    openssl("pkcs12", "-in", str(path), "-passin", f"pass:{PASSWORD}", "-nodes", "-out", str(pem))
    openssl("verify", "-CAfile", str(stage.ca_file), "-untrusted", str(pem), str(pem))
    return pem


def openssl(*arguments: str) -> str:
    """Run openssl, a second opinion on everything.

    Raises:
        StoryBroken: it objects.
    """
    if shutil.which("openssl") is None:
        raise StoryBroken("openssl is not installed; the story needs it as a second opinion (Debian: apt install openssl)")
    ended = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)  # noqa: S603, S607 - the system's own
    if ended.returncode:
        raise StoryBroken(f"openssl {arguments[0]} objects: {ended.stdout}{ended.stderr}")
    return ended.stdout + ended.stderr
