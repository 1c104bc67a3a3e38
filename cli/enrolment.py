"""`yumen enroll` at the terminal: asks for what is missing, shows progress, and says what to do when it must wait."""

from __future__ import annotations

import datetime as dt
import os
import time
from dataclasses import dataclass
from pathlib import Path

import click

from cli import output
from cli.client import enroll, session
from cli.client.api import Api, Server
from cli.login import open_session
from core.errors import Unauthenticated

#: Shorter passwords do not protect a key that lies in a file.
MIN_PASSWORD = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the person typed."""

    uid: str | None
    out: Path
    profile: str
    patience: int


def run(server: Server, wish: Wish, *, as_json: bool) -> None:
    """Begin or go on with the enrolment whose result is `wish.out`; says so when the certificate is not there yet."""
    enroll.require_free(wish.out)
    opened = _session(server, wish.uid)
    password = _password(enroll.waiting_file(wish.out).exists())
    with Api(opened.server) as api:
        waiting = enroll.begin(api, wish.out, password, profile=wish.profile)
        with output.progress(f"request {waiting.request}") as tell:
            serial = enroll.wait(api, waiting, until=time.monotonic() + wish.patience, tell=tell)
        if serial is None:
            _later(waiting, wish, as_json=as_json)
            return
        root_pem = opened.server.ca_file.read_bytes()
        certificates = enroll.collect(api, waiting, serial, root_pem=root_pem, now=dt.datetime.now(dt.UTC))
    enroll.finish(waiting, certificates, wish.out, password)
    value = {"state": "issued", "request": waiting.request, "serial": serial, "file": str(wish.out)}
    output.show(value, as_json=as_json)


def _later(waiting: enroll.Waiting, wish: Wish, *, as_json: bool) -> None:
    value = {"state": "waiting", "request": waiting.request, "file": str(waiting.path)}
    output.show(value, as_json=as_json)
    if not as_json:
        click.echo(f"your registrar decides now; run `yumen enroll --out {wish.out}` again to fetch the certificate", err=True)


def _session(server: Server, uid: str | None) -> session.Session:
    """The kept session when it is this person's on this server, else a fresh login that is kept."""
    path = session.session_file(os.environ)
    try:
        kept = session.load(path)
        good = (
            kept.server.url == server.url
            and uid in {None, kept.uid}
            and dt.datetime.fromisoformat(kept.expires_at) > dt.datetime.now(dt.UTC)
        )
    except (Unauthenticated, ValueError):
        good = False
    if good and _alive(kept):
        return kept
    opened = open_session(server, uid)
    session.save(opened, path)
    return opened


def _alive(kept: session.Session) -> bool:
    try:
        with Api(kept.server) as api:
            api.get("/api/v1/me")
    except Unauthenticated:
        return False
    return True


def _password(waiting: bool) -> str:  # noqa: FBT001 - one private caller
    word = os.environ.get("YUMEN_P12_PASSWORD")
    if word is None:
        word = str(click.prompt("Password of the key file", hide_input=True, confirmation_prompt=not waiting, err=True))
    if len(word) < MIN_PASSWORD:
        raise click.UsageError(f"the password of the key file needs at least {MIN_PASSWORD} characters")
    return word
