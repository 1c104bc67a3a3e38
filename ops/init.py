"""Making a home: folders, schema, the logs' keys and first epochs; and the ceremony that makes the authorities.

Every step looks first at what is there already, so that a home whose making was interrupted is completed by a second run.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from urllib.parse import urlsplit

from audit.checkpoint import create_log_keys
from audit.permit import Action, Permit
from audit.record import recording
from audit.trail import Writer, open_trail
from authz import applications
from authz.decide import Target, service_permit
from authz.keys import open_keys
from ca import ceremony
from certs import bundles
from core.clock import system
from core.errors import Conflict, Malformed, Unavailable
from core.seal import write_durably
from core.settings import Settings
from ops import codes, homes, postgres, rights
from ops.claims import writer_name
from ops.codes import HandOver
from ops.first import SealedKey, first_certificate
from ops.node import Node, open_database, open_node, responder_signers, writes_as
from ops.renewal import PORTAL, renew_listener

Say = Callable[[str], None]


def require_no_demo(settings: Settings) -> None:
    """Check that a home of production may be made here.

    Raises:
        Conflict: the home is a demonstration, which never becomes anything else.
    """
    if settings.demo:
        raise Conflict("`{home}` is a demonstration and stays one; name another home in YUMEN_HOME", home=settings.home)


def make_home(settings: Settings, *, tell: Say, admin_url: str = "") -> None:
    """Folders, schema, both logs and their keys. With `admin_url` PostgreSQL is prepared and nothing else: its administrator has no home.

    Raises:
        Malformed: an administrator's address without a database to prepare.
        Unavailable: a secret cannot be read, or the disk or the database refuses.
    """
    if admin_url and not settings.database.url:
        raise Malformed("`--admin-url` prepares PostgreSQL: name the database in `database.url` first")
    if admin_url:
        tell("roles, schema and rights")
        postgres.prepare(admin_url)
        return
    rights.must_own(settings)
    homes.make(settings.home, shared=not settings.embedded)
    rights.must_fit(settings, with_keys=True)
    tell("schema")
    database = open_database(settings)
    try:
        tell("keys of the logs")
        name, claim = writer_name(settings.home, "operator")
        writer = Writer.fresh(writes_as(name, settings))
        vault = homes.web_vault(settings)
        open_keys(vault)
        vault.secret("form")  # here, because a process that serves may write nothing
        trail = open_trail(database, system, writer, vault.secret("privacy"), settings.audit)
        try:
            create_log_keys(trail, homes.worker_vault(settings), homes.notes_folder(settings.home))
        finally:
            trail.close()
            claim.release()
    finally:
        database.engine.dispose()


def hold_ceremony(settings: Settings, text: str, *, say: Say, hand_over: HandOver | None) -> list[str]:
    """Perform the ceremony that `text` (TOML) describes and give its transcript.

    `hand_over` gets the first codes of the people named, once, before they count; None where there is no place to show them.

    Raises:
        Malformed: the file breaks its format, or there is no place for the codes of the people that it names.
        Denied, Conflict: the ceremony is not possible any more; the refusal is in the trail.
        Unavailable: the clock was stepped; what is made here bears its time for decades.
    """
    plan = ceremony.parse(text)
    node = open_node(settings, role="operator", with_keys=True)
    try:
        if node.hour.doubtful:
            raise Unavailable("no ceremony is held now: {problems}", problems="; ".join(node.hour.problems()))
        with node.database.reading() as session:
            first = ceremony.is_first(session)
        if first and plan.people and hand_over is None:
            raise Malformed("the file names people, who get codes: hold the ceremony at a terminal, or name a new file with `--codes`")
        lines = perform(node, plan, say=say, hand_over=hand_over)
        write_durably(homes.root_file(settings.home), root_pem(node), 0o644)
        if first and any("server" in each.profiles for each in plan.issuing):
            certify_portal(node, plan)
            say(f"the portal has its certificate; the root to trust is {homes.root_file(settings.home)}")
        return lines
    finally:
        node.close()


def perform(node: Node, plan: ceremony.Plan, *, say: Say, hand_over: HandOver | None = None) -> list[str]:
    """The ceremony on an open node; each line of the transcript is said when its step is done."""
    assert node.works is not None
    naming = None
    if hand_over is not None:
        people = codes.permitted(node, (who.person for who in plan.people))
        naming = partial(codes.hand_out, node=node, people=people, hand_over=hand_over)
    return ceremony.perform(node.works, plan, responders=responder_signers(node), say=say, permit=admission(node, plan), naming=naming)


def certify_portal(node: Node, plan: ceremony.Plan) -> None:
    """Give the portal its first certificate, for its own names, and put it where the listener reads it."""
    units = node.world.refresh().directory.units.values()
    province = next((unit.id for unit in units if not unit.parent), "")
    host = urlsplit(node.settings.web.https_url).hostname or "localhost"
    names = sorted({"localhost", "127.0.0.1", "::1", host} if node.settings.demo else {host})
    facts = {"name": "Yumen", "unit": province, "names": names}
    if PORTAL not in node.world.current().assets:
        target = Target(PORTAL, unit=province, owner="operator")
        permit = service_permit(node.world, node.trail, "operator", Action.ASSET_REGISTER, target)
        with recording(node.trail) as tx:
            applications.register_asset(tx, PORTAL, facts, permit=permit)
        node.world.refresh()
    first_certificate(node, PORTAL, "server", SealedKey(node.web_vault, "tls/server").load(), permit=admission(node, plan))
    renew_listener(node)


def admission(node: Node, plan: ceremony.Plan) -> Permit:
    """The permit of the ceremony, under which first certificates are admitted."""
    return service_permit(node.world, node.trail, "operator", Action.CEREMONY_PERFORM, Target(plan.resource))


def root_pem(node: Node) -> bytes:
    """The root certificates of the home, PEM."""
    return bundles.pem(node.world.trust().roots)
