"""The production form on a machine of the tests' own, filled the way a province fills it: ceremony, codes, officers, applications.

What `demo.json` tells of a demonstration is written down here as well, so that the same story can be played.
"""

from __future__ import annotations

import base64
import datetime as dt
import re
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pyotp
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from authz import province
from authz.province import Account
from bench.province import Size, write
from cli.client.api import Api, Server
from cli.story.stage import Stage
from core.errors import Error
from ops import demo_data
from tests.ports import free_ports
from tests.production import services
from tests.production.machine import Machine, Unit, read_unit, until

CEREMONY = """
name = "founding"
organisation = "江州省"
root = {id = "root", name = "Jiangzhou Root", suite = "ecdsa-p384-sha384"}
[[issuing]]
id = "staff"
name = "Jiangzhou Staff"
profiles = ["staff-sign"]
[[issuing]]
id = "servers"
name = "Jiangzhou Servers"
profiles = ["server"]
[[issuing]]
id = "applications"
name = "Jiangzhou Applications"
profiles = ["application"]
"""
#: Roles that count only when they were confirmed.
_CONFIRMED = {"registrar", "system-admin", "security-admin", "auditor"}
#: Who hands the first code to whom the ceremony does not name.
_HANDED_BY = {"zhangsan": "zhaoliu", "wangwu": "zhouba", "lisi": "zhengshi", "fenger": "zhengshi"}

SYSTEM, SECURITY, OWNER, REGISTRAR, FAR_REGISTRAR = "wujiu", "zhengshi", "fenger", "zhaoliu", "zhouba"
BUREAU = "renshe.songling.yunshan.jiangzhou"
#: Somebody who is not in the story.
NEWCOMER = next(clerk for clerk in province.demonstration().clerks if clerk.place == BUREAU)
WEB, WORKER = ("yumen-web@1.service", "yumen-web@2.service"), "yumen-worker.service"
STANDBY = "standby-yumen-worker.service"


class Direct(Api):
    """Calls on the socket of one instance, saying what nginx says: who the TLS peer was, and from where."""

    def __init__(self, path: Path, *, token: str = "", pem: Path | None = None, timeout_seconds: float = 20.0) -> None:
        self.server = Server(url="http://localhost", ca_file=path, token=token)
        headers = {"X-Real-IP": "127.0.0.1"} | ({"Authorization": f"Bearer {token}"} if token else {})
        if pem:
            der = x509.load_pem_x509_certificates(pem.read_bytes())[0].public_bytes(Encoding.DER)
            headers["Client-Cert"] = f":{base64.b64encode(der).decode()}:"
        transport = httpx.HTTPTransport(uds=str(path))
        self._http = httpx.Client(transport=transport, base_url="http://localhost", headers=headers, timeout=timeout_seconds)

    def insist(self, path: str, body: Mapping[str, Any] | None) -> Any:
        """A POST that is repeated while the directory is too old for it: several suites share these processors."""
        until = time.monotonic() + 30
        while True:
            try:
                return self.post(path, body)
            except Error as error:
                if (error.code != "unavailable" and error.facts.get("reason") != "stale") or time.monotonic() > until:
                    raise
                time.sleep(0.3)

    def close(self) -> None:
        """End the connection."""
        self._http.close()


