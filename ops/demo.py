"""`yumen init --demo`: a home with everything in it, for loopback only and for ever a demonstration.

What only a demonstration may write down stands in `demo.json` (mode 0600). Passwords and one-time secrets are derived
from `demo.seed`, so a making that was interrupted is completed by a second run: every step looks first at what is there.
The settings file is written last: where it is, the home is whole.
"""

from __future__ import annotations

import base64
import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audit.permit import Action, Permit
from audit.record import recording
from authz import province, totp
from authz.confirm import Named
from authz.decide import Target, service_permit
from authz.province import Account
from authz.snapshot import CONFIRMED
from ca import ceremony
from ca.ceremony import Plan, PlannedAuthority
from core.errors import Conflict, Unavailable
from core.seal import write_durably
from core.settings import Settings, load, parse
from ops import demo_data, homes, init
from ops.first import KeyFile, chain_pem, first_certificate
from ops.node import DEMO, Node, open_node

#: What the settings file of a demonstration says besides its mode.
_WEB_SETTINGS = ("https", "http", "https_url", "http_url")


@dataclass(frozen=True, slots=True)
class Made:
    """Where the demonstration lies, and the file that tells its accounts."""

    home: Path
    accounts: Path


def make_demo(home: Path, environ: Mapping[str, str], *, tell: init.Say) -> Made:
    """Make the demonstration in `home`, or complete one whose making was interrupted; a whole one is left as it is.

    Addresses in `environ` (`YUMEN_WEB_…`) are written into the settings file.

    Raises:
        BadSettings: an address is not of loopback, or the home is one of production.
        Unavailable: the disk refuses.
    """
    if (home / "yumen.toml").exists():
        settings = load({**environ, "YUMEN_HOME": str(home)})
        _must_be_demo(settings)
        if not homes.accounts_file(home).exists():
            _make(settings, tell)
        return Made(home, homes.accounts_file(home))
    settings = parse({"mode": "demo"}, {name: environ[name] for name in environ if name.startswith("YUMEN_WEB_")}, home)
    homes.make(home)
    _write_once(homes.secret_file(home), secrets.token_urlsafe(32).encode() + b"\n")
    _write_once(home / "demo.seed", secrets.token_hex(16).encode() + b"\n")
    _make(settings, tell)
    write_durably(home / "yumen.toml", _settings_text(settings).encode())
    return Made(home, homes.accounts_file(home))


def _make(settings: Settings, tell: init.Say) -> None:
    """Everything but the settings file; what is there stays."""
    tell("province")
    accounts = _write_province(settings)
    init.make_home(settings, tell=tell)
    node = open_node(settings, role="operator", with_keys=True)
    try:
        _fill(node, accounts, tell)
    finally:
        node.close()


def refresh_accounts(settings: Settings) -> None:
    """Bring the addresses and paths in `demo.json` up to date: a home may have moved, and settings may have changed."""
    path = homes.accounts_file(settings.home)
    if not path.exists():
        raise Unavailable("`{path}` is missing; run `yumen init --demo`, which makes new API keys and tells everything again", path=path)
    told = json.loads(path.read_bytes())
    now = told | _addresses(settings)
    now["applications"] = [application | _files(settings.home, application["id"]) for application in told["applications"]]
    if now != told:
        write_durably(path, _json(now))


def _fill(node: Node, accounts: list[Account], tell: init.Say) -> None:
    settings = node.settings
    plan = _plan(accounts)
    with node.database.reading() as session:
        first = ceremony.is_first(session)
    if first:
        tell("ceremony")
        init.perform(node, plan, say=lambda _: None)
    node.world.refresh()
    write_durably(homes.root_file(settings.home), init.root_pem(node), 0o644)
    admitted = init.admission(node, plan)
    tell("certificate of the portal")
    init.certify_portal(node, plan)
    owners = {account.roles[0]: account for account in reversed(accounts)}
    places = demo_data.Places(province=owners["app-owner"].unit, county=owners["staff"].unit)
    tell("one-time codes")
    told = [_account(node, account) for account in accounts]
    applications = []
    for each in demo_data.APPLICATIONS:
        tell(f"application {each.id}")
        demo_data.register_application(node, each, places, owner=owners["app-owner"].uuid)
        applications.append(_application(node, each.id, admitted))
    ref, name, hosts = demo_data.COUNTY_SERVER
    demo_data.register_asset(node, ref, name, hosts, unit=places.county, owner=owners["staff"].uuid)
    assert node.publisher is not None
    node.publisher.publish()
    write_durably(homes.accounts_file(settings.home), _json({**_addresses(settings), "accounts": told, "applications": applications}))


