"""The backup that a drill rehearses with: the newest that can be had, and whether it is the one that was recorded."""

from __future__ import annotations

import datetime as dt
import hashlib
from pathlib import Path

from audit import history
from audit.event import Kind
from core.clock import span
from core.errors import NotFound, Unavailable
from ops import targets
from ops.archive import NAME
from ops.assess.finding import Evidence, good, wrong
from ops.drill.course import Course
from ops.node import Node
from ops.targets import Target


def newest(node: Node, named: Path | None, folder: Path, course: Course) -> Path:
    """The backup `named`, else the newest at the targets (fetched into `folder`), else the newest of the home.

    Raises:
        NotFound: there is none.
        Unavailable: it cannot be fetched.
    """
    found, place = (named, str(named)) if named else _fetched(node, folder, course)
    course.backup = found.name
    size, at = found.stat().st_size, dt.datetime.strptime(found.name[6:22], "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC)
    age = span(dt.timedelta(minutes=(node.clock() - at) // dt.timedelta(minutes=1)))
    course.show(
        good(
            "{name} of {place}: {size} bytes, {age} old",
            "{name}，来自 {place}：{size} 字节，距今 {age}",
            name=found.name,
            place=place,
            size=size,
            age=age,
        )
    )
    course.show(_recorded(node, found))
    return found


def _fetched(node: Node, folder: Path, course: Course) -> tuple[Path, str]:
    there: list[tuple[str, Target]] = []
    for target in targets.opened(node.settings.backup):
        try:
            there += [(stored.name, target) for stored in target.listing()[:1]]
        except Unavailable as error:
            course.show(wrong("a target cannot be read: {reason}", "目标位置无法读取：{reason}", reason=error.detail))
    if there:
        name, target = max(there, key=lambda found: found[0])
        return target.get(name, folder), target.name
    home = node.settings.home / "backups"
    local = sorted(path for path in home.glob("*.backup") if NAME.fullmatch(path.name))
    if not local:
        raise NotFound("there is no backup to rehearse with; run `yumen backup`, or name one with `--from`")
    return local[-1], str(home)


def _recorded(node: Node, found: Path) -> Evidence:
    with found.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    with node.database.reading() as session:
        told = {each.details["name"]: each.details["sha256"] for each in history.newest(session, Kind.BACKUP_MADE, 10_000)}
    if found.name not in told:
        return wrong("no event tells of it", "没有记录表明其来历")
    if told[found.name] != sha256:
        return wrong("its SHA-256 is not the recorded one", "其 SHA-256 与记录不符")
    return good("its SHA-256 is the recorded one: {sha256}", "其 SHA-256 与记录一致：{sha256}", sha256=sha256)
