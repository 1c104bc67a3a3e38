from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from audit.permit import Action
from authz.tables import Confirmation
from ca import ceremony
from ca.keys import SealedSigners
from ca.tables import Authority, Certificate
from core.errors import Conflict, Denied, Malformed, NotFound, Unavailable
from core.seal import Vault
from tests.ca.town import PLAN, Town, nothing, open_town


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Town]:
    """A home in which nothing was done yet."""
    town = open_town(tmp_path)
    yield town
    town.close()


def people(town: Town, *uids: str) -> str:
    """The part of a ceremony file that names these people with the roles the directory gives them."""
    rows = [(town.accounts[uid].uuid, *town.accounts[uid].holdings[0]) for uid in uids]
    return "".join(f'\n[[people]]\nperson = "{person}"\nrole = "{role}"\nunit = "{unit}"\n' for person, role, unit in rows)


def perform(town: Town, text: str = PLAN) -> list[str]:
    plan = ceremony.parse(text)
    permit = town.service("operator", Action.CEREMONY_PERFORM, plan.resource)
    return ceremony.perform(town.works, plan, responders=town.signers, permit=permit, say=nothing)


def test_one_file_makes_root_and_issuing_authorities_each_with_its_responder(bare: Town):
    transcript = perform(bare)
    rows = {row.id: row for row in bare.rows(Authority)}
    assert set(rows) == {"root", "staff", "servers", "applications"}
    assert {row.parent for row in rows.values()} == {None, "root"}
    root = x509.load_der_x509_certificate(rows["root"].cert)
    for row in rows.values():
        x509.load_der_x509_certificate(row.cert).verify_directly_issued_by(root)
        responder = x509.load_der_x509_certificate(row.responder)
        responder.verify_directly_issued_by(x509.load_der_x509_certificate(row.cert))
    assert bare.events("code:CA2002")[-1]["d"]["transcript"] == transcript
    assert len(bare.events("code:CA2001")) == 8
    assert set(bare.signers.signed()) == {event["d"]["tbs-sha256"] for event in bare.events("code:CA1005")}
    for row in rows.values():
        assert any(row.spki_sha256 in line for line in transcript)


def test_the_transcript_is_printed_as_it_happens(bare: Town):
    said: list[str] = []
    plan = ceremony.parse(PLAN)
    permit = bare.service("operator", Action.CEREMONY_PERFORM, plan.resource)
    transcript = ceremony.perform(bare.works, plan, responders=bare.signers, permit=permit, say=said.append)
    assert said[:-1] == transcript


def test_the_first_ceremony_names_the_first_people(bare: Town):
    perform(bare, PLAN + people(bare, "wujiu", "zhengshi", "qianyi", "zhaoliu"))
    assert {(row.person, row.role) for row in bare.rows(Confirmation)} == {
        (bare.accounts[uid].uuid, bare.accounts[uid].holdings[0].role) for uid in ("wujiu", "zhengshi", "qianyi", "zhaoliu")
    }
    assert len(bare.events("code:CA4001")) == 4


def test_a_later_ceremony_that_names_people_is_refused_and_recorded(bare: Town):
    perform(bare)
    signatures = bare.signers.signed()
    later = PLAN.replace('name = "first"', 'name = "second"')
    with pytest.raises(Denied):
        perform(bare, later + people(bare, "zhengshi"))
    assert bare.rows(Confirmation) == []
    assert bare.events("code:CA2003")[-1]["rsn"] == "later-ceremony"
    assert bare.signers.signed() == signatures


def test_deleting_the_authorities_does_not_make_a_ceremony_the_first(bare: Town):
    perform(bare)
    with bare.trail.database.engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
        for table in ("ca_crl", "ca_certificate", "ca_intent", "ca_authority"):
            connection.exec_driver_sql(f"DELETE FROM {table}")
    with pytest.raises(Denied):
        perform(bare, PLAN + people(bare, "zhengshi"))


def test_a_later_ceremony_adds_authorities_and_takes_up_what_is_there(bare: Town):
    perform(bare)
    before = {row.id: row.cert for row in bare.rows(Authority)}
    more = PLAN.replace('name = "first"', 'name = "second"').replace('profiles = ["application", "device"]', 'profiles = ["application"]')
    more += '[[issuing]]\nid = "devices"\nname = "Yumen DEMO Devices"\nprofiles = ["device"]\n'
    perform(bare, more)
    after = {row.id: row.cert for row in bare.rows(Authority)}
    assert after.keys() - before.keys() == {"devices"}
    assert before.items() <= after.items()
    assert len(bare.rows(Certificate)) == 10


def test_an_authority_is_not_replaced_by_another_of_its_name(bare: Town):
    perform(bare)
    with pytest.raises(Conflict):
        perform(bare, PLAN.replace("Yumen DEMO Staff", "Somebody Else"))


