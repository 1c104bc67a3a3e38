"""Private directory servers for tests: a real slapd, started by any user in a folder of its own, with certificates of its own."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from authz import ldif
from authz.people import Entry
from core.settings import Directory
from tests.ports import free_ports

SUFFIX = "dc=yumen,dc=demo"
READER = f"cn=reader,{SUFFIX}"
PASSWORD = "reads and nothing else"

_CONF = """
modulepath /usr/lib/ldap
moduleload back_mdb.la
moduleload syncprov.la
moduleload refint.la
moduleload argon2.la
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
{schema}
pidfile {folder}/pid
argsfile {folder}/args
sizelimit 500
TLSCACertificateFile {pki}/ca.pem
TLSCertificateFile {pki}/{certificate}.pem
TLSCertificateKeyFile {pki}/{certificate}.key
TLSVerifyClient try
authz-regexp "^cn=reader$" "{reader}"
authz-regexp "^gidNumber=.*$" "cn=admin,{suffix}"
database mdb
suffix "{suffix}"
rootdn "cn=admin,{suffix}"
directory {folder}/db
maxsize 1073741824
dbnosync
index objectClass,uid,entryUUID,member eq
limits dn.exact="{reader}" {limits}
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="{reader}" read by * none
overlay syncprov
overlay refint
refint_attributes member
"""


def make_pki(folder: Path) -> Path:
    """A CA with certificates for this machine, for another name and for the reader; and a server's from an unknown CA."""
    now = dt.datetime.now(dt.UTC)

    def named(name: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

    def make(name, file, issuer=None, names=()):
        key = ec.generate_private_key(ec.SECP256R1())
        issuer_name, issuer_key = issuer or (name, key)
        builder = (
            x509.CertificateBuilder(named(issuer_name), named(name), key.public_key(), x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=2))
            .add_extension(x509.BasicConstraints(issuer is None, None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        (folder / f"{file}.pem").write_bytes(builder.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (folder / f"{file}.key").write_bytes(key.private_bytes(*plain))
        return name, key

    here = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    ca = make("Test CA", "ca")
    make("localhost", "server", ca, here)
    make("elsewhere.example", "wrong", ca, [x509.DNSName("elsewhere.example")])
    make("reader", "reader", ca)
    make("localhost", "stranger", make("Other CA", "other"), here)
    (folder / "reader.password").write_text(PASSWORD + "\n")
    return folder


def reader() -> Entry:
    """The entry of the account that reads."""
    kinds = ("organizationalRole", "simpleSecurityObject")
    return Entry(READER, {"objectclass": kinds, "cn": ("reader",), "userpassword": (PASSWORD,)})


@dataclass
class Slapd:
    """One server. `conf` takes `certificate`, `limits`, `schema` and `root`, the attributes of the root entry."""

    pki: Path
    folder: Path
    ldaps: int
    ldap: int
    process: subprocess.Popen[bytes] | None = None

    @classmethod
    def load(cls, pki: Path, entries: list[Entry] | str, **conf: str) -> Slapd:
        """A server with `entries`, or with the records of an LDIF text, running."""
        folder = Path(tempfile.mkdtemp(prefix="yumen-slapd-"))
        (folder / "db").mkdir()
        facts = {"certificate": "server", "limits": "size=unlimited", "schema": ""} | conf
        facts["schema"] = facts["schema"].format(folder=folder)
        (folder / "root.ldif").write_text(facts.pop("root", ""))
        text = _CONF.format(folder=folder, pki=pki, reader=READER, suffix=SUFFIX, **facts)
        (folder / "slapd.conf").write_text(text)
        # slapadd takes the version line for a record when an empty line follows it.
        data = entries.encode() if isinstance(entries, str) else ldif.encode(entries).removeprefix(b"version: 1\n\n")
        (folder / "data.ldif").write_bytes(data)
        server = cls(pki, folder, *free_ports(2))
        server._run("/usr/sbin/slapadd", "-q", "-w", "-f", str(folder / "slapd.conf"), "-l", str(folder / "data.ldif"))
        server.start()
        return server

    @property
    def url(self) -> str:
        return f"ldaps://localhost:{self.ldaps}"

    @property
    def _socket(self) -> str:
        return "ldapi://" + str(self.folder / "ldapi").replace("/", "%2F")

    def start(self) -> None:
        addresses = f"ldap://127.0.0.1:{self.ldap} ldaps://127.0.0.1:{self.ldaps} {self._socket}"
        # With a debug level slapd stays in the foreground: it ends with the process that started it.
        self.process = subprocess.Popen(
            ["/usr/sbin/slapd", "-d", "0", "-f", str(self.folder / "slapd.conf"), "-h", addresses],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end = time.monotonic() + 10
        while time.monotonic() < end:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.ldaps)) == 0:
                    return
            time.sleep(0.01)
        self.kill()
        raise AssertionError("slapd does not start")

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        while number is signal.SIGSTOP and " T " not in Path(f"/proc/{self.process.pid}/stat").read_text():
            time.sleep(0.001)

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def change(self, text: str) -> None:
        """Apply change records as the administrator, with the server's own tool."""
        self._run("ldapmodify", "-Q", "-M", "-Y", "EXTERNAL", "-H", self._socket, stdin=text)

    def clear(self) -> None:
        """Put everything back to what was loaded."""
        self.kill()
        shutil.rmtree(self.folder / "db")
        (self.folder / "db").mkdir()
        self._run("/usr/sbin/slapadd", "-q", "-w", "-f", str(self.folder / "slapd.conf"), "-l", str(self.folder / "data.ldif"))
        self.start()

    def _run(self, *command: str, stdin: str | None = None) -> None:
        told = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, env=os.environ | {"LDAPNOINIT": "1"})
        assert told.returncode == 0, told.stderr + told.stdout


def settings(pki: Path, *urls: str, **more: object) -> Directory:
    """How Yumen is told to read `urls`."""
    facts = {"base": SUFFIX, "bind_dn": READER, "password_file": pki / "reader.password", "ca_file": pki / "ca.pem"}
    quick = {name: dt.timedelta(seconds=1) for name in ("connect_timeout", "receive_timeout")}
    return Directory(urls=" ".join(urls), **(facts | quick | more))
