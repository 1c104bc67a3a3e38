from __future__ import annotations

import dataclasses
import datetime as dt
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cryptography import x509

from audit.permit import Action
from audit.record import recording
from audit.verifier.note import Checkpoint, Note
from authz.decide import Target, service_permit
from ca import certificates, registration
from ca.subjects import facts
from certs import csr
from core.clock import system
from core.errors import Denied
from ops import homes
from ops.claims import writer_name
from ops.leadership import FileLeadership
from ops.node import Node, open_node
from ops.readiness import reasons
from ops.renewal import PORTAL, renew_listener
from ops.status import look
from ops.worker import Worker
from tests.ca.town import make_csr

pytestmark = pytest.mark.slow


def wait_for(happened, seconds: float = 5.0) -> float:
    began = time.monotonic()
    while not happened():
        assert time.monotonic() - began < seconds, "it did not happen in time"
        time.sleep(0.02)
    return time.monotonic() - began


def test_one_worker_leads_and_the_next_takes_over(settings):
    nodes = [open_node(settings, role="worker", with_keys=True) for _ in range(2)]
    first, second = (Worker(node) for node in nodes)
    first.start()
    second.start()
    try:
        assert (first.leading, second.leading) == (True, False)
        first.stop()
        wait_for(lambda: second.leading)
    finally:
        second.stop()
        for node in nodes:
            node.close()


HOLDER = """
import sys, time
from pathlib import Path
from ops.leadership import FileLeadership
claim = FileLeadership(Path(sys.argv[1]))
print(claim.take(), flush=True)
time.sleep(60)
"""


def test_a_killed_leader_leaves_the_lock(home, settings):
    child = subprocess.Popen([sys.executable, "-c", HOLDER, str(home)], stdout=subprocess.PIPE, text=True)
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "True\n"
        assert not FileLeadership(home).take()
        assert look(settings).facts["worker"]
        os.kill(child.pid, signal.SIGKILL)
    assert not look(settings).facts["worker"]


def test_each_process_writes_under_a_name_of_its_own(tmp_path: Path):
    one, first = writer_name(tmp_path, "serve")
    two, second = writer_name(tmp_path, "serve")
    first.release()
    again, third = writer_name(tmp_path, "serve")
    assert (one, two, again) == ("serve-1", "serve-2", "serve-1")
    second.release()
    third.release()


def test_only_the_leader_does_the_jobs(settings):
    nodes = [open_node(settings, role="worker", with_keys=True) for _ in range(2)]
    workers = [Worker(node) for node in nodes]
    ran: list[int] = []
    for number, worker in enumerate(workers):
        for job in worker._jobs:
            job.every_seconds, job.do = 0.01, lambda number=number: ran.append(number)
        worker.start()
    try:
        wait_for(lambda: len(ran) > 20)
        assert set(ran) == {0}
    finally:
        for worker, node in zip(workers, nodes, strict=True):
            worker.stop()
            node.close()


def test_heads_are_signed_each_second_when_the_log_grew(node: Node):
    def size() -> int:
        return Checkpoint.parse(Note.parse((homes.notes_folder(node.settings.home) / "access.note").read_bytes()).text).size

    worker = Worker(node)
    before = size()
    worker.start()
    try:
        node.trail.beat()
        assert wait_for(lambda: size() > before) < 3
    finally:
        worker.stop()


def test_a_job_that_fails_does_not_stop_the_others(node: Node, caplog: pytest.LogCaptureFixture):
    worker = Worker(node)
    ran: list[int] = []

    def broken() -> None:
        raise OSError("disk full")

    worker._jobs[0].do = broken
    worker._jobs[1].do = lambda: ran.append(1)
    worker.start()
    wait_for(lambda: ran)
    worker.stop()


def test_the_listeners_certificate_is_renewed_before_it_ends(settings):
    now = system() + dt.timedelta(days=300)
    node = open_node(settings, role="operator", with_keys=True, clock=lambda: now)
    try:
        old = x509.load_pem_x509_certificate(homes.tls_file(settings.home).read_bytes())
        assert not renew_listener(node)  # asked for, not there yet
        assert not renew_listener(node)  # and not asked for twice
        worker = Worker(node)
        worker._jobs[0].do()
        assert renew_listener(node)
        new = x509.load_pem_x509_certificate(homes.tls_file(settings.home).read_bytes())
        assert new.serial_number != old.serial_number
        assert new.public_key() == old.public_key()
        assert new.not_valid_after_utc - now > dt.timedelta(days=300)
    finally:
        node.close()


def test_a_certificate_that_ended_while_all_was_off_is_told_and_replaced(settings):
    now = system() + dt.timedelta(days=400)
    node = open_node(settings, role="operator", with_keys=True, clock=lambda: now)

    def told() -> list[str]:
        return [reason for reason in reasons(node, node.lead) if "TLS certificate is over" in reason]

    try:
        wait_for(told)  # the first look at the rows comes a moment after the start
        assert [reason for reason in reasons(node, node.lead) if reason.startswith("the certificate of staff OCSP is over")]
        renew_listener(node)
        Worker(node)._jobs[0].do()
        assert renew_listener(node)
        assert not told()
    finally:
        node.close()


def test_one_that_ended_is_followed_by_one_for_the_same_key_only(settings):
    now = system() + dt.timedelta(days=400)
    node = open_node(settings, role="operator", with_keys=True, clock=lambda: now)
    try:
        with node.database.reading() as session:
            [old] = certificates.listing(session, certificates.Filter(subject=PORTAL))
        about = facts(node.world.current(), PORTAL)
        permit = service_permit(node.world, node.trail, "renewal", Action.REQUEST_SUBMIT, Target(PORTAL, unit=about.unit))
        draft = registration.Draft(profile=old.profile, csr=csr.parse(make_csr()), facts=about)
        with pytest.raises(Denied), recording(node.trail) as tx:
            registration.renew(tx, permit=permit, draft=draft, previous=old.ref)
    finally:
        node.close()


def test_status_tells_what_is_wrong_and_what_to_do(settings):
    found = look(settings)
    assert [problem for problem in found.problems if "no worker runs" in problem]
    assert [problem for problem in found.problems if "nothing listens" in problem]
    assert {each["id"] for each in found.facts["authorities"]} == {"root", "staff", "servers", "applications"}


def test_a_status_address_that_differs_is_a_warning_and_no_problem(settings):
    moved = dataclasses.replace(settings, web=dataclasses.replace(settings.web, http_url="http://status.example"))
    found = look(moved)
    assert [warning for warning in found.warnings if "status.example" in warning]
    assert [warning for warning in found.warnings if f"issued before say {settings.web.http_url}, the last of them until 20" in warning]
    assert not [problem for problem in found.problems if "status.example" in problem]
    assert look(settings).warnings == []


def test_a_head_that_is_not_signed_is_a_problem(node: Node):
    node.trail.beat()
    note = homes.notes_folder(node.settings.home) / "access.note"
    long_ago = time.time() - 60
    os.utime(note, (long_ago, long_ago))
    assert [problem for problem in look(node.settings).problems if "the head of access/1 was not signed" in problem]
    assert node.publisher is not None
    node.publisher.publish()
    assert not [problem for problem in look(node.settings).problems if "was not signed" in problem]
