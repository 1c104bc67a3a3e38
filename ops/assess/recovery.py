"""Backups: whether there are any, young enough, read back, and somewhere else."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from audit import history
from audit.event import Kind
from core.clock import span
from ops import copies
from ops.assess.finding import Check, Evidence, Seen, Text, advice, good, wrong


def _age(seen: Seen) -> Iterator[Evidence]:
    settings = seen.settings.backup
    made = history.newest(seen.session, Kind.BACKUP_MADE)
    if not made:
        yield wrong("no backup was ever made", "从未做过备份")
        return
    at = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=made[0].t)
    age = dt.timedelta(hours=(seen.now - at) // dt.timedelta(hours=1))
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
)
