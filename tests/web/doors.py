"""The production door for tests: nginx with the files of `deploy/nginx`, two sockets behind it, and clients in front."""

from __future__ import annotations

import contextlib
import datetime as dt
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from ops.renewal import renew_listener
from tests.nginx import Nginx
from tests.ports import free_ports
from tests.web.conftest import Service
from web.behind import SocketListener
from web.front import Front

FILES = ("conf.d/yumen.conf",)


@dataclass
class Door:
    """A running nginx and its two instances."""

    nginx: Nginx
    folder: Path
    ca_file: str
    port: int
    plain_port: int
    measured: tuple[int, int]
    #: What reached the instances of the toy: method, path, body.
    arrived: list[tuple[str, str, str]] = field(default_factory=list)
    #: Starts the instance of that number; gives what stops it.
    instance: Callable[[int], SocketListener] | None = None
    instances: dict[int, SocketListener] = field(default_factory=dict)

    def context(self, cert: tuple[Path, Path] | None = None) -> ssl.SSLContext:
        found = ssl.create_default_context(cafile=self.ca_file)
        if cert:
            found.load_cert_chain(*cert)
        return found

    def client(self, cert: tuple[Path, Path] | None = None, **fields: str) -> httpx.Client:
        return httpx.Client(base_url=f"https://localhost:{self.port}", verify=self.context(cert), headers=fields, trust_env=False)

    def plain(self, **fields: str) -> httpx.Client:
        return httpx.Client(base_url=f"http://localhost:{self.plain_port}", headers=fields, trust_env=False)

    def raw(self, request: bytes, *, cert: tuple[Path, Path] | None = None, plain: bool = False, seconds: float = 1.0) -> bytes:
        """Everything that is answered to these bytes until the end or a silence."""
        with socket.create_connection(("127.0.0.1", self.plain_port if plain else self.port), 5) as bare:
            sock = bare if plain else self.context(cert).wrap_socket(bare, server_hostname="localhost")
            sock.settimeout(seconds)
            heard = b""
            with contextlib.suppress(TimeoutError, ConnectionError, ssl.SSLError):
                sock.sendall(request)
                while data := sock.recv(65_536):
                    heard += data
            sock.close()
            return heard


def door(service: Service, folder: Path, **more: str) -> Door:
    https, http, first, second = free_ports(4)
    node = replace(service.node, settings=replace(service.node.settings, web=replace(service.node.settings.web, socket=folder / "x.sock")))
    renew_listener(node)
    site = {
        "listen 443 ssl;": f"listen 127.0.0.1:{https} ssl;",
        "listen 80;": f"listen 127.0.0.1:{http};",
        "127.0.0.1:9101": f"127.0.0.1:{first}",
        "127.0.0.1:9102": f"127.0.0.1:{second}",
        "/run/yumen/": f"{folder}/",
        "/var/lib/yumen/": f"{node.settings.home}/",
        "/var/log/nginx/": f"{folder}/nginx/",
        **more,
    }
    return Door(Nginx(folder / "nginx", FILES, site), folder, service.told["ca_file"], https, http, (first, second))


@contextlib.contextmanager
def serving(here: Door, app: Any, limit: int) -> Iterator[Door]:
    def instance(number: int) -> SocketListener:
        quick = app.is_quick if isinstance(app, Front) else lambda _: False
        listener = SocketListener(here.folder / f"web-{number}.sock", app, threads=4, max_body_bytes=limit, quick=quick)
        listener.start()
        return listener

    here.instance, here.instances = instance, {number: instance(number) for number in (1, 2)}
    here.nginx.start()
    try:
        yield here
    finally:
        here.nginx.stop()
        for listener in here.instances.values():
            listener.stop()


def aged(service: Service, files: tuple[Path, Path], folder: Path) -> tuple[Path, Path]:
    """The certificate in `files` once more, by the same authority, and over since yesterday."""
    cert = x509.load_pem_x509_certificates(files[0].read_bytes())[0]
    issuer = next(one for one in service.node.world.trust().intermediates if one.subject == cert.issuer)
    vault = service.node.worker_vault
    assert vault
    keys = [load_pem_private_key(vault.get(name), None) for name in vault.names() if name.startswith("ca/")]
    key = next(one for one in keys if one.public_key() == issuer.public_key())
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(subject_name=cert.subject, issuer_name=cert.issuer, public_key=cert.public_key())
    builder = builder.serial_number(cert.serial_number).not_valid_before(now - dt.timedelta(days=9)).not_valid_after(now - dt.timedelta(1))
    for extension in cert.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    made = folder / "aged.pem"
    made.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))  # type: ignore[arg-type]
    return made, files[1]


def statuses(heard: bytes) -> list[int]:
    return [int(found) for found in re.findall(rb"HTTP/1\.[01] (\d{3})", heard)]
