"""What can happen: the closed catalogue of event kinds, and the canonical bytes of one event.

A body is JSON inside the RFC 8785 profile *ASCII keys, no floats, at most 60,000 bytes*: there, sorted `orjson` gives
exactly the JCS bytes. These bytes are stored and hashed; nobody ever encodes them again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any, NamedTuple

import orjson

from audit.permit import Actor, Permit

MAX_BODY_BYTES = 60_000

_KEY = re.compile(r"[a-z0-9_.-]{1,32}")
_KNOWN_KEYS: set[str] = set()
_MOST_KNOWN_KEYS = 1024


class _Row(NamedTuple):
    code: str
    name: str
    en: str
    zh: str


class Kind(Enum):
    """The catalogue: permanent code, name, and how people read it. New kinds are added; none is renamed or reused.

    Codes `CA…` live in the log `ca` (keys, certificates, configuration), `AZ…` in the log `access`.
    """

    REQUEST_SUBMITTED = _Row("CA1001", "request.submitted", "certificate requested", "提交证书申请")
    REQUEST_APPROVED = _Row("CA1002", "request.approved", "request approved", "批准申请")
    REQUEST_REFUSED = _Row("CA1003", "request.refused", "request refused", "驳回申请")
    CERT_ISSUED = _Row("CA1004", "cert.issued", "certificate issued", "签发证书")
    CERT_INTENDED = _Row("CA1005", "cert.intended", "signature intended", "拟签名")
    CERT_SWEPT = _Row("CA1006", "cert.swept", "orphaned intent swept, serial revoked", "清理孤立签名意图并吊销序列号")
    CERT_REVOKED = _Row("CA1007", "cert.revoked", "certificate revoked", "吊销证书")
    CERT_SUSPENDED = _Row("CA1008", "cert.suspended", "certificate suspended", "挂起证书")
    CERT_RELEASED = _Row("CA1009", "cert.released", "suspension released", "解除挂起")
    CERT_FAILED = _Row("CA1010", "cert.failed", "issuance failed", "签发失败")
    CERT_MISSIGNED = _Row("CA1011", "cert.missigned", "signed bytes differ from the linted bytes", "签名内容与校验内容不一致")
    REQUEST_RETURNED = _Row("CA1012", "request.returned", "request returned: the directory changed", "目录信息已变更，退回申请")
    KEY_GENERATED = _Row("CA2001", "key.generated", "signing key generated", "生成签名密钥")
    CEREMONY_PERFORMED = _Row("CA2002", "ceremony.performed", "key ceremony performed", "完成密钥仪式")
    CEREMONY_REFUSED = _Row("CA2003", "ceremony.refused", "key ceremony refused", "密钥仪式被拒绝")
    AUTHORITY_CLEARED = _Row("CA2004", "authority.cleared", "stopped authority cleared to go on", "同意被停用的 CA 恢复签发")
    AUTHORITY_RESUMED = _Row("CA2005", "authority.resumed", "stopped authority goes on", "被停用的 CA 恢复签发")
    CRL_INTENDED = _Row("CA3001", "crl.intended", "CRL signature intended", "拟签发吊销列表")
    CRL_PUBLISHED = _Row("CA3002", "crl.published", "CRL published", "发布吊销列表")
    OCSP_COUNTED = _Row("CA3003", "ocsp.counted", "OCSP answers signed in one minute", "一分钟内签名的 OCSP 应答数")
    CRL_REFUSED = _Row("CA3004", "crl.refused", "CRL held back by the publish gate", "吊销列表未通过发布检查")
    CRL_ABANDONED = _Row("CA3005", "crl.abandoned", "announced CRL given up", "放弃未完成的吊销列表")
    PERSON_CONFIRMED = _Row("CA4001", "person.confirmed", "administrator or registrar confirmed", "确认管理员或注册员")
    APPLICATION_REGISTERED = _Row("CA4002", "application.registered", "application registered", "登记应用")
    GRANT_ADDED = _Row("CA4003", "grant.added", "grant added", "新增授权")
    GRANT_WITHDRAWN = _Row("CA4004", "grant.withdrawn", "grant withdrawn", "撤回授权")
    ASSET_REGISTERED = _Row("CA4005", "asset.registered", "asset registered", "登记资产")
    API_KEY_MADE = _Row("CA4006", "api-key.made", "API key made", "生成 API 密钥")
    ACCOUNT_BLOCKED = _Row("CA4007", "account.blocked", "account blocked", "停用账户")
    ACCOUNT_UNBLOCKED = _Row("CA4008", "account.unblocked", "account unblocked", "恢复账户")
    PERSON_UNCONFIRMED = _Row("CA4009", "person.unconfirmed", "confirmation withdrawn", "撤回管理员或注册员确认")
    APPLICATION_CHANGED = _Row("CA4010", "application.changed", "application changed", "变更应用登记")
    API_KEY_WITHDRAWN = _Row("CA4011", "api-key.withdrawn", "API key withdrawn", "作废 API 密钥")
    ASSET_CHANGED = _Row("CA4012", "asset.changed", "asset changed", "变更资产")
    PROXY_CHANGED = _Row("CA4013", "application.proxy", "application's proxy registered or withdrawn", "登记或撤销应用代理")
    APPLICATION_SWITCHED = _Row("CA4014", "application.switched", "application switched off or on", "停用或启用应用")
    BACKUP_MADE = _Row("CA5001", "backup.made", "backup made and read back", "完成备份并回读校验")
    BACKUP_FAILED = _Row("CA5002", "backup.failed", "backup failed", "备份失败")
    RESTORED = _Row("CA5003", "backup.restored", "home restored from a backup", "从备份恢复")
    AUTHORITY_HELD = _Row("CA5004", "authority.held", "authority put on hold by a restore", "恢复后暂停 CA")
    AUTHORITY_RELEASED = _Row("CA5005", "authority.released", "authority's hold ended", "解除 CA 暂停")
    LIST_SUPPLIED = _Row("CA5006", "crl.supplied", "last published CRL supplied after a restore", "恢复后提供最近发布的吊销列表")
    LIST_ABSENT = _Row("CA5007", "crl.absent", "last published CRL said not to be found", "声明找不到最近发布的吊销列表")
    CERT_UNRECORDED = _Row("CA5008", "cert.unrecorded", "revoked serial that no record tells of", "吊销无记录的序列号")
    BACKUP_STORED = _Row("CA5020", "backup.stored", "backup stored at a target and read back", "备份已存入目标位置并回读校验")
    BACKUP_REMOVED = _Row("CA5021", "backup.removed", "backup taken away, its time is over", "删除过期备份")
    BACKUP_NOT_STORED = _Row("CA5022", "backup.not-stored", "a target did not take the backup", "备份未能存入目标位置")
    DRILLED = _Row("CA5023", "drill.performed", "restore of a backup rehearsed", "完成恢复演练")
    ASSESSED = _Row("CA5024", "system.assessed", "home assessed by the operator", "完成系统自查")
    KEYS_RESEALED = _Row("CA5025", "keys.resealed", "keys sealed under a new unsealing secret", "密钥改用新的解封口令封存")
    CLOCK_STEPPED = _Row("CA5040", "clock.stepped", "a machine's clock was stepped", "本机时钟发生跳变")
    CLOCK_BELIEVED = _Row("CA5041", "clock.believed", "a machine's clock is believed again", "本机时钟恢复可信")
    CA_EPOCH_OPENED = _Row("CA9001", "log.opened", "log epoch opened", "开启日志周期")
    CA_WRITER_STARTED = _Row("CA9002", "writer.started", "a process began to write", "进程开始写入")

    DECISION = _Row("AZ1001", "authz.decide", "decision for an application", "应用授权判定")
    REFUSAL = _Row("AZ1002", "authz.refuse", "act refused by policy", "操作被策略拒绝")
    IDENTITY_VERIFIED = _Row("AZ1003", "identity.verify", "identity verified for an application", "为应用核验身份")
    SEARCHED = _Row("AZ1004", "authz.search", "permissions searched", "查询权限")
    INPUT_REFUSED = _Row("AZ1005", "input.refuse", "input of a known caller refused", "拒绝已知调用者的输入")
    LOGIN = _Row("AZ2001", "session.begin", "login", "登录")
    LOGIN_FAILED = _Row("AZ2002", "login.failed", "login failed", "登录失败")
    LOGIN_THROTTLED = _Row("AZ2003", "login.throttled", "login delayed after failures", "失败过多，登录被限速")
    SESSION_ENDED = _Row("AZ2004", "session.end", "session ended", "会话结束")
    TOTP_ENROLLED = _Row("AZ2005", "totp.enrolled", "one-time codes enrolled", "绑定动态口令")
    TOTP_CODE_ISSUED = _Row("AZ2006", "totp.code-issued", "enrolment code handed out", "发放绑定码")
    TOTP_RECOVERED = _Row("AZ2007", "totp.recovered", "recovery code used", "使用恢复码")
    CERT_LOGIN_REFUSED = _Row("AZ2008", "cert-login.refused", "client certificate refused", "客户端证书被拒绝")
    NOISE_COUNTED = _Row("AZ2009", "noise.counted", "anonymous refusals counted", "匿名拒绝计数")
    LOGINS_COUNTED = _Row("AZ2010", "logins.counted", "failed logins beyond the limit counted", "超限登录失败计数")
    DIRECTORY_CHANGED = _Row("AZ3001", "directory.changed", "directory change taken over", "目录变更生效")
    DIRECTORY_REFUSED = _Row("AZ3002", "directory.refused", "directory change refused", "目录变更被拒绝")
    ROLE_CONFLICT = _Row("AZ3003", "role.conflict", "one person holds excluding administrator roles", "同一人持有互斥管理员角色")
    DIRECTORY_ACCEPTED = _Row("AZ3004", "directory.accepted", "refused directory change accepted", "接受被拒绝的目录变更")
    ROLE_UNCONFIRMED = _Row("AZ3005", "role.unconfirmed", "directory gives a role that nobody confirmed", "目录授予了未经确认的角色")
    TRAIL_SEARCHED = _Row("AZ4001", "trail.searched", "trail searched", "查询审计记录")
    TRAIL_EXPORTED = _Row("AZ4002", "trail.exported", "trail exported", "导出审计记录")
    TRAIL_CHECKED = _Row("AZ4003", "trail.checked", "trail verified", "核验审计记录")
    SEARCH_SAVED = _Row("AZ4004", "search.saved", "search saved", "保存查询")
    SEARCH_DROPPED = _Row("AZ4005", "search.dropped", "saved search removed", "删除已保存的查询")
    CONTRADICTION_ACCEPTED = _Row("AZ4010", "contradiction.accepted", "contradiction of fact and trail accepted", "接受事实与记录的矛盾")
    NOTICE_SENT = _Row("AZ5001", "notice.sent", "notice sent", "发出通知")
    NOTICE_GIVEN_UP = _Row("AZ5002", "notice.given-up", "notice given up", "放弃发送通知")
    ACCESS_EPOCH_OPENED = _Row("AZ9001", "log.opened", "log epoch opened", "开启日志周期")
    ACCESS_WRITER_STARTED = _Row("AZ9002", "writer.started", "a process began to write", "进程开始写入")
    WRITER_HEARTBEAT = _Row("AZ9003", "writer.heartbeat", "a process lives", "进程存活")
    WRITER_VOID = _Row("AZ9004", "writer.void", "numbers of rolled-back events", "已回滚事件的编号")
    TRAIL_CLOSED = _Row("AZ9005", "trail.closed", "the trail could not be written for a while", "审计记录一度无法写入")
    WRITER_ENDED = _Row("AZ9006", "writer.ended", "a process ended in order", "进程正常结束")
    WRITER_LOST = _Row("AZ9007", "writer.lost", "a process fell silent without ending", "进程未结束即失去音讯")
    RECONCILED = _Row("AZ9008", "trail.reconciled", "facts compared with their events", "事实与记录已核对")
    CONTRADICTED = _Row("AZ9009", "trail.contradicted", "a fact and the trail contradict each other", "事实与记录相互矛盾")
    TRAIL_VERIFIED = _Row("AZ9010", "trail.verified", "trail verified by the service itself", "系统自动核验审计记录")
    TRAIL_DAMAGED = _Row("AZ9011", "trail.damaged", "the trail was found damaged", "发现审计记录损坏")
    TRAIL_MENDED = _Row("AZ9012", "trail.mended", "a log that was damaged verifies again", "受损日志恢复通过核验")

    def __init__(self, code: str, *_told: str) -> None:
        #: The permanent code, such as `CA1004`.
        self.code = code
        #: The log this kind belongs to: `ca` or `access`.
        self.log = "ca" if code.startswith("CA") else "access"


#: Kinds by code, for readers of stored bodies.
BY_CODE: Mapping[str, Kind] = {kind.code: kind for kind in Kind}


class Event(NamedTuple):
    """One thing that happened, as its author knows it. Time, id, place and counters are added when it is written.

    A tuple, as all that is made for each request: a frozen dataclass of so many fields takes six times as long to make.
    """

    kind: Kind
    actor: Actor
    #: What it happened to: `request:42`, `cert:staff/1f3a`, `person:p_…`, `app:oa`, …
    object: str
    #: `ok`, `allow`, `deny`, `fail`, `error` or `void`.
    outcome: str = "ok"
    #: Machine-readable reason, such as `own-request`, `out-of-scope`, `bad-password`.
    reason: str = ""
    #: The deciding rule and the snapshot revision it was decided on.
    rule: str = ""
    revision: int = 0
    #: `<sha256 of the issuer's key, hex>:<serial, hex>` for events about a certificate: what NIAP asks to search by.
    cert: str = ""
    #: entryUUID of the organisation unit whose officers are concerned.
    scope: str = ""
    #: Network address of the caller: personal, so it is stored as a commitment only.
    source: str = ""
    request_id: str = ""
    #: Facts of this kind: strings, integers, booleans, lists and objects of them. Never personal data.
    details: Mapping[str, Any] = MappingProxyType({})
    #: Personal values by field (`name`, `uid`, `mail`, …): the body carries salted commitments of them.
    personal: Mapping[str, str] = MappingProxyType({})

    @classmethod
    def under(cls, permit: Permit, kind: Kind, object: str, **more: Any) -> Event:  # noqa: A002 - the standard's word
        """The event of an act that `permit` allowed: quotes its actor, rule and revision."""
        return cls(kind=kind, actor=permit.actor, object=object, rule=permit.rule, revision=permit.revision, **more)


def canonical(body: Mapping[str, Any]) -> bytes:
    """The bytes of `body` as RFC 8785 writes them.

    Raises:
        ValueError: outside the profile (keys, floats, large integers, other types) or longer than 60,000 bytes.
    """
    _must_fit(body)
    data = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    if len(data) > MAX_BODY_BYTES:
        raise ValueError("event body is longer than 60,000 bytes")
    return data


def _key_must_fit(key: object) -> None:
    """Check a key that was not seen before, and remember it: there are few, but not if strangers choose them."""
    if type(key) is not str or not _KEY.fullmatch(key):
        raise ValueError(f"key {key!r} is outside the profile")
    if len(_KNOWN_KEYS) < _MOST_KNOWN_KEYS:
        _KNOWN_KEYS.add(key)


def _must_fit(body: Mapping[str, Any]) -> None:
    groups: list[Any] = [[body]]
    for group in groups:  # which grows by those that are found inside: a call for each costs more than looking
        if type(group) is dict and not group.keys() <= _KNOWN_KEYS:
            for key in group.keys() - _KNOWN_KEYS:
                _key_must_fit(key)
        for member in group.values() if type(group) is dict else group:
            kind = type(member)
            if kind is str or kind is bool or member is None:
                continue
            if kind is dict or kind is list or kind is tuple:
                groups.append(member)
            elif kind is not int:
                raise ValueError(f"{kind.__name__} is outside the profile")
            elif not -(1 << 53) < member < 1 << 53:
                raise ValueError("integer is outside the profile")
