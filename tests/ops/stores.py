"""Real places for backups: OpenSSH's server, and an S3-compatible store behind TLS that checks every signature."""

from __future__ import annotations

import datetime as dt
import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import boto3
import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from core.settings import Backup
from tests.ports import free_ports


def wait_for_port(port: int, child: subprocess.Popen[bytes]) -> None:
    """Wait until somebody listens there."""
    end = time.monotonic() + 30
    while time.monotonic() < end and child.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"nothing listens on {port}")


class Sshd:
    """OpenSSH's server for this user, with SFTP alone."""

    def __init__(self, folder: Path) -> None:
        self.folder, (self.port,) = folder / "sftp", free_ports(1)
        self.folder.mkdir(parents=True)
        for name in ("host", "user", "stranger"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
        (folder / "authorized").write_text((folder / "user.pub").read_text())
        self.key, self.stranger, self.known_hosts = folder / "user", folder / "stranger", folder / "known_hosts"
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {(folder / 'host.pub').read_text()}")
        (folder / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1:{self.port}\nHostKey {folder / 'host'}\nAuthorizedKeysFile {folder / 'authorized'}\n"
            "StrictModes no\nUsePAM no\nPidFile none\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
            "PermitRootLogin prohibit-password\nSubsystem sftp internal-sftp\nForceCommand internal-sftp\nLogLevel ERROR\n"
        )
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        program = shutil.which("sshd", path="/usr/sbin:/sbin") or "sshd"
        self._child = subprocess.Popen([program, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=subprocess.DEVNULL)
        wait_for_port(self.port, self._child)

    def url(self, port: int = 0) -> str:
        """The target's address."""
        return f"sftp://{getpass.getuser()}@127.0.0.1:{port or self.port}{self.folder}"

    def settings(self) -> Backup:
        """Settings with this target."""
        return Backup(targets=self.url(), sftp_key=self.key, sftp_known_hosts=self.known_hosts)

    def files(self) -> list[str]:
        """Everything that lies there, also what is hidden."""
        return sorted(path.name for path in self.folder.iterdir())

    def close(self) -> None:
        """End it."""
        self._child.kill()
        self._child.wait()


class Store:
    """moto behind TLS: it checks keys, signatures and the size of parts as the real ones do."""

    def __init__(self, folder: Path) -> None:
        (self.port,) = free_ports(1)
        folder.mkdir(parents=True)
        self.ca_file, self.credentials, self.bucket = folder / "ca.pem", folder / "s3.credentials", "backups"
        _self_signed(folder)
        call = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        self._child = subprocess.Popen(
            [*call, "-c", str(self.ca_file), "-k", str(folder / "key.pem")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_for_port(self.port, self._child)
        self._admit()

    def _admit(self) -> None:
        """An account with keys; from then on every request must be signed by them."""
        iam = self.client("iam", "anybody", "anything")
        iam.create_user(UserName="yumen")
        policy = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}'
        iam.put_user_policy(UserName="yumen", PolicyName="backups", PolicyDocument=policy)
        made = iam.create_access_key(UserName="yumen")["AccessKey"]
        self.key, self.secret = made["AccessKeyId"], made["SecretAccessKey"]
        self.credentials.write_text(f"[default]\naws_access_key_id = {self.key}\naws_secret_access_key = {self.secret}\n")
        self.credentials.chmod(0o600)
        self.client().create_bucket(Bucket=self.bucket)
        httpx.post(f"https://127.0.0.1:{self.port}/moto-api/reset-auth", content=b"0", verify=_trust(self.ca_file)).raise_for_status()

    def client(self, kind: str = "s3", key: str = "", secret: str = "") -> Any:
        """AWS' own client."""
        return boto3.client(
            kind,
            endpoint_url=f"https://127.0.0.1:{self.port}",
            verify=str(self.ca_file),
            region_name="us-east-1",
            aws_access_key_id=key or self.key,
            aws_secret_access_key=secret or self.secret,
        )

    def url(self, port: int = 0) -> str:
        """The target's address."""
        return f"s3://127.0.0.1:{port or self.port}/{self.bucket}/province/daily"

    def settings(self) -> Backup:
        """Settings with this target."""
        return Backup(targets=self.url(), s3_credentials=self.credentials, s3_ca_file=self.ca_file)

    def files(self) -> list[str]:
        """Every object, and every upload that is under way."""
        client = self.client()
        found = client.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        under_way = client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])
        return sorted(each["Key"].rpartition("/")[2] for each in (*found, *under_way))

    def close(self) -> None:
        """End it."""
        self._child.kill()
        self._child.wait()


def _trust(ca_file: Path) -> Any:
    import ssl

    return ssl.create_default_context(cafile=str(ca_file))


def _self_signed(folder: Path) -> None:
    from ipaddress import ip_address

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "store")])
    now = dt.datetime.now(dt.UTC)
    built = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + dt.timedelta(days=1))
    built = built.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
    built = built.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    (folder / "ca.pem").write_bytes(built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(key.private_bytes(*form))
