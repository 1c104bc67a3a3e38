"""The gate: may the holder of this certificate do this to that path of an application? Asked by the application's proxy.

The proxy is the application, authenticated and registered as a proxy; what the user shows is verified in full all the
same. The method is the action, in lower case; the path is a resource of the type `path`, and its beginnings are
properties that conditions of grants can compare: `resource.prefix1` is `/finance`, `resource.prefix2` `/finance/reports`.
Every answer is in the trail, with all it depended on, before it is given.
"""

from __future__ import annotations

from typing import NamedTuple

from audit.event import Event
from audit.permit import Action
from audit.trail import Trail
from authz import authzen, evaluate, verify
from authz.authzen import SUBJECT_TYPE, Ask
from authz.caller import Assurance, Caller
from authz.evaluate import Verdict
from authz.people import Person
from authz.snapshot import Snapshot
from authz.world import World
from certs.names import Kind as Subject
from core.errors import Denied

#: The resource type under which an application registers that it is asked about paths.
PATH_TYPE = "path"
#: How many beginnings of a path are properties.
MAX_PREFIXES = 8
#: Reasons that say that nobody known stands before the gate.
NO_CERTIFICATE, NO_PERSON = "no_certificate", "no_person"


class Passing(NamedTuple):
    """What a proxy says of the request that it holds back."""

    #: The method in lower case.
    action: str
    #: The path as the application will see it: decoded once, without dot segments and without the query.
    path: str
    #: DER of the certificate that the user showed to the proxy.
    certificate: bytes | None
    #: Why the request cannot be decided on, such as `ambiguous-path`; empty when it can.
    against: str = ""


class Told(NamedTuple):
    """The gate's answer. `person` is there when the certificate was accepted, `event` when it is not merely counted."""

    verdict: Verdict
    event: Event | None
    person: Person | None
    roles: tuple[str, ...] = ()


def require_proxy(caller: Caller) -> None:
    """Check that what this caller says of others may be listened to.

    Raises:
        Denied: it is no application, or none that is registered as a proxy.
    """
    if caller.application is None or not caller.application.proxy:
        raise Denied("only the registered proxy of an application may ask here; have it registered", reason="not-a-proxy")


def decide(world: World, trail: Trail, caller: Caller, passing: Passing) -> Told:
    """The answer to a caller for whom `require_proxy` has passed; it may be given when its event is in the trail.

    Who shows no certificate of ours is an outsider, whatever the proxy is: beyond ten a minute his refusals are counted.

    Raises:
        Denied: the application may not ask, which is recorded.
        Malformed: the user's certificate cannot be read.
        Unavailable: that cannot be recorded.
    """
    application, snapshot = authzen.asker(world, trail, caller, Action.EVALUATE)
    now = world.clock()
    person, cert, against = _subject(world, snapshot, passing.certificate)
    facts = prefixes(passing.path) | ({"subject.certificate": cert} if cert else {})
    ask = Ask(SUBJECT_TYPE, person.id if person else "", passing.action, PATH_TYPE, passing.path, facts, Assurance.CERTIFICATE)
    verdict, question = Verdict(allowed=False, reason=passing.against or against), None
    if not verdict.reason:
        verdict, question = authzen.weigh(snapshot, application, ask, person, now)
    if person is None and not admitted(world, caller):
        return Told(verdict, None, None)
    event = authzen.event(snapshot, verdict, ask, caller, person, question)._replace(cert=cert)
    roles = tuple(dict.fromkeys(held["role"] for held in verify.roles_in(snapshot, application, person))) if person else ()
    return Told(verdict, event, person, roles)


def admitted(world: World, caller: Caller) -> bool:
    """Whether one more refusal before this application's gate gets an event of its own; the others are counted."""
    return caller.application is None or world.tally.admit(f"gate:{caller.application.id}", world.clock())


def prefixes(path: str) -> dict[str, object]:
    """The beginnings of `path` by property; where it is shorter, the whole of it, so that each property is known."""
    parts = [part for part in path.split("/") if part]
    found = {f"resource.prefix{number}": "/" + "/".join(parts[:number]) for number in range(1, MAX_PREFIXES + 1)}
    return {name: value for name, value in found.items() if evaluate.comparable(value)}


def _subject(world: World, snapshot: Snapshot, certificate: bytes | None) -> tuple[Person | None, str, str]:
    """Who holds the certificate, how events name it, and what speaks against believing it."""
    if certificate is None:
        return None, "", NO_CERTIFICATE
    shown = world.verifier.present_der([certificate], world.trust(), snapshot, world.clock())
    if shown.reasons:
        return None, verify.named(shown), shown.reasons[0]
    identity = shown.identity
    person = snapshot.directory.find(identity.id) if identity and identity.kind is Subject.PERSON else None
    return person, verify.named(shown), "" if person else NO_PERSON
