"""The main story on real input, with the service, the command, openssl and a browser: the same telling as `make demo`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cli.story import plot
from cli.story.ending import LISTED_SECONDS, REFUSED_SECONDS
from cli.story.stage import fresh_service, stage

pytestmark = [pytest.mark.journey, pytest.mark.component("openssl", "chromium"), pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[plot.Outcome, list[str]]:
    lines: list[str] = []
    folder = tmp_path_factory.mktemp("story")

    def tell(line: str) -> None:
        lines.append(line)
        print(line)

    def play() -> plot.Outcome:
        with fresh_service(folder / "var", tell) as home, stage(home, tell) as place:
            return plot.play(place, tell)

    with ThreadPoolExecutor(1) as apart:  # the story opens a browser of its own, and one may be open in this thread
        return apart.submit(play).result(), lines


def test_three_ways_lead_to_a_certificate(told):
    assert set(told[0].enrolled) == {"command", "openssl", "page"}
    assert told[0].skipped == []


def test_wrong_approvals_were_refused_each_with_its_reason(told):
    refusals = [line for line in told[1] if "may not approve" in line]
    assert len(refusals) == 3
    assert [word for word in ("your own", "their own") if word in refusals[0]]
    assert "covers" in refusals[1]
    assert "needs the role registrar" in refusals[2]


def test_the_decisions_name_rule_and_nearest_miss(told):
    assert [line for line in told[1] if "yes, by g" in line]
    assert [line for line in told[1] if "nearest was g" in line]


@pytest.mark.parametrize("place", ["login", "session", "evaluation", "verification", "OCSP"])
def test_the_revoked_certificate_is_refused_within_two_seconds(told, place):
    assert told[0].refused_after[place] <= REFUSED_SECONDS


def test_the_revocation_list_has_it_within_a_minute(told):
    assert told[0].listed_after <= LISTED_SECONDS


def test_the_exported_story_holds_offline(told):
    assert told[0].proved["events"] >= 20
    assert told[0].proved["said"].startswith("holds:")
    assert "DOES NOT HOLD" in told[1][-1]


def test_the_story_needs_no_files_of_the_checkout(tmp_path: Path):
    """What `make demo` runs is installed with the product."""
    from importlib.util import find_spec

    assert find_spec("cli.story.__main__") is not None
