"""The trail over REST: counted over time, found by whom it is about, read by auditors only, and each look is recorded."""

from __future__ import annotations

import pytest

from tests.web.conftest import AUDITOR, STAFF, Service

pytestmark = pytest.mark.slow


def test_entries_are_counted_over_time_and_the_look_is_recorded(service: Service) -> None:
    told = service.person(AUDITOR).get("/api/v1/events/timeline", params={"q": "code:CA4001"})
    assert told.status_code == 200, told.text
    assert sum(bar["count"] for bar in told.json()["bars"]) == len(service.events("code:CA4001"))
    assert told.json()["counted_from"] is None
    searched = [one["body"]["d"]["count"] for one in service.events("code:trail.searched query:code:CA4001")]
    assert len(searched) == 2
    assert len(set(searched)) == 1


def test_who_may_not_read_the_trail_counts_nothing_in_it(service: Service) -> None:
    assert service.person(STAFF).get("/api/v1/events/timeline").status_code == 403
    assert service.person(AUDITOR).get("/api/v1/events/timeline", params={"q": "colour:red"}).status_code == 400


def test_what_was_decided_about_somebody_is_found_by_the_person(service: Service) -> None:
    question = {
        "subject": {"type": "user", "id": STAFF},
        "action": {"name": "read"},
        "resource": {"type": "document", "id": "nothing-like-it"},
    }
    answer = service.application().post("/access/v1/evaluation", json=question).json()
    receipt = answer["context"]["receipt"]
    body = service.person(AUDITOR).get(f"/api/v1/events/{receipt['log']}/{receipt['idx']}").json()["body"]
    person = body["d"]["subject"]
    assert body["obj"] == f"person:{person}"
    assert body["actor"]["id"] == "oa"
    found = service.events(f"person:{person} code:AZ1001")
    assert receipt["idx"] in [one["idx"] for one in found]
    assert receipt["idx"] in [one["idx"] for one in service.events("resource:nothing-like-it")]
