"""Commands on the machine of the service. They act as `service:operator` and open the home that the settings name."""

from __future__ import annotations

import os
import signal
import sys
import time
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

import click

from cli import output
from cli.output import Command, json_option

if TYPE_CHECKING:
    from core.settings import Settings
    from ops.codes import HandOver
    from ops.status import Look


def register(main: click.Group, ca: click.Group, audit: click.Group) -> None:
    """Hang these commands under the command's groups."""
    for command in (init, serve, worker, status):
        main.add_command(command)
    ca.add_command(ceremony)
    ca.add_command(first_codes)
    audit.add_command(verify)
    audit.add_command(reconcile)


def _settings() -> Settings:
    from core.settings import load

    return load(os.environ)


def _home() -> Path:
    from core.settings import DEFAULT_HOME

    return Path(os.environ.get("YUMEN_HOME") or DEFAULT_HOME).absolute()


@click.command(cls=Command, example="yumen init --demo")
@click.option(
    "--demo", is_flag=True, help="Make a demonstration: a small province, keys, accounts, two applications; loopback only, for ever."
)
@click.option("--admin-url", default="", help="Prepare the PostgreSQL database of the settings as this administrator, and nothing else.")
@json_option
def init(*, demo: bool, admin_url: str, as_json: bool) -> None:
    """Make a home in $YUMEN_HOME (default ./var). Can be run again after an interruption.

    Without --demo the settings file must be there already; database and log keys are made, and the authorities come
    from `yumen ca ceremony FILE`. A database of PostgreSQL is prepared first, with --admin-url.
    """
    if demo:
        from ops.demo import make_demo

        with output.progress("making the demonstration home") as tell:
            made = make_demo(_home(), os.environ, tell=tell)
        output.show({"home": str(made.home), "accounts": str(made.accounts)}, as_json=as_json)
        return
    from ops.init import make_home, require_no_demo

    settings = _settings()
    require_no_demo(settings)
    with output.progress("making the home") as tell:
        make_home(settings, tell=tell, admin_url=admin_url)
    output.show({"home": str(settings.home), "next": "yumen init" if admin_url else "yumen ca ceremony FILE"}, as_json=as_json)


@click.command(cls=Command, example="yumen serve")
@json_option
def serve(*, as_json: bool) -> None:
    """Run the service in the foreground: portal, APIs, status and, in the embedded form, the worker as well.

    Ends on SIGTERM and Ctrl-C after finishing what it has begun.
    """
    from cli import serving
    from core import memory

    started, ended = time.monotonic(), _end_on_signals()
    memory.share_arenas()
    settings = _settings()
    with serving.running(settings) as told:
        output.show({**told, "ready_in_seconds": round(time.monotonic() - started, 1)}, as_json=as_json)
        _wait_for_the_end(ended)


@click.command(cls=Command, example="yumen worker")
@json_option
def worker(*, as_json: bool) -> None:
    """Run the worker alone: it holds the authorities' keys, issues, publishes revocation lists, signs checkpoints.

    Several may run; one of them works, the others wait for its end.
    """
    from core import logs, memory
    from ops import running

    logs.configure()
    ended = _end_on_signals()
    memory.share_arenas()
    with running.working(_settings()) as job:
        output.show({"state": "working" if job.leading else "standing by"}, as_json=as_json)
        _wait_for_the_end(ended)


@click.command(cls=Command, example="yumen status --json")
@click.option(
    "--textfile", type=click.Path(path_type=Path, dir_okay=False), help="Also write the home's measures here, for an exporter of files."
)
@json_option
def status(*, textfile: Path | None, as_json: bool) -> None:
    """Tell how the home fares: service, worker, trail, authorities, revocation lists, what ends soon. Exit 1 when something is wrong."""
    from ops.status import export, look

    settings = _settings()
    if textfile:
        export(settings, textfile)
    found = look(settings)
    whole = found.facts | {"problems": found.problems, "warnings": found.warnings}
    output.show(whole, as_json=as_json, text=lambda: _tell(found))
    if found.problems:
        raise SystemExit(output.FAILED)


_codes_option = click.option(
    "--codes", type=click.Path(path_type=Path, dir_okay=False), help="Write the people's first codes to this new file, mode 0600."
)


def _shower(path: Path | None, *, as_json: bool) -> HandOver | None:
    """Where codes are shown; nowhere when there is neither a file nor a terminal, whose lines nobody keeps."""
    from ops import codes

    if path is not None:
        if path.exists() or not os.access(path.parent, os.W_OK):
            raise click.UsageError(f"--codes {path}: it exists, or cannot be made; name a new file")
        return partial(codes.write, path)
    return (lambda made: click.echo(codes.text(made))) if sys.stdout.isatty() and not as_json else None


