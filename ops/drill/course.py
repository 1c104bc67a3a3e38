"""The course of a drill: its steps, and what each of them showed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ops.assess.finding import Evidence, Grade, Text

#: Every step with what it is to show, in their order.
STEPS = {
    "backup": Text("The newest backup was found, and is the one that was recorded.", "找到最近的备份，且与记录一致。"),
    "restore": Text("It was restored into an empty home.", "恢复到空目录。"),
    "trail": Text("Its trail verifies, and goes on in new epochs.", "审计记录核验通过，并在新周期中延续。"),
    "status": Text("The restored home opens, and answers for certificates.", "恢复后的系统可以启动，并能答复证书状态。"),
    "certificates": Text("Every certificate is there, and none that nobody issued.", "证书齐全，且没有来历不明的证书。"),
    "revocations": Text("What is revoked now is revoked there.", "现已吊销的证书在恢复后仍为吊销。"),
}


@dataclass(slots=True, kw_only=True)
class Course:
    """How far a drill has come. The last step that was begun is the one under way."""

    home: Path
    at: dt.datetime
    evidence: dict[str, list[Evidence]] = field(default_factory=dict)
    seconds: int = 0
    backup: str = ""

    def begin(self, step: str, shown: Iterable[Evidence] = ()) -> None:
        """Begin the next step, and see what it shows."""
        self.evidence[step] = []
        for one in shown:
            self.show(one)

    def show(self, one: Evidence) -> None:
        """Evidence of the step under way."""
        self.evidence[list(self.evidence)[-1]].append(one)

    @property
    def passed(self) -> bool:
        """Whether every step was taken and showed what it was to show."""
        grades = {one.grade for shown in self.evidence.values() for one in shown}
        return self.evidence.keys() == STEPS.keys() and Grade.WRONG not in grades
