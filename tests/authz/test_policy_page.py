from __future__ import annotations

import re
from pathlib import Path

from authz.decide import WORDS
from authz.policy import POLICY

PAGE = (Path(__file__).parents[2] / "docs" / "policy.md").read_text("utf-8")
ROW = re.compile(r"^\| `([a-z-]+\.[a-z-]+)` \| `([a-z:-]+)` \| ([^|]+) \| ([^|]+) \| ([^|]*) ?\|$", re.MULTILINE)


def test_page_holds_exactly_the_rows_in_force():
    written = [(row, action, roles.strip(), reach.strip(), notes.strip()) for row, action, roles, reach, notes in ROW.findall(PAGE)]
    in_force = []
    for rule in POLICY:
        marks = {"high-risk": rule.high_risk, "demo home only": rule.demo, "also while the directory is stale": not rule.directory}
        roles = "every role" if len(rule.roles) == 6 else ", ".join(rule.roles)
        in_force.append((rule.id, str(rule.action), roles, str(rule.reach), ", ".join(mark for mark, holds in marks.items() if holds)))
    assert written == in_force


def test_page_explains_every_reason():
    assert [reason for reason in WORDS if f"`{reason}`" not in PAGE] == []
