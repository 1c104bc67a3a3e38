"""Demonstrations that are there to be attacked: what is done to them is not undone."""

from __future__ import annotations

import base64
import json
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from core.settings import load
from ops import running
from ops.demo import make_demo
from tests.ports import free_ports
from tests.web.conftest import Service
from web.server import serve

#: What a name must not be able to do: end an attribute or a tag, begin an element, a handler, a formula, a template, a line.
PAYLOAD = "=1+1\"'><x-evil onevil=1>{{7*7777777}}"


@contextmanager
def demonstration(folder: Path, prepare: Callable[[Path], None] = lambda _: None) -> Iterator[Service]:
    """A demonstration in `folder` that is served; `prepare` is given its home before anybody looks at it."""
    https, http = free_ports(2)
    environ = {
        "YUMEN_HOME": str(folder / "var"),
        "YUMEN_WEB_HTTPS": f"127.0.0.1:{https}",
        "YUMEN_WEB_HTTP": f"127.0.0.1:{http}",
        "YUMEN_WEB_HTTPS_URL": f"https://localhost:{https}",
        "YUMEN_WEB_HTTP_URL": f"http://127.0.0.1:{http}",
    }
    made = make_demo(folder / "var", environ, tell=lambda _: None)
    prepare(folder / "var")
    with running.embedded(load(environ)) as node:
        servers = serve(node)
        servers.start()
        found = Service(node, json.loads(made.accounts.read_bytes()), folder)
        yield found
        found.close()
        servers.stop()


def poison(home: Path) -> None:
    """Let every name in the directory be an attack."""
    path = home / "directory.ldif"
    names = re.compile(r"^(displayname|cn|ou;lang-zh|ou;lang-en|title):(:?) (.*)$", re.MULTILINE)

    def evil(match: re.Match[str]) -> str:
        value = base64.b64decode(match[3]).decode() if match[2] else match[3]
        return f"{match[1]}:: {base64.b64encode((PAYLOAD + value)[:60].encode()).decode()}"

    path.write_text(names.sub(evil, path.read_text("utf-8")), "utf-8")


@contextmanager
def browser(service: Service, uid: str) -> Iterator[httpx.Client]:
    """Somebody's cookie, or nobody's."""
    cookie = {"Cookie": f"__Host-yumen={service.session(uid)}"} if uid else {}
    trust = ssl.create_default_context(cafile=service.told["ca_file"])
    with httpx.Client(base_url=service.told["https"], verify=trust, headers=cookie, trust_env=False) as client:
        yield client


def form_token(page: httpx.Response) -> str:
    found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page.text)
    assert found, page.text
    return found[1]


def raw(service: Service, request: bytes, silence: float = 3.0) -> bytes:
    """Everything that is answered to these bytes, which no client library would send, until the end or this many seconds of silence."""
    context = ssl.create_default_context(cafile=service.told["ca_file"])
    port = urlsplit(service.told["https"]).port
    with socket.create_connection(("127.0.0.1", port), 5) as bare, context.wrap_socket(bare, server_hostname="localhost") as sock:
        sock.settimeout(silence)
        heard = b""
        with suppress(TimeoutError, ConnectionError, ssl.SSLError):
            sock.sendall(request)
            while data := sock.recv(65_536):
                heard += data
        return heard


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A demonstration whose directory is full of attacks."""
    with demonstration(tmp_path_factory.mktemp("poisoned"), poison) as found:
        yield found