@dataclass
class Production:
    """The running province."""

    machine: Machine
    accounts: dict[str, Account]
    #: What `demo.json` would tell.
    told: dict[str, Any] = field(default_factory=dict)
    _tokens: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.machine.root / "var/lib/yumen"

    def socket(self, number: int) -> Path:
        return self.machine.root / f"run/yumen/web-{number}.sock"

    def direct(self, number: int, *, token: str = "", pem: Path | None = None, timeout_seconds: float = 20.0) -> Direct:
        """A caller of instance `number`."""
        return Direct(self.socket(number), token=token, pem=pem, timeout_seconds=timeout_seconds)

    def person(self, uid: str, number: int = 1) -> Direct:
        """A caller with a session of this person, opened once."""
        if uid not in self._tokens:
            with self.direct(number) as api:
                self._tokens[uid] = api.post("/api/v1/sessions", self.credentials(uid))["token"]
        return self.direct(number, token=self._tokens[uid])

    def log_in_anew(self) -> None:
        """Forget all sessions: whoever calls next opens one."""
        self._tokens.clear()

    def account(self, uid: str) -> dict[str, Any]:
        """What is written down of a person who can log in."""
        return next(each for each in self.told["accounts"] if each["uid"] == uid)

    def credentials(self, uid: str, steps: int = 0) -> dict[str, str]:
        """What this person types to log in."""
        account = self.account(uid)
        return {"uid": uid, "password": account["password"], "totp": code(account["totp"], steps)}

    def certify(self, uid: str, registrar: str, profile: str = "staff-sign", whose: str = "", patience: float = 5) -> Path:
        """A certificate that `uid` asks for and `registrar` approves: chain and key in one file."""
        key = ec.generate_private_key(ec.SECP256R1())
        csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, SHA256())
        asked = {"profile": profile, "csr": csr.public_bytes(Encoding.PEM).decode()} | ({"for": whose} if whose else {})
        with self.person(uid) as owner, self.person(registrar) as officer:
            request = owner.post("/api/v1/requests", asked)["id"]
            officer.insist(f"/api/v1/requests/{request}/approve", {"comment": "seen"})
            shown = lambda: owner.get(f"/api/v1/requests/{request}")
            until(lambda: shown()["state"] == "issued", patience, "no certificate is issued")
            serial = shown()["serial"]
            chain = owner.text(f"/api/v1/certificates/{serial}", "application/pem-certificate-chain")
        pem = self.machine.root / "home" / f"{serial}.pem"
        pem.parent.mkdir(exist_ok=True)
        pem.write_text(chain + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())
        return pem

    def application(self, number: int, name: str = "oa", **more: Any) -> Direct:
        """The application `name` as a caller of instance `number`."""
        return self.direct(number, pem=Path(next(each["cert"] for each in self.told["applications"] if each["id"] == name)), **more)

    def ready(self, number: int) -> bool:
        """Whether instance `number` says that it is ready."""
        return not self.reasons(number)

    def reasons(self, number: int) -> list[str]:
        """Why instance `number` is not ready; nothing when it is."""
        if not services.listens(self.socket(number)):
            return ["nobody listens"]
        try:
            with httpx.Client(transport=httpx.HTTPTransport(uds=str(self.socket(number))), timeout=3) as client:
                return list(client.get("http://localhost/readyz").json()["reasons"])
        except httpx.HTTPError as error:
            return [f"no answer: {error!r}"]

    def change(self, records: str) -> None:
        """Change the directory as its administrator."""
        (self.machine.root / "tmp/change.ldif").write_text(records, "utf-8")
        self.machine.do("ldapmodify -Q -Y EXTERNAL -H ldapi:/// -f /tmp/change.ldif")

    def sql(self, query: str) -> list[str]:
        """Rows of a query as the database's administrator gets them."""
        return self.machine.do(f'runuser -u postgres -- psql -AtXc "{query}" yumen', folder="/tmp").splitlines()

    def serve(self, number: int) -> None:
        """Start instance `number`: the first beside the database, the second as a node of its own."""
        unit = self._unit("yumen-web@", second=number == 2, instance=str(number))
        self.machine.start(unit, network="second" if number == 2 else "")

    def work(self, *, second: bool = False) -> None:
        """Start the worker, or that of the second node."""
        unit = self._unit("yumen-worker", second=second)
        self.machine.start(replace(unit, name=STANDBY) if second else unit, network="second" if second else "")

    def _unit(self, name: str, *, second: bool, instance: str = "") -> Unit:
        drop_ins = [self.machine.root / f"etc/systemd/system/{name}.service.d/node.conf"] if second else []
        return read_unit(self.machine.root / f"etc/systemd/system/{name}.service", instance, *drop_ins)

    def stage(self, folder: Path) -> Stage:
        """Where the story plays."""
        return Stage(self.home, folder, self.told)


