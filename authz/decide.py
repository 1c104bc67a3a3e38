"""Yumen's own decisions: may this caller do this to that? Only this file makes a `Permit`.

A refusal is recorded by itself before it is raised; an allowance is recorded by the event of the act that it allows. No
write transaction may be open meanwhile. Every no says why, and which row came nearest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from audit.event import Event, Kind
from audit.permit import Action, Actor, ActorKind, Permit
from audit.trail import Trail
from authz.caller import Caller
from authz.people import ROLES, Holding
from authz.policy import ROWS, Reach, Rule
from authz.snapshot import Freshness, Snapshot
from core.errors import Denied, Unauthenticated

#: What every application holds.
_APPLICATION = (Holding("application", ""),)
#: Ages of the directory at which rules refuse.
_TOO_OLD = {False: Freshness.STALE, True: Freshness.AGEING}

#: What a refused caller reads, by reason: why, and what to do next.
WORDS = {
    "wrong-role": "this needs the role {needed}; ask somebody who holds it, or your security administrator",
    "unconfirmed": "the directory gives you the role {needed}, but nobody has confirmed it; ask a security administrator to confirm it",
    "conflict": "your administrator roles exclude each other, so none of them counts; ask for one to be taken out of the directory",
    "own-request": "nobody decides on what is their own; ask another person with the role {needed}",
    "out-of-scope": "your role {needed} covers {places}, and this belongs to {unit}; ask somebody who is responsible there",
    "not-owner": "this belongs to somebody else; only its owner may do this",
    "inactive": "your account has ended in the directory; ask your registrar",
    "blocked": "your account is blocked; ask a security administrator",
    "revoked": "your certificate is revoked; log in another way and request a new one",
    "suspended": "your certificate is suspended; ask your registrar to release it",
    "demo-only": "this is possible in a demonstration home only",
    "stale": "the directory has not been read for too long, so the answer is no; try again, and tell the operator if it stays",
}
#: How near a miss is: the later in this tuple, the nearer.
NEARNESS = ("wrong-role", "demo-only", "conflict", "unconfirmed", "not-owner", "out-of-scope", "own-request", "stale")


class Target(NamedTuple):
    """What the caller wants to act on."""

    #: `request:42`, `cert:staff/1f3a`, `app:oa`, `person:p_…`, or `*` for a kind without objects.
    ref: str
    #: entryUUID of the unit it belongs to.
    unit: str = ""
    #: Pseudonym of the person, or id of the application, that it belongs to.
    owner: str = ""
    #: Pseudonym of the person who asked for it.
    requester: str = ""


class NearMiss(NamedTuple):
    """The row that came nearest to saying yes, and what it lacked."""

    rule: str
    reason: str
    #: Roles it would have needed, joined by `/`.
    needed: str


class Decision(NamedTuple):
    """Yes or no, why, by which rule and on which revision."""

    allowed: bool
    reason: str
    rule: str
    revision: int
    near_miss: NearMiss | None = None


class World(Protocol):
    """Where the newest snapshot comes from."""

    def current(self) -> Snapshot:
        """The newest snapshot; stale ones say so."""


def decide(snapshot: Snapshot, caller: Caller, action: Action, target: Target) -> Decision:
    """Whether `caller` may do `action` to `target` now. Pure: the same arguments give the same answer."""
    if barred := _barred(snapshot, caller):
        return Decision(allowed=False, reason=barred, rule="", revision=snapshot.revision)
    nearest: NearMiss | None = None
    for rule in ROWS[action]:
        reason = _lacks(snapshot, caller, rule, target)
        if not reason:
            return Decision(allowed=True, reason="allowed", rule=rule.id, revision=snapshot.revision)
        miss = NearMiss(rule.id, reason, "/".join(rule.roles))
        if nearest is None or NEARNESS.index(reason) > NEARNESS.index(nearest.reason):
            nearest = miss
    return Decision(
        allowed=False, reason=nearest.reason if nearest else "wrong-role", rule="", revision=snapshot.revision, near_miss=nearest
    )


def reach(snapshot: Snapshot, caller: Caller, action: Action) -> frozenset[str]:
    """Ids of the units on whose objects the caller may do `action` by its roles, for lists; what is one's own comes on top."""
    if not caller.known or _barred(snapshot, caller):
        return frozenset()
    units, found = snapshot.directory.units, set[str]()
    for rule in ROWS[action]:
        fresh = not rule.directory or snapshot.freshness < _TOO_OLD[rule.high_risk]
        if rule.reach is Reach.OWN or (rule.demo and not snapshot.demo) or not fresh:
            continue
        scopes = {holding.unit for holding in _fitting(snapshot, caller, rule)}
        if scopes and rule.reach in {Reach.ANY, Reach.OTHERS}:
            return frozenset(units)
        found |= {unit.id for unit in units.values() if scopes & unit.above}
    return frozenset(found)


def _barred(snapshot: Snapshot, caller: Caller) -> str:
    """What refuses this caller everything, whatever the rules say."""
    if caller.person is not None and (reason := snapshot.barred(caller.person)):
        return reason
    if caller.application is not None:
        known = snapshot.applications.get(caller.application.id)
        if known is None or not known.active:
            return "inactive"
    if caller.certificate is not None:
        return snapshot.standing.get((caller.certificate.issuer, caller.certificate.serial), "")
    return ""