def _application(node: Node, application: str, admitted: Permit) -> dict[str, str]:
    """Certificate and key in files, and a fresh API key: nobody can read an earlier one again."""
    files = _files(node.settings.home, application)
    issued = first_certificate(node, f"application:{application}", "application", KeyFile(Path(files["key"])).load(), permit=admitted)
    write_durably(Path(files["cert"]), chain_pem(node, issued))
    return {"id": application, **files, "api_key": demo_data.make_api_key(node, application)}


def _account(node: Node, account: Account) -> dict[str, Any]:
    person = node.world.current().directory.people[account.uuid]
    secret = _totp_secret(node.settings.home, account.uid)
    with node.database.reading() as session:
        enrolled = totp.active(session, person.uuid) is not None
    if not enrolled:
        permit = service_permit(node.world, node.trail, "demo", Action.TOTP_ENROL, Target(f"person:{person.id}", unit=person.unit))
        with recording(node.trail) as tx:
            totp.enrol_known(tx, node.world.keys, person, secret, permit=permit)
    return {
        "uid": account.uid,
        "name": account.name,
        "password": account.password,
        "totp": secret,
        "roles": list(account.roles),
        "unit": account.unit_name,
    }


def _plan(accounts: list[Account]) -> Plan:
    """The ceremony of every demonstration: one root named DEMO, three issuing authorities, people who count from the start."""
    people = [
        Named(account.uuid, holding.role, holding.unit) for account in accounts for holding in account.holdings if holding.role in CONFIRMED
    ]
    issuing = (("staff", "staff-sign", "Staff"), ("servers", "server", "Server"), ("applications", "application", "Application"))
    return Plan(
        name="demo",
        organisation="Yumen DEMO",
        root=PlannedAuthority(id="root", name=f"{DEMO} Yumen Root", suite="ecdsa-p384-sha384"),
        issuing=tuple(PlannedAuthority(id=id_, name=f"{DEMO} Yumen {name} CA", profiles=(profile,)) for id_, profile, name in issuing),
        people=tuple(people),
    )


def _write_province(settings: Settings) -> list[Account]:
    """The accounts, and their directory unless it is there: people may have edited it."""
    seed = int((settings.home / "demo.seed").read_text("ascii"), 16)
    path = settings.home / settings.directory.ldif
    return province.accounts(seed) if path.exists() else province.write(path, seed=seed)


def _totp_secret(home: Path, uid: str) -> str:
    seed = (home / "demo.seed").read_bytes().strip()
    return base64.b32encode(hmac.digest(seed, b"totp " + uid.encode(), "sha256")[:20]).decode()


def _addresses(settings: Settings) -> dict[str, str]:
    status = f"http://localhost:{settings.web.http.rpartition(':')[2]}"
    return {"https": settings.web.https_url, "http": status, "ca_file": str(homes.root_file(settings.home))}


def _files(home: Path, application: str) -> dict[str, str]:
    return {"cert": str(home / "certs" / f"{application}.pem"), "key": str(home / "certs" / f"{application}.key")}


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1).encode() + b"\n"


def _settings_text(settings: Settings) -> str:
    """TOML with the addresses as they are; everything else keeps its default, see docs/settings.md."""
    lines = ["# Written by `yumen init --demo`. Every setting is described in docs/settings.md.", 'mode = "demo"', "", "[web]"]
    return "\n".join([*lines, *(f'{name} = "{getattr(settings.web, name)}"' for name in _WEB_SETTINGS), ""])


def _must_be_demo(settings: Settings) -> None:
    if not settings.demo:
        raise Conflict(
            "`{home}` is a production home and never becomes a demonstration; name another one in YUMEN_HOME", home=settings.home
        )


def _write_once(path: Path, data: bytes) -> None:
    if not path.exists():
        write_durably(path, data)
