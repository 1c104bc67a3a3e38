"""Commands for bad days and for whoever asks whether we are ready for them. They act as `service:operator`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli import output
from cli.output import Command, json_option

if TYPE_CHECKING:
    from core.settings import Settings
    from ops.assess import Assessment


def register(main: click.Group) -> None:
    """Hang these commands under the command."""
    for command in (assess, backup, restore, drill, keys):
        main.add_command(command)


def _language() -> str:
    """What this terminal reads, by its locale."""
    locale = os.environ.get("LC_ALL") or os.environ.get("LC_MESSAGES") or os.environ.get("LANG") or ""
    return "zh" if locale.startswith("zh") else "en"


_language_option = click.option(
    "--language",
    type=click.Choice(["zh", "en"]),
    default=_language,
    help="Language of what is shown; by the terminal's locale if not given.",
)


@click.command(cls=Command, example="yumen assess --report 2026-11-21.md")
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write a dated report for the assessor to this new file, mode 0600.",
)
@_language_option
@json_option
def assess(*, report: Path | None, language: str, as_json: bool) -> None:
    """Look at this home as an assessor would: each finding with its evidence and what to do. Exit 1 when something must be put right.

    Settings, algorithms, keys, certificates, roles, trail, retention and clocks. That it was done is recorded, with the
    report's SHA-256. The report is in both languages.
    """
    from core.settings import load
    from ops.assess import assess as look
    from ops.assess.finding import Grade

    if report and report.exists():
        raise click.UsageError(f"--report {report}: it exists; name a new file")
    with output.progress("looking"):
        found = look(load(os.environ), report)
    output.show(_facts(found), as_json=as_json, text=lambda: _tell(found, language))
    if found.of(Grade.WRONG):
        raise SystemExit(output.FAILED)


def _facts(found: Assessment) -> dict[str, Any]:
    findings = [
        {
            "check": each.check.id,
            "grade": str(each.grade),
            "asks": each.check.asks._asdict(),
            "evidence": [{"grade": str(one.grade), **one.text._asdict()} for one in each.evidence],
            "do": each.check.do._asdict(),
            "clauses": list(each.check.clauses),
        }
        for each in found.findings
    ]
    recorded = {"log": found.receipt.log, "idx": found.receipt.idx}
    return {"home": str(found.home), "at": found.at.isoformat(timespec="seconds"), "findings": findings, "recorded": recorded}


def _tell(found: Assessment, language: str) -> None:
    """What is good in a line each, what is not with its evidence and what to do."""
    from ops.assess.finding import Grade
    from ops.assess.report import GRADES, summary

    for each in sorted(found.findings, key=lambda finding: list(Grade).index(finding.grade)):
        click.echo(f"[{GRADES[each.grade].said(language)}] {each.check.id}: {each.check.asks.said(language)}")
        if each.grade is Grade.GOOD:
            continue
        for one in (one for one in each.evidence if one.grade is not Grade.GOOD):
            click.echo(f"    {one.text.said(language)}")
        click.echo(f"    → {each.check.do.said(language)}")
    click.echo(summary(found.findings, language))


@click.command(cls=Command, example="yumen backup --to /srv/backups")
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the backup, in place of the targets of the settings; without any it is backups/ of the home.",
)
@json_option
def backup(*, folder: Path | None, as_json: bool) -> None:
    """Write a backup of the home into one file, encrypted and signed, beside the running service; read it back, and record it.

    It goes to every target that the settings name, is read back there, and what is over there is taken away. The unsealing
    secret of the worker opens it, and is not in it; `not_in_it` names that and every other file to be kept besides. Exit 1 when
    anything refused; where it did, nothing is left.
    """
    from ops import keeping
    from ops.backup import run

    settings = _settings()
    with output.progress("backup") as tell:
        if folder is None and settings.backup.targets:
            kept = keeping.run(settings, tell=tell)
            made, where, stored = kept.made, kept.made.name, kept.targets
        else:
            made = run(settings, folder, tell=tell)
            where, stored = str(made.path), {}
    heads = {log: {"epoch": head.epoch, "size": head.size} for log, head in made.manifest.logs.items()}
    told = {"backup": where, "size": made.size, "sha256": made.sha256, "logs": heads, "not_in_it": _elsewhere()}
    output.show({**told, **({"targets": {name: why or "stored" for name, why in stored.items()}} if stored else {})}, as_json=as_json)
    if any(stored.values()):
        raise SystemExit(output.FAILED)


_files = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command(cls=Command, example="yumen restore yumen-20261121T020000Z-1f3a9c02.backup --trust ca.note --crl staff.crl")
@click.argument("backup_file", metavar="[BACKUP]", required=False, type=_files)
@click.option("--secret", type=_files, help="The worker's unsealing secret, where no settings name it yet.")
@click.option("--trust", type=_files, multiple=True, help="A checkpoint that was saved outside; repeatable.")
@click.option("--accept-loss", is_flag=True, help="Restore although a checkpoint proves entries that the backup lacks.")
@click.option("--crl", "lists", type=_files, multiple=True, help="The last published list of an authority, DER; repeatable.")
@click.option("--without-crl", "without", multiple=True, metavar="AUTHORITY", help="Nobody has its last list (`*`: of any); repeatable.")
@click.option("--admin-url", default="", help="PostgreSQL: an administrator of the empty database that the settings name.")
@json_option
def restore(*, backup_file: Path | None, secret: Path | None, as_json: bool, **terms: Any) -> None:
    """Restore BACKUP into the empty home in $YUMEN_HOME; without BACKUP, go on with a home that is on hold since its restore.

    The backup is read and its trail verified before anything goes on. Both logs go on in a new epoch. Each authority is on
    hold (OCSP says `tryLater`, no list is published, nothing is issued) until its last published list is given with --crl, or it is
    said with --without-crl that nobody has it. What cannot be proved is listed. Exit 1 when the backup is refused: then nothing is left.
    """
    from ops import restore as way_back

    with output.progress("restore") as tell:
        if backup_file is None:
            done = way_back.supply(_settings(), lists=terms["lists"], without=terms["without"], tell=tell)
        else:
            settings = way_back.settings_for(backup_file, secret, os.environ)
            done = way_back.restore(settings, backup_file, terms=way_back.Terms(**terms), tell=tell)
    told = {"home": str(done.home), "epochs": dict(done.epochs), "on_hold": done.held, "revoked_again": done.revoked}
    told |= {"revoked_unknown_serials": done.unrecorded, "not_proved": done.unproved, "not_in_it": _elsewhere()}
    output.show(told, as_json=as_json, text=lambda: _tell_restored(told))


def _settings() -> Settings:
    from core.settings import load

    return load(os.environ)


def _elsewhere() -> list[str]:
    """What the settings name that no backup holds, where they say themselves that it lies; what is not there is said."""
    from core.settings import BadSettings, load
    from ops.homes import outside

    where = {name: os.environ[name] for name in ("YUMEN_HOME", "YUMEN_SETTINGS") if os.environ.get(name)}
    try:
        named = outside(load(where))
    except BadSettings:
        named = outside(_settings())
    told = [f"{name}: {path}" + (" (not there)" if _missing(path) else "") for name, path in named.items()]
    return [*([f"settings: {where['YUMEN_SETTINGS']}"] if "YUMEN_SETTINGS" in where else []), *told]


def _missing(path: Path) -> bool:
    """Whether a file is not there; in production the folder of the secrets is closed to this account, and nothing is said."""
    try:
        return not path.exists()
    except PermissionError:
        return False


def _tell_restored(told: Mapping[str, Any]) -> None:
    output.lines({name: value for name, value in told.items() if name != "not_proved"})
    for sentence in told["not_proved"]:
        click.echo(f"not proved: {sentence}")
    if told["on_hold"]:
        click.echo("next: yumen restore --crl FILE (the last published list of each authority on hold), then start the service")


@click.group(cls=output.Group)
def drill() -> None:
    """Rehearsals of bad days, which prove themselves: restore."""


@drill.command("restore", example="yumen drill restore --report 2026-11-21.md")
@click.option(
    "--from",
    "backup_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Rehearse with this backup, not with the newest at the targets (or in backups/ of the home).",
)
@click.option(
    "--scratch",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder for the scratch home, which takes the whole database (default: the system's folder for temporary files).",
)
@click.option("--admin-url", default="", help="PostgreSQL: an administrator of an empty database; it is empty again afterwards.")
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write a dated report, in both languages, to this new file, mode 0600.",
)
@_language_option
@json_option
def drill_restore(*, report: Path | None, language: str, as_json: bool, **how: Any) -> None:
    """Restore the newest backup into a scratch home beside the running service, and let it prove what it is worth.

    Its trail is verified, OCSP answers are asked for and checked, certificates and revocations are compared with those of
    the running service, which is read and not touched. What came out is recorded. Exit 1 when a step failed.
    """
    from ops.drill import Wanted
    from ops.drill import drill as rehearse
    from ops.drill.course import STEPS
    from ops.drill.report import lines, result

    if report and report.exists():
        raise click.UsageError(f"--report {report}: it exists; name a new file")
    wanted = Wanted(backup=how["backup_file"], scratch=how["scratch"], admin_url=how["admin_url"], report=report)
    with output.progress("drill") as tell:
        course = rehearse(_settings(), wanted, tell=tell)

    def tell_all() -> None:
        for step in course.evidence:
            click.echo(STEPS[step].said(language))
            for line in lines(course, step, language):
                click.echo(f"    {line}")
        click.echo(result(course, language))

    shown = {step: [{"grade": str(one.grade), **one.text._asdict()} for one in found] for step, found in course.evidence.items()}
    told = {"passed": course.passed, "backup": course.backup, "seconds": course.seconds, "steps": shown}
    output.show(told, as_json=as_json, text=tell_all)
    if not course.passed:
        raise SystemExit(output.FAILED)


@click.group(cls=output.Group)
def keys() -> None:
    """The sealed keys of the home: reseal."""


@keys.command(cls=Command, example="yumen keys reseal worker --secret /etc/yumen/credentials/worker.new")
@click.argument("owner", type=click.Choice(["web", "worker"]))
@click.option("--secret", type=_files, required=True, help="File with the new unsealing secret, which nobody else may read.")
@json_option
def reseal(*, owner: str, secret: Path, as_json: bool) -> None:
    """Seal the keys of OWNER, all or none, under a new unsealing secret, while no worker and no `yumen serve` of one process runs.

    The former secret must be the one that the settings name. Broken off at any point the home opens with one of the two,
    `yumen status` says with which, and the same command again goes on. Backups from before open with the former secret alone.
    """
    from ops.reseal import reseal as seal_anew

    with output.progress("opening the home") as tell:
        number = seal_anew(_settings(), owner, secret, tell=tell)
    then = f"put the new secret where keys.{owner}_secret names it, start the service, make a backup"
    output.show({"owner": owner, "keys": number, "next": then}, as_json=as_json)