def code(secret: str, steps: int) -> str:
    """The one-time code of now, or of that many steps later."""
    return pyotp.TOTP(secret).at(dt.datetime.now(dt.UTC) + steps * dt.timedelta(seconds=30))


def build(size: Size) -> Production:
    """Everything from empty machines to running processes, by the runbook."""
    https, http, first, second = free_ports(4)
    values = {
        "dc=example,dc=cn": "dc=yumen,dc=demo",
        "https://yumen.example.cn": f"https://localhost:{https}",
        "http://pki.example.cn": f"http://127.0.0.1:{http}",
        "/15/": f"/{services.version()}/",
        "listen 443 ssl": f"listen 127.0.0.1:{https} ssl",
        "listen 80;": f"listen 127.0.0.1:{http};",
        "127.0.0.1:9101": f"127.0.0.1:{first}",
        "127.0.0.1:9102": f"127.0.0.1:{second}",
    }
    made = Production(Machine(values), {account.uid: account for account in province.accounts(1)})
    try:
        _raise(made, size)
        made.told = {
            "https": f"https://localhost:{https}",
            "http": f"http://127.0.0.1:{http}",
            "ca_file": str(made.home / "root.pem"),
            "accounts": [],
            "applications": [],
        }
        _populate(made)
    except BaseException as error:
        error.add_note(made.machine.last_words())
        made.machine.close()
        raise
    return made


def _raise(made: Production, size: Size) -> None:
    """Sections 1 to 5 of the runbook."""
    machine = made.machine
    machine.follow("1.")
    services.pki(machine)
    write(machine.root / "tmp", size, seed=1, hasher=province.QUICK)
    machine.do("mkdir -p /var/lib/ldap; rm -rf /etc/ldap/slapd.d; touch /etc/default/slapd")
    services.make_database(machine)

    def happened(command: str) -> None:
        if "restart slapd" in command:
            machine.do("slapadd -q -f /etc/ldap/slapd.conf -l /tmp/directory.ldif; chown -R openldap: /var/lib/ldap")
            services.start_directory(machine)
        if "restart postgresql" in command:
            if "postgresql" in machine.running:
                machine.end("postgresql", signal.SIGINT)
            services.start_database(machine)

    machine.follow("2.", happened)
    machine.follow("3.", happened)
    people = [(account.uuid, held.role, held.unit) for account in made.accounts.values() for held in account.holdings]
    named = [f'[[people]]\nperson = "{who}"\nrole = "{role}"\nunit = "{unit}"' for who, role, unit in people if role in _CONFIRMED]
    (machine.root / "etc/yumen/ceremony.toml").write_text(CEREMONY + "\n".join(named))
    machine.follow("4.")
    machine.network("second", services.SECOND)
    machine.follow("A second node", happened)

    def started(command: str) -> None:
        if "yumen-worker yumen-web@1 yumen-web@2" in command:
            made.work()
            for number in (1, 2):
                made.serve(number)
            for number in (1, 2):
                until(lambda number=number: made.ready(number), 60, f"instance {number} does not get ready: {made.reasons(number)}")
        if "restart nginx" in command:
            services.start_nginx(machine)

    machine.follow("5.", started)


