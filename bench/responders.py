"""What other OCSP responders need to tell the same as ours: an index, a key, answers signed before; and how they are started."""

from __future__ import annotations

import base64
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import ocsp

from bench.clients import anew
from bench.site import end
from ca import certificates
from ca.states import Standing
from ca.tables import Authority
from ops.node import Node, responder_signers

#: The authority that is asked about, and how many questions with a nonce there are, each with another.
AUTHORITY, NONCES = "applications", 64
#: How long a server may take until it answers.
_START_SECONDS = 60.0

_NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx.log; {user}
events {{ worker_connections 1024; }}
http {{
    client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
    uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
    access_log off; default_type application/ocsp-response; open_file_cache max=1000;
    server {{ listen 127.0.0.1:{port} backlog=1024; root {folder}/answers; }}
}}
"""

#: The command that makes a server listen on this port of loopback.
Command = Callable[[int], Sequence[object]]


class Data(NamedTuple):
    """Questions, and the folder with what the others read."""

    folder: Path
    plain: list[bytes]
    nonced: list[bytes]


class Server(NamedTuple):
    """One responder that listens on loopback."""

    port: int
    process: int


def write(node: Node, folder: Path) -> Data:
    """Write down what is known of the certificates of one authority, for everybody else."""
    (folder / "answers").mkdir(parents=True)
    with node.database.reading() as session:
        rows = certificates.listing(session, certificates.Filter(authority=AUTHORITY))
        leaves = [x509.load_der_x509_certificate(row.der) for row in rows]
        authority = session.get_one(Authority, AUTHORITY)
        issuer, responder = (x509.load_der_x509_certificate(der or b"") for der in (authority.cert, authority.responder))
        assert all(row.standing is Standing.VALID for row in rows)
    key = responder_signers(node).get(f"ocsp/{AUTHORITY}")._key  # noqa: SLF001 - no other responder can use it sealed
    (folder / "key.pem").touch(0o600)
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    for name, certificate in (("issuer.pem", issuer), ("responder.pem", responder)):
        (folder / name).write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "index.txt").write_text("".join(map(_line, leaves)))
    node.responder.poll()
    plain = [_question(leaf, issuer) for leaf in leaves]
    answers = [node.responder.answer(AUTHORITY, der).der for der in plain]
    assert all(ocsp.load_der_ocsp_response(der).certificate_status is ocsp.OCSPCertStatus.GOOD for der in answers)
    for number, der in enumerate(answers):
        (folder / "answers" / str(number)).write_bytes(der)
    (folder / "answers.b64").write_bytes(b"\n".join(map(base64.b64encode, answers)))
    return Data(folder, plain, [_question(leaves[0], issuer, os.urandom(16)) for _ in range(NONCES)])


def _question(leaf: x509.Certificate, issuer: x509.Certificate, nonce: bytes = b"") -> bytes:
    builder = ocsp.OCSPRequestBuilder().add_certificate(leaf, issuer, hashes.SHA1())  # what clients send
    if nonce:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.build().public_bytes(Encoding.DER)


def _line(leaf: x509.Certificate) -> str:
    """As `openssl ca` writes it: the serial in whole octets, and no subject twice."""
    serial = f"{leaf.serial_number:X}"
    return f"V\t{leaf.not_valid_after_utc:%y%m%d%H%M%SZ}\t\t{serial.zfill(len(serial) + len(serial) % 2)}\tunknown\t/CN={serial}\n"


def posted(path: str, questions: Sequence[bytes]) -> list[bytes]:
    """The whole requests of these questions, each on a connection that ends with its answer."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: application/ocsp-request\r\nContent-Length: "
    return [f"{head}{len(question)}\r\n\r\n".encode() + question for question in questions]


def got(number: int) -> list[bytes]:
    """The requests of so many answers that lie in files."""
    return [f"GET /{each} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode() for each in range(number)]


def openssl(port: int) -> list[object]:
    """The command of OpenSSL's responder, in the folder of the data."""
    facts = ["-index", "index.txt", "-CA", "issuer.pem", "-rsigner", "responder.pem", "-rkey", "key.pem", "-ndays", "1", "-ignore_err"]
    return ["openssl", "ocsp", "-port", port, *facts]


def cfssl(port: int) -> list[object]:
    """The command of CFSSL's responder, in the folder of the data."""
    return ["cfssl", "ocspserve", "-address", "127.0.0.1", "-port", port, "-responses", "answers.b64", "-loglevel", "5"]


def nginx(folder: Path, port: int) -> list[object]:
    """The command of an nginx that gives the files of the data."""
    user = "user root;" if os.geteuid() == 0 else ""  # else its workers could not come here
    (folder / "nginx.conf").write_text(_NGINX.format(folder=folder, port=port, user=user))
    return [program("nginx"), "-c", folder / "nginx.conf"]


def program(name: str) -> str | None:
    """Where this program is, or nothing."""
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")


def started(stack: ExitStack, folder: Path, name: str, command: Command, probe: bytes) -> Server:
    """The server of `command`, on the first core, when it answers `probe`; it ends with `stack`.

    Nobody else may touch its port before: OpenSSL's never answers again after a connection without a request.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = stack.enter_context((folder / f"{name}.log").open("wb"))
    running = subprocess.Popen(list(map(str, command(port))), cwd=folder, stdout=log, stderr=log)
    stack.callback(end, running)
    os.sched_setaffinity(running.pid, {min(os.sched_getaffinity(0))})
    began = time.monotonic()
    while not _answers(port, probe):
        if running.poll() is not None or time.monotonic() - began > _START_SECONDS:
            raise RuntimeError(f"{name} does not answer: {(folder / f'{name}.log').read_text('utf-8', 'replace')[-2000:]}")
        time.sleep(0.05)
    return Server(port, running.pid)


def _answers(port: int, probe: bytes) -> bool:
    try:
        return bool(anew(port, probe))
    except OSError:
        return False
