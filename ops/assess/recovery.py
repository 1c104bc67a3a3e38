"""Backups: whether there are any, young enough, read back, and somewhere else."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from audit import history
from audit.event import Kind
from core.clock import span
from ops import copies
from ops.assess.finding import Check, Evidence, Seen, Text, advice, day, good, wrong

#: A rehearsal that is older proves nothing about today's backups.
REHEARSED = dt.timedelta(days=100)


def _age(seen: Seen) -> Iterator[Evidence]:
    settings = seen.settings.backup
    made = history.newest(seen.session, Kind.BACKUP_MADE)
    if not made:
        yield wrong("no backup was ever made", "从未做过备份")
        return
    age = dt.timedelta(hours=(seen.now - _moment(made[0].t)) // dt.timedelta(hours=1))
    fits = good if age <= settings.late else wrong
    yield fits(
        "the newest backup is {age} old, {size} bytes", "最近的备份距今 {age}，{size} 字节", age=span(age), size=made[0].details["size"]
    )


def _places(seen: Seen) -> Iterator[Evidence]:
    names = seen.settings.backup.targets.split()
    if not names:
        yield advice("backup.targets is empty: no backup is made by itself", "backup.targets 为空：不会自动备份")
    elif all(name.startswith("file:") for name in names):
        yield advice("every target is a folder of this machine", "所有目标位置都是本机目录")
    for name in names:
        newest = copies.last(seen.session, name)
        if newest is None or seen.now - newest.at > seen.settings.backup.late:
            yield wrong("`{target}` has no backup that is young enough", "`{target}` 没有足够新的备份", target=name)
        else:
            yield good("`{target}` has {name}, read back there", "`{target}` 存有 {name}，已回读校验", target=name, name=newest.name)


def _rehearsed(seen: Seen) -> Iterator[Evidence]:
    told = history.newest(seen.session, Kind.DRILLED)
    if not told:
        yield wrong("no restore was ever rehearsed", "从未演练过恢复")
        return
    at = _moment(told[0].t)
    if told[0].body.get("out") != "ok":
        yield wrong("the last rehearsal, on {day}, failed", "最近一次演练（{day}）未通过", day=day(at))
    else:
        fits = good if seen.now - at < REHEARSED else advice
        facts = {"day": day(at), "name": told[0].details["backup"], "seconds": told[0].details["seconds"]}
        yield fits("a restore of {name} passed on {day}, in {seconds} s", "{day} 演练恢复 {name} 通过，用时 {seconds} 秒", **facts)


def _moment(microseconds: int) -> dt.datetime:
    return dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=microseconds)


CHECKS = (
    Check(
        id="backup.age",
        asks=Text("There is a backup that is young enough.", "有足够新的备份。"),
        do=Text(
            "Run `yumen backup`; let the worker do it by itself: `backup.targets`.",
            "运行 `yumen backup`；设置 `backup.targets` 由系统自动备份。",
        ),
        clauses=("GB/T 22239-2019 8.1.4.9 a", "GB/T 22239-2019 8.1.10.11"),
        look=_age,
    ),
    Check(
        id="backup.places",
        asks=Text("Backups go by themselves to places that survive this one.", "备份自动存放到异地。"),
        do=Text(
            "Name a target at another site in `backup.targets` (docs/operating.md, “Backup”).",
            "在 `backup.targets` 中设置异地目标位置（见 docs/operating.md 中“Backup”一节）。",
        ),
        clauses=("GB/T 22239-2019 8.1.4.9 b",),
        look=_places,
    ),
    Check(
        id="backup.rehearsed",
        asks=Text("A restore was rehearsed within a quarter, and passed.", "每季度演练一次恢复，且结果通过。"),
        do=Text(
            "Run `yumen drill restore --report FILE`, and file the report (docs/emergency-plan/en.md, “Calendar”).",
            "运行 `yumen drill restore --report FILE` 并归档报告（见 docs/emergency-plan/zh.md“日历”）。",
        ),
        clauses=("GB/T 22239-2019 8.1.10.13", "GB/T 39786-2021 8.8"),
        look=_rehearsed,
    ),
)
