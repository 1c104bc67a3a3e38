"""What notices say, in both languages. Pure. Nothing here is chosen by strangers: facts are our own words and numbers."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from core.clock import ZONE
from ops.notices.notice import Kind, Letter, Text

#: What stands below every notice.
_FOOT = Text(
    "本通知由玉门自动发出，请勿回复。玉门不会通过邮件或短信索要口令和验证码。",
    "Sent by Yumen; please do not reply. Yumen never asks for a password or code by mail or message.",
)

_AUTHENTICATED = {"cert": Text("证书", "a certificate"), "password+totp": Text("口令和动态口令", "password and one-time code")}

#: Title, what is wrong, and what to do, by the alarm's name. `{about}` is the thing, such as the id of an authority.
ALARMS: Mapping[str, tuple[Text, Text]] = {
    "trail-closed": (
        Text("审计记录无法写入", "the trail cannot be written"),
        Text(
            "所有操作、登录和判定均被拒绝，已发布的状态信息仍可查询。请检查磁盘空间和数据库。",
            "Acts, sign-ins and decisions are refused; status that was published is still served. See to the disk and the database.",
        ),
    ),
    "contradiction": (
        Text("事实与审计记录相互矛盾", "facts and the trail contradict each other"),
        Text(
            "可能有人绕过系统修改了数据库。请保留现场，不要修复任何数据，由审计员在审计页面查看。",
            "Somebody may have changed the database behind the service's back. Keep everything as it is; let an auditor look.",
        ),
    ),
    "trail-damaged": (
        Text("审计日志 {about} 已损坏", "the log {about} of the trail is damaged"),
        Text(
            "日志与系统之外保存的签名不符，可能有人直接修改了数据库。请保留现场，由审计员查看；日志 ca 损坏期间不签发任何证书。",
            "It is not what was signed: somebody may have changed the database itself. Keep everything as it is; let an auditor look. "
            "While the log ca is damaged, no certificate is issued.",
        ),
    ),
    "list-stale": (
        Text("{about} 的吊销列表过期或不完整", "the revocation list of {about} is over or incomplete"),
        Text(
            "依赖方可能拒绝该 CA 的所有证书，或尚不知道最近的吊销。请查看工作进程及其日志。",
            "Relying parties may refuse every certificate of this authority, or miss a revocation. See to the worker and its log.",
        ),
    ),
    "authority-stopped": (
        Text("{about} 已停止签发", "authority {about} was stopped"),
        Text(
            "签名内容与校验内容不一致，该 CA 不再签发。请由安全管理员查明原因后决定是否恢复。",
            "What it signed was not what was checked, so it signs nothing more. A security administrator decides whether it goes on.",
        ),
    ),
    "directory-stale": (
        Text("目录无法读取", "the directory cannot be read"),
        Text(
            "在目录恢复之前，所有判定和登录均被拒绝。请检查目录服务器。",
            "Until it can, decisions and sign-ins are refused. See to the directory servers.",
        ),
    ),
    "directory-refused": (
        Text("目录变更未被接受", "a change of the directory is refused"),
        Text(
            "该变更会撤销过多角色，在安全管理员接受之前沿用原目录。",
            "It would take away too many roles: the directory from before stays until a security administrator accepts it.",
        ),
    ),
    "backup-late": (
        Text("没有足够新的备份", "there is no backup that is young enough"),
        Text(
            "至少有一个备份目标没有备份，或最新的备份过旧。请查看 `yumen status` 和工作进程的日志，或运行 `yumen backup`。",
            "At one target at least. See `yumen status` and the worker's log, or run `yumen backup`.",
        ),
    ),
    "certificate-ending": (
        Text("系统自身的证书即将到期：{about}", "a certificate of the service's own ends soon: {about}"),
        Text(
            "正常情况下工作进程会自动续期。请查看工作进程及其日志。", "The worker renews it while it runs: see to the worker and its log."
        ),
    ),
    "clock-stepped": (
        Text("服务器时钟发生跳变", "a server's clock was stepped"),
        Text(
            "时钟可信之前，不签发证书、吊销列表和 OCSP 应答。请查明时钟被谁调整并将其调准；`yumen status` 和 `/readyz` 说明详情。",
            "Until it can be believed no certificate, list or OCSP answer is signed. "
            "Find out who set it, and put it right; `/readyz` says by how much.",
        ),
    ),
}


def letter(identity: str, kind: Kind, made_at: dt.datetime, facts: Mapping[str, Any], url: str) -> Letter:
    """The notice of `kind` with these facts; the same `identity` gives the same id, and `url` is the portal's address."""
    title, body = _TEXTS[kind](facts, url.rstrip("/"))
    whole = Text(f"{body.zh}\n\n{_FOOT.zh}", f"{body.en}\n\n{_FOOT.en}")
    return Letter(sha256(identity.encode()).hexdigest()[:32], kind, made_at, Text(f"玉门：{title.zh}", f"Yumen: {title.en}"), whole)


