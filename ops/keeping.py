"""Backups on their way to the targets, and away from them when their time is over.

Old copies go only after a newer one was stored at the same target and read back there, and the newest few never go.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import structlog

from audit.event import Event, Kind
from audit.permit import Action
from authz.decide import Target as Object
from authz.decide import service_permit
from core.errors import Unavailable
from core.settings import Settings
from ops import backup, copies, targets
from ops.backup import Made
from ops.capture import Say
from ops.copies import Copy
from ops.node import Node, open_node
from ops.targets import Target
from ops.targets.target import STALE

log = structlog.get_logger()

#: Copies that are looked back at before any is taken away: years of them.
_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Kept:
    """A backup that was made, and why targets did not take it: a sentence by target, empty where it was stored."""

    made: Made
    targets: dict[str, str]


def run(settings: Settings, *, tell: Say) -> Kept:
    """Make a backup of the home of `settings` and store it at every target, beside whatever runs.

    Raises:
        Unavailable: it could not be made or recorded. A target that did not take it is told in what this gives.
    """
    node = open_node(settings, role="backup", with_keys=True)
    try:
        return keep(node, by="operator", tell=tell)
    finally:
        node.close()


def keep(node: Node, *, by: str, places: Collection[str] = (), tell: Say) -> Kept:
    """Make a backup as `service:<by>`, store it at every target, or those of `places`, and take away there what is over.

    Raises:
        Unavailable, Denied: as `ops.backup.make`, or the trail cannot be written.
    """
    with _scratch(node.settings.home) as folder:
        made = backup.make(node, folder, by=by, tell=tell)
        found = {}
        for target in targets.opened(node.settings.backup):
            if not places or target.name in places:
                tell(target.name)
                found[target.name] = _store(node, made, target, by)
        return Kept(made, found)


def _store(node: Node, made: Made, target: Target, by: str) -> str:
    """Why `target` did not take the backup; nothing when it did."""
    permit = service_permit(node.world, node.trail, by, Action.BACKUP_MAKE, Object("backup"))
    details = {"name": made.name, "target": target.name, "size": made.size, "sha256": made.sha256, "at": made.at.isoformat()}
    about = f"backup:{made.manifest.id}"
    try:
        target.put(made.path, made.sha256)
    except Unavailable as error:
        log.warning("a target did not take the backup", target=target.name, reason=error.detail)
        told = {**details, "problem": error.detail[:300]}
        node.trail.append([Event.under(permit, Kind.BACKUP_NOT_STORED, about, outcome="fail", details=told)])
        return error.detail
    node.trail.append([Event.under(permit, Kind.BACKUP_STORED, about, details=details)])
    _let_go(node, target, by)
    return ""


def _let_go(node: Node, target: Target, by: str) -> None:
    """Take away what is over; `target` has just taken a newer one. A clock that was stepped does not tell what is over."""
    if node.hour.doubtful:
        return
    settings = node.settings.backup
    with node.database.reading() as session:
        known = {copy.name: copy for copy in copies.listing(session, _MOST) if copy.target == target.name}
    try:
        there = [known[each.name] for each in target.listing() if each.name in known and each.size == known[each.name].size]
        for copy in there[settings.keep_least :]:
            if copy.at < node.clock() - settings.keep:
                _remove(node, target, copy, by)
    except Unavailable as error:
        log.warning("a backup whose time is over was not taken away", target=target.name, reason=error.detail)


def _remove(node: Node, target: Target, copy: Copy, by: str) -> None:
    """Recorded before it is done: nothing vanishes without its event."""
    permit = service_permit(node.world, node.trail, by, Action.BACKUP_REMOVE, Object("backup"))
    details = {"name": copy.name, "target": copy.target, "at": copy.at.isoformat()}
    node.trail.append([Event.under(permit, Kind.BACKUP_REMOVED, copy.object, details=details)])
    target.remove(copy.name)


@contextmanager
def _scratch(home: Path) -> Iterator[Path]:
    """A folder for the backup on its way; what a killed process left is swept a day later."""
    for left in home.glob("outgoing-*"):
        if left.stat().st_mtime < time.time() - STALE.total_seconds():
            shutil.rmtree(left, ignore_errors=True)
    with TemporaryDirectory(prefix="outgoing-", dir=home) as folder:
        yield Path(folder)
