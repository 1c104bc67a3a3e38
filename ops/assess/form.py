"""Settings: whether the home is set up for a network of government, and with which limits."""

from __future__ import annotations

import datetime as dt
import platform
import ssl
from collections.abc import Iterator
from importlib import metadata
from ipaddress import ip_address
from urllib.parse import urlsplit

from cryptography.hazmat.backends.openssl import backend

from ca.crls import former_addresses
from core.clock import span
from core.settings import Audit
from ops.assess.finding import Check, Evidence, Seen, Text, advice, day, good, wrong
from ops.status import look

#: Longest time a session may idle, and last, without a question.
IDLE, LIFETIME = dt.timedelta(minutes=30), dt.timedelta(hours=12)
#: Status that is older than this protects nobody from a revoked certificate in time.
OLD_STATUS = dt.timedelta(hours=24)


def _mode(seen: Seen) -> Iterator[Evidence]:
    if seen.settings.demo:
        yield wrong("mode is `demo`: keys and passwords of this home are public", "模式为 `demo`：本目录的密钥和口令是公开的")
    else:
        yield good("mode is `production`", "模式为 `production`")


def _addresses(seen: Seen) -> Iterator[Evidence]:
    web = seen.settings.web
    for name, url in (("web.http_url", web.http_url), ("web.https_url", web.https_url)):
        fits = good if not _loopback(urlsplit(url).hostname or "") else wrong
        yield fits("{name} is `{url}`", "{name} 为 `{url}`", name=name, url=url)
    for place, ends in former_addresses(seen.session, web.http_url, seen.now).items():
        yield advice(
            "certificates that were issued before name `{place}` until {day}: it must lead to the service until then",
            "此前签发的证书写有 `{place}`，最晚至 {day}：在此之前该地址须通向本服务",
            place=place,
            day=day(ends),
        )
    own = seen.settings.audit.origin
    named = good if own != Audit().origin else advice
    yield named("audit.origin is `{origin}`", "audit.origin 为 `{origin}`", origin=own)


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _sessions(seen: Seen) -> Iterator[Evidence]:
    authz = seen.settings.authz
    for name, value, most in (("session_idle", authz.session_idle, IDLE), ("session_lifetime", authz.session_lifetime, LIFETIME)):
        fits = good if value <= most else advice
        yield fits(
            "authz.{name} is {value}, at most {most}",
            "authz.{name} 为 {value}，不超过 {most}",
            name=name,
            value=span(value),
            most=span(most),
        )


def _freshness(seen: Seen) -> Iterator[Evidence]:
    ca, stale = seen.settings.ca, seen.settings.authz.stale_limit
    for name, value in (("ca.crl_lifetime", ca.crl_lifetime), ("ca.ocsp_lifetime", ca.ocsp_lifetime)):
        fits = good if value <= OLD_STATUS else advice
        yield fits(
            "{name} is {value}, at most {most}", "{name} 为 {value}，不超过 {most}", name=name, value=span(value), most=span(OLD_STATUS)
        )
    fits = good if stale <= dt.timedelta(minutes=1) else advice
    yield fits("after {value} without the directory every decision is no", "目录失联 {value} 后，一切判定为拒绝", value=span(stale))


def _parts(seen: Seen) -> Iterator[Evidence]:
    settings = seen.settings
    if settings.embedded:
        yield advice("one process on SQLite serves and holds the keys of the authorities", "单一进程（SQLite）既对外服务，又持有 CA 密钥")
    else:
        yield good("serving and working are processes of their own on PostgreSQL", "对外服务与签发为各自独立的进程，使用 PostgreSQL")
    if settings.directory.urls:
        yield good("people come from `{urls}`", "人员来自 `{urls}`", urls=settings.directory.urls)
    else:
        yield advice("people come from the file `{file}`", "人员来自文件 `{file}`", file=settings.directory.ldif.name)


def _running(seen: Seen) -> Iterator[Evidence]:
    problems = look(seen.settings).problems
    for said in problems:
        yield wrong("`yumen status` says: {said}", "`yumen status` 报告：{said}", said=said)
    if not problems:
        yield good("`yumen status` names no problem", "`yumen status` 未报告问题")


