"""What is measured is what the page says, moves when something happens, and tells nothing of anybody."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from cli.main import main
from tests.web.conftest import REGISTRAR, STAFF, SYSTEM, Service

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
#: What the format adds by itself.
_LE = {"le"}


def families(text: str) -> dict[str, tuple[str, set[str]]]:
    """Type and labels of every metric."""
    found = {}
    for family in text_string_to_metric_families(text):
        labels = {label for sample in family.samples for label in sample.labels}
        found[family.name] = (family.type, labels - _LE)
    return found


def value(text: str, name: str, **labels: str) -> float:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return sample.value
    raise AssertionError(f"no {name} {labels}")


def documented(of: str = "") -> dict[str, tuple[str, set[str]]]:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]*)\| (\w+) \|", PAGE.read_text("utf-8"), re.MULTILINE)
    return {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels, place in rows if of in place}


def scraped(service: Service) -> str:
    return service.client().get("/metrics").text


@pytest.fixture
def used(service: Service) -> Service:
    """A service in which everything has happened that is measured."""
    taken = service.enrol(STAFF)
    service.person(REGISTRAR).post(f"/api/v1/certificates/{taken.serial}/revoke", json={"reason": "superseded"})
    return service


def test_the_page_and_the_measures_agree(used: Service) -> None:
    assert families(scraped(used)) == documented()


def test_measures_move_with_what_happens(used: Service) -> None:
    service, before = used, scraped(used)
    taken = service.enrol(STAFF)
    answer = service.person(REGISTRAR).post(f"/api/v1/certificates/{taken.serial}/revoke", json={"reason": "superseded"})
    assert answer.status_code == 200, answer.text
    assert service.person(STAFF).get("/api/v1/events").status_code == 403  # recorded by itself
    after = scraped(service)
    route = {"route": "/api/v1/requests", "status": "201"}
    assert value(after, "yumen_requests_total", **route) > value(before, "yumen_requests_total", **route)
    for name in ("yumen_certificates_issued", "yumen_trail_append_seconds_count", "yumen_snapshot_revision"):
        assert value(after, name) > value(before, name), name
    revoked = {"standing": "revoked"}
    assert value(after, "yumen_certificates_revoked", **revoked) == value(before, "yumen_certificates_revoked", **revoked) + 1
    for log in ("ca", "access"):
        assert value(after, "yumen_log_entries", log=log) > value(before, "yumen_log_entries", log=log)
    assert value(after, "yumen_worker_leads") == value(after, "yumen_database_up") == 1
    assert value(after, "yumen_trail_closed") == 0
    assert value(after, "yumen_crl_left_seconds", ca="staff") > 3600
    assert value(after, "yumen_directory_age_seconds") < 2
    assert value(after, "yumen_rows_age_seconds") < 1.5
    assert value(after, "yumen_sessions_open") >= 2
    end = time.monotonic() + 5
    while value(text := scraped(service), "yumen_log_signed_entries", log="ca") < value(after, "yumen_log_entries", log="ca"):
        assert time.monotonic() < end, text
        time.sleep(0.1)


def test_no_label_grows_with_what_strangers_send(service: Service) -> None:
    def series() -> int:
        return sum(line.startswith("yumen_requests_total") for line in scraped(service).splitlines())

    service.client().get("/nowhere/0")
    service.client().get("/api/v1/certificates/0")
    service.client().request("BREW", "/api/v1/requests")
    before = series()
    for number in range(1, 100):
        service.client().get(f"/nowhere/{number}")
        service.client().get(f"/api/v1/certificates/{number:x}")
        service.client().request(f"BREW{number}", "/api/v1/requests")
    assert series() <= before + 1  # its own route


def test_measures_tell_nothing_of_anybody(used: Service) -> None:
    text = scraped(used)
    told = [used.node.world.current().directory.by_uid[uid] for uid in (STAFF, REGISTRAR, SYSTEM)]
    for secret in [*(word for person in told for word in (person.uid, person.name, person.id, person.uuid)), used.enrol(STAFF).serial]:
        assert secret not in text
    values = {value for family in text_string_to_metric_families(text) for sample in family.samples for value in sample.labels.values()}
    assert not [value for value in values if re.fullmatch(r"[0-9a-f]{16,}|(\d+\.){3}\d+", value)]


@pytest.mark.embedded
def test_the_measures_of_a_home_are_written_to_a_file_without_a_process(used: Service, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("YUMEN_HOME", str(used.node.settings.home))
    path = tmp_path / "yumen.prom"
    ended = CliRunner().invoke(main, ["status", "--textfile", str(path), "--json"])
    assert path.exists(), ended.output
    assert families(path.read_text()) == documented("home")
    assert list(tmp_path.iterdir()) == [path]
    assert value(path.read_text(), "yumen_worker_leads") == 1
    refused = CliRunner().invoke(main, ["status", "--textfile", str(tmp_path / "no" / "folder")])
    assert refused.exit_code == 1
    assert "cannot be written" in refused.output


def test_measures_are_for_this_machine_and_for_operators(service: Service) -> None:
    far = {"X-Forwarded-For": "192.0.2.1"}
    assert service.client().get("/metrics", headers=far).status_code == 401
    assert service.person(STAFF).get("/metrics", headers=far).status_code == 403
    assert service.person(SYSTEM).get("/metrics", headers=far).status_code == 200
