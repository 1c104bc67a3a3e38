"""A small hierarchy for every suite, with a fixed clock; keys are made once per session."""

import datetime as dt
from dataclasses import dataclass, field
from functools import cache

from cryptography import x509

from certs.names import Kind, Subject
from certs.profiles import PROFILES, Content, Issuer, StatusUrls, template
from certs.suites import SUITES, PrivateKey, Suite

NOW = dt.datetime(2026, 3, 1, 8, 0, tzinfo=dt.UTC)

URLS = StatusUrls(
    crl="http://status.example.gov.cn/crl/staff/0.crl",
    ocsp="http://status.example.gov.cn/ocsp/staff",
    ca="http://status.example.gov.cn/ca/staff.cer",
)
ROOT_URLS = StatusUrls(crl="http://status.example.gov.cn/crl/jiangzhou-root/0.crl", ca="http://status.example.gov.cn/ca/jiangzhou-root.cer")

PERSON = Subject(
    kind=Kind.PERSON,
    id="0d9a3a52-7d1c-4f6e-9b57-6a9f3f0f2c11",
    common_name="张三",
    unit_names=("兰州市", "城关区", "财政局"),
    organisation="甘肃省",
    mail="zhangsan@gs.example.cn",
)
SUBJECTS = {
    "staff-sign": PERSON,
    "server": Subject(
        kind=Kind.SERVER,
        id="portal",
        common_name="门户",
        organisation="甘肃省",
        hosts=("portal.example.gov.cn", "127.0.0.1", "::1"),
    ),
    "application": Subject(kind=Kind.APPLICATION, id="oa", common_name="综合办公平台", organisation="甘肃省"),
    "device": Subject(kind=Kind.DEVICE, id="terminal-0042", common_name="终端 42", organisation="甘肃省"),
    "ocsp": Subject(kind=Kind.RESPONDER, id="staff", common_name="OCSP 职员", organisation="甘肃省"),
    "issuing": Subject(kind=Kind.AUTHORITY, id="staff", common_name="职员签发 CA", organisation="甘肃省"),
    "root": Subject(kind=Kind.AUTHORITY, id="root", common_name="甘肃根 CA", organisation="甘肃省"),
}


@cache
def _made(suite: str, name: str) -> PrivateKey:
    return SUITES[suite].generate()


def key(suite: str, name: str) -> PrivateKey:
    """The key of this name, the same one during a session. RSA keys are dear: there all end entities share one."""
    shared = suite.startswith("rsa") and name not in {"root", "issuing", "throw-away"}
    return _made(suite, "shared" if shared else name)


@dataclass(frozen=True)
class Ca:
    """One authority with its key."""

    cert: x509.Certificate
    key: PrivateKey

    @property
    def issuer(self) -> Issuer:
        return Issuer.of(self.cert)

    def issue(self, profile: str, content: Content) -> x509.Certificate:
        builder = template(PROFILES[profile], issuer=self.issuer, content=content)
        return builder.sign(self.key, self.issuer.suite.digest)


@dataclass
class House:
    """Root, issuing CA and one certificate of every profile, all in one suite."""

    suite: Suite
    root: Ca = field(init=False)
    staff: Ca = field(init=False)
    leaves: dict[str, x509.Certificate] = field(init=False)

    def __post_init__(self) -> None:
        content = self.content("root", serial=1, urls=StatusUrls())
        builder = template(PROFILES["root"], issuer=Issuer.itself(content, PROFILES["root"]), content=content)
        self.root = Ca(builder.sign(self.key("root"), self.suite.digest), self.key("root"))
        self.staff = Ca(self.root.issue("issuing", self.content("issuing", serial=2, urls=ROOT_URLS)), self.key("issuing"))
        leaves = [name for name in PROFILES if name not in {"root", "issuing"}]
        self.leaves = {name: self.staff.issue(name, self.content(name, serial=100 + n)) for n, name in enumerate(leaves)}

    def key(self, name: str) -> PrivateKey:
        return key(self.suite.name, name)

    def content(self, profile: str, **more) -> Content:
        urls = StatusUrls(ca=URLS.ca) if profile == "ocsp" else URLS
        usual = {
            "subject": SUBJECTS[profile],
            "public_key": self.key(profile).public_key(),
            "serial": 1 << 158,
            "not_before": NOW,
            "urls": urls,
        }
        return Content(**usual | more)

    def issuer_of(self, profile: str) -> Issuer:
        if profile == "root":
            return Issuer.itself(self.content("root"), PROFILES["root"])
        return self.root.issuer if profile == "issuing" else self.staff.issuer

    @property
    def certificates(self) -> dict[str, x509.Certificate]:
        return {"root": self.root.cert, "issuing": self.staff.cert, **self.leaves}


@cache
def house_of(suite: str) -> House:
    return House(SUITES[suite])
