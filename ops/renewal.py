"""The service's own TLS certificate: asked for again before it ends, and put in place when it was issued.

The asset is `server:portal`. The certificate of OCSP responders is renewed by the authority itself.
"""

from __future__ import annotations

from pathlib import Path

from audit.permit import Action
from audit.record import recording
from authz.decide import Target, service_permit
from ca import certificates, registration
from ca.registration import Draft
from ca.states import Standing
from ca.subjects import facts
from ca.tables import Certificate
from certs import bundles, csr
from core.errors import NotFound
from core.seal import write_durably
from ops import homes
from ops.first import SealedKey, chain_pem, request_der
from ops.node import Node

PORTAL = "server:portal"


def renew_listener(node: Node) -> bool:
    """Put the newest certificate of the listener in place, and ask for the next one when a third of its life is left, or it is over.

    Gives whether the file changed: the listener must then take the new chain.
    """
    newest = _newest(node)
    if newest is None:
        return False
    if newest.not_after - node.clock() < (newest.not_after - newest.not_before) / 3:
        _ask(node, newest)
    return install(node, newest)


def install(node: Node, newest: Certificate) -> bool:
    """Write the chain of `newest` where the listener reads it, behind nginx also what nginx needs; whether that changed anything."""
    home = node.settings.home
    found = [(homes.tls_file(home), chain_pem(node, newest), 0o644)]
    if node.settings.web.socket != Path():
        key, asked = node.web_vault.get("tls/server"), bundles.pem(node.client_cas)
        found = [(homes.tls_key_file(home), key, 0o640), (homes.client_cas_file(home), asked, 0o644), *found]
    changed = [_put(path, data, mode) for path, data, mode in found]  # the certificate last: who watches it finds the rest in place
    return any(changed)


def _put(path: Path, data: bytes, mode: int) -> bool:
    if path.exists() and path.read_bytes() == data:
        return False
    path.parent.mkdir(exist_ok=True, mode=0o700)
    write_durably(path, data, mode)
    return True


def _newest(node: Node) -> Certificate | None:
    which = certificates.Filter(subject=PORTAL, standing=Standing.VALID)
    with node.database.reading() as session:
        return max(certificates.listing(session, which), key=lambda row: row.not_after, default=None)


def _ask(node: Node, newest: Certificate) -> None:
    which = registration.Filter(states=registration.UNDER_WAY, subject=PORTAL)
    with node.database.reading() as session:
        if registration.listing(session, which):
            return
    try:
        about = facts(node.world.current(), PORTAL)
    except NotFound:
        return
    permit = service_permit(node.world, node.trail, "renewal", Action.REQUEST_SUBMIT, Target(PORTAL, unit=about.unit))
    draft = Draft(profile=newest.profile, csr=csr.parse(request_der(SealedKey(node.web_vault, "tls/server").load())), facts=about)
    with recording(node.trail) as tx:
        registration.renew(tx, permit=permit, draft=draft, previous=newest.ref)