def _expiry(facts: Mapping[str, Any], url: str) -> tuple[Text, Text]:
    days, serial = facts["days"], facts["serial"]
    moment = dt.datetime.fromisoformat(facts["ends_at"])
    mine = not facts["subject"]  # the portal renews what is a person's own; a server's key is made where the server is
    way = f"{url}/certificates/{serial}{'/renew' if mine else ''}"
    about = Text(facts["subject"] or "您的个人证书", facts["subject"] or "your personal certificate")
    title = Text(f"证书将在 {days} 天内到期", f"a certificate ends within {days} {'day' if days == 1 else 'days'}")
    return title, Text(
        f"您负责的证书（{about.zh}，序列号 {serial}）将于 {_when(moment).zh} 到期，到期后不能再用于登录和签名。\n请在到期前续期：{way}",
        f"A certificate that you answer for ({about.en}, serial {serial}) ends on {_when(moment).en}. After that it opens nothing.\n"
        f"Renew it before: {way}",
    )


def _approval(facts: Mapping[str, Any], url: str) -> tuple[Text, Text]:
    count, oldest = facts["count"], _when(dt.datetime.fromisoformat(facts["oldest"]))
    one = count == 1
    title = Text(f"{count} 份申请等待审批", f"{count} {'request waits' if one else 'requests wait'} for you")
    return title, Text(
        f"有 {count} 份证书申请等待您审批，最早的一份提交于 {oldest.zh}。\n请前往注册员工作台：{url}/desk",
        f"{count} {'request' if one else 'requests'} for a certificate {'waits' if one else 'wait'} for your decision, "
        f"the oldest since {oldest.en}.\nYour desk: {url}/desk",
    )


def _sign_in(facts: Mapping[str, Any], url: str) -> tuple[Text, Text]:
    at = _when(dt.datetime.fromisoformat(facts["at"]))
    by = _AUTHENTICATED.get(facts["auth"], Text(facts["auth"], facts["auth"]))
    title = Text("您的账户从新的网络登录", "your account was used from a new place")
    return title, Text(
        f"您的账户于 {at.zh} 使用{by.zh}登录，所在网络在过去 90 天内未曾使用过。\n"
        f"如果不是您本人，请立即联系注册员停用账户和证书。登录记录：{url}/",
        f"Your account signed in on {at.en} with {by.en}, from a network that it had not used in the 90 days before.\n"
        f"If that was not you, call your registrar at once to have account and certificate stopped. Your sign-ins: {url}/",
    )


def _alarm(facts: Mapping[str, Any], url: str) -> tuple[Text, Text]:
    (zh, en), body = ALARMS[facts["alarm"]]
    title = Text(*(text.format(about=facts["about"]) for text in (zh, en)))
    since = _when(dt.datetime.fromisoformat(facts["since"]))
    return Text(f"告警：{title.zh}", f"alarm: {title.en}"), Text(
        f"自 {since.zh} 起：{title.zh}。\n{body.zh}\n\n系统状态：{url}/system",
        f"Since {since.en}: {title.en}.\n{body.en}\n\nThe system's state: {url}/system",
    )


_TEXTS = {Kind.EXPIRY: _expiry, Kind.APPROVAL: _approval, Kind.SIGN_IN: _sign_in, Kind.ALARM: _alarm}
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _when(moment: dt.datetime) -> Text:
    """Date and minute in the province's zone, as its pages write them."""
    at = moment.astimezone(ZONE)
    return Text(f"{at.year}年{at.month}月{at.day}日 {at:%H:%M}", f"{at.day} {_MONTHS[at.month - 1]} {at.year}, {at:%H:%M}")
