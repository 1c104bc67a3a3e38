"""The main story, unchanged, where a province tells it: people on slapd, rows on PostgreSQL, nginx before two instances."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cli.story import plot
from tests.journey.test_story import (  # noqa: F401 - the same tests, on another stage
    test_the_decisions_name_rule_and_nearest_miss,
    test_the_exported_story_holds_offline,
    test_the_revocation_list_has_it_within_a_minute,
    test_the_revoked_certificate_is_refused_within_two_seconds,
    test_three_ways_lead_to_a_certificate,
    test_wrong_approvals_were_refused_each_with_its_reason,
)
from tests.production.stage import Production

pytestmark = [
    pytest.mark.alone,
    pytest.mark.journey,
    pytest.mark.component("openssl", "chromium"),
    pytest.mark.component("machine", "slapd", "postgresql", "nginx"),
    pytest.mark.timeout(300),
]


@pytest.fixture(scope="module")
def told(production: Production, tmp_path_factory: pytest.TempPathFactory) -> tuple[plot.Outcome, list[str]]:
    lines: list[str] = []

    def tell(line: str) -> None:
        lines.append(line)
        print(line)

    folder: Path = tmp_path_factory.mktemp("story")
    with ThreadPoolExecutor(1) as apart:  # the story opens a browser of its own, and one may be open in this thread
        return apart.submit(plot.play, production.stage(folder), tell).result(), lines
