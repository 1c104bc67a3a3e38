"""Notices by the platform for short messages: one signed POST each, to the one address that the settings name."""

from __future__ import annotations

import hmac
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx

from authz.people import Person
from core.settings import Notices as Settings
from ops.notices.mail import trusting
from ops.notices.notice import Doubtful, Kind, Letter, Send, Undelivered, Unreachable

#: How long the platform may take to accept a connection, and to answer, in seconds.
PATIENCE = 10.0

_NUMBER = re.compile(r"\+?[0-9]{5,15}")
#: Answers after which another attempt may succeed (RFC 9110 section 15, RFC 6585 section 4), besides 5xx.
_LATER = (408, 425, 429)


class Webhook:
    """The platform. See `notice.Channel`."""

    name = "webhook"

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._settings, self._clock = settings, clock
        self.kinds = frozenset(map(Kind, settings.by_webhook.split()))

    def address(self, person: Person) -> str:
        """The person's number without what people write between its digits."""
        number = re.sub(r"[ ()./-]", "", person.mobile)
        return number if _NUMBER.fullmatch(number) else ""

    @contextmanager
    def open(self) -> Iterator[Send]:
        """A client that knows no proxy, no cookie and no redirect.

        Raises:
            Unreachable: the secret or the authorities cannot be read.
        """
        try:
            secret = self._settings.webhook_secret_file.read_bytes().strip()
            context = trusting(self._settings.webhook_ca_file)
        except OSError as error:
            raise Unreachable(type(error).__name__) from error
        with httpx.Client(verify=context, trust_env=False, follow_redirects=False, timeout=PATIENCE) as client:
            yield lambda address, letter: self._send(client, secret, body(letter, address))

    def _send(self, client: httpx.Client, secret: bytes, content: bytes) -> None:
        headers = {"Content-Type": "application/json", "Yumen-Signature": signature(secret, int(self._clock()), content)}
        try:
            with client.stream("POST", self._settings.webhook_url, content=content, headers=headers) as answer:
                status = answer.status_code
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise Unreachable(type(error).__name__) from error
        except httpx.HTTPError as error:
            raise Doubtful(type(error).__name__) from error
        if not 200 <= status < 300:
            raise Undelivered(f"refused {status}", final=400 <= status < 500 and status not in _LATER)


def body(letter: Letter, number: str) -> bytes:
    """What is posted. A platform that has seen the id drops the message."""
    told = {
        "id": letter.id,
        "kind": letter.kind,
        "to": number,
        "text": {"zh": letter.title.zh, "en": letter.title.en},
        "made_at": letter.made_at.isoformat(timespec="seconds"),
    }
    return json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()


def signature(secret: bytes, at: int, content: bytes) -> str:
    """`t=<Unix time>,v1=<HMAC-SHA-256 of the time, a full stop and the body, hex>`."""
    return f"t={at},v1={hmac.new(secret, f'{at}.'.encode() + content, 'sha256').hexdigest()}"
