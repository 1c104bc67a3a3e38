"""Faults that are real: what must still answer does, what must refuse refuses, readiness says why, and it mends itself.

In each, callers at both instances ask all the time, and what they were told is in the trail afterwards.
"""

from __future__ import annotations

import json
import signal
import ssl
import time
from collections.abc import Iterator

import httpx
import pytest

from cli.story.ending import question
from core.errors import Error, Unavailable
from tests.production.faults import PATIENCE, eventually, frozen, full, slow, unplugged, witnessed
from tests.production.machine import until
from tests.production.stage import STANDBY, WEB, WORKER, Direct, Production

pytestmark = [
    pytest.mark.alone,
    pytest.mark.journey,
    pytest.mark.component("machine", "slapd", "postgresql", "nginx"),
    pytest.mark.timeout(300),
]

#: Everything works again this soon after the fault is gone.
MENDED_SECONDS = 10.0


@pytest.fixture(autouse=True)
def whole(production: Production) -> Iterator[None]:
    """Each test begins with everything in order, and ends so."""
    yield
    for number in (1, 2):
        eventually(lambda number=number: production.ready(number), 30, f"instance {number} stays broken: {production.reasons(number)}")


def status_is_served(production: Production, number: int) -> None:
    """Lists and certificates of authorities, which relying parties need whatever happens."""
    with production.direct(number, timeout_seconds=3) as api:
        assert api.send("GET", "/crl/staff/0.crl", accept="*/*").content
        assert api.send("GET", "/ca/staff.cer", accept="*/*").content


def told_by(production: Production, number: int) -> list[str]:
    """What readiness answers; no answer tells nothing."""
    return [reason for reason in production.reasons(number) if not reason.startswith("no answer")]


def decides(production: Production, number: int) -> bool:
    with production.application(number, timeout_seconds=PATIENCE) as oa:
        return bool(oa.post("/access/v1/evaluation", question("zhaoliu", "read", "plan-2026"))["decision"])


def refuses_high_risk(registrar: Direct) -> bool:
    """Whether the approval of a request is refused because the directory is too old; there is no request of this number."""
    try:
        registrar.post("/api/v1/totp/codes", {"person": "zhangsan"})
    except Error as error:
        return error.code == "unavailable" or error.facts.get("reason") == "stale"
    return False


def test_a_frozen_directory_server_ends_what_is_high_risk_and_nothing_else(production: Production):
    with production.person("zhaoliu") as registrar, witnessed(production) as witness:
        eventually(lambda: not refuses_high_risk(registrar), MENDED_SECONDS, "it does not begin well")
        with frozen(production.machine, "slapd") as since:
            eventually(lambda: refuses_high_risk(registrar), 4, "high-risk acts go on without a directory")
            with pytest.raises(Unavailable), production.direct(1) as api:
                api.post("/api/v1/sessions", production.credentials("qianyi", 1))
            status_is_served(production, 1)
            assert set(witness.answers(1, since)) | set(witness.answers(2, since)) == {"yes"}
        eventually(lambda: not refuses_high_risk(registrar), MENDED_SECONDS, "it does not recover")


def test_a_directory_that_is_cut_off_is_told_and_found_again(production: Production):
    with production.person("zhaoliu") as registrar, witnessed(production) as witness:
        eventually(lambda: not refuses_high_risk(registrar), MENDED_SECONDS, "it does not begin well")
        with unplugged(production.machine, "directory") as since:
            eventually(lambda: refuses_high_risk(registrar), 4, "high-risk acts go on without a directory")
            assert set(witness.answers(1, since)) | set(witness.answers(2, since)) == {"yes"}
        eventually(lambda: not refuses_high_risk(registrar), MENDED_SECONDS, "it does not recover")


def test_a_node_that_is_cut_off_refuses_while_the_other_goes_on(production: Production):
    with witnessed(production) as witness:
        with unplugged(production.machine, "second") as since:
            eventually(lambda: production.reasons(2), 5, "the node that is cut off says that it is ready")
            status_is_served(production, 2)
            time.sleep(max(0.0, since + 4 - time.monotonic()))
            assert "yes" not in witness.answers(2, since + 2)
            assert set(witness.answers(1, since)) == {"yes"}
            assert production.ready(1)
        eventually(lambda: decides(production, 2), MENDED_SECONDS, "the node does not come back")


def test_a_cable_that_loses_much_loses_nothing_that_was_told(production: Production):
    cable = production.machine.networks["second"]
    with witnessed(production) as witness:
        since = time.monotonic()
        for _ in range(8):
            cable.plug(connected=False)
            time.sleep(0.2)
            cable.plug(connected=True)
            time.sleep(0.3)
        assert set(witness.answers(1, since)) == {"yes"}
        eventually(lambda: decides(production, 2), MENDED_SECONDS, "the node does not come back")


def test_a_killed_instance_costs_no_safe_request(production: Production):
    failed = []
    context = ssl.create_default_context(cafile=production.told["ca_file"])
    with httpx.Client(base_url=production.told["https"], verify=context, trust_env=False, timeout=PATIENCE) as client:

        def ask(count: int) -> None:
            for _ in range(count):
                answer = client.get("/ca/staff.cer")
                if answer.status_code != 200:
                    failed.append(answer.text)

        ask(20)
        production.machine.send(WEB[0], signal.SIGKILL)
        ask(60)
        until(lambda: production.ready(1), 30, "the instance does not come back")
        ask(20)
    assert failed == []


