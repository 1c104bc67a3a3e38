"""One whole service for the tests of the door: a demonstration home, its worker, real listeners, real clients."""

from __future__ import annotations

import json
import os
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pyotp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from audit.event import Event, Kind
from audit.permit import Actor, ActorKind
from audit.record import recording
from authz.sessions import open_session
from core.settings import load
from ops import homes
from ops.demo import Made, make_demo
from ops.node import Node
from ops.running import embedded, serving, working
from tests.ports import free_ports
from tests.postgres import Cluster
from web.server import serve

STAFF, OTHER_STAFF, REGISTRAR, SECOND_REGISTRAR, FAR_REGISTRAR = "zhangsan", "lisi", "zhaoliu", "sunqi", "zhouba"
SYSTEM, SECURITY, AUDITOR, OWNER = "wujiu", "zhengshi", "qianyi", "fenger"


@dataclass
class Service:
    """The running service as its callers see it."""

    node: Node
    told: dict[str, Any]
    folder: Path
    _tokens: dict[str, str] = field(default_factory=dict)
    _clients: dict[tuple[Any, str], httpx.Client] = field(default_factory=dict)
    #: Time step of the last code used, by secret.
    _steps: dict[str, int] = field(default_factory=dict)

    def client(self, *, cert: tuple[Path, Path] | None = None, token: str = "") -> httpx.Client:
        """A client that trusts the demonstration's root, with a client certificate or a token when given."""
        if (cert, token) not in self._clients:
            self._clients[cert, token] = self._new(cert, token)
        return self._clients[cert, token]

    def close(self) -> None:
        """End every client's connections."""
        for client in self._clients.values():
            client.close()

    def _new(self, cert: tuple[Path, Path] | None, token: str) -> httpx.Client:
        context = ssl.create_default_context(cafile=self.told["ca_file"])
        if cert:
            context.load_cert_chain(*cert)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(base_url=self.told["https"], verify=context, headers=headers, trust_env=False)

    def account(self, uid: str) -> dict[str, Any]:
        """What `demo.json` says of an account."""
        return next(account for account in self.told["accounts"] if account["uid"] == uid)

    def token(self, uid: str) -> str:
        """A session token of this person; logged in once, since a code is good once."""
        if uid not in self._tokens:
            answer = self.client().post("/api/v1/sessions", json=self.credentials(uid))
            assert answer.status_code == 201, answer.text
            self._tokens[uid] = answer.json()["token"]
        return self._tokens[uid]

    def session(self, uid: str) -> str:
        """A token of a session of this person, opened without waiting for the next one-time code."""
        person = self.node.world.current().directory.by_uid[uid]
        with recording(self.node.trail) as tx:
            opened = open_session(tx, self.node.world, person, "password+totp")
            tx.record(Event(kind=Kind.LOGIN, actor=Actor(ActorKind.PERSON, person.id, "password+totp"), object=f"session:{opened.session}"))
        return opened.token

    def come_back(self, uid: str) -> None:
        """This person's session has ended, and there is another."""
        self._tokens[uid] = self.session(uid)

    def credentials(self, uid: str) -> dict[str, str]:
        """The body of a login with a code that was not used yet: this step's, or the next one's, which is accepted early."""
        account = self.account(uid)
        step = max(int(time.time()) // 30, self._steps.get(account["totp"], 0) + 1)
        while step > int(time.time()) // 30 + 1:
            time.sleep(0.5)
        self._steps[account["totp"]] = step
        return {"uid": uid, "password": account["password"], "totp": pyotp.TOTP(account["totp"]).at(step * 30)}

    def replaced(self, account: dict[str, Any], secret: str) -> None:
        """Remember that the account has a new generator, whose present code was used to enrol it."""
        account["totp"] = secret
        self._steps[secret] = int(time.time()) // 30

    def person(self, uid: str) -> httpx.Client:
        """A client with a session of this person."""
        return self.client(token=self.token(uid))

    def browser(self, uid: str) -> httpx.Client:
        """What a browser without scripts is, with this person signed in at the portal: the cookie, and English."""
        context = ssl.create_default_context(cafile=self.told["ca_file"])
        cookie = {"__Host-yumen": self.token(uid)}
        fields = {"Accept-Language": "en"}
        return httpx.Client(base_url=self.told["https"], verify=context, cookies=cookie, headers=fields, trust_env=False)

    def application(self, name: str = "oa") -> httpx.Client:
        """A client with the certificate of this application."""
        return self.client(cert=self.application_files(name))

    def application_files(self, name: str = "oa") -> tuple[Path, Path]:
        """Certificate and key of this application."""
        return Path(self.files(name)["cert"]), Path(self.files(name)["key"])

    def files(self, name: str) -> dict[str, str]:
        """What `demo.json` says of an application."""
        return next(found for found in self.told["applications"] if found["id"] == name)

    def events(self, query: str) -> list[dict[str, Any]]:
        """Entries of the trail, newest first, as the auditor finds them."""
        answer = self.person(AUDITOR).get("/api/v1/events", params={"q": query})
        assert answer.status_code == 200, answer.text
        return answer.json()["items"]

    def enrol(self, uid: str, registrar: str = REGISTRAR) -> Issued:
        """A certificate for this person, approved by `registrar`."""
        key = ec.generate_private_key(ec.SECP256R1())
        asked = self.person(uid).post("/api/v1/requests", json={"profile": "staff-sign", "csr": csr_pem(key)}).json()
        approved = self.person(registrar).post(f"/api/v1/requests/{asked['id']}/approve", json={"comment": "seen"})
        assert approved.status_code == 200, approved.text
        serial = self.issued(uid, asked["id"])
        pem = self.person(uid).get(f"/api/v1/certificates/{serial}", headers={"Accept": "application/pem-certificate-chain"}).text
        cert, private = self.folder / f"{serial}.pem", self.folder / f"{serial}.key"
        cert.write_text(pem)
        private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return Issued(serial, pem, (cert, private), asked["id"])

    def issued(self, uid: str, request: int) -> str:
        """The serial of what was issued for `request`, waited for as clients do."""
        until = time.monotonic() + 5
        while time.monotonic() < until:
            found = self.person(uid).get(f"/api/v1/requests/{request}").json()
            if found["state"] == "issued":
                return found["serial"]
            time.sleep(0.05)
        raise AssertionError(f"not issued within 5 s: {found}")


@dataclass(frozen=True)
class Issued:
    """A certificate in hand."""

    serial: str
    pem: str
    files: tuple[Path, Path]
    request: int


def csr_pem(key: ec.EllipticCurvePrivateKey) -> str:
    """A request for `key` with a name that must be ignored."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "somebody else")])
    made = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return made.public_bytes(Encoding.PEM).decode()


@contextmanager
def split(environ: dict[str, str], cluster: Cluster) -> Iterator[tuple[Made, Node]]:
    """The demonstration on PostgreSQL: what serves has the rights of `yumen_web`, what works those of `yumen_worker`."""
    home, name = Path(environ["YUMEN_HOME"]), cluster.new_database()
    homes.make(home, shared=True)
    for path, text in ((home / "yumen.toml", 'mode = "demo"\n'), (homes.secret_file(home), "s" * 32), (home / "demo.seed", "ab" * 16)):
        path.write_text(text)
        path.chmod(0o600)
    worker, web = (environ | {"YUMEN_DATABASE_URL": cluster.url(role, name)} for role in ("yumen_worker", "yumen_web"))
    made = make_demo(home, worker, tell=lambda _: None)
    with working(load(worker)), serving(load(web)) as node:
        assert node.works is None
        yield made, node


@contextmanager
def together(environ: dict[str, str]) -> Iterator[tuple[Made, Node]]:
    """The demonstration in one process."""
    made = make_demo(Path(environ["YUMEN_HOME"]), environ, tell=lambda _: None)
    with embedded(load(environ)) as node:
        yield made, node


@pytest.fixture(scope="session")
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    home = folder / "var"
    https, http = free_ports(2)
    environ = {
        "YUMEN_HOME": str(home),
        "YUMEN_WEB_HTTPS": f"127.0.0.1:{https}",
        "YUMEN_WEB_HTTP": f"127.0.0.1:{http}",
        "YUMEN_WEB_HTTPS_URL": f"https://localhost:{https}",
        "YUMEN_WEB_HTTP_URL": f"http://127.0.0.1:{http}",
    }
    os.environ.pop("LISTEN_PID", None)
    as_split = os.environ.get("YUMEN_TESTS_SPLIT")  # `test_split` sets it
    with split(environ, request.getfixturevalue("cluster")) if as_split else together(environ) as (made, node):
        servers = serve(node)
        servers.start()
        found = Service(node, json.loads(made.accounts.read_bytes()), folder)
        yield found
        found.close()
        servers.stop()
