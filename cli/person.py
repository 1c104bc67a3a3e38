"""Commands of a person, over REST after `yumen login`: requests, certificates, authorities, explanations, the trail."""

from __future__ import annotations

import datetime as dt
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import click

from cli import enrolment, output, simulation
from cli.client import session
from cli.client.api import Api, Server
from cli.login import open_session, server_options
from cli.output import Command, json_option

F = TypeVar("F", bound=Callable[..., Any])

#: Reasons of RFC 5280 section 5.3.1 that a person may give.
REASONS = ["unspecified", "keyCompromise", "affiliationChanged", "superseded", "cessationOfOperation", "privilegeWithdrawn"]


def register(main: click.Group, ca: click.Group, audit: click.Group) -> None:
    """Hang these commands under the command's groups."""
    for command in (login, logout, request, cert, authz, enroll):
        main.add_command(command)
    for command in (ca_list, ca_show, ca_resume):
        ca.add_command(command)
    for command in (head, search, prove, export):
        audit.add_command(command)


def as_person(function: F) -> F:
    """Give the command an open `api` with the kept session, and the option `--json`."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        kept = session.load(session.session_file(os.environ))
        with Api(kept.server) as api:
            return function(api, *args, **kwargs)

    return json_option(run)  # type: ignore[return-value]


@click.command(cls=Command, example="yumen login --url https://localhost:8443 --ca-file var/root.pem --uid zhangsan")
@server_options
@click.option("--uid", help="Your user name; asked for when missing.")
@json_option
def login(server: Server, uid: str | None, *, as_json: bool) -> None:
    """Log in and keep the session for the other commands.

    Password and one-time code are asked for, or taken from YUMEN_PASSWORD and YUMEN_TOTP. The session file has mode
    0600; YUMEN_SESSION names another one.
    """
    opened = open_session(server, uid)
    session.save(opened, session.session_file(os.environ))
    output.show({"url": server.url, "uid": opened.uid, "expires_at": opened.expires_at}, as_json=as_json)


@click.command(cls=Command, example="yumen logout")
@as_person
def logout(api: Api, *, as_json: bool) -> None:
    """End the session on the server and forget it here."""
    api.delete("/api/v1/sessions/current")
    session.forget(session.session_file(os.environ))
    output.show({"state": "logged out"}, as_json=as_json)


@click.group(cls=output.Group)
def request() -> None:
    """Certificate requests: submit, list, show, approve, refuse."""


@request.command("submit", example="yumen request submit --csr me.csr --profile staff-sign")
@click.option("--csr", type=click.File("rb"), required=True, help="Certificate request (PKCS#10), PEM; `-` reads standard input.")
@click.option("--profile", default="staff-sign", show_default=True, help="What kind of certificate.")
@click.option("--for", "asset", help="A registered asset such as server:portal; default yourself.")
@as_person
def request_submit(api: Api, csr: Any, profile: str, asset: str | None, *, as_json: bool) -> None:
    """Ask for a certificate. Names come from the directory, never from the file."""
    body = {"profile": profile, "csr": csr.read().decode("ascii", "replace")} | ({"for": asset} if asset else {})
    output.show(api.post("/api/v1/requests", body), as_json=as_json)


@request.command("list", example="yumen request list --state submitted")
@click.option("--state", help="Only requests in this state: submitted, approved, issued, refused …")
@click.option("--after", help="Continue after this place (`next` of the page before).")
@as_person
def request_list(api: Api, state: str | None, after: str | None, *, as_json: bool) -> None:
    """List the requests that you may see: your own, and those of your unit when you are a registrar."""
    _page(
        api.get("/api/v1/requests", state=state, after=after), ["id", "state", "profile", "name", "submitted_at", "serial"], as_json=as_json
    )


@request.command("show", example="yumen request show 42")
@click.argument("number")
@as_person
def request_show(api: Api, number: str, *, as_json: bool) -> None:
    """Show one request."""
    output.show(api.get(f"/api/v1/requests/{quote(number, safe='')}"), as_json=as_json)


def _decide(api: Api, number: str, step: str, comment: str, *, as_json: bool) -> None:
    output.show(api.post(f"/api/v1/requests/{quote(number, safe='')}/{step}", {"comment": comment}), as_json=as_json)


@request.command("approve", example='yumen request approve 42 --comment "identity card seen"')
@click.argument("number")
@click.option("--comment", default="", help="Kept with the approval.")
@as_person
def request_approve(api: Api, number: str, comment: str, *, as_json: bool) -> None:
    """Approve a request of your unit. Never your own."""
    _decide(api, number, "approve", comment, as_json=as_json)


@request.command("refuse", example='yumen request refuse 42 --comment "has left the office"')
@click.argument("number")
@click.option("--comment", required=True, help="Why; the person will read it.")
@as_person
def request_refuse(api: Api, number: str, comment: str, *, as_json: bool) -> None:
    """Refuse a request of your unit."""
    _decide(api, number, "refuse", comment, as_json=as_json)


@click.group(cls=output.Group)
def cert() -> None:
    """Certificates: list, show, revoke, suspend, release."""


@cert.command("list", example="yumen cert list --standing valid --name 张三")
@click.option("--standing", type=click.Choice(["valid", "suspended", "revoked"]), help="Only certificates that stand like this.")
@click.option("--name", help="Part of the name in the certificate.")
@click.option("--after", help="Continue after this place (`next` of the page before).")
@as_person
def cert_list(api: Api, *, as_json: bool, **which: str | None) -> None:
    """List the certificates that you may see: your own, and those of your unit when you are a registrar."""
    _page(api.get("/api/v1/certificates", **which), ["serial", "standing", "profile", "name", "not_after"], as_json=as_json)


@cert.command("show", example="yumen cert show 4f1c09 --pem > chain.pem")
@click.argument("serial")
@click.option("--pem", is_flag=True, help="Print the chain as PEM, leaf first, without the root.")
@as_person
def cert_show(api: Api, serial: str, *, pem: bool, as_json: bool) -> None:
    """Show one certificate."""
    path = f"/api/v1/certificates/{quote(serial, safe='')}"
    if pem:
        chain = api.text(path, "application/pem-certificate-chain")
        output.show({"chain": chain}, as_json=as_json, text=lambda: click.echo(chain, nl=False))
    else:
        output.show(api.get(path), as_json=as_json)


def _status_step(api: Api, serial: str, step: str, reason: str, *, as_json: bool) -> None:
    output.show(api.post(f"/api/v1/certificates/{quote(serial, safe='')}/{step}", {"reason": reason}), as_json=as_json)


@cert.command("revoke", example="yumen cert revoke 4f1c09 --reason keyCompromise")
@click.argument("serial")
@click.option("--reason", type=click.Choice(REASONS), required=True, help="Why (RFC 5280 section 5.3.1).")
@as_person
def cert_revoke(api: Api, serial: str, reason: str, *, as_json: bool) -> None:
    """Revoke a certificate for ever: your own, or one of your unit when you are a registrar."""
    _status_step(api, serial, "revoke", reason, as_json=as_json)


@cert.command("suspend", example="yumen cert suspend 4f1c09")
@click.argument("serial")
@as_person
def cert_suspend(api: Api, serial: str, *, as_json: bool) -> None:
    """Suspend a certificate until it is released, where its profile allows it."""
    _status_step(api, serial, "suspend", "certificateHold", as_json=as_json)


@cert.command("release", example="yumen cert release 4f1c09")
@click.argument("serial")
@as_person
def cert_release(api: Api, serial: str, *, as_json: bool) -> None:
    """Release a suspended certificate."""
    _status_step(api, serial, "release", "removeFromCRL", as_json=as_json)


@click.command("list", cls=Command, example="yumen ca list")
@as_person
def ca_list(api: Api, *, as_json: bool) -> None:
    """List the authorities."""
    _page(api.get("/api/v1/cas"), ["id", "name", "parent", "not_after"], as_json=as_json)


@click.command("show", cls=Command, example="yumen ca show staff")
@click.argument("authority")
@as_person
def ca_show(api: Api, authority: str, *, as_json: bool) -> None:
    """Show one authority: certificate, profiles, last revocation list."""
    output.show(api.get(f"/api/v1/cas/{quote(authority, safe='')}"), as_json=as_json)


@click.command("resume", cls=Command, example="yumen ca resume staff")
@click.argument("authority")
@as_person
def ca_resume(api: Api, authority: str, *, as_json: bool) -> None:
    """Clear an authority that was stopped after a wrong signature to sign again; for security administrators."""
    output.show(api.post(f"/api/v1/cas/{quote(authority, safe='')}/resume", {}), as_json=as_json)


@click.group(cls=output.Group)
def authz() -> None:
    """Why somebody may or may not: explain, who-can, simulate, replay."""


@authz.command("explain", example="yumen authz explain --person zhaoliu --action request:approve --unit UNIT")
@click.option("--person", required=True, help="User name.")
@click.option("--action", required=True, help="An action of the policy page, such as request:approve.")
@click.option("--unit", help="entryUUID of the unit that the object belongs to, as `yumen authz who-can` shows units.")
@as_person
def authz_explain(api: Api, *, as_json: bool, **question: str) -> None:
    """Decide without acting, and tell the rule or the nearest miss."""
    output.show(api.get("/api/v1/authz/explain", **question), as_json=as_json)


@authz.command("who-can", example="yumen authz who-can --action request:approve --unit UNIT")
@click.option("--action", required=True, help="An action of the policy page, such as request:approve.")
@click.option("--unit", help="entryUUID of the unit that the object belongs to, as `yumen authz who-can` shows units.")
@as_person
def authz_who_can(api: Api, *, as_json: bool, **question: str) -> None:
    """List the people who may do the action."""
    wanted = {name: value for name, value in question.items() if value}
    _page(api.post("/api/v1/authz/who-can", wanted), ["id", "name", "unit", "rule"], as_json=as_json)


@authz.command("simulate", example="yumen authz simulate --application oa --action read --type document --permit registrar --person lisi")
@click.option("--application", required=True, help="Id of the application that would ask.")
@click.option("--action", required=True, help="One of its actions.")
@click.option("--type", "kind", required=True, help="One of its resource types.")
@click.option("--person", help="User name; without it only those are told whose answer changes.")
@click.option("--resource", help="Id of one resource; default any that nothing is known of.")
@click.option("--property", "properties", multiple=True, metavar="NAME=VALUE", help="As the application would send it: resource.unit=UNIT.")
@click.option("--assurance", type=click.IntRange(0, 2), default=0, help="How the person logged in: 1 password and code, 2 certificate.")
@click.option("--at", help="When it would be asked, such as 2026-12-31T08:00:00Z; default now.")
@click.option("--permit", multiple=True, metavar="ROLE[@UNIT]", help="Imagine a grant that lets the role, for resources of the unit.")
@click.option("--forbid", multiple=True, metavar="ROLE[@UNIT]", help="Imagine a grant that forbids it.")
@click.option("--draft", type=click.File("rb"), help="JSON list of imagined grants, with times and conditions as the REST API takes them.")
@click.option("--withdraw", multiple=True, metavar="GRANT", help="Imagine that this grant is withdrawn.")
@as_person
def authz_simulate(api: Api, *, as_json: bool, **wanted: Any) -> None:
    """Compare what an application is told now with what it would be told; changes nothing.

    Imagined are grants of the action and type in question, or another time. Tells who gains and who loses by it.
    """
    answer = api.post("/api/v1/authz/simulate", simulation.body(**wanted))
    output.show(answer, as_json=as_json, text=lambda: simulation.tell(answer))


@authz.command("replay", example="yumen authz replay access/1 17")
@click.argument("log")
@click.argument("index", type=int)
@as_person
def authz_replay(api: Api, log: str, index: int, *, as_json: bool) -> None:
    """Decide a recorded decision again, with the grants of now; for auditors.

    LOG is name and epoch, such as access/1. Roles, properties and time are those that were stored. The replay is recorded.
    """
    answer = api.get(f"/api/v1/events/{quote(log)}/{index}/replay")
    rows = [{"which": which, **answer[which]} for which in ("recorded", "now")]
    output.show(answer, as_json=as_json, text=lambda: output.table(rows, ["which", "decision", "reason", "rule", "revision"]))


@click.command("head", cls=Command, example="yumen audit head ca > saved.note")
@click.argument("log", type=click.Choice(["ca", "access"]))
@as_person
def head(api: Api, log: str, *, as_json: bool) -> None:
    """Print the signed checkpoint of a log. Keep it outside: it is what `yumen audit verify --trust` compares with."""
    note = api.text(f"/log/{log}/checkpoint")
    output.show({"log": log, "note": note}, as_json=as_json, text=lambda: click.echo(note, nl=False))


@click.command("search", cls=Command, example='yumen audit search "code:CA1004 since:2026-11-01"')
@click.argument("query", default="")
@click.option("--after", help="Continue after this place (`next` of the page before).")
@as_person
def search(api: Api, query: str, after: str | None, *, as_json: bool) -> None:
    """Search the trail, newest first; for auditors. The search itself is recorded."""
    answer = api.get("/api/v1/events", q=query, after=after)
    rows = [_event_row(item) for item in answer["items"]]
    output.show(answer, as_json=as_json, text=lambda: output.table(rows, ["log", "idx", "at", "code", "act", "actor", "obj", "out", "rsn"]))
    _tell_more(answer, as_json=as_json)


@click.command("prove", cls=Command, example="yumen audit prove ca/1 17 > event.tlog-proof")
@click.argument("log")
@click.argument("index", type=int)
@as_person
def prove(api: Api, log: str, index: int, *, as_json: bool) -> None:
    """Print the proof that an event stands in the log (C2SP tlog-proof): LOG is name and epoch, such as ca/1."""
    proof = api.text(f"/api/v1/events/{quote(log)}/{index}/proof")
    output.show({"log": log, "idx": index, "proof": proof}, as_json=as_json, text=lambda: click.echo(proof, nl=False))


@click.command("export", cls=Command, example='yumen audit export "obj:request:42" --out story.zip')
@click.argument("query", default="")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The file to write (zip, mode 0600).")
@as_person
def export(api: Api, query: str, out: Path, *, as_json: bool) -> None:
    """Export events with their proofs and a verifier that needs nothing but Python; the export is recorded."""
    with output.progress("exporting"):
        bundle = api.download("/api/v1/exports", {"q": query})
    session.write_private(out, bundle)
    output.show({"file": str(out), "bytes": len(bundle)}, as_json=as_json)


@click.command(cls=Command, example="yumen enroll --uid zhangsan --out zhangsan.p12")
@server_options
@click.option("--uid", help="Your user name; asked for when missing.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default="yumen.p12",
    show_default=True,
    help="The PKCS#12 file to write (mode 0600).",
)
@click.option("--profile", default="staff-sign", show_default=True, help="What kind of certificate.")
@click.option("--patience", type=click.IntRange(0), default=0, help="Seconds to wait for the registrar before coming back later.")
@json_option
def enroll(server: Server, *, as_json: bool, **options: Any) -> None:
    """Get a certificate. The key is made on this machine and never sent.

    Run it again with the same --out to go on where it stopped. The password of the file is asked for, or taken from
    YUMEN_P12_PASSWORD; login as in `yumen login`.
    """
    enrolment.run(server, enrolment.Wish(**options), as_json=as_json)


def _event_row(item: dict[str, Any]) -> dict[str, Any]:
    body = item["body"]
    actor = body["actor"]
    at = dt.datetime.fromtimestamp(body["t"] // 1_000_000, dt.UTC).isoformat()
    return {**body, "log": item["log"], "idx": item["idx"], "at": at, "actor": f"{actor['k']}:{actor['id']}"}


def _page(answer: Any, columns: list[str], *, as_json: bool) -> None:
    output.show(answer, as_json=as_json, text=lambda: output.table(answer["items"], columns))
    _tell_more(answer, as_json=as_json)


def _tell_more(answer: Any, *, as_json: bool) -> None:
    if not as_json and answer.get("next"):
        click.echo(f"more: repeat with --after {answer['next']}", err=True)