def _lacks(snapshot: Snapshot, caller: Caller, rule: Rule, target: Target) -> str:
    """What keeps `rule` from allowing it; empty when nothing does."""
    if rule.demo and not snapshot.demo:
        return "demo-only"
    holdings = _fitting(snapshot, caller, rule)
    if not holdings:
        return _why_no_role(snapshot, caller, rule)
    if reason := _out_of_reach(snapshot, caller, rule, target, holdings):
        return reason
    return "stale" if rule.directory and snapshot.freshness >= _TOO_OLD[rule.high_risk] else ""


def _fitting(snapshot: Snapshot, caller: Caller, rule: Rule) -> Sequence[Holding]:
    """The caller's holdings that `rule` speaks of; services and applications hold their own kind, everywhere."""
    kind = caller.actor.kind
    if kind is ActorKind.PERSON and caller.person is not None:
        return [holding for holding in snapshot.roles(caller.person.uuid) if holding.role in rule.roles]
    if kind is ActorKind.APPLICATION and "application" in rule.roles:
        return _APPLICATION
    if kind is ActorKind.SERVICE and f"service:{caller.actor.id}" in rule.roles:
        return [Holding(f"service:{caller.actor.id}", "")]
    return []


def _why_no_role(snapshot: Snapshot, caller: Caller, rule: Rule) -> str:
    if caller.person is None:
        return "wrong-role"
    if snapshot.conflict(caller.person.uuid) & set(rule.roles):
        return "conflict"
    return "unconfirmed" if any(held.role in rule.roles for held in snapshot.unconfirmed(caller.person.uuid)) else "wrong-role"


def _out_of_reach(snapshot: Snapshot, caller: Caller, rule: Rule, target: Target, holdings: Sequence[Holding]) -> str:
    mine = caller.actor.id in {target.owner, target.requester} and caller.actor.id != ""
    if rule.reach is Reach.OWN:
        return "" if mine else "not-owner"
    if rule.reach in {Reach.SCOPE, Reach.SCOPE_OF_OTHERS}:
        above = snapshot.above(target.unit)
        if not any(holding.unit in above for holding in holdings):
            return "out-of-scope"
    return "own-request" if mine and rule.reach in {Reach.SCOPE_OF_OTHERS, Reach.OTHERS} else ""


def require(world: World, trail: Trail, caller: Caller, action: Action, target: Target) -> Permit:
    """The permit for `caller` to do `action` to `target`. Call it while no write transaction is open.

    Raises:
        Denied: the policy says no; the refusal is in the trail.
        Unauthenticated: nobody known is calling.
        Unavailable: the refusal could not be recorded.
    """
    if trail.database.in_write:
        raise RuntimeError("a permit is obtained before the write transaction begins")
    if not caller.known:
        raise Unauthenticated("log in first")
    snapshot = world.current()
    decision = decide(snapshot, caller, action, target)
    if not decision.allowed:
        trail.append([refusal(decision, caller, action, target)])
        raise _denied(snapshot, caller, decision, action, target)
    return Permit(_as_counted(snapshot, caller), action, target.ref, decision.rule, decision.revision, target.unit)


def service_permit(world: World, trail: Trail, name: str, action: Action, target: Target) -> Permit:
    """The permit for Yumen's own part `name`, under its rows of the policy page.

    Raises:
        Denied: as `require`.
    """
    return require(world, trail, Caller(actor=Actor.service(name)), action, target)


def refusal(decision: Decision, caller: Caller, action: Action, target: Target) -> Event:
    """The event that tells of a no."""
    details = {"action": str(action), "auth": caller.actor.auth}
    if decision.near_miss:
        details |= {"nearest": decision.near_miss.rule, "lacked": decision.near_miss.reason}
    return Event(
        kind=Kind.REFUSAL,
        actor=caller.actor,
        object=target.ref,
        outcome="deny",
        reason=decision.reason,
        rule=decision.near_miss.rule if decision.near_miss else "",
        revision=decision.revision,
        scope=target.unit,
        source=caller.source,
        request_id=caller.request_id,
        details=details,
    )


def _as_counted(snapshot: Snapshot, caller: Caller) -> Actor:
    if caller.person is None:
        return caller.actor
    return caller.actor._replace(roles=snapshot.role_names(caller.person.uuid))


def _denied(snapshot: Snapshot, caller: Caller, decision: Decision, action: Action, target: Target) -> Denied:
    units = snapshot.directory.units
    needed = decision.near_miss.needed if decision.near_miss else ""
    if decision.reason == "wrong-role":
        would_do = [role for rule in ROWS[action] if rule.reach is not Reach.OWN for role in rule.roles if role in ROLES]
        needed = "/".join(dict.fromkeys(would_do)) or needed
    held = snapshot.roles(caller.person.uuid) if caller.person else ()
    places = sorted({units[holding.unit].name for holding in held if holding.role in needed.split("/") and holding.unit in units})
    unit = units[target.unit].name if target.unit in units else "no unit"
    return Denied(WORDS[decision.reason], reason=decision.reason, needed=needed, places="、".join(places), unit=unit)
