"""What can be set: one frozen tree of sections, each value with its meaning, and the rules that keep values together.

Secrets are paths, never values.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

#: Kinds of directory servers; `authz/dialects.py` says how they differ.
DIRECTORY_DIALECTS = ("openldap", "389ds", "ad")

#: Kinds of notices.
NOTICES = ("alarm", "sign-in", "approval", "expiry")
#: An address that mail may go to, or come from: plain ASCII, so that it can be nothing else in a header or a command.
MAIL_ADDRESS = re.compile(
    r"(?=.{3,254}\Z)[\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*", re.ASCII
)

_HOST_AND_PORT = re.compile(r"[A-Za-z0-9.-]+:[1-9][0-9]{0,4}")
#: A target's address: no password, no query, and no character that another program would read as more than a name.
_TARGET = re.compile(
    r"file:///[\w./~-]+|sftp://[\w.-]+@[\w.-]+(:\d{1,5})?/[\w./~-]*|s3://[\w.-]+(:\d{1,5})?/[\w.-]+(/[\w./~-]*)?", re.ASCII
)
_TARGETS = "`file:///folder`, `sftp://user@host/folder` or `s3://host/bucket/prefix`"

_OF_LDAP = ("base", "bind_dn", "password_file", "ca_file", "client_cert", "client_key")


@dataclass(frozen=True, slots=True, kw_only=True)
class Web:
    """Where Yumen listens and what it calls itself."""

    #: Address and port of the portal and the APIs (TLS, client certificates optional).
    https: str = "127.0.0.1:8443"
    #: Address and port of status over plain HTTP: OCSP, CRLs, CA certificates.
    http: str = "127.0.0.1:8080"
    #: Unix socket behind nginx, in place of both addresses: nothing else is listened on.
    socket: Path = Path()
    #: The portal's address as people type it; origin checks compare with it.
    https_url: str = "https://localhost:8443"
    #: The status address as it is written into certificates.
    http_url: str = "http://127.0.0.1:8080"
    #: Worker threads of the listener.
    threads: int = 32
    #: Largest request body in bytes.
    max_body_bytes: int = 262_144


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """Where rows are kept. Without an address: in an SQLite file of the home."""

    #: Address of a PostgreSQL database, such as `postgresql://yumen_web@/yumen?host=/run/postgresql`; no password.
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """The unsealing secrets: files outside the home, never in a backup. Empty means `<home>.secret` (demo only)."""

    #: Opens the keys of web processes: OCSP, one-time codes, sessions, API keys, privacy.
    web_secret: Path = Path()
    #: Opens the keys of the worker: certificate authorities and logs.
    worker_secret: Path = Path()


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """Where people, units and roles come from."""

    #: LDIF file of the embedded directory, relative to the home.
    ldif: Path = Path("directory.ldif")
    #: LDAP servers, the preferred first, separated by spaces; `ldaps://` is TLS at once, `ldap://` is StartTLS. Empty: `ldif`.
    urls: str = ""
    #: What the servers speak: `openldap`, `389ds` or `ad`.
    dialect: str = "openldap"
    #: The entry below which everything is read.
    base: str = ""
    #: Account that reads, with its password in a file outside the home. Empty: `client_cert` says who reads.
    bind_dn: str = ""
    password_file: Path = Path()
    #: PEM file of the authorities that may have issued the servers' certificates; no others are trusted.
    ca_file: Path = Path()
    #: Certificate and key for SASL EXTERNAL, or for servers that ask for a certificate besides the password.
    client_cert: Path = Path()
    client_key: Path = Path()
    #: How long one server may take to accept a connection, and to send the next bytes. Whole seconds.
    connect_timeout: dt.timedelta = dt.timedelta(seconds=1)
    receive_timeout: dt.timedelta = dt.timedelta(seconds=1)
    #: How long one question may take over all servers, and one reading of everything.
    deadline: dt.timedelta = dt.timedelta(seconds=5)
    read_deadline: dt.timedelta = dt.timedelta(seconds=60)
    #: A change that takes away more than this share of all roles is not taken over until a security administrator accepts it.
    max_drop_percent: int = 30

    def problems(self, home: Path) -> list[str]:
        """What keeps this directory from being reached safely."""
        if not self.urls:
            return [f"directory.{name}: needs directory.urls" for name in _OF_LDAP if getattr(self, name) not in {"", Path()}]
        found = [problem for url in self.urls.split() for problem in _server(url)]
        if self.dialect not in DIRECTORY_DIALECTS:
            found.append(f"directory.dialect: `{self.dialect}` is not one of {', '.join(DIRECTORY_DIALECTS)}")
        if not self.base:
            found.append("directory.base: name the entry below which everything is read, such as `dc=example,dc=cn`")
        if self.ca_file == Path():
            found.append("directory.ca_file: name the PEM file of the authorities that the servers' certificates come from")
        if (self.client_cert == Path()) != (self.client_key == Path()):
            found.append("directory.client_key: a certificate and its key are named together")
        if not self.bind_dn and self.client_cert == Path():
            found.append("directory.bind_dn: name the account that reads, or a client_cert that says who it is")
        if bool(self.bind_dn) != (self.password_file != Path()):
            found.append("directory.password_file: an account and its password file are named together")
        found += [
            f"directory.{name}: secrets lie outside the home"
            for name in ("password_file", "client_key")
            if getattr(self, name).is_relative_to(home)
        ]
        found += [
            f"directory.{name}: whole seconds, at most `60s`"
            for name in ("connect_timeout", "receive_timeout")
            if getattr(self, name) % dt.timedelta(seconds=1) or getattr(self, name) > dt.timedelta(minutes=1)
        ]
        if self.receive_timeout >= self.deadline:
            found.append("directory.deadline: longer than directory.receive_timeout, or there is no time to ask a second server")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Authz:
    """Login, sessions and the freshness of decisions."""

    #: Age of the directory's last successful reading beyond which every decision is no.
    stale_limit: dt.timedelta = dt.timedelta(seconds=10)
    #: How often the directory and the revision are looked at.
    poll: dt.timedelta = dt.timedelta(milliseconds=250)
    #: A session ends this long after its last use.
    session_idle: dt.timedelta = dt.timedelta(minutes=30)
    #: A session ends this long after it began, used or not.
    session_lifetime: dt.timedelta = dt.timedelta(hours=10)
    #: How long a registrar's one-time enrolment code is good.
    enrolment_code_lifetime: dt.timedelta = dt.timedelta(days=3)


@dataclass(frozen=True, slots=True, kw_only=True)
class CA:
    """Issuance and status."""

    #: How far notBefore is set in the past, for clients with slow clocks.
    backdate: dt.timedelta = dt.timedelta(minutes=5)
    #: Validity of a CRL; it is renewed at half of it. At most seven days.
    crl_lifetime: dt.timedelta = dt.timedelta(hours=24)
    #: Validity of an OCSP answer. At most `crl_lifetime`.
    ocsp_lifetime: dt.timedelta = dt.timedelta(hours=8)
    #: How often the worker looks for approved requests and due CRLs.
    period: dt.timedelta = dt.timedelta(milliseconds=200)


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """The trail."""

    #: Name of the logs to the outside: the origin of checkpoints is `<origin>/<log>/<epoch>`.
    origin: str = "yumen.local"
    #: Events that may wait for the flusher before callers get `unavailable`.
    queue: int = 4096
    #: A checkpoint is signed this often when the log has grown.
    checkpoint_period: dt.timedelta = dt.timedelta(seconds=1)
    #: An idle process records that it lives this often, which bounds unseen silence.
    heartbeat: dt.timedelta = dt.timedelta(minutes=1)
    #: The leading worker compares facts and events this often.
    reconcile_period: dt.timedelta = dt.timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notices:
    """What people are told of without asking, by mail and by the platform for short messages; without either, nothing is sent."""

    #: Mail server, `host:port`. Empty: no mail.
    mail_server: str = ""
    #: `starttls`, or `tls` from the first byte. There is no way without.
    mail_tls: str = "starttls"
    #: PEM file of the authorities that the server's certificate may come from. Empty: those of the system.
    mail_ca_file: Path = Path()
    #: Account at the mail server, with its password in a file outside the home. Empty: the server asks for none.
    mail_account: str = ""
    mail_password_file: Path = Path()
    #: Address that mail comes from.
    mail_from: str = ""
    #: Address of the platform for short messages, `https://` only; redirects are not followed. Empty: no short messages.
    webhook_url: str = ""
    #: File outside the home with the secret that signs what is posted there.
    webhook_secret_file: Path = Path()
    #: PEM file of the authorities that the platform's certificate may come from. Empty: those of the system.
    webhook_ca_file: Path = Path()
    #: What goes which way: any of `alarm`, `sign-in`, `approval`, `expiry`, separated by spaces.
    by_mail: str = "alarm sign-in approval expiry"
    by_webhook: str = "alarm sign-in expiry"
    #: Days before a certificate ends at which its holder is told, the largest first, separated by spaces.
    expiry_days: str = "30 14 7 1"
    #: A request that waits for so long is told to the nearest registrars; after `escalate_after` to all above them.
    approval_after: dt.timedelta = dt.timedelta(minutes=15)
    escalate_after: dt.timedelta = dt.timedelta(days=1)
    #: A registrar gets at most one digest in this time.
    digest_period: dt.timedelta = dt.timedelta(hours=4)
    #: What is wrong for so long is an alarm; one that stays is repeated each day.
    alarm_after: dt.timedelta = dt.timedelta(minutes=1)
    #: What cannot be delivered is tried again, ever more rarely, for so long.
    give_up_after: dt.timedelta = dt.timedelta(days=3)

    def problems(self, home: Path) -> list[str]:
        """What keeps notices from being sent safely."""
        found = []
        if self.mail_server and not _HOST_AND_PORT.fullmatch(self.mail_server):
            found.append("notices.mail_server: write `host:port`, such as `smtp.example.cn:587`")
        if self.webhook_url and not _is_https(self.webhook_url):
            found.append("notices.webhook_url: write it as `https://host/path`, without a password")
        if self.mail_tls not in {"starttls", "tls"}:
            found.append(f"notices.mail_tls: `{self.mail_tls}` is not one of starttls, tls")
        if self.mail_server and not MAIL_ADDRESS.fullmatch(self.mail_from):
            found.append("notices.mail_from: name the address that mail comes from, such as `yumen@example.cn`")
        if bool(self.mail_account) != (self.mail_password_file != Path()):
            found.append("notices.mail_password_file: an account and its password file are named together")
        if bool(self.webhook_url) != (self.webhook_secret_file != Path()):
            found.append("notices.webhook_secret_file: the platform's address and the file of its secret are named together")
        found += [
            f"notices.{name}: secrets lie outside the home"
            for name in ("mail_password_file", "webhook_secret_file")
            if getattr(self, name).is_relative_to(home)
        ]
        for name in ("by_mail", "by_webhook"):
            strange = set(getattr(self, name).split()) - set(NOTICES)
            found += [f"notices.{name}: `{word}` is not one of {', '.join(NOTICES)}" for word in sorted(strange)]
        days = self.expiry_days.split()
        if not all(day.isascii() and day.isdigit() and 0 < int(day) < 1000 for day in days) or len(set(days)) != len(days):
            found.append("notices.expiry_days: write days such as `30 14 7 1`")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """Where backups go by themselves, how often, and for how long they are kept."""

    #: Targets, separated by spaces: `file:///folder`, `sftp://user@host/folder`, `s3://host/bucket/prefix`. Empty: none is made by itself.
    targets: str = ""
    #: The leading worker makes one this often.
    period: dt.timedelta = dt.timedelta(days=1)
    #: A backup is taken away when it is older than this.
    keep: dt.timedelta = dt.timedelta(days=30)
    #: So many of the newest stay at each target, however old they are.
    keep_least: int = 7
    #: Private key for `sftp://`, and the file that pins the hosts' keys as OpenSSH's `known_hosts` does.
    sftp_key: Path = Path()
    sftp_known_hosts: Path = Path()
    #: Access key and secret for `s3://`, written as AWS' own tools do.
    s3_credentials: Path = Path()
    #: PEM file of the authorities of the stores' TLS certificates; empty: those of the system.
    s3_ca_file: Path = Path()
    #: Region that requests are signed for; most stores of one's own take any.
    s3_region: str = "us-east-1"

    @property
    def late(self) -> dt.timedelta:
        """Age beyond which the newest backup at a target is a problem."""
        return 2 * self.period

    def problems(self, home: Path) -> list[str]:
        """What keeps the targets from being reached safely."""
        found = [f"backup.targets: `{url}` is not {_TARGETS}" for url in self.targets.split() if not _TARGET.fullmatch(url)]
        needed = {"sftp_key": "sftp://", "sftp_known_hosts": "sftp://", "s3_credentials": "s3://"}
        for name, scheme in needed.items():
            if scheme in self.targets and getattr(self, name) == Path():
                found.append(f"backup.{name}: name a file, or leave out the targets of `{scheme}`")
        found += [
            f"backup.{name}: secrets lie outside the home"
            for name in ("sftp_key", "s3_credentials")
            if getattr(self, name).is_relative_to(home)
        ]
        if self.keep < self.period:
            found.append("backup.keep: must not be shorter than backup.period")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set. `home` is `YUMEN_HOME`; relative paths in it start there."""

    home: Path
    #: `demo` is written by `yumen init --demo` only and refuses any address but loopback.
    mode: str = "production"
    web: Web = field(default_factory=Web)
    database: Database = field(default_factory=Database)
    keys: Keys = field(default_factory=Keys)
    directory: Directory = field(default_factory=Directory)
    authz: Authz = field(default_factory=Authz)
    ca: CA = field(default_factory=CA)
    audit: Audit = field(default_factory=Audit)
    notices: Notices = field(default_factory=Notices)
    backup: Backup = field(default_factory=Backup)

    @property
    def demo(self) -> bool:
        """Whether this home is a demonstration, for ever."""
        return self.mode == "demo"

    @property
    def embedded(self) -> bool:
        """Whether one process does everything; with a database server, processes of their own serve and work."""
        return not self.database.url

    def problems(self) -> list[str]:
        """Rules that one value alone cannot break."""
        found = []
        if self.mode not in {"demo", "production"}:
            found.append(f"mode: `{self.mode}` is not one of demo, production")
        for name in ("https", "http"):
            found += _listening(f"web.{name}", getattr(self.web, name), loopback_only=self.demo)
        for name, scheme in (("https_url", "https"), ("http_url", "http")):
            url = urlsplit(getattr(self.web, name))
            if url.scheme != scheme or not url.netloc or url.path not in {"", "/"}:
                found.append(f"web.{name}: write it as `{scheme}://host` or `{scheme}://host:port`")
        if self.demo and self.web.socket != Path():
            found.append("web.socket: a demo home listens on loopback only; make a production home to serve a network")
        found += _address(self.database.url)
        if self.ca.ocsp_lifetime > self.ca.crl_lifetime:
            found.append("ca.ocsp_lifetime: must not be longer than ca.crl_lifetime")
        if self.ca.crl_lifetime > dt.timedelta(days=7):
            found.append("ca.crl_lifetime: at most 7d")
        found += self.directory.problems(self.home)
        found += self.notices.problems(self.home)
        found += self.backup.problems(self.home)
        if self.directory.urls and self.directory.deadline >= self.authz.stale_limit:
            found.append("authz.stale_limit: longer than directory.deadline, or a server that fails stops decisions")
        if self.authz.poll * 4 > self.authz.stale_limit:
            found.append("authz.stale_limit: at least four times authz.poll")
        if self.authz.session_idle > self.authz.session_lifetime:
            found.append("authz.session_idle: must not be longer than authz.session_lifetime")
        if not self.demo:
            found += [
                f"keys.{name}: name a file outside the home that holds the unsealing secret"
                for name in ("web_secret", "worker_secret")
                if getattr(self.keys, name) == Path() or getattr(self.keys, name).is_relative_to(self.home)
            ]
        return found