def test_people_whom_the_directory_does_not_know_stop_the_ceremony_before_it_counts(bare: Town):
    stranger = people(bare, "zhengshi").replace(bare.accounts["zhengshi"].uuid, "00000000-0000-0000-0000-000000000000")
    with pytest.raises(Malformed):
        perform(bare, PLAN + stranger)
    assert bare.rows(Confirmation) == []
    assert bare.events("code:CA2002") == []
    perform(bare, PLAN + people(bare, "zhengshi"))  # still the first
    assert len(bare.rows(Confirmation)) == 1


def test_a_permit_for_another_ceremony_is_a_bug(bare: Town):
    plan = ceremony.parse(PLAN)
    permit = bare.service("operator", Action.CEREMONY_PERFORM, "ceremony:other")
    with pytest.raises(RuntimeError):
        ceremony.perform(bare.works, plan, responders=bare.signers, permit=permit, say=nothing)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('name = "first"', "", "`name` is missing"),
        ('name = "first"', 'name = "First One"', "`name` is missing"),
        ('id = "servers"', 'id = "staff"', "must not repeat"),
        ('profiles = ["server"]', 'profiles = ["staff-sign"]', "must not repeat"),
        ('profiles = ["server"]', 'profiles = ["root"]', "profile `root` is not one of"),
        ('profiles = ["server"]', "profiles = []", "at least one"),
        ('profiles = ["server"]', 'profiles = ["server"]\nsuite = "rsa-512"', "suite `rsa-512`"),
        ('profiles = ["server"]', 'profiles = ["server"]\ncolour = "red"', "unknown colour"),
        ("[[issuing]]", "[[isuing]]", "unknown: isuing"),
        ("root = {", "root = [", "cannot be read"),
    ],
)
def test_a_file_with_mistakes_is_refused_with_all_of_them(old: str, new: str, problem: str):
    with pytest.raises(Malformed, match=re.escape(problem)):
        ceremony.parse(PLAN.replace(old, new))


def test_the_file_in_the_docs_is_a_ceremony_file():
    text = Path("docs/ceremony.md").read_text("utf-8").partition("```toml\n")[2].partition("```")[0]
    plan = ceremony.parse(text)
    assert [each.id for each in plan.issuing] == ["staff", "servers", "applications"]
    assert plan.people[0].role == "security-admin"


@pytest.mark.parametrize("suite", ["ecdsa-p256-sha256", "ecdsa-p384-sha384", "rsa-3072-sha256", "ed25519"])
def test_authorities_of_every_suite_issue(bare: Town, suite: str):
    perform(bare, PLAN.replace('name = "Yumen DEMO Staff"', f'name = "Yumen DEMO Staff"\nsuite = "{suite}"'))
    certificate = bare.issued()
    leaf, issuing, _ = bare.chain(certificate)
    leaf.verify_directly_issued_by(issuing)
    bare.worker().step()
    assert bare.responder().crl("staff")


def test_keys_lie_sealed_and_are_opened_by_their_own_vault_only(tmp_path: Path):
    for name in ("web", "worker"):
        (tmp_path / f"{name}.secret").write_text(f"{name} secret of sixteen letters")
    worker = SealedSigners(Vault(tmp_path / "worker", tmp_path / "worker.secret"))
    made = worker.make("ca/staff", "ecdsa-p256-sha256")
    assert worker.make("ca/staff", "ecdsa-p256-sha256") is made
    again = SealedSigners(Vault(tmp_path / "worker", tmp_path / "worker.secret")).get("ca/staff")
    made.suite.verify(made.public_key, again.sign(b"x"), b"x")
    assert made.health() == ""
    with pytest.raises(NotFound):
        worker.get("ca/servers")
    (tmp_path / "worker/ca/staff.sealed").rename(tmp_path / "worker/ca/servers.sealed")
    with pytest.raises(Unavailable):
        worker.get("ca/servers")
    with pytest.raises(Unavailable):
        SealedSigners(Vault(tmp_path / "worker", tmp_path / "web.secret")).get("ca/servers")
    sealed = (tmp_path / "worker/ca/servers.sealed").read_bytes()
    assert b"PRIVATE KEY" not in sealed


_LINES = PLAN.splitlines()
_ODD = st.sampled_from(
    ["people = 1", "issuing = 1", "people = [1]", "issuing = [[]]", "root = 1", "[root]", "[[root]]", 'name = ""', "id = {}", "suite = [1]"]
)


@given(st.lists(st.sampled_from(_LINES) | _ODD | st.text(max_size=20), max_size=30))
def test_whatever_the_file_holds_it_is_a_plan_or_malformed(lines: list[str]):
    text = "\n".join(lines)
    with contextlib.suppress(Malformed):
        assert ceremony.parse(text).root.id


@pytest.mark.parametrize("line", ["people = 1", 'issuing = "staff"', "people = [1]"])
def test_tables_written_as_something_else_are_a_problem_of_the_file(line: str):
    with pytest.raises(Malformed):
        ceremony.parse(f'name = "n"\norganisation = "o"\n{line}\n[root]\nid = "root"\nname = "R"\n')