def _software(_: Seen) -> Iterator[Evidence]:
    facts = {
        "yumen": metadata.version("yumen"),
        "python": platform.python_version(),
        "cryptography": metadata.version("cryptography"),
        "openssl": f"{backend.openssl_version_text()}; {ssl.OPENSSL_VERSION}",
        "system": platform.platform(terse=True),
    }
    for name, version in facts.items():
        yield good("{name} {version}", "{name} {version}", name=name, version=version)


CHECKS = (
    Check(
        id="settings.mode",
        asks=Text("The home is one of production.", "系统以正式模式运行。"),
        do=Text(
            "Make a home of production beside it: `yumen init`, then `yumen ca ceremony FILE` (docs/operating.md).",
            "另建正式目录：先 `yumen init`，再 `yumen ca ceremony FILE`（见 docs/operating.md）。",
        ),
        clauses=("GB/T 22239-2019 8.1.4.2",),
        look=_mode,
    ),
    Check(
        id="settings.addresses",
        asks=Text(
            "Portal and certificate status have addresses that others can reach, and the logs a name of their own.",
            "门户和证书状态服务使用他人可达的地址，审计日志有自己的名称。",
        ),
        do=Text(
            "Set `web.https_url`, `web.http_url` and `audit.origin` before the first certificate is issued: "
            "they are written into certificates and heads.",
            "在签发首张证书之前设置 `web.https_url`、`web.http_url` 和 `audit.origin`：它们会写入证书和日志树头。",
        ),
        clauses=("GB/T 39786-2021 8.2",),
        look=_addresses,
    ),
    Check(
        id="settings.sessions",
        asks=Text(
            "Sessions end by themselves when idle, and at the latest after a working day.", "会话闲置即自动结束，最长不超过一个工作日。"
        ),
        do=Text("Set `authz.session_idle` and `authz.session_lifetime` lower.", "调低 `authz.session_idle` 和 `authz.session_lifetime`。"),
        clauses=("GB/T 22239-2019 8.1.4.1 b",),
        look=_sessions,
    ),
    Check(
        id="settings.freshness",
        asks=Text("What was revoked or removed is refused soon.", "已吊销的证书、已移除的角色很快被拒绝。"),
        do=Text(
            "Set `ca.crl_lifetime`, `ca.ocsp_lifetime` and `authz.stale_limit` lower.",
            "调低 `ca.crl_lifetime`、`ca.ocsp_lifetime` 和 `authz.stale_limit`。",
        ),
        clauses=("GB/T 22239-2019 8.1.4.2", "GB/T 39786-2021 8.4"),
        look=_freshness,
    ),
    Check(
        id="settings.parts",
        asks=Text(
            "Who serves the network holds no key of an authority, and people come from the government's own directory.",
            "对外服务的进程不持有 CA 密钥，人员信息来自本单位的目录服务。",
        ),
        do=Text(
            "Set up the production form (deploy/README.md), and connect the directory (docs/directory.md).",
            "按生产形态部署（deploy/README.md），并接入目录服务（docs/directory.md）。",
        ),
        clauses=("GB/T 22239-2019 8.1.4.2", "GB/T 39786-2021 8.3"),
        look=_parts,
    ),
    Check(
        id="settings.running",
        asks=Text("The service runs and names no problem.", "服务正常运行，未报告问题。"),
        do=Text(
            "See docs/operating.md, “When `yumen status` names a problem”.",
            "见 docs/operating.md 中“When `yumen status` names a problem”一节。",
        ),
        clauses=("GB/T 22239-2019 8.1.10.6",),
        look=_running,
    ),
    Check(
        id="settings.software",
        asks=Text("It is known which software runs.", "运行的软件版本可查。"),
        do=Text("Compare the versions with the advisories of their makers.", "对照各软件的安全公告核对版本。"),
        clauses=("GB/T 22239-2019 8.1.4.4",),
        look=_software,
    ),
)