def _populate(made: Production) -> None:
    """People bind their authenticators, officers register what is there: all of it over REST."""
    for path in (made.home / "notes").iterdir():  # what an auditor takes home after the ceremony
        (made.machine.root / "tmp" / path.name).write_bytes(path.read_bytes())
    codes = {uid: code for code, uid in re.findall(r"(?m)^  (\S+)  (\S+) \(", (made.home / "first-codes.txt").read_text("utf-8"))}
    for uid, account in made.accounts.items():
        told = {"uid": uid, "name": account.name, "password": account.password, "roles": list(account.roles), "unit": account.unit_name}
        made.told["accounts"].append(told)
    for uid in sorted(made.accounts, key=lambda uid: uid in _HANDED_BY):
        if uid in _HANDED_BY:
            with made.person(_HANDED_BY[uid]) as officer:
                first = officer.insist("/api/v1/totp/codes", {"person": uid})["code"]
        else:
            first = codes[uid]
        _bind(made, uid, first)
    _newcomer(made)
    county, top = made.accounts["zhangsan"].unit, made.accounts[OWNER].unit
    for wanted in demo_data.APPLICATIONS:
        _register(made, wanted, county, top)
    ref, name, hosts = demo_data.COUNTY_SERVER
    with made.person(REGISTRAR) as registrar:
        registrar.post("/api/v1/assets", {"ref": ref, "name": name, "owner": "zhangsan", "unit": county, "names": list(hosts)})


def _newcomer(made: Production) -> None:
    """A person beside the story's: the directory's administrator sets a password, a registrar hands over the code."""
    password = "seven gates of the river"
    who = province.person_dn(NEWCOMER.uid, NEWCOMER.place)
    made.machine.do(f"ldappasswd -Q -Y EXTERNAL -H ldapi:/// -s '{password}' '{who}'")
    made.told["accounts"].append({"uid": NEWCOMER.uid, "name": NEWCOMER.name, "password": password, "roles": ["staff"], "unit": ""})
    with made.person(FAR_REGISTRAR) as registrar:
        _bind(made, NEWCOMER.uid, registrar.insist("/api/v1/totp/codes", {"person": NEWCOMER.uid})["code"])
    made.person(NEWCOMER.uid).close()


def _bind(made: Production, uid: str, first: str) -> None:
    """Bind an authenticator, with the code of half a minute ago: the present one stays for the first login."""
    account = made.account(uid)
    shown = {"uid": uid, "password": account["password"], "code": first}
    if (left := 30 - time.time() % 30) < 3:  # a code of half a minute ago must not become one of a minute ago on its way
        time.sleep(left)
    with made.direct(1) as api:
        account["totp"] = api.post("/api/v1/totp/enrolments", shown)["secret"]
        api.post("/api/v1/totp/enrolments/confirm", {**shown, "totp": code(account["totp"], -1)})


def _register(made: Production, wanted: demo_data.Wanted, county: str, top: str) -> None:
    """An application with its grants, what it decides about, and its certificate."""
    with made.person(SYSTEM) as system, made.person(SECURITY) as security:
        facts = {"id": wanted.id, "name": wanted.name, "unit": county, "owner": OWNER, "types": list(wanted.types)}
        system.post("/api/v1/applications", {**facts, "actions": sorted({action for action, _, _ in wanted.grants})})
        seen = lambda: any(each["id"] == wanted.id for each in security.get("/api/v1/applications")["items"])
        until(seen, 2, "the application is not seen")
        for action, kind, role in wanted.grants:
            security.insist("/api/v1/grants", {"application": wanted.id, "action": action, "type": kind, "role": role})
        for kind, identity, whose in wanted.resources:
            unit = county if whose == "county" else top
            security.insist(f"/api/v1/applications/{quote(wanted.id)}/resources", {"type": kind, "id": identity, "unit": unit})
    made.told["applications"].append(_certify(made, wanted.id))


def _certify(made: Production, application: str) -> dict[str, str]:
    """The application's certificate: asked for by its owner, approved by the registrar of its unit."""
    pem = made.certify(OWNER, REGISTRAR, "application", f"application:{application}")
    return {"id": application, "cert": str(pem), "key": str(pem), "api_key": ""}
