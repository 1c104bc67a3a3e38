"""The trail, its retention, and the clocks that date it."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Iterator

from sqlalchemy import text

from audit import history, rounds, search
from audit.event import Kind
from audit.trail import LOGS
from core.clock import microseconds
from core.errors import NotFound
from ops import homes, hour, reconcile
from ops.assess.finding import Check, Evidence, Seen, Text, advice, day, good, wrong

#: Records of access are kept at least this long (Cybersecurity Law, article 21).
SIX_MONTHS = dt.timedelta(days=180)
#: All facts are compared with all events at least this often.
WHOLE = dt.timedelta(days=7)
#: A round over the whole trail takes a day.
ROUND = dt.timedelta(days=2)
#: Alarms of this time are told.
LATELY = dt.timedelta(days=90)
#: Room for less than this needs somebody now, for less than six months soon.
TIGHT = dt.timedelta(days=30)
#: What clocks may differ by.
APART = dt.timedelta(seconds=2)

_ALARMS = (Kind.TRAIL_DAMAGED, Kind.CONTRADICTED, Kind.TRAIL_CLOSED, Kind.WRITER_LOST, Kind.CERT_MISSIGNED, Kind.CLOCK_STEPPED)


def _compared(seen: Seen) -> Iterator[Evidence]:
    result = reconcile.last(seen.session)
    if result is None or result.whole_at is None:
        yield advice("facts and events were not yet compared from end to end", "业务数据与审计记录尚未完成一次全面核对")
    else:
        fits = good if seen.now - result.whole_at < WHOLE else advice
        yield fits("everything was last compared on {day}", "上次全面核对于 {day}", day=day(result.whole_at))
    if result is not None:
        fits = wrong if result.open else good
        yield fits("{number} contradictions are open", "未消除的矛盾 {number} 处", number=result.open)


def _verified(seen: Seen) -> Iterator[Evidence]:
    result = rounds.last(seen.session)
    if result is None or result.whole_at is None:
        yield advice("the service has not yet verified its trail from end to end", "系统尚未完成一轮审计记录核验")
    else:
        fits = good if seen.now - result.whole_at < ROUND else advice
        told = {"day": day(result.whole_at), "entries": result.entries}
        yield fits("all {entries} entries were last verified on {day}", "上次于 {day} 核验全部 {entries} 条记录", **told)
    for damage in result.damage if result else ():
        place = {"log": damage.log, "first": max(damage.first, 0)}
        yield wrong("the log {log} is damaged from entry {first} on", "日志 {log} 自第 {first} 条起已损坏", **place)


def _alarms(seen: Seen) -> Iterator[Evidence]:
    since = microseconds(seen.now - LATELY)
    for kind in _ALARMS:
        told = [each for each in history.newest(seen.session, kind, 100) if each.t >= since]
        fits = advice if told else good
        yield fits(
            "{number} of “{name}” ({code}) in 90 days",
            "90 天内“{said}”（{code}）{number} 次",
            number=len(told),
            code=kind.code,
            name=kind.value.en,
            said=kind.value.zh,
        )


def _retention(seen: Seen) -> Iterator[Evidence]:
    for log in LOGS:
        try:
            first = search.entry(seen.session, log, 1, 0)
        except NotFound:
            yield wrong("the log {log} has lost its beginning", "日志 {log} 缺少开头部分", log=log)
            continue
        size = sum(size for (name, _), size in history.heads(seen.session).items() if name == log)
        yield good(
            "the log {log} is whole since {day}: {size} entries; nothing is ever deleted",
            "日志 {log} 自 {day} 起完整，共 {size} 条；系统不删除任何记录",
            log=log,
            day=day(first.at),
            size=size,
        )


def _room(seen: Seen) -> Iterator[Evidence]:
    if not seen.settings.embedded:
        used = seen.session.scalar(text("SELECT pg_database_size(current_database())")) or 0
        yield good("the database takes {used} MB", "数据库占用 {used} MB", used=used // 1_000_000)
        return
    used, free = homes.database_file(seen.settings.home).stat().st_size, shutil.disk_usage(seen.settings.home).free
    age = max(seen.now - search.entry(seen.session, "ca", 1, 0).at, dt.timedelta(days=1))
    lasts = age * (free / max(used, 1))
    fits = wrong if lasts < TIGHT else advice if lasts < SIX_MONTHS else good
    yield fits(
        "the database takes {used} MB, the disk has {free} MB free: room for {days} days at the present rate",
        "数据库占用 {used} MB，磁盘剩余 {free} MB：按目前增速可用 {days} 天",
        used=used // 1_000_000,
        free=free // 1_000_000,
        days=min(lasts.days, 36_500),
    )


def _kernel(_: Seen) -> Iterator[Evidence]:
    """What the kernel was told by whatever keeps its time."""
    try:
        said = hour.kernel()
    except OSError as error:
        yield advice(
            "the kernel does not say whether its clock is kept: {reason}", "内核未说明时钟是否同步：{reason}", reason=error.strerror
        )
        return
    if said.kept:
        yield good("the kernel's clock is kept, within {most} ms", "内核时钟已同步，误差不超过 {most} 毫秒", most=said.most_wrong // 1000)
    else:
        yield advice("the kernel's clock is kept by nobody", "内核时钟未与任何时间源同步")


def _others(seen: Seen) -> Iterator[Evidence]:
    newest = search.find(seen.session, search.parse_query(""), limit=1).entries
    now = seen.clock()  # after the look: whoever wrote before it did so before now
    ahead = max((each.at - now for each in newest), default=dt.timedelta())
    if ahead > APART:
        yield wrong(
            "the newest record is {seconds} s ahead of this clock: it was set back",
            "最新记录比本机时钟超前 {seconds} 秒：时钟曾被调回",
            seconds=int(ahead.total_seconds()),
        )
    else:
        yield good("the newest record is not from the future", "最新记录的时间不晚于当前时间")
    if not seen.settings.embedded:
        theirs = seen.session.scalar(text("SELECT clock_timestamp()")) or seen.now
        apart = abs(theirs - dt.datetime.now(dt.UTC))
        fits = wrong if apart > APART else good
        yield fits("the database's clock differs by {ms} ms", "数据库服务器时钟相差 {ms} 毫秒", ms=apart // dt.timedelta(milliseconds=1))


CHECKS = (
    Check(
        id="trail.compared",
        asks=Text("Facts and records agree, and were compared lately.", "业务数据与审计记录一致，且近期核对过。"),
        do=Text(
            "Run `yumen audit reconcile`; contradictions are a matter for an auditor.",
            "运行 `yumen audit reconcile`；出现矛盾由审计员处理。",
        ),
        clauses=("GB/T 22239-2019 8.1.4.3 c",),
        look=_compared,
    ),
    Check(
        id="trail.verified",
        asks=Text("The trail is what was signed, and was verified lately.", "审计记录与签名一致，且近期核验过。"),
        do=Text(
            "Let the worker run; damage is a matter for an auditor (`yumen audit verify`).",
            "保持工作进程运行；发现损坏由审计员处理（`yumen audit verify`）。",
        ),
        clauses=("GB/T 22239-2019 8.1.4.3 c",),
        look=_verified,
    ),
    Check(
        id="trail.alarms",
        asks=Text("No alarm of the last 90 days stays unexplained.", "近 90 天的告警均有说明。"),
        do=Text(
            "Let an auditor look at each: `yumen audit search code:AZ9009`, and likewise the other codes.",
            "由审计员逐一查看：`yumen audit search code:AZ9009`，其他代码同理。",
        ),
        clauses=("GB/T 22239-2019 8.1.4.3 d",),
        look=_alarms,
    ),
    Check(
        id="retention.kept",
        asks=Text(
            "Records of access are kept for six months, those of certificates for five years after their end.",
            "访问日志保存六个月以上，证书相关记录保存至证书失效后五年。",
        ),
        do=Text(
            "Keep everything as it is and call an auditor (`yumen audit verify`).",
            "保持现状，并通知审计员（`yumen audit verify`）。",
        ),
        clauses=("网络安全法 21", "电子签名法 24", "GB/T 22239-2019 8.1.4.3 c"),
        look=_retention,
    ),
    Check(
        id="retention.room",
        asks=Text("There is room for what must be kept.", "有足够空间保存应留存的记录。"),
        do=Text("Enlarge the disk of the home, or of the database server.", "扩充系统目录或数据库服务器的磁盘。"),
        clauses=("GB/T 22239-2019 8.1.4.3 d",),
        look=_room,
    ),
    Check(
        id="clock.kept",
        asks=Text("The clock is kept by a time source.", "系统时钟与时间源同步。"),
        do=Text(
            "Run chrony or systemd-timesyncd against the network's time source.", "启用 chrony 或 systemd-timesyncd，与本网时间源同步。"
        ),
        clauses=("GB/T 22239-2019 8.1.4.3 b",),
        look=_kernel,
    ),
    Check(
        id="clock.agrees",
        asks=Text("The clocks of machine, database and records agree.", "本机、数据库与记录的时间一致。"),
        do=Text(
            "Find out who set which clock, and tell the auditor: times of records may be wrong.",
            "查明时钟被谁调整，并告知审计员：记录时间可能有误。",
        ),
        clauses=("GB/T 22239-2019 8.1.4.3 b",),
        look=_others,
    ),
)
