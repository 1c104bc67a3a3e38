"""Algorithms, keys and the service's own certificates: which there are, where they lie, when they end."""

from __future__ import annotations

import datetime as dt
import stat
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from sqlalchemy import func, or_, select

from ca import certificates
from ca.states import Standing
from ca.tables import Certificate, Revocation
from certs.profiles import PROFILES
from ops import homes, own
from ops.assess.finding import Check, Evidence, Seen, Text, advice, day, few, good, wrong
from ops.status import SOON

#: An authority that ends within this time needs its successor now.
SUCCESSOR = dt.timedelta(days=180)
#: What nobody but people renew: servers, devices and applications.
_ASSETS = ("server:", "device:", "application:")


def _suites(seen: Seen) -> Iterator[Evidence]:
    counted = select(Certificate.authority, func.count()).where(Certificate.not_after > seen.now).group_by(Certificate.authority)
    live = {row[0]: row[1] for row in seen.session.execute(counted)}
    for row in certificates.authorities(seen.session):
        facts = {"id": row.id, "suite": row.suite, "number": live.get(row.id, 0)}
        national = row.suite.startswith("sm2")
        fits = good if national else advice
        yield fits(
            "authority {id} signs with {suite}; {number} unexpired certificates",
            "CA {id} 使用 {suite} 签名；未过期证书 {number} 张",
            **facts,
        )


def _listener(seen: Seen) -> Iterator[Evidence]:
    chain = _certificates(homes.tls_file(seen.settings.home))
    if not chain:
        yield wrong("the listener has no certificate", "门户监听端口没有证书")
    for leaf in chain[:1]:
        key = leaf.public_key()
        strong = isinstance(key, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey)
        strong = strong or (isinstance(key, rsa.RSAPublicKey) and key.key_size >= 3072)
        digest = leaf.signature_hash_algorithm.name if leaf.signature_hash_algorithm else "ed25519"
        fits = good if strong else wrong
        yield fits(
            "the listener's key is {kind}, its certificate signed with {digest}; TLS 1.2 and 1.3 only",
            "监听端口的密钥类型为 {kind}，证书签名摘要为 {digest}；仅使用 TLS 1.2 和 1.3",
            kind=type(key).__name__.removesuffix("PublicKey"),
            digest=digest,
        )


def _custody(seen: Seen) -> Iterator[Evidence]:
    sealed = {owner: _sealed(seen.settings.home / "keys" / owner) for owner in ("web", "worker")}
    for owner, names in sealed.items():
        yield advice(
            "{number} keys sealed in software for {owner}: {names}",
            "{owner} 的 {number} 个密钥以软件方式封存：{names}",
            owner=owner,
            number=len(names),
            names=few(names, 20),
        )
    for row in certificates.authorities(seen.session):
        for owner, name in (("worker", f"ca/{row.id}"), ("web", f"ocsp/{row.id}")):
            if name not in sealed[owner]:
                yield wrong("the key {name} is missing", "缺少密钥 {name}", name=name)


