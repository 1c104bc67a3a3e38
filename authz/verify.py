"""Verifying an identity for an application: whether a certificate is in good standing, whose it is, what roles it brings.

It tells standing, not possession: who showed the certificate must have proved the key to the application itself. Only
roles that have grants in the asking application are told.
"""

from __future__ import annotations

from typing import Any

from audit.event import Event, Kind
from audit.permit import Action
from audit.trail import Trail
from authz.authzen import asker
from authz.caller import Caller
from authz.evidence import Presented
from authz.people import Person
from authz.snapshot import Application, Asset, Freshness, Snapshot
from authz.world import World
from certs import bundles
from certs.names import Kind as Subject


def identity(world: World, trail: Trail, caller: Caller, pem: str) -> dict[str, Any]:
    """What the chain in `pem` (leaf first) shows now: `{valid, reasons, subject, unit, roles, certificate, checked_at}`.

    Raises:
        Denied: the caller is no application that may ask.
        Malformed: there is no certificate in it, or something else than certificates.
        Unavailable: it cannot be recorded.
    """
    application, snapshot = asker(world, trail, caller, Action.IDENTITY_VERIFY)
    now = world.clock()
    chain = bundles.pem_chain(pem.encode("ascii", errors="replace"))
    shown = world.verifier.present(chain, world.trust(), snapshot, now)
    told = judged(snapshot, application, shown)
    told["checked_at"] = now.isoformat(timespec="seconds").replace("+00:00", "Z")
    trail.append([_event(snapshot, caller, shown, told)])
    return told


def judged(snapshot: Snapshot, application: Application, shown: Presented) -> dict[str, Any]:
    """The answer without its time. Nobody is named unless the certificate is ours. Pure."""
    reasons = list(shown.reasons)
    if snapshot.freshness is Freshness.STALE:
        reasons.append("stale")
    known = shown.identity if not set(reasons) & {"unknown-issuer", "bad-signature", "malformed"} else None
    person = snapshot.directory.find(known.id) if known and known.kind is Subject.PERSON else None
    asset = snapshot.assets.get(f"{known.kind}:{known.id}") if known and known.kind is not Subject.PERSON else None
    if not reasons:
        reasons += _against(snapshot, person, asset)
    subject = _subject(person, asset)
    unit = person.unit if person else asset.unit if asset else ""
    roles = roles_in(snapshot, application, person) if person and not reasons else []
    told = {"valid": not reasons, "reasons": reasons, "subject": subject, "unit": _unit(snapshot, unit), "roles": roles}
    return told | {"certificate": named(shown)}


def roles_in(snapshot: Snapshot, application: Application, person: Person) -> list[dict[str, str]]:
    """The person's roles that have grants in `application`, with the units in which they hold."""
    granted = {role for (owner, _, _), roles in snapshot.permits.items() if owner == application.id for role in roles}
    return [{"role": held.role, "unit": held.unit} for held in snapshot.roles(person.uuid) if held.role in granted]


def _against(snapshot: Snapshot, person: Person | None, asset: Asset | None) -> list[str]:
    if person is not None:
        barred = snapshot.barred(person)
        return [barred] if barred else []
    if asset is None:
        return ["unknown-subject"]
    return [] if asset.active else ["inactive"]


def _subject(person: Person | None, asset: Asset | None) -> dict[str, str] | None:
    if person is not None:
        return {"type": "user", "id": person.uid, "name": person.name}
    return {"type": asset.kind, "id": asset.id, "name": asset.name} if asset else None


def _unit(snapshot: Snapshot, unit: str) -> dict[str, Any] | None:
    found = snapshot.directory.units.get(unit)
    if found is None:
        return None
    return {"id": found.id, "name": found.name, "line": found.line, "path": [snapshot.directory.units[one].name for one in found.chain]}


def named(shown: Presented) -> str:
    """The certificate as events and questions name it; empty when its issuer is not known."""
    issuer, serial, _ = shown.certificate
    return f"{issuer}:{serial:x}" if issuer and 0 < serial < 1 << 160 else ""


def _event(snapshot: Snapshot, caller: Caller, shown: Presented, told: dict[str, Any]) -> Event:
    return Event(
        kind=Kind.IDENTITY_VERIFIED,
        actor=caller.actor,
        object=f"app:{caller.application.id if caller.application else ''}",
        outcome="allow" if told["valid"] else "deny",
        reason=told["reasons"][0] if told["reasons"] else "valid",
        cert=named(shown),
        revision=snapshot.revision,
        source=caller.source,
        request_id=caller.request_id,
        details={"reasons": told["reasons"]},
    )
