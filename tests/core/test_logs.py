"""Logs carry the request's id and never a secret."""

from __future__ import annotations

import json
import logging
import re
import warnings

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from core import logs

_TOKEN = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-", min_size=1, max_size=40)


@pytest.fixture(autouse=True)
def _restored() -> object:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    structlog.reset_defaults()
    logging.captureWarnings(capture=False)
    root.handlers = handlers
    root.setLevel(level)


def _lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


@given(_TOKEN, _TOKEN, st.text(max_size=10))
def test_tokens_and_api_keys_are_blanked_wherever_they_stand(secret: str, app: str, around: str) -> None:
    line = logs.redact(None, "info", {"event": f"{around} ys_{secret}", "other": f"Bearer yk_{app}_{secret}."})
    assert f"ys_{secret}" not in line["event"]
    assert f"yk_{app}_{secret}" not in line["other"]


@pytest.mark.parametrize("name", ["password", "totp", "api_key", "Authorization", "cookie", "recovery_code", "csr", "privacy_key"])
def test_values_with_the_name_of_a_secret_are_blanked(name: str) -> None:
    assert logs.redact(None, "info", {name: "swordfish"}) == {name: "[redacted]"}


def test_private_keys_are_blanked() -> None:
    text = "before\n-----BEGIN EC PRIVATE KEY-----\nMHcCAQ==\n-----END EC PRIVATE KEY-----\nafter"
    assert "MHcC" not in logs.redact(None, "info", {"event": text})["event"]


def test_no_text_begins_a_line_or_speaks_to_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    told = "a\n2026-01-01 [error] forged\r\x1b[2J\x9b31m\u202e\u2028b"
    for json_ in (False, True):
        logs.configure(json=json_)
        structlog.get_logger().warning(told, detail=told)
        logging.getLogger("library").warning("%s", told)
        said = capsys.readouterr().err
        plain = re.sub(r"\x1b\[\d*m", "", said)  # our own colours
        assert len(plain.splitlines()) == 2
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\u2028]", plain)


def test_lines_carry_the_request_id(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(json=True)
    token = logs.request_id.set("req-7")
    structlog.get_logger().info("hello")
    logs.request_id.reset(token)
    structlog.get_logger().info("outside")
    inside, outside = _lines(capsys)
    assert inside["request_id"] == "req-7"
    assert "request_id" not in outside


def test_traces_are_logged_without_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(json=True)
    try:
        raise ValueError("bad token ys_abcdef")
    except ValueError:
        structlog.get_logger().exception("failed")
    (line,) = _lines(capsys)
    assert "Traceback" in str(line["exception"])
    assert "ys_abcdef" not in json.dumps(line)


def test_what_libraries_log_takes_the_same_way(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(json=True)
    logs.configure(json=True)  # twice is once
    token = logs.request_id.set("req-8")
    try:
        raise ValueError("bad token ys_abcdef")
    except ValueError:
        logging.getLogger("some.library").exception("failed for %s", "yk_oa_0123")
    logs.request_id.reset(token)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("about yk_oa_4567", stacklevel=1)
    logging.getLogger("some.library").info("chatter")
    (line, warned) = _lines(capsys)
    assert line["event"] == "failed for [redacted]"
    assert (line["level"], line["request_id"]) == ("error", "req-8")
    assert "Traceback" in str(line["exception"])
    assert "ys_abcdef" not in json.dumps(line)
    assert "yk_oa" not in json.dumps(warned)