@click.command(cls=Command, example="yumen ca ceremony province.toml")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@_codes_option
@json_option
def ceremony(file: Path, codes: Path | None, *, as_json: bool) -> None:
    """Make the root and the issuing authorities that FILE describes, print the transcript and record it.

    The first ceremony of a home may name the first administrators and registrars; a later one that does is refused.
    Each of them gets a code, shown once, to enrol one-time codes with the directory password.
    """
    from ops.init import hold_ceremony

    say = (lambda _: None) if as_json else click.echo
    transcript = hold_ceremony(_settings(), file.read_text("utf-8"), say=say, hand_over=_shower(codes, as_json=as_json))
    if as_json:
        output.show({"transcript": transcript}, as_json=True)


@click.command(cls=Command, example="yumen audit reconcile")
@json_option
def reconcile(*, as_json: bool) -> None:
    """Compare all facts with all their events now, in both directions, and the numbers of all processes. Exit 1 when something contradicts.

    The leading worker does the same bit by bit. The result is recorded; what contradicts is an alarm in the trail, once.
    """
    from ops.running import compare_everything

    with output.progress("comparing facts and events"):
        found = compare_everything(_settings())
    told = {"at": found.at.isoformat(timespec="seconds"), "contradictions": found.open, "first": list(found.first)}
    output.show(told, as_json=as_json)
    if found.open:
        raise SystemExit(output.FAILED)


@click.command("first-codes", cls=Command, example="yumen ca first-codes --codes codes.txt")
@_codes_option
@json_option
def first_codes(codes: Path | None, *, as_json: bool) -> None:
    """New codes for people of the first ceremony who never enrolled; their earlier codes end.

    Whoever has enrolled once gets a code from a registrar or a security administrator instead.
    """
    from ops.codes import again

    show = _shower(codes, as_json=as_json)
    if show is None:
        raise click.UsageError("codes are shown at a terminal, or written to a new file: --codes FILE")
    output.show({"codes": again(_settings(), show)}, as_json=as_json)


@click.command(cls=Command, example="yumen audit verify https://localhost:8443 --trust saved.note --key ca.vkey")
@click.argument("source")
@click.option(
    "--trust",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    multiple=True,
    help="A checkpoint that you saved earlier; repeatable.",
)
@click.option(
    "--key", multiple=True, required=True, help="A log's verifier key, or a file of them, got from somewhere else than SOURCE; repeatable."
)
@click.option(
    "--log", "log_name", type=click.Choice(["ca", "access"]), default="ca", show_default=True, help="Which log of the service at SOURCE."
)
@json_option
def verify(source: str, trust: tuple[Path, ...], key: tuple[str, ...], log_name: str, *, as_json: bool) -> None:
    """Verify the trail. SOURCE is the https address of a service where you are logged in as an auditor, or a file, or a database.

    A file may be an export bundle (zip), a checkpoint, or the database itself: these need no service. A database of
    PostgreSQL is named by its address, such as postgresql://audit_reader@/yumen?host=/run/postgresql. Says the size that
    is proved, and when something was changed, cut or rewritten, the first bad index or the range.
    """
    from cli import verification

    question = verification.Question(source=source, trust=trust, log=log_name, keys=key)
    with output.progress("verifying") as tell:
        report = verification.verify(question, tell)
    output.show(report.facts, as_json=as_json)
    if not report.good:
        raise SystemExit(output.FAILED)


def _tell(found: Look) -> None:
    """The same for people: facts in lines, logs and authorities in tables, what is wrong at the end."""
    lists = {name: value for name, value in found.facts.items() if isinstance(value, list)}
    output.lines({name: value for name, value in found.facts.items() if name not in lists})
    for rows in lists.values():
        click.echo()
        output.table(rows, list(rows[0]) if rows else [])
    for word, sentences in (("problem", found.problems), ("warning", found.warnings)):
        for sentence in sentences:
            click.echo(f"{word}: {sentence}")


def _wait_for_the_end(ended: SimpleQueue[int]) -> None:
    """Return at the first signal; said on standard error, because finishing what was begun may take a moment."""
    ended.get()
    click.echo("stopping", err=True)


def _end_on_signals() -> SimpleQueue[int]:
    """SIGTERM and Ctrl-C arrive in this queue: its `put` is re-entrant, where an `Event` would lock itself out at a second signal."""
    ended: SimpleQueue[int] = SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda arrived, _frame: ended.put(arrived))
    return ended
