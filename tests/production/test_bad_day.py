"""The database is lost: the emergency plan's own commands bring everything back, on the machines that `deploy/` describes."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cryptography import x509

from bench.province import Size
from core.errors import Unauthenticated
from tests.production.machine import CHECKOUT, until
from tests.production.stage import FAR_REGISTRAR, NEWCOMER, WEB, WORKER, Production, build
from tests.production.test_promises import ocsp_says

pytestmark = [
    pytest.mark.alone,
    pytest.mark.journey,
    pytest.mark.proof,
    pytest.mark.component("machine", "slapd", "postgresql", "nginx"),
    pytest.mark.timeout(900),
]

PLAN = (CHECKOUT / "docs/emergency-plan/en.md").read_text("utf-8")
#: What the plan fetches from outside, what officers do from their own machines, and systemd's own.
_ELSEWHERE = ("sftp", "curl", "yumen ", "journalctl")
AUTHORITIES = ("root", "staff", "servers", "applications")
EVIDENCE = "/srv/evidence"


@pytest.fixture(scope="module")
def site() -> Iterator[Production]:
    made = build(Size(units=40, lines=2, staff=400))
    yield made
    print(made.machine.last_words())
    made.machine.close()


def blocks(section: str) -> list[str]:
    """The commands of a section, block by block."""
    found = re.findall(r"^```sh\n(.*?)^```", PLAN.partition(f"\n## {section}")[2].partition("\n## ")[0], re.DOTALL | re.MULTILINE)
    assert found, f"the plan has no commands in `{section}`"
    return found


class Operator:
    """Who plays the plan: root on the machine of the database, and for an hour its administrator."""

    def __init__(self, site: Production) -> None:
        self.site, self.machine = site, site.machine
        self.backup = ""
        given, _taken = blocks("The administrator of the database")
        self.password = self.machine.do(f"{given}printf %s $PGPASSWORD", folder="/tmp")

    def play(self, section: str) -> str:
        """Carry out every command of a section; gives what they printed."""
        lines = [line for block in blocks(section) for line in block.splitlines()]
        return "".join(self._one(line) for line in lines if not line.startswith(_ELSEWHERE))

    def _one(self, line: str) -> str:
        if line.startswith("systemctl stop"):
            for name in (*WEB, WORKER):
                self.machine.end(name, signal.SIGTERM)
            return ""
        if line.startswith("systemctl start"):
            self.site.work()
            for number in (1, 2):
                self.site.serve(number)
            for number in (1, 2):
                until(lambda number=number: self.site.ready(number), 60, f"instance {number} does not get ready")
            return ""
        line += " || true" * ("assess" in line)  # it fails when there is something to put right, and on a stage there is
        named = re.sub(r"yumen-\d{8}T\d{6}Z-[0-9a-f]{8}\.backup", self.backup or "none", line)
        return f"$ {line}\n{self.machine.do(named, folder='/tmp', network='database', PGPASSWORD=self.password)}"


def published(site: Production) -> dict[str, bytes]:
    """The last list of each authority, as any relying party has it."""
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(site.socket(1)))) as http:
        return {one: http.get(f"http://localhost/crl/{one}/0.crl").content for one in AUTHORITIES}


def test_what_was_lost_with_the_database_comes_back_by_the_plan(site: Production):
    machine, operator = site.machine, Operator(site)
    machine.do(
        f"install -d -o yumen-worker -g yumen -m 2750 {EVIDENCE}; install -m 644 /var/lib/yumen/notes/*.note {EVIDENCE}/"
    )  # the auditor's
    kept = x509.load_pem_x509_certificates(site.certify(NEWCOMER.uid, FAR_REGISTRAR).read_bytes())
    gone = x509.load_pem_x509_certificates(site.certify(NEWCOMER.uid, FAR_REGISTRAR).read_bytes())
    print(operator.play("The first quarter of an hour"))
    (name,) = [path.name for path in (machine.root / "srv/evidence").glob("yumen-*.backup")]
    operator.backup = name
    machine.do(f"install -d -o yumen-worker -g yumen -m 2750 /srv/backups /srv/lists; install -m 644 {EVIDENCE}/{name} /srv/backups/")
    with site.person(FAR_REGISTRAR) as registrar:
        registrar.post(f"/api/v1/certificates/{gone[0].serial_number:x}/revoke", {"reason": "keyCompromise"})
    listed = lambda: x509.load_der_x509_crl(published(site)["staff"]).get_revoked_certificate_by_serial_number(gone[0].serial_number)
    until(listed, 60, "the list does not have the revoked certificate")
    for authority, data in published(site).items():
        (machine.root / f"srv/lists/{authority}.crl").write_bytes(data)
    number = x509.load_der_x509_crl(published(site)["staff"]).extensions.get_extension_for_class(x509.CRLNumber).value.crl_number

    print(operator.play("3. The database"))

    with site.direct(1) as api:
        assert ocsp_says(api, kept, "staff") == "GOOD"
        assert ocsp_says(api, gone, "staff") == "REVOKED"
    since = x509.load_der_x509_crl(published(site)["staff"])
    assert since.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number > number
    with pytest.raises(Unauthenticated), site.person(FAR_REGISTRAR) as registrar:
        registrar.get("/api/v1/me")
    site.log_in_anew()
    again = x509.load_pem_x509_certificates(site.certify(NEWCOMER.uid, FAR_REGISTRAR, patience=30).read_bytes())
    assert again[0].serial_number not in {kept[0].serial_number, gone[0].serial_number}


def test_the_rehearsal_of_the_plan_ends_with_its_reports(site: Production):
    operator = Operator(site)
    print(operator.play("Afterwards"))
    report = Path(site.home / "drill.md").read_text("utf-8")
    assert "OCSP" in report
    assert time.strftime("%Y-%m-%d", time.gmtime()) in report
    assert (site.home / "assess.md").read_text("utf-8").startswith("#")
