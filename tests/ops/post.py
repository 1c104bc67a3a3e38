"""Where notices arrive: a real mail server, and a platform for short messages, both on the loopback with TLS."""

from __future__ import annotations

import http.server
import json
import ssl
import threading
from collections.abc import Callable
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from tests.ports import free_ports
from tests.web import pki

ACCOUNT, PASSWORD = "yumen", "correct horse"
#: In place of an answer to `DATA`: the mail is kept, and the connection ends.
HANG_UP = "hang up"


class MailServer:
    """Takes what is sent, after STARTTLS and login; `answers` says otherwise by the step (`RCPT`, `DATA`), `heard` is called at each."""

    def __init__(self, folder: Path, *, offers_tls: bool = True, issuer: pki.Holder | None = None) -> None:
        self.ca = issuer or pki.make("Mail CA")
        self.ca_file, _ = self.ca.write(folder, "mail-ca")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*pki.make("localhost", self.ca).write(folder, "mail"))
        self.mails: list[EmailMessage] = []
        self.steps: list[str] = []
        self.answers: dict[str, str] = {}
        self.heard: Callable[[str], None] = lambda _step: None
        tls: dict[str, Any] = {"tls_context": context, "require_starttls": True} if offers_tls else {}
        (port,) = free_ports(1)
        self._controller = Controller(
            self, hostname="127.0.0.1", port=port, authenticator=self._login, auth_required=offers_tls, auth_require_tls=offers_tls, **tls
        )
        self._controller.start()
        self._open = True

    @property
    def settings(self) -> dict[str, Any]:
        """What the section `[notices]` says of it."""
        return {
            "mail_server": f"localhost:{self._controller.port}",
            "mail_ca_file": self.ca_file,
            "mail_account": ACCOUNT,
            "mail_from": "yumen@jiangzhou.example",
        }

    def _login(self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        self._step("AUTH")
        return AuthResult(success=(data.login.decode(), data.password.decode()) == (ACCOUNT, PASSWORD))

    async def handle_MAIL(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:  # noqa: N802
        self._step("MAIL")
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:  # noqa: N802
        self._step("RCPT")
        if "RCPT" not in self.answers:
            envelope.rcpt_tos.append(address)
        return self.answers.get("RCPT", "250 OK")

    async def handle_DATA(self, server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        if self.answers.get("DATA") in {None, HANG_UP}:
            mail = message_from_bytes(envelope.content, policy=SMTP)
            mail["X-Envelope-To"] = ", ".join(envelope.rcpt_tos)
            self.mails.append(mail)
        self._step("DATA")
        if self.answers.get("DATA") == HANG_UP:
            server.transport.abort()
        return self.answers.get("DATA", "250 OK")

    def _step(self, name: str) -> None:
        self.steps.append(name)
        self.heard(name)

    def close(self) -> None:
        if self._open:
            self._open = False
            self._controller.stop()


class Platform:
    """Keeps what is posted to it, and answers `status`."""

    def __init__(self, folder: Path) -> None:
        self.status, self.location = 204, ""
        self.posted: list[tuple[dict[str, str], bytes]] = []
        self.ca = pki.make("Platform CA")
        self.ca_file, _ = self.ca.write(folder, "platform-ca")
        outer = self

        class _Post(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                outer.posted.append((dict(self.headers), content))
                self.send_response(outer.status)
                if outer.location:
                    self.send_header("Location", outer.location)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Post)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*pki.make("localhost", self.ca).write(folder, "platform"))
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"https://localhost:{self._server.server_address[1]}/sms"

    @property
    def settings(self) -> dict[str, Any]:
        """What the section `[notices]` says of it."""
        return {"webhook_url": self.url, "webhook_ca_file": self.ca_file}

    def messages(self) -> list[dict[str, Any]]:
        return [json.loads(content) for _, content in self.posted]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
