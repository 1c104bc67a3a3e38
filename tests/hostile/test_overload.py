"""More than fits: slow clients, greedy callers, and load that lasts. Whoever behaves is served."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from flask import Response
from werkzeug.test import Client

from tests.hostile.conftest import demonstration
from tests.shape.rules import ROOT
from tests.web.conftest import OTHER_STAFF, STAFF, Service
from tests.web.doors import Door, door, serving
from web import compose
from web import door as doors
from web.app import create_app
from web.credentials import shown_at
from web.front import Front

pytestmark = [pytest.mark.alone, pytest.mark.slow]

#: Half of them at each of the two addresses.
SLOW = 500
#: What an honest request may take beside them, in seconds; alone it takes a hundredth of it.
PATIENCE = 2.0


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with demonstration(tmp_path_factory.mktemp("busy")) as found:
        yield found


@pytest.fixture(scope="module")
def behind(busy: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """nginx and two instances in front of the same service."""
    here = door(busy, tmp_path_factory.mktemp("n"))
    with serving(here, compose.portal(busy.node), busy.node.settings.web.max_body_bytes) as found:
        yield found


@contextlib.contextmanager
def slow_clients(port: int, seconds: float, *options: str) -> Iterator[None]:
    command = [sys.executable, "-m", "tests.hostile.slow", "127.0.0.1", str(port), str(SLOW // 2), str(seconds), *options]
    clients = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert clients.stdout
        word, _, number = clients.stdout.readline().partition(" ")
        assert word == "ready"
        assert int(number) > SLOW // 2 * 0.9
        yield
    finally:
        clients.terminate()
        clients.communicate()


def question(service: Service) -> dict[str, Any]:
    person = service.node.world.current().directory.by_uid[STAFF]
    return {"subject": {"type": "user", "id": person.id}, "action": {"name": "read"}, "resource": {"type": "document", "id": "7"}}


def honest(service: Service, decisions: httpx.Client, status: httpx.Client, seconds: float) -> list[float]:
    """Decisions and status, one after the other, each on a new connection; how long each took."""
    took, until = [], time.monotonic() + seconds
    while time.monotonic() < until:
        for client, method, path, body in (
            (decisions, "POST", "/access/v1/evaluation", question(service)),
            (status, "GET", "/crl/staff/0.crl", None),
            (status, "GET", "/ca/staff.cer", None),
        ):
            began = time.monotonic()
            answer = client.request(method, path, json=body, headers={"Connection": "close"})
            took.append(time.monotonic() - began)
            assert answer.status_code == 200, answer.text
            assert path[:7] != "/access" or answer.json()["decision"] is True
    return took


def test_500_slow_clients_stop_neither_status_nor_decisions(busy: Service) -> None:
    tls, plain = (urlsplit(busy.told[name]).port or 0 for name in ("https", "http"))
    with slow_clients(tls, 60, "tls"), slow_clients(plain, 60), httpx.Client(base_url=busy.told["http"], trust_env=False) as status:
        took = honest(busy, busy.application(), status, 2)
    assert len(took) > 10
    assert max(took) < PATIENCE, sorted(took)[-5:]


@pytest.mark.component("nginx")
def test_500_slow_clients_stop_neither_status_nor_decisions_behind_nginx(busy: Service, behind: Door) -> None:
    with (
        slow_clients(behind.port, 60, "tls"),
        slow_clients(behind.plain_port, 60),
        behind.client(busy.application_files()) as decisions,
        behind.plain() as status,
    ):
        took = honest(busy, decisions, status, 2)
    assert len(took) > 10
    assert max(took) < PATIENCE, sorted(took)[-5:]


def test_no_caller_has_more_than_half_of_the_threads(busy: Service) -> None:
    """The turn above the half is refused at once, counted and not recorded one by one; others go on, and so does he afterwards."""
    go, inside = threading.Event(), threading.Semaphore(0)

    @doors.open_to(doors.PERSON)
    def wait() -> Response:
        inside.release()
        assert go.wait(20)
        return Response("done")

    app = create_app(busy.node)
    app.add_url_rule("/api/v1/wait", view_func=wait)
    front, most = Front(busy.node, (), app), busy.node.settings.web.threads // 2
    greedy, other = ({"Authorization": f"Bearer {busy.session(uid)}"} for uid in (STAFF, OTHER_STAFF))
    statuses: list[int] = []

    def ask() -> None:
        statuses.append(Client(front).get("/api/v1/wait", headers=greedy).status_code)

    threads = [threading.Thread(target=ask) for _ in range(most)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert inside.acquire(timeout=20)
    before = busy.node.trail.waiting
    for path in ("/api/v1/wait", "/api/v1/me"):
        refused = Client(front).get(path, headers=greedy)
        assert (refused.status_code, refused.json["code"], refused.headers["Retry-After"]) == (429, "rate-limited", "1")  # type: ignore[index]
    assert busy.node.trail.waiting == before
    assert Client(front).get("/api/v1/me", headers=other).status_code == 200
    go.set()
    for thread in threads:
        thread.join()
    assert statuses == [200] * most
    assert Client(front).get("/api/v1/me", headers=greedy).status_code == 200


def test_a_second_name_for_the_same_credentials_gives_no_more_turns(busy: Service) -> None:
    """What is not looked at tells nobody apart."""
    page = {"PATH_INFO": "/", "HTTP_COOKIE": "__Host-yumen=ys_a"}
    assert shown_at(page) == shown_at(page | {"HTTP_COOKIE": "x=1; __Host-yumen=ys_a; y=2", "HTTP_AUTHORIZATION": "Bearer ys_b"})
    call = {"PATH_INFO": "/api/v1/me", "HTTP_AUTHORIZATION": "Bearer ys_a"}
    assert shown_at(call) == shown_at(call | {"HTTP_COOKIE": "__Host-yumen=ys_b"})
    by_certificate = {"PATH_INFO": "/api/v1/me", "yumen.peer_certificate": b"x"}
    assert len({shown_at(one) for one in (page, call, by_certificate, {"PATH_INFO": "/"})}) == 4
