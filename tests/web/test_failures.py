"""What nobody caught is answered without its cause and logged without its secrets."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from flask import Response
from werkzeug.test import Client

from core import logs
from tests.web.conftest import Service
from web import door
from web.app import create_app
from web.front import Front

pytestmark = pytest.mark.slow


@door.open_to(door.ANYONE)
def broken(name: str) -> Response:
    raise RuntimeError(f"no key for ys_{name}")


@pytest.fixture
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    structlog.reset_defaults()
    logging.captureWarnings(capture=False)
    root.handlers = handlers
    root.setLevel(level)


@pytest.mark.usefixtures("_restored")
def test_a_failure_of_ours_is_logged_once_with_its_route_and_neither_address_nor_token(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure(json=True)
    app = create_app(service.node)
    app.add_url_rule("/api/v1/broken/<name>", view_func=broken)
    answer = Client(Front(service.node, (), app)).get("/api/v1/broken/zhangsan", headers={"X-Request-ID": "r-77"})
    assert answer.status_code == 500
    assert "zhangsan" not in answer.get_data(as_text=True)
    (line,) = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert (line["event"], line["route"], line["method"], line["request_id"]) == ("request failed", "/api/v1/broken/<name>", "GET", "r-77")
    assert "Traceback" in line["exception"]
    assert "zhangsan" not in json.dumps(line)
