"""`yumen drill restore`: the newest backup becomes a home in a scratch folder, which then has to prove what it is worth.

The running service is read and not touched. Whatever comes out, also that nothing did, is recorded and told in a report.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import structlog
from cryptography.exceptions import InvalidSignature
from sqlalchemy import make_url, text
from sqlalchemy.exc import SQLAlchemyError

from audit.event import Event, Kind
from audit.permit import Action
from audit.trail import LOGS
from authz.decide import Target, service_permit
from ca import certificates, crls
from core.errors import Error
from core.settings import Database, Settings
from ops import homes, restore, unpack
from ops.assess.finding import good, wrong
from ops.backup import Manifest
from ops.capture import Say
from ops.drill import find, proofs
from ops.drill.course import Course
from ops.drill.report import markdown
from ops.filing import filed
from ops.node import Node, open_node
from ops.restore import Terms

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a drill is asked to do."""

    #: The backup; the newest at the targets, or of the home, when there is none.
    backup: Path | None = None
    #: Folder in which the scratch home is made, which takes the whole database.
    scratch: Path | None = None
    #: PostgreSQL: an administrator of an empty database, which is empty again afterwards.
    admin_url: str = ""
    #: New file for the report.
    report: Path | None = None


def drill(settings: Settings, wanted: Wanted, *, tell: Say) -> Course:
    """Rehearse the restore of the home of `settings`, write the report, record both.

    Raises:
        Unavailable: the home cannot be opened, the trail cannot be written, or the report cannot.
    """
    node = open_node(settings, role="operator", with_keys=False)
    try:
        permit = service_permit(node.world, node.trail, "operator", Action.DRILL_PERFORM, Target("backup"))
        course, began = Course(home=settings.home, at=node.clock()), time.monotonic()
        with TemporaryDirectory(prefix="yumen-drill-", dir=wanted.scratch) as folder:
            _rehearse(node, wanted, Path(folder), course, tell)
        course.seconds = round(time.monotonic() - began)
        details = {"backup": course.backup, "steps": list(course.evidence), "seconds": course.seconds}

        def event(sha256: str) -> Event:
            outcome = "ok" if course.passed else "fail"
            return Event.under(permit, Kind.DRILLED, "backup", outcome=outcome, details={**details, "sha256": sha256})

        filed(node.trail, wanted.report, markdown(course), event)
        return course
    finally:
        node.close()


def _rehearse(node: Node, wanted: Wanted, folder: Path, course: Course, tell: Say) -> None:
    """Step by step; one that cannot be taken ends the drill, which then has failed."""
    try:
        course.begin("backup")
        archive = find.newest(node, wanted.backup, folder, course)
        scratch = _elsewhere(node.settings, folder / "home", wanted.admin_url)
        with _emptied(wanted.admin_url):
            manifest = _restore(node, scratch, archive, wanted, course, tell)
            tell("asking the restored home")
            _prove(node, scratch, manifest.made_at, course)
    except (Error, OSError, SQLAlchemyError, InvalidSignature, ValueError) as error:
        log.warning("the drill ends", reason=repr(error))
        reason = error.detail if isinstance(error, Error) else f"{type(error).__name__}: {error}".splitlines()[0]
        course.show(wrong("this step ended: {reason}", "本步骤中止：{reason}", reason=reason))


def _restore(node: Node, scratch: Settings, archive: Path, wanted: Wanted, course: Course, tell: Say) -> Manifest:
    course.begin("restore")
    notes = tuple(path for log_ in LOGS if (path := homes.notes_folder(node.settings.home) / f"{log_}.note").exists())
    terms = Terms(trust=notes, accept_loss=True, lists=_published(node, scratch.home.parent), admin_url=wanted.admin_url)
    began = time.monotonic()
    restored = restore.restore(scratch, archive, terms=terms, tell=tell)
    assert restored.manifest is not None
    took, files = round(time.monotonic() - began), len(restored.manifest.files)
    course.show(good("{files} files in {took} s", "{files} 个文件，用时 {took} 秒", files=files, took=took))
    for authority in restored.held:
        course.show(
            wrong(
                "authority {authority} is still on hold: its list is missing",
                "CA {authority} 仍处于待命：缺少其吊销列表",
                authority=authority,
            )
        )
    for said in restored.unproved:
        course.show(good("would be lost, or not known: {said}", "将会丢失或无从得知：{said}", said=said))
    course.begin("trail")
    for log_, head in restored.manifest.logs.items():
        now = restored.epochs[log_]
        course.show(
            good(
                "{size} entries of {name}/{epoch} verify under heads from outside; it goes on as {name}/{now}",
                "{name}/{epoch} 的 {size} 条记录与外部保存的树头核验一致；后续为 {name}/{now}",
                size=head.size,
                name=log_,
                epoch=head.epoch,
                now=now,
            )
        )
    return restored.manifest


def _prove(node: Node, scratch: Settings, made_at: dt.datetime, course: Course) -> None:
    """What the restored home shows beside the running one; it is opened as a process of the service opens it."""
    course.begin("status")
    other = open_node(scratch, role="operator", with_keys=False)
    try:
        with node.database.reading() as live, other.database.reading() as there:
            other.responder.poll()
            for one in proofs.status(other.responder, there, node.clock()):
                course.show(one)
            course.begin("certificates", proofs.certificates(live, there, made_at))
            course.begin("revocations", proofs.revocations(live, there))
    finally:
        other.close()


def _elsewhere(settings: Settings, home: Path, admin_url: str) -> Settings:
    """The same settings for the scratch home, with the same unsealing secrets, and the database that `admin_url` names."""
    keys = replace(settings.keys, **homes.secrets(settings))
    if settings.embedded or not admin_url:
        return replace(settings, home=home, keys=keys)
    url = make_url(settings.database.url).set(database=make_url(admin_url).database)
    return replace(settings, home=home, keys=keys, database=Database(url=url.render_as_string()))


def _published(node: Node, folder: Path) -> tuple[Path, ...]:
    """The lists that are published now, as files: what relying parties hold on such a day."""
    found = []
    with node.database.reading() as session:
        for authority in certificates.authorities(session):
            newest = crls.latest(session, authority.id)
            if newest is not None and newest.der is not None:
                found.append(folder / f"{authority.id}.crl")
                found[-1].write_bytes(newest.der)
    return tuple(found)


@contextmanager
def _emptied(admin_url: str) -> Iterator[None]:
    """The database of the drill, empty again afterwards: it holds a copy of everything."""
    try:
        yield
    finally:
        if admin_url:
            admin = unpack.administrator(admin_url)
            with admin.begin() as connection:
                connection.execute(text("DROP SCHEMA IF EXISTS yumen, audit CASCADE"))
            admin.dispose()