def _address(url: str) -> list[str]:
    parts = urlsplit(url)
    if not url:
        return []
    if parts.scheme != "postgresql" or not parts.username or parts.path in {"", "/"}:
        return ["database.url: write `postgresql://role@host/database`, or `postgresql://role@/database?host=/folder/of/the/socket`"]
    if parts.password or "password" in parts.query:
        return ["database.url: a password does not belong here; use peer authentication or the file that PGPASSFILE names"]
    return []


def _server(url: str) -> list[str]:
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"ldaps", "ldap"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return [f"directory.urls: `{url}` cannot be read"]
    if not good or parts.path not in {"", "/"} or parts.query or parts.fragment or "@" in parts.netloc:
        return [f"directory.urls: write `{url}` as `ldaps://host` or `ldaps://host:port`"]
    return []


def _listening(name: str, value: str, *, loopback_only: bool) -> list[str]:
    host, _, port = value.rpartition(":")
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        return [f"{name}: write `address:port` with a numeric address, such as `127.0.0.1:8443`"]
    if not (port.isascii() and port.isdigit() and int(port) < 65_536):
        return [f"{name}: `{port}` is not a port"]
    if loopback_only and not address.is_loopback:
        return [f"{name}: a demo home listens on loopback only; make a production home to serve a network"]
    return []


def _is_https(value: str) -> bool:
    try:
        parts = urlsplit(value)
        return parts.scheme == "https" and bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc and not parts.fragment
    except ValueError:
        return False
