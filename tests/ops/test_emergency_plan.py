"""The emergency plan says what can be done: its commands exist, both languages say the same, and what it promises was tried."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from cryptography import x509

from audit.permit import Action
from audit.record import recording
from authz.decide import Target, service_permit
from ca import authorities, ceremony, certificates, crls, revocation
from cli.main import main
from ops import backup, homes, init
from ops.first import KeyFile, first_certificate
from ops.node import Node
from tests.shape.rules import ROOT

PLAN = ROOT / "docs" / "emergency-plan"
LANGUAGES = ("en", "zh")


def text(language: str) -> str:
    return (PLAN / f"{language}.md").read_text("utf-8")


def lines(language: str) -> list[str]:
    """Every line of every block of commands."""
    return [line for block in re.findall(r"^```sh\n(.*?)^```", text(language), re.DOTALL | re.MULTILINE) for line in block.splitlines()]


def inline(language: str) -> list[str]:
    """Commands in running text."""
    return [found for found in re.findall(r"`([^`\n]+)`", text(language)) if found.startswith(("yumen ", "yumen-operator "))]


OURS = re.compile(r"(?:[A-Z_]+=\S+ )*(?:yumen|yumen-operator) ")
COMMANDS = [each for each in dict.fromkeys([*lines("en"), *inline("en")]) if OURS.match(each)]


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_and_option_of_the_plan_exists(line: str):
    words = shlex.split(line)
    while words[0] not in {"yumen", "yumen-operator"}:
        words.pop(0)
    command: click.Command = main
    context, rest = click.Context(main, info_name="yumen"), words[1:]
    while isinstance(command, click.Group):
        name = rest.pop(0)
        found = command.get_command(context, name)
        assert found is not None, f"there is no command {name}"
        command = found
    options = {option: each for each in command.params if isinstance(each, click.Option) for option in each.opts}
    given = [word for word in rest if word.startswith("--")]
    assert [word for word in given if word not in options] == []
    plain, taken = [], iter(rest)
    for word in taken:
        if word not in options:
            plain.append(word)
        elif not options[word].is_flag:
            next(taken)
    arguments = [each for each in command.params if isinstance(each, click.Argument)]
    assert len(plain) <= len(arguments) or any(each.nargs == -1 for each in arguments)
    assert len([each for each in arguments if each.required]) <= len(plain)


def test_both_languages_give_the_same_commands_in_the_same_order():
    assert lines("en") == lines("zh")
    assert inline("en") == inline("zh")


def test_both_languages_have_the_same_sections():
    shape = [[len(level) for level in re.findall(r"^(#+) ", text(language), re.MULTILINE)] for language in LANGUAGES]
    assert shape[0] == shape[1]
    rows = [text(language).count("\n|") for language in LANGUAGES]
    assert rows[0] == rows[1]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_disaster_is_found_from_the_first_page(language: str):
    anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^## (.+)$", text(language), re.MULTILINE)}
    links = re.findall(r"\]\(#([^)]+)\)", text(language))
    assert len(links) >= 6
    assert [link for link in links if link not in anchors] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_files_that_the_plan_names_are_files_of_a_home(language: str):
    """Names that were changed in the code would send the operator to nothing."""
    home = Path("/var/lib/yumen")
    known = {str(homes.notes_folder(home)), str(homes.notes_folder(home) / "ca.note"), str(home)}
    known |= {str(home / name) for name in ("keys/worker", "keys/worker/ca/staff.sealed", "keys/web/session.sealed", "first-codes.txt")}
    known |= {str(home / name) for name in ("drill.md", "assess.md")}
    named = {found.rstrip("/") for found in re.findall(r"/var/lib/yumen[\w./-]*", text(language))}
    assert named - known - {"/var/lib/yumen.damaged"} == set()


SUCCESSOR = """
name = "successor"
organisation = "{organisation}"
root = {{id = "root", name = "{root}", suite = "{suite}"}}
[[issuing]]
id = "applications2"
name = "Applications, second"
profiles = ["application"]
"""


def test_a_revoked_authority_takes_everything_under_it_along_and_its_successor_issues(node: Node):
    """Section 1, a key in strange hands."""
    chain = x509.load_pem_x509_certificates((node.settings.home / "certs" / "oa.pem").read_bytes())

    def reasons() -> tuple[str, ...]:
        return node.world.verifier.present(chain, node.world.trust(), node.world.refresh(), node.clock()).reasons

    assert reasons() == ()
    with node.database.reading() as session:
        root, applications = (authorities.get(session, name) for name in ("root", "applications"))
        assert applications.cert is not None
        serial = f"{x509.load_der_x509_certificate(applications.cert).serial_number:x}"
        own = certificates.get(session, serial)
    given = service_permit(node.world, node.trail, "issuance", Action.CERT_SWEEP, Target("*"))
    permit = replace(given, action=Action.CERT_REVOKE, resource=own.ref, unit=own.unit)
    with recording(node.trail) as tx:
        revocation.revoke(tx, own.authority, serial, "keyCompromise", permit=permit)
    assert reasons() == ("revoked",)
    with node.database.reading() as session:
        assert "application" not in authorities.ready(session, node.works.signers)[0]  # also before there is a successor

    plan = ceremony.parse(SUCCESSOR.format(organisation=root.organisation, root=root.name, suite=root.suite))
    init.perform(node, plan, say=lambda _: None)
    node.world.refresh()
    made = first_certificate(
        node, "application:oa", "application", KeyFile(node.settings.home / "new.key").load(), permit=init.admission(node, plan)
    )
    assert made.authority == "applications2"
    with node.database.reading() as session:
        listed = crls.latest(session, "root")
    assert listed is not None
    assert listed.der is not None
    assert x509.load_der_x509_crl(listed.der).get_revoked_certificate_by_serial_number(int(serial, 16)) is not None


def test_a_sealed_key_that_was_lost_comes_out_of_a_backup_and_signs_again(node: Node, tmp_path: Path):
    """Section 1, a key that is lost: its commands, with the folders of this test."""
    home, scratch, secret = node.settings.home, tmp_path / "scratch", homes.secret_file(node.settings.home)
    saved = backup.make(node, tmp_path / "backups", tell=lambda _: None).path
    sealed = home / "keys" / "worker" / "ca" / "staff.sealed"
    before = sealed.read_bytes()
    sealed.unlink()
    restoring = next(line for line in lines("en") if " restore " in line and "--secret" in line)
    putting = next(line for line in lines("en") if line.startswith("install") and "staff.sealed" in line)
    words = shlex.split(restoring)[2:]
    words = [{"/etc/yumen/credentials/worker.secret": str(secret)}.get(word, word) for word in words]
    words[1] = str(saved)
    ended = CliRunner(env={"YUMEN_HOME": str(scratch), "YUMEN_SETTINGS": "", "YUMEN_KEYS_WEB_SECRET": str(secret)}).invoke(main, words)
    assert ended.exit_code == 0, ended.output
    source, target = shlex.split(putting)[-2:]
    assert Path(source).relative_to("/srv/scratch") == Path(target).relative_to("/var/lib/yumen") == sealed.relative_to(home)
    sealed.write_bytes((scratch / sealed.relative_to(home)).read_bytes())
    assert sealed.read_bytes() == before
    assert homes.worker_vault(node.settings).get("ca/staff")