def test_a_frozen_instance_does_not_hold_the_other(production: Production):
    with frozen(production.machine, WEB[0]):
        assert production.ready(2)
        assert decides(production, 2)


def test_a_full_disk_is_a_no_and_status_goes_on(production: Production):
    with witnessed(production) as witness:
        with full(production.machine, "var/lib/postgresql") as since:
            for number in (1, 2):
                refuses = lambda number=number: witness.answers(number, since)[-3:] == ["unavailable"] * 3
                eventually(refuses, 20, "a full disk takes everything")
            eventually(lambda: production.reasons(1), 5, "readiness says nothing")
            for number in (1, 2):
                status_is_served(production, number)
        for number in (1, 2):
            eventually(lambda number=number: decides(production, number), MENDED_SECONDS, "it does not recover")


@pytest.mark.component("gcc")
def test_a_slow_disk_makes_answers_slow_and_none_of_them_early(production: Production):
    with witnessed(production) as witness, slow(production.machine, 500) as since:
        began = time.monotonic()
        assert decides(production, 1)
        assert time.monotonic() - began >= 0.5
        time.sleep(2)
        status_is_served(production, 1)
        assert set(witness.answers(1, since)) | set(witness.answers(2, since)) == {"yes"}


@pytest.mark.proof
@pytest.mark.component("gcc")
def test_a_disk_that_hardly_answers_is_a_no(production: Production):
    with witnessed(production):
        with slow(production.machine, 15_000):
            with pytest.raises(Unavailable):
                decides(production, 1)
            status_is_served(production, 1)
        for number in (1, 2):
            eventually(lambda number=number: decides(production, number), 15 + MENDED_SECONDS, "it does not recover")


def test_the_standby_works_when_the_worker_is_killed(production: Production):
    stands_by = lambda name: production.machine.log(name).read_text().rstrip().endswith("standing by")
    production.work(second=True)
    try:
        until(lambda: stands_by(STANDBY), 30, "the standby does not stand by")
        production.machine.end(WORKER, signal.SIGKILL)
        began = time.monotonic()
        assert production.certify("zhangsan", "zhaoliu", patience=15)
        print(f"\nissued by the standby {time.monotonic() - began:.1f} s after the kill")
    finally:
        production.work()
        until(lambda: stands_by(WORKER), 30, "the worker does not come back")  # no later test shall find it only starting
        production.machine.end(STANDBY)


def test_a_frozen_database_is_a_no_within_ten_seconds(production: Production):
    with witnessed(production) as witness:
        with frozen(production.machine, "postgresql") as since:
            for number in (1, 2):
                eventually(lambda number=number: told_by(production, number), 5, "readiness says nothing")
                status_is_served(production, number)
            for number in (1, 2):
                told = lambda number=number: witness.answers(number, since)
                eventually(told, PATIENCE, "callers are left without an answer")
                assert "yes" not in told()
        for number in (1, 2):
            eventually(lambda number=number: decides(production, number), MENDED_SECONDS, "it does not recover")


def test_a_killed_database_is_back_by_itself(production: Production):
    with witnessed(production):
        production.machine.send("postgresql", signal.SIGKILL)
        for number in (1, 2):
            status_is_served(production, number)
            eventually(lambda number=number: decides(production, number), 3 * MENDED_SECONDS, "it does not recover")


def test_a_frozen_worker_ends_what_is_high_risk_and_takes_up_its_work_again(production: Production):
    with production.person("zhaoliu") as registrar, witnessed(production) as witness:
        eventually(lambda: not refuses_high_risk(registrar), MENDED_SECONDS, "it does not begin well")
        with frozen(production.machine, WORKER) as since:
            eventually(lambda: refuses_high_risk(registrar), 4, "high-risk acts go on without a directory")
            assert "yes" in set(witness.answers(1, since)) & set(witness.answers(2, since))
        eventually(lambda: not refuses_high_risk(registrar), MENDED_SECONDS, "it does not recover")
        assert production.certify("zhangsan", "zhaoliu", patience=MENDED_SECONDS)


@pytest.mark.proof
def test_a_directory_that_stays_frozen_ends_all_decisions(production: Production):
    with witnessed(production) as witness:
        with frozen(production.machine, "slapd") as since:
            for number in (1, 2):
                refuses = lambda number=number: witness.answers(number, since)[-3:] in (["denied"] * 3, ["unavailable"] * 3, ["stale"] * 3)
                eventually(refuses, 20, "decisions go on without a directory")
                assert any("directory" in reason for reason in told_by(production, number))
                status_is_served(production, number)
        for number in (1, 2):
            eventually(lambda number=number: decides(production, number), MENDED_SECONDS, "it does not recover")


def test_after_everything_an_auditor_verifies_both_logs(production: Production):
    """On the rows themselves, from the heads of the day of the ceremony, with an account that may read the trail and nothing else."""
    production.machine.do("id auditor 2>/dev/null || useradd --system --no-create-home --user-group auditor")
    heads = " ".join(f"--trust {log}.note --key {log}.vkey" for log in ("ca", "access"))
    verify = f"/opt/yumen/.venv/bin/yumen audit verify 'postgresql://audit_reader@/yumen?host=/run/postgresql' --json {heads}"
    told = production.machine.do(f"setpriv --reuid=auditor --regid=auditor --clear-groups {verify}", folder="/tmp")
    assert json.loads(told)["verified"], told
