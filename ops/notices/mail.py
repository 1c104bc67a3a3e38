"""Notices by mail: over TLS that was verified, or not at all; plain text in both languages.

Addresses are plain ASCII of one form, so nothing else can be put into a command or a header; subject and body are ours.
"""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from pathlib import Path

from authz.people import Person
from core.settings import MAIL_ADDRESS
from core.settings import Notices as Settings
from ops.notices.notice import Doubtful, Kind, Letter, Send, Undelivered, Unreachable

#: How long the server may take for each of its answers, in seconds.
PATIENCE = 20.0


class Mail:
    """A mail server. See `notice.Channel`."""

    name = "mail"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.kinds = frozenset(map(Kind, settings.by_mail.split()))

    def address(self, person: Person) -> str:
        """The person's mail address, when it has the form of one."""
        return person.mail if MAIL_ADDRESS.fullmatch(person.mail) else ""

    @contextmanager
    def open(self) -> Iterator[Send]:
        """A session with the server, within TLS and logged in.

        Raises:
            Unreachable: there is none.
        """
        try:
            server = self._connected()
        except (OSError, smtplib.SMTPException) as error:
            raise Unreachable(_reason(error)) from error
        try:
            yield lambda address, letter: self._send(server, address, letter)
        finally:
            with suppress(OSError, smtplib.SMTPException):
                server.quit()

    def _connected(self) -> smtplib.SMTP:
        asked, context = self._settings, trusting(self._settings.mail_ca_file)
        host, _, port = asked.mail_server.rpartition(":")
        if asked.mail_tls == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(host, int(port), timeout=PATIENCE, context=context)
        else:
            server = smtplib.SMTP(host, int(port), timeout=PATIENCE)
        try:
            if asked.mail_tls != "tls":
                server.starttls(context=context)
            if asked.mail_account:
                server.login(asked.mail_account, asked.mail_password_file.read_text("utf-8").strip())
        except BaseException:
            server.close()
            raise
        return server

    def _send(self, server: smtplib.SMTP, address: str, letter: Letter) -> None:
        written = message(letter, self._settings.mail_from, address).as_bytes()
        said_all = False
        try:
            for answer in (server.mail(self._settings.mail_from), server.rcpt(address)):
                _must_be_good(answer[0], server)
            said_all = True
            _must_be_good(server.data(written)[0], server)
        except smtplib.SMTPDataError as error:
            _must_be_good(error.smtp_code, server)
        except (OSError, smtplib.SMTPException) as error:
            if said_all:
                raise Doubtful(_reason(error)) from error
            raise Unreachable(_reason(error)) from error


def message(letter: Letter, sender: str, address: str) -> EmailMessage:
    """The mail; the same notice makes the same Message-ID, by which servers know a letter that came twice."""
    made = EmailMessage(policy=SMTP)
    made["From"] = Address("Yumen", addr_spec=sender)
    made["To"] = Address(addr_spec=address)
    made["Subject"] = f"{letter.title.zh} / {letter.title.en}"
    made["Date"] = format_datetime(letter.made_at)
    made["Message-ID"] = f"<{letter.id}@{sender.rpartition('@')[2]}>"
    made["Auto-Submitted"] = "auto-generated"
    made.set_content(f"{letter.body.zh}\n\n{'-' * 40}\n\n{letter.body.en}\n")
    return made


def trusting(ca_file: Path) -> ssl.SSLContext:
    """TLS that is verified against these authorities, or those of the system."""
    context = ssl.create_default_context(cafile=None if ca_file == Path() else str(ca_file))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _must_be_good(code: int, server: smtplib.SMTP) -> None:
    """Refuse an answer that is not 2xx; one of 4xx may be another one later (RFC 5321 section 4.2.1)."""
    if not 200 <= code < 300:
        with suppress(OSError, smtplib.SMTPException):
            server.rset()
        raise Undelivered(f"refused {code}", final=500 <= code < 600)


def _reason(error: Exception) -> str:
    """What went wrong, without what servers quote: their texts name the person."""
    code = getattr(error, "smtp_code", None)
    return f"refused {code}" if code else type(error).__name__
