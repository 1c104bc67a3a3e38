"""Logs for operators: one line an event with the request's id; secrets and personal data never reach them.

What happened belongs in the trail; logs say how the machine fares.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from contextvars import ContextVar
from typing import Any, TextIO

import structlog

#: Id of the request that this thread or task works for; empty outside a request.
request_id: ContextVar[str] = ContextVar("request_id", default="")

_SECRET_NAMES = re.compile(r"pass|secret|token|totp|otp|code|authorization|cookie|key$|csr|pkcs12", re.IGNORECASE)
_SECRET_TEXT = re.compile(r"\b(?:ys_|yk_)[A-Za-z0-9_-]+|-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*-----END[^-]*-----")
#: Control characters, and those that turn or hide the text around them.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_CONTROL_IN_TRACE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def redact(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Blank values that are secrets by their name or by their look (session tokens, API keys, private keys)."""
    for name, value in line.items():
        if _SECRET_NAMES.search(name):
            line[name] = "[redacted]"
        elif isinstance(value, str):
            line[name] = _SECRET_TEXT.sub("[redacted]", value)
    return line


def one_line(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Write control characters as escapes, so that no text from outside begins a line or speaks to a terminal; traces keep their lines."""
    for name, value in line.items():
        if isinstance(value, str):
            line[name] = (_CONTROL_IN_TRACE if name == "exception" else _CONTROL).sub(_escaped, value)
    return line


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")


def _add_request_id(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if current := request_id.get():
        line["request_id"] = current
    return line


class _OfLibraries(logging.StreamHandler[TextIO]):
    """What libraries log, in our form."""


def configure(*, json: bool | None = None) -> None:
    """Send logs to standard error, those of libraries as well: readable on a terminal, JSON lines otherwise."""
    json = not sys.stderr.isatty() if json is None else json
    steps: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_request_id,
        structlog.processors.format_exc_info,
        redact,
        *(() if json else (one_line,)),  # JSON escapes by itself
    ]
    renderer = structlog.processors.JSONRenderer() if json else structlog.dev.ConsoleRenderer()
    handler = _OfLibraries(sys.stderr)
    unmarked = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=steps, processors=[unmarked, renderer]))
    root = logging.getLogger()
    root.handlers = [other for other in root.handlers if not isinstance(other, _OfLibraries)] + [handler]
    root.setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[*steps, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
