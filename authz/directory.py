"""The directory over LDAP: people, units and groups, read whole or not at all. The only file that speaks LDAP.

Rules. TLS is verified before anything is said: our authorities only, name of the host, no fall-back. Referrals are never
followed: they carry the password to whoever is named in them. Every wait has an end. An answer counts only with the
result `success` and, over all its pages, complete: an error is not an absence. Filters come from `matching` alone. The
library's own pools and restarting strategies are not used: they wait for frozen servers, or fall for a second failure.
"""

from __future__ import annotations

import math
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import ldap3
import structlog
from ldap3.core.exceptions import LDAPOperationResult

from authz.copy import Copy
from authz.dialects import DIALECTS, Dialect, Found, mark_of, matching, part, stamp_in
from authz.failover import Broken, Deadline, Server, Servers
from authz.ldif import MAX_PASSWORD_BYTES, Reading
from authz.questions import Questions
from core.errors import Error, Unauthenticated, Unavailable
from core.settings import Directory as Settings

#: Entries of one page: what Active Directory gives at most without being told otherwise.
PAGE = 1000
#: No refusal of a password comes sooner than this, whether the account exists or not.
REFUSAL_SECONDS = 0.25
MAX_NAME_BYTES = 256

_ENTRY = 4  # SearchResultEntry, [APPLICATION 4] in RFC 4511 section 4.5.2
_PAGED = "1.2.840.113556.1.4.319"
_SECURE, _PLAIN = 636, 389
#: Results of a bind that mean no, and not that the server is in trouble (RFC 4511 appendix A).
_NO = frozenset({"invalidCredentials", "inappropriateAuthentication", "noSuchObject", "constraintViolation", "unwillingToPerform"})
_log = structlog.get_logger()


class _VerifiedTls(ldap3.Tls):  # type: ignore[misc]
    """TLS in which the name is checked within the handshake, and nothing is left to defaults."""

    def wrap_socket(self, connection: Any, do_handshake: bool = False) -> None:  # noqa: FBT001, FBT002 - the library's signature
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=self.ca_certs_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.certificate_file:
            context.load_cert_chain(self.certificate_file, self.private_key_file)
        connection.socket = context.wrap_socket(connection.socket, server_hostname=self.sni)