def _sealed(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.sealed"))


def _secrets(seen: Seen) -> Iterator[Evidence]:
    named = homes.secrets(seen.settings)
    for name, path in named.items():
        found = path.stat()
        open_to = stat.S_IMODE(found.st_mode) & (0o027 if name == "web_secret" else 0o077)
        facts = {"name": name, "path": path, "mode": f"{stat.S_IMODE(found.st_mode):o}", "owner": found.st_uid}
        if path.is_relative_to(seen.settings.home):
            yield wrong("keys.{name} lies in the home: `{path}`", "keys.{name} 位于系统目录之内：`{path}`", **facts)
        fits = wrong if open_to else good
        yield fits("keys.{name} has mode {mode}, owner {owner}", "keys.{name} 权限为 {mode}，属主为 {owner}", **facts)
    if len({path.read_bytes().strip() for path in named.values()}) < len(named):
        fits = advice if seen.settings.embedded else wrong
        yield fits("one secret opens the keys of serving and of working", "对外服务与签发的密钥由同一口令开启")


def _authorities(seen: Seen) -> Iterator[Evidence]:
    for row in certificates.authorities(seen.session):
        ends = x509.load_der_x509_certificate(row.cert or b"").not_valid_after_utc
        longest = max((PROFILES[name].lifetime for name in row.profiles.split() if name in PROFILES), default=dt.timedelta())
        left = ends - seen.now
        fits = wrong if left < SUCCESSOR else advice if left < longest else good
        yield fits("authority {id} ends on {day}", "CA {id} 于 {day} 到期", id=row.id, day=day(ends))


def _own(seen: Seen) -> Iterator[Evidence]:
    settings = seen.settings
    for name, each in (*own.responders(seen.session), *own.listener(settings), *own.to_directory(settings)):
        end = each.not_valid_after_utc
        fits = wrong if end - seen.now < SOON else good
        yield fits("the certificate {name} ends on {day}", "证书 {name} 于 {day} 到期", name=name, day=day(end))


def _assets(seen: Seen) -> Iterator[Evidence]:
    """Assets whose last certificate ends within a month; those that were renewed have a later one."""
    month = seen.now + dt.timedelta(days=30)
    bad = select(Revocation.intent_id).where(Revocation.standing != Standing.VALID)
    last = (
        select(Certificate.subject, func.max(Certificate.not_after))
        .where(or_(*(Certificate.subject.startswith(kind) for kind in _ASSETS)), Certificate.intent_id.not_in(bad))
        .group_by(Certificate.subject)
        .having(func.max(Certificate.not_after) < month, func.max(Certificate.not_after) > seen.now)
        .order_by(func.max(Certificate.not_after))
    )
    soon = [f"{row[0]} ({day(row[1])})" for row in seen.session.execute(last)]
    if soon:
        yield advice("{number} end within 30 days: {names}", "30 天内到期 {number} 张：{names}", number=len(soon), names=few(soon))
    else:
        yield good("none ends within 30 days", "30 天内没有到期的证书")


def _certificates(path: Path) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(path.read_bytes()) if path != Path() and path.is_file() else []


CHECKS = (
    Check(
        id="algorithms.suites",
        asks=Text("Certificates are signed with algorithms of national standards.", "证书使用国家标准密码算法签名。"),
        do=Text(
            "The suites are sound, but none of them is SM2 with SM3: before an assessment of cryptography agree with the assessor "
            "on the suite, or wait for the SM2 suite. OpenSSL is no certified cryptographic product.",
            "现用算法套件安全，但均非 SM2/SM3：密评前请与测评机构商定算法套件，或等待 SM2 套件。OpenSSL 不是经认证的商用密码产品。",
        ),
        clauses=("GB/T 39786-2021 8.4",),
        look=_suites,
    ),
    Check(
        id="algorithms.tls",
        asks=Text("The portal's TLS is strong.", "门户的 TLS 通道强度足够。"),
        do=Text("Give the portal a new key; see docs/operating.md.", "为门户更换密钥，见 docs/operating.md。"),
        clauses=("GB/T 39786-2021 8.2", "GB/T 22239-2019 8.1.2.2"),
        look=_listener,
    ),
    Check(
        id="keys.custody",
        asks=Text("Every key lies in certified hardware, and none is missing.", "所有密钥存放于经认证的密码设备，且无缺失。"),
        do=Text(
            "Keys in software are sealed with AES-256-GCM under the unsealing secrets; for an assessment they must move to "
            "a certified device. A key that is missing: docs/emergency-plan/en.md, section 1.",
            "软件密钥由解封口令经 AES-256-GCM 封存；通过密评须移入经认证的密码设备。密钥缺失见 docs/emergency-plan/zh.md 第一节。",
        ),
        clauses=("GB/T 39786-2021 8.4", "GB/T 39786-2021 8.5"),
        look=_custody,
    ),
    Check(
        id="keys.secrets",
        asks=Text(
            "The unsealing secrets lie outside the home, each open to its own user only.",
            "解封口令存放在系统目录之外，仅对应用户可读。",
        ),
        do=Text(
            "Give each secret its own file, owner and mode (docs/operating.md, “Two users and one group”).",
            "为每个口令设置独立的文件、属主和权限（见 docs/operating.md 中“Two users and one group”一节）。",
        ),
        clauses=("GB/T 22239-2019 8.1.4.2", "GB/T 39786-2021 8.5"),
        look=_secrets,
    ),
    Check(
        id="certificates.authorities",
        asks=Text("Every authority outlives what it issues.", "每个 CA 的有效期长于其签发的证书。"),
        do=Text(
            "Hold a ceremony that adds the successor (docs/ceremony.md); an authority is never replaced by one of the same id.",
            "举行密钥仪式增设后继 CA（docs/ceremony.md）；不得以相同标识替换原 CA。",
        ),
        clauses=("GB/T 39786-2021 8.5",),
        look=_authorities,
    ),
    Check(
        id="certificates.own",
        asks=Text("No certificate of the service itself ends soon.", "系统自用证书没有临近到期的。"),
        do=Text(
            "The worker renews responders and listener while it runs: read its log. The directory's files are renewed by "
            "the directory's operators.",
            "OCSP 与监听端口证书由工作进程自动续期，请查看其日志；目录服务的证书由目录管理员更换。",
        ),
        clauses=("GB/T 39786-2021 8.2",),
        look=_own,
    ),
    Check(
        id="certificates.assets",
        asks=Text("No server, device or application is about to lose its certificate.", "没有即将失去证书的服务器、设备或应用。"),
        do=Text("Tell their owners to renew: `yumen request submit`.", "通知负责人续期：`yumen request submit`。"),
        clauses=("GB/T 22239-2019 8.1.4.1",),
        look=_assets,
    ),
)
