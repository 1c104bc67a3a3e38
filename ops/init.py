"""Making a home: folders, schema, the logs' keys and first epochs; and the ceremony that makes the authorities.

Every step looks first at what is there already, so that a home whose making was interrupted is completed by a second run.
"""

from __future__ import annotations

from collections.abc import Callable

from audit.checkpoint import create_log_keys
from audit.permit import Action
from audit.trail import Writer, open_trail
from authz.decide import Target, service_permit
from ca import ceremony
from certs import bundles
from core.clock import system
from core.settings import Settings
from ops import homes
from ops.claims import writer_name
from ops.node import Node, open_database, open_node, privacy_key, responder_signers

Say = Callable[[str], None]


def make_home(settings: Settings, *, tell: Say) -> None:
    """Folders, schema, both logs and their keys.

    Raises:
        Unavailable: a secret cannot be read, or the disk refuses.
    """
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    tell("schema")
    database = open_database(settings)
    try:
        tell("keys of the logs")
        name, claim = writer_name(settings.home, "operator")
        trail = open_trail(database, system, Writer.fresh(name), privacy_key(homes.web_vault(settings)), settings.audit)
        try:
            create_log_keys(trail, homes.worker_vault(settings), homes.notes_folder(settings.home))
        finally:
            trail.close()
            claim.release()
    finally:
        database.engine.dispose()


def hold_ceremony(settings: Settings, text: str, *, say: Say) -> list[str]:
    """Perform the ceremony that `text` (TOML) describes and give its transcript.

    Raises:
        Malformed: the file breaks its format.
        Denied, Conflict: the ceremony is not possible any more; the refusal is in the trail.
    """
    plan = ceremony.parse(text)
    node = open_node(settings, role="operator", with_keys=True)
    try:
        return perform(node, plan, say=say)
    finally:
        node.close()


def perform(node: Node, plan: ceremony.Plan, *, say: Say) -> list[str]:
    """The ceremony on an open node; each line of the transcript is said when its step is done."""
    assert node.works is not None
    permit = service_permit(node.world, node.trail, "operator", Action.CEREMONY_PERFORM, Target(plan.resource))
    return ceremony.perform(node.works, plan, responders=responder_signers(node), say=say, permit=permit)


def root_pem(node: Node) -> bytes:
    """The root certificates of the home, PEM."""
    return bundles.pem(node.world.trust().roots)
