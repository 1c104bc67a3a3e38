"""Logging in at the terminal: where the service is, and who asks."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from cli.client import session
from cli.client.api import Api, Server

F = TypeVar("F", bound=Callable[..., Any])


def _default_ca_file() -> str:
    """The root that the environment names, that of this user, or that of the home on this machine."""
    own = session.session_file(os.environ).with_name("root.pem")
    return os.environ.get("YUMEN_CA_FILE") or str(own if own.exists() else Path(os.environ.get("YUMEN_HOME") or "var") / "root.pem")


def server_options(function: F) -> F:
    """`--url`, `--ca-file`, `--cert` and `--key`, bundled into one parameter `server`."""

    @functools.wraps(function)
    def run(*args: Any, url: str, ca_file: Path, cert: Path | None, key: Path | None, **kwargs: Any) -> Any:
        return function(*args, server=Server(url=url.rstrip("/"), ca_file=ca_file, cert_file=cert, key_file=key), **kwargs)

    path = click.Path(path_type=Path, dir_okay=False)
    for option in (
        click.option("--key", type=path, help="Its private key, PEM (default: in the --cert file)."),
        click.option("--cert", type=path, help="Your client certificate, PEM, leaf first: logs in without password."),
        click.option(
            "--ca-file",
            type=path,
            default=_default_ca_file,
            show_default="$YUMEN_CA_FILE, ~/.config/yumen/root.pem, or $YUMEN_HOME/root.pem",
            help="The root to trust, PEM.",
        ),
        click.option(
            "--url", "--server", default="https://localhost:8443", show_default=True, envvar="YUMEN_URL", help="Address of the service."
        ),
    ):
        run = option(run)
    return run  # type: ignore[return-value]


def open_session(server: Server, uid: str | None) -> session.Session:
    """Log in: by certificate when the server value has one, else by password and one-time code, asked for if not in the environment."""
    if server.cert_file:
        body = None
    else:
        uid = uid or click.prompt("User", err=True)
        password = os.environ.get("YUMEN_PASSWORD") or click.prompt("Password", hide_input=True, err=True)
        totp = os.environ.get("YUMEN_TOTP") or click.prompt("One-time code", err=True)
        body = {"uid": uid, "password": password, "totp": totp}
    with Api(server) as api:
        answer = api.post("/api/v1/sessions", body)
    known = Server(url=server.url, ca_file=server.ca_file, token=answer["token"], cert_file=server.cert_file, key_file=server.key_file)
    return session.Session(server=known, uid=uid or "", expires_at=answer["expires_at"])