class _Connection(ldap3.Connection):  # type: ignore[misc]
    """A connection of one thread at a time: it needs no deep copies of each answer, made for threads that share one.

    Entries stay the bytes that were sent: the library would read what is not UTF-8 as Latin or Cyrillic letters.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._decode = self.strategy.decode_response_fast
        self.strategy.decode_response_fast = self._decoded

    def _decoded(self, message: Mapping[str, Any]) -> Any:
        if message["protocolOp"] != _ENTRY or message["controls"]:
            return self._decode(message)
        (_, _, _, dn), (_, _, _, attributes) = message["payload"]
        return {
            "type": "searchResEntry",
            "dn": dn.decode("utf-8"),
            "attributes": {},
            "raw_attributes": {
                name.decode("ascii"): [value[3] for value in held] for _, _, _, ((_, _, _, name), (_, _, _, held)) in attributes
            },
        }

    def _prepare_return_value(self, status: Any, response: bool = False) -> tuple[Any, ...]:  # noqa: FBT001, FBT002 - the library's signature
        return status, self.result, self.response if response else None, self.request


@contextmanager
def _broken(doing: str, patience: float) -> Iterator[None]:
    """Whatever goes wrong with a server becomes `Broken`: its bytes may make the library raise anything."""
    began = time.monotonic()
    try:
        yield
    except (Broken, Error):
        raise
    except LDAPOperationResult as error:
        raise Broken(f"{doing} ended with `{error.description}`") from error
    except Exception as error:
        _log.debug("directory server failed", doing=doing, reason=str(error))
        raise Broken(f"{doing} failed: {_reason(error)}", frozen=time.monotonic() - began >= 0.9 * patience) from error


def _reason(error: Exception) -> str:
    text = str(error)
    known = ("timed out", "Connection refused", "certificate verify failed", "Hostname mismatch", "IP address mismatch")
    return next((reason for reason in reversed(known) if reason in text), type(error).__name__)


class LdapLink:
    """One connection, bound as the service account, used by one thread at a time."""

    def __init__(self, connection: ldap3.Connection, patience: float) -> None:
        self._connection = connection
        self._patience = patience

    def close(self) -> None:
        """End it; never raises."""
        _close(self._connection)

    def one(self, dn: str, attributes: list[str], deadline: Deadline) -> Mapping[str, tuple[bytes, ...]]:
        """The attributes of the entry `dn`, as they were sent.

        Raises:
            Broken: it is not there, or the answer is not a complete success.
        """
        found, _ = self._page({"search_base": dn, "search_filter": "(objectClass=*)", "search_scope": ldap3.BASE}, attributes, deadline)
        if len(found) != 1:
            raise Broken(f"`{dn}` cannot be read")
        return found[0].attributes

    def search(self, base: str, condition: str, attributes: list[str], deadline: Deadline) -> list[Found]:
        """Every entry at or below `base` that meets `condition`, all pages and all parts of long attributes.

        Raises:
            Broken: the answer is not a complete success.
            Malformed: parts do not fit together.
        """
        everything: list[Found] = []
        cookie: bytes | None = None
        while cookie != b"":
            options = {"search_base": base, "search_filter": condition, "search_scope": ldap3.SUBTREE}
            paging = {"paged_size": PAGE, "paged_criticality": True, "paged_cookie": cookie}
            found, result = self._page(options | paging, attributes, deadline)
            everything += found
            try:
                cookie = result["controls"][_PAGED]["value"]["cookie"]
            except KeyError:
                raise Broken("the server does not tell whether its answer is complete") from None
        return [self._whole(each, deadline) for each in everything]

    def _page(self, options: dict[str, Any], attributes: list[str], deadline: Deadline) -> tuple[list[Found], Mapping[str, Any]]:
        patience = min(self._patience, deadline.left())
        with _broken("search", patience):
            self._connection.socket.settimeout(patience)
            _, result, response, _ = self._connection.search(**options, attributes=attributes, dereference_aliases=ldap3.DEREF_NEVER)
        if result["description"] != "success":
            raise Broken(f"search ended with `{result['description']}`")
        if any(each["type"] != "searchResEntry" for each in response):
            raise Broken("a part of the directory is on another server (referral); set directory.base below it, or remove the referral")
        return [
            Found(each["dn"], {name.lower(): tuple(held) for name, held in each["raw_attributes"].items()}) for each in response
        ], result

    def _whole(self, found: Found, deadline: Deadline) -> Found:
        """`found` with all values of attributes that were sent in part."""
        if not any(";" in name for name in found.attributes):
            return found
        whole: dict[str, tuple[bytes, ...]] = {}
        for name, held in found.attributes.items():
            some = part(name, held)
            values = whole.get(some.name, ()) + some.values
            while some.next:
                parts = [part(*each) for each in self.one(found.dn, [some.next], deadline).items()]
                following = next((each for each in parts if each.name == some.name and each.first == len(values)), None)
                if following is None or not following.values:
                    raise Broken(f"`{found.dn}` changed while it was read")
                some, values = following, values + following.values
            whole[some.name] = values
        return Found(found.dn, whole)


def _close(connection: ldap3.Connection) -> None:
    with suppress(Exception):
        connection.unbind()
    with suppress(Exception):
        connection.socket.close()


class LdapDirectory:
    """The directory on the servers of `settings`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._dialect: Dialect = DIALECTS[settings.dialect]
        self._servers = Servers([Server(url, self._connector(url)) for url in settings.urls.split()])
        self._lock = threading.Lock()
        #: What marks are good for: other servers count their changes otherwise.
        self._about = f"{settings.base} {' '.join(sorted(settings.urls.split()))}"
        self._questions = Questions(self._servers, self._dialect, settings)
        self._copy = Copy(self._questions, self._dialect)

    def close(self) -> None:
        """Close all connections."""
        self._servers.close()

    def read(self, after: str = "") -> Reading:
        """See `authz.ldif.Source.read`: nothing is asked for but the servers' mark of the last change, as long as it stays."""
        with self._lock:
            questions = self._questions
            questions.newest = questions.newest or stamp_in(after, self._about)
            reading = self._copy.read()
            return reading._replace(mark=mark_of(questions.newest, self._about) if self._dialect.ordered and questions.newest else "")

    def check_password(self, uid: str, password: str) -> None:
        """See `authz.ldif.Source.check_password`: the service account finds the entry, the password is tried on a connection of its own."""
        began, deadline = time.monotonic(), Deadline(self._settings.deadline.total_seconds())
        try:
            dn = self._find(uid, deadline) if _plausible(uid, MAX_NAME_BYTES) and _plausible(password, MAX_PASSWORD_BYTES) else ""
            good = bool(dn) and self._servers.attempt(self._trial(dn, password), deadline)
        except Unavailable as error:
            _log.warning("password cannot be checked", reason=error.detail)
            raise Unavailable("the directory cannot be reached; try again in a moment") from error
        if not good:
            time.sleep(max(0.0, REFUSAL_SECONDS - (time.monotonic() - began)))
            raise Unauthenticated("name, password or code is wrong; try again")

    def _find(self, uid: str, deadline: Deadline) -> str:
        """DN of the one account with exactly this name, or empty: servers ignore case and width."""
        name = self._dialect.person["uid"]
        found = self._servers.ask(
            lambda link, _, deadline: link.search(self._settings.base, matching(self._dialect.account, uid=uid), [name], deadline), deadline
        )
        if len(found) != 1 or found[0].attributes.get(name.lower()) != (uid.encode(),):
            return ""
        return found[0].dn

    def _trial(self, dn: str, password: str) -> Callable[[Server[LdapLink], Deadline], bool]:
        def bind(server: Server[LdapLink], deadline: Deadline) -> bool:
            connection = self._open(server.name, {"user": dn, "password": password}, deadline)
            try:
                return _binds(connection, deadline)
            finally:
                _close(connection)

        return bind

    def _connector(self, url: str) -> Callable[[Deadline], LdapLink]:
        def connect(deadline: Deadline) -> LdapLink:
            connection = self._open(url, self._credentials(), deadline)
            with _closed_on_error(connection):
                if not _binds(connection, deadline):
                    raise Broken("the server refused the account of directory.bind_dn")
            return LdapLink(connection, self._settings.receive_timeout.total_seconds())

        return connect

    def _credentials(self) -> dict[str, Any]:
        """Who reads. The password is read each time, so that a new one is used without a new start."""
        if not self._settings.bind_dn:
            return {"authentication": ldap3.SASL, "sasl_mechanism": ldap3.EXTERNAL, "sasl_credentials": ""}
        try:
            password = self._settings.password_file.read_text("utf-8").strip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise Broken("directory.password_file cannot be read") from error
        if not password:
            raise Broken("directory.password_file is empty")
        return {"user": self._settings.bind_dn, "password": password}

    def _open(self, url: str, credentials: dict[str, Any], deadline: Deadline) -> ldap3.Connection:
        """A connection to `url` inside verified TLS, not yet bound."""
        parts = urlsplit(url)
        port = parts.port or (_SECURE if parts.scheme == "ldaps" else _PLAIN)
        with _broken("name look-up", math.inf):
            addresses = [str(each[4][0]) for each in socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)]
        while True:
            try:
                return self._open_at(addresses.pop(0), port, url, credentials, deadline)
            except Broken:
                if not addresses:
                    raise

    def _open_at(self, address: str, port: int, url: str, credentials: dict[str, Any], deadline: Deadline) -> ldap3.Connection:
        parts, settings, left = urlsplit(url), self._settings, deadline.left()
        patience = math.floor(min(settings.receive_timeout.total_seconds(), left))
        if not patience:  # the library waits for whole seconds
            raise Broken("no time is left", frozen=True)
        tls = _VerifiedTls(
            validate=ssl.CERT_REQUIRED,
            ca_certs_file=str(settings.ca_file),
            sni=parts.hostname,
            local_certificate_file=_named(settings.client_cert),
            local_private_key_file=_named(settings.client_key),
        )
        server = ldap3.Server(
            f"[{address}]" if ":" in address else address,
            port=port,
            use_ssl=parts.scheme == "ldaps",
            tls=tls,
            get_info=ldap3.NONE,
            connect_timeout=min(settings.connect_timeout.total_seconds(), left),
            allowed_referral_hosts=[],
        )
        connection = _Connection(
            server,
            client_strategy=ldap3.SAFE_SYNC,
            auto_bind=ldap3.AUTO_BIND_NONE,
            auto_referrals=False,
            auto_range=False,
            return_empty_attributes=False,
            receive_timeout=patience,
            read_only=True,
            raise_exceptions=True,
            **credentials,
        )
        with _closed_on_error(connection), _broken("connection", min(settings.connect_timeout.total_seconds(), patience)):
            connection.open()
            if not server.ssl and not connection.start_tls():
                raise Broken("the server does not start TLS")
        return connection


def _named(path: Path) -> str | None:
    return None if path == Path() else str(path)


def _plausible(text: str, most: int) -> bool:
    """Whether the server may be asked: an empty password would be an anonymous bind, which succeeds (RFC 4513 section 5.1.2)."""
    try:
        return 0 < len(text.encode()) <= most and "\0" not in text
    except UnicodeEncodeError:
        return False


def _binds(connection: ldap3.Connection, deadline: Deadline) -> bool:
    """Whether the server accepts the credentials of `connection`.

    Raises:
        Broken: it says neither yes nor no.
    """
    patience = min(float(connection.receive_timeout), deadline.left())
    with _broken("bind", patience):
        connection.socket.settimeout(patience)
        try:
            _, result, _, _ = connection.bind()
        except LDAPOperationResult as error:
            if error.description in _NO:
                return False
            raise
    if result["description"] != "success":
        raise Broken(f"bind ended with `{result['description']}`")
    return True


@contextmanager
def _closed_on_error(connection: ldap3.Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        _close(connection)
        raise
