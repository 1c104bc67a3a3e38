"""`yumen assess`: looks at a home as an assessor would, and records that it was done.

Every check asks for one thing, shows what is there, and says what to do when it is not so. It helps to prepare an
assessment of the protection level (等保) or of cryptography (密评); it is none, and certifies nothing.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog
from sqlalchemy.exc import SQLAlchemyError

from audit.event import Event, Kind
from audit.permit import Action
from audit.trail import Receipt
from authz.decide import Target, service_permit
from core.errors import Error
from core.settings import Settings
from ops.assess import form, keys, people, records, recovery
from ops.assess.finding import Check, Evidence, Finding, Grade, Seen, wrong
from ops.assess.report import markdown
from ops.filing import filed
from ops.node import Node, open_node

log = structlog.get_logger()

CHECKS: tuple[Check, ...] = (*form.CHECKS, *keys.CHECKS, *people.CHECKS, *records.CHECKS, *recovery.CHECKS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """What was found of a home, and where that stands in the trail."""

    home: Path
    at: dt.datetime
    findings: tuple[Finding, ...]
    receipt: Receipt

    def of(self, grade: Grade) -> list[Finding]:
        """The findings of this grade."""
        return [finding for finding in self.findings if finding.grade is grade]


def assess(settings: Settings, report: Path | None = None) -> Assessment:
    """Look at the home of `settings`, write the report to the new file `report`, and record both.

    Raises:
        Unavailable: the home cannot be opened, the trail cannot be written, or the report cannot.
    """
    node = open_node(settings, role="operator", with_keys=False)
    try:
        permit = service_permit(node.world, node.trail, "operator", Action.SYSTEM_ASSESS, Target("system"))
        now = node.clock()
        findings = tuple(findings_of(node, now))
        numbers = {str(grade): sum(finding.grade is grade for finding in findings) for grade in Grade}
        failed = [finding.check.id for finding in findings if finding.grade is Grade.WRONG]

        def event(sha256: str) -> Event:
            return Event.under(permit, Kind.ASSESSED, "system", details={**numbers, "failed": failed, "sha256": sha256})

        receipt = filed(node.trail, report, markdown(settings, now, findings), event)
        return Assessment(home=settings.home, at=now, findings=findings, receipt=receipt)
    finally:
        node.close()


def findings_of(node: Node, now: dt.datetime, checks: tuple[Check, ...] = CHECKS) -> Iterator[Finding]:
    """What each check finds at `now`; a check that cannot look finds that."""
    apart = now - node.clock()
    with node.database.reading() as session:
        seen = Seen(settings=node.settings, session=session, snapshot=node.world.current(), now=now, clock=lambda: node.clock() + apart)
        for check in checks:
            yield Finding(check=check, evidence=tuple(_looked(check, seen)))


def _looked(check: Check, seen: Seen) -> Iterator[Evidence]:
    try:
        yield from check.look(seen)
    except (Error, OSError, SQLAlchemyError, ValueError) as error:
        log.warning("a check could not look", check=check.id, reason=repr(error))
        yield wrong(
            "this could not be looked at: {reason}", "无法检查：{reason}", reason=str(error).splitlines()[0] if str(error) else check.id
        )
