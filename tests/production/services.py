"""PostgreSQL, OpenLDAP and nginx on the machine, as the files of `deploy/` configure them."""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
import subprocess
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bench import disk
from tests import components
from tests.production.machine import Machine, until

#: The last number of the addresses: as in `deploy/` for the database, ours for the directory and the second node.
DATABASE, DIRECTORY, SECOND = 11, 20, 12
LDAP_HOST = "ldap.example.cn"


def version() -> str:
    """The newest PostgreSQL that is installed."""
    return max((path.name for path in Path("/usr/lib/postgresql").glob("*") if (path / "bin/initdb").exists()), key=int)


def pki(machine: Machine) -> None:
    """An authority that is not Yumen's, with certificates for the servers of directory and database."""
    now, key = dt.datetime.now(dt.UTC), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Infrastructure")])
    authority = None
    made = {}
    names = {"ca": [], "ldap": [x509.DNSName(LDAP_HOST)], "sql": [x509.IPAddress(ipaddress.ip_address(f"{machine.subnet}.{DATABASE}"))]}
    for name, held in names.items():
        own = ec.generate_private_key(ec.SECP256R1()) if authority else key
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) if authority else issuer
        builder = x509.CertificateBuilder(issuer, subject, own.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - dt.timedelta(hours=1)).not_valid_after(now + dt.timedelta(days=2))
        builder = builder.add_extension(x509.BasicConstraints(not held, None), critical=True)
        if held:
            builder = builder.add_extension(x509.SubjectAlternativeName(held), critical=False)
        authority = builder.sign(key, hashes.SHA256())
        made[f"{name}.pem"] = authority.public_bytes(serialization.Encoding.PEM)
        plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        made[f"{name}.key"] = own.private_bytes(*plain)
    put = {
        "etc/ldap/tls/ca.pem": "ca.pem",
        "etc/ldap/tls/server.pem": "ldap.pem",
        "etc/ldap/tls/server.key": "ldap.key",
        "etc/yumen/directory-ca.pem": "ca.pem",
        "etc/yumen/postgresql-ca.pem": "ca.pem",
        "etc/postgresql/server.pem": "sql.pem",
        "etc/postgresql/server.key": "sql.key",
    }
    for path, name in put.items():
        (machine.root / path).parent.mkdir(parents=True, exist_ok=True)
        (machine.root / path).write_bytes(made[name])
    machine.do("chown openldap /etc/ldap/tls/server.key; chown postgres /etc/postgresql/server.key")
    machine.do("chmod 600 /etc/postgresql/server.key /etc/ldap/tls/server.key")
    with (machine.root / "etc/hosts").open("a") as hosts:
        hosts.write(f"{machine.subnet}.{DIRECTORY} {LDAP_HOST}\n")


def make_database(machine: Machine, size: str = "800m") -> None:
    """A cluster of PostgreSQL as Debian makes it, on a disk of this size."""
    machine.network("database", DATABASE)
    machine.mount(f"-t tmpfs -o size={size},mode=755", "tmpfs", "var/lib/postgresql")
    machine.do("chown postgres: /var/lib/postgresql /run/postgresql")
    machine.do(f"pg_createcluster {version()} main --port 5432 -- --no-sync", LANG="C.UTF-8")
    with (machine.root / f"etc/postgresql/{version()}/main/conf.d/server.conf").open("w") as more:
        more.write("ssl_cert_file = '/etc/postgresql/server.pem'\nssl_key_file = '/etc/postgresql/server.key'\n")


def start_database(machine: Machine) -> None:
    """Start PostgreSQL, as its own unit would; with a compiler at hand, on a disk that can be made slow."""
    environ = {}
    if not components.missing(["gcc"]):
        seen = Path("/var/tmp/slow_fsync.so")
        environ = disk.slow(machine.root / "var/tmp/slow_fsync.so", seen, seen.with_name("milliseconds"))
    where = f"{version()}/main"
    command = [f"/usr/lib/postgresql/{version()}/bin/postgres", "-D", f"/var/lib/postgresql/{where}"]
    command += ["-c", f"config_file=/etc/postgresql/{where}/postgresql.conf"]

    def start() -> None:
        machine.running["postgresql"] = machine.popen("postgres", command, network="database", **environ)

    machine.keep("postgresql", start, 0.1)  # Debian's unit: Restart=on-failure, and systemd's own pause
    until(lambda: answers(machine), 20, "PostgreSQL does not start")


def answers(machine: Machine) -> bool:
    """Whether PostgreSQL takes connections."""
    command = [f"/usr/lib/postgresql/{version()}/bin/pg_isready", "-q", "-h", str(machine.root / "run/postgresql")]
    ready = subprocess.run(command, check=False)
    return ready.returncode == 0


def start_directory(machine: Machine) -> None:
    """Start OpenLDAP in a network of its own."""
    if "directory" not in machine.networks:
        machine.network("directory", DIRECTORY)
        machine.do("chown openldap: /run/slapd")
    command = ["/usr/sbin/slapd", "-d", "0", "-f", "/etc/ldap/slapd.conf", "-h", "ldaps:/// ldapi:///", "-u", "openldap", "-g", "openldap"]
    machine.running["slapd"] = machine.popen("root", command, network="directory")
    until(lambda: listens(machine.root / "run/slapd/ldapi"), 20, "slapd does not start")


def start_nginx(machine: Machine) -> None:
    """Start nginx with Debian's own main file."""
    machine.running["nginx"] = machine.popen("root", ["/usr/sbin/nginx", "-g", "daemon off;"])
    until((machine.root / "run/nginx.pid").exists, 10, "nginx does not start")


def listens(path: Path) -> bool:
    """Whether somebody accepts connections on this socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0
