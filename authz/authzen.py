"""OpenID AuthZEN Authorization API 1.0: evaluation and evaluations for registered applications, and discovery.

Takes JSON that is parsed already (strictly: no member twice). An application is answered for its own registered actions
and resource types only. A no is an answer, not an error; every answer is in the trail, with all it depended on, before
it is given.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from audit.event import Event, Kind
from audit.permit import Action
from audit.trail import Receipt, Trail
from authz import evaluate
from authz.caller import Assurance, Caller
from authz.decide import Target, require
from authz.evaluate import Question, Verdict
from authz.people import Person
from authz.snapshot import Application, Freshness, Snapshot
from authz.world import World
from core.errors import Error, Malformed

#: Most members of one batch.
MAX_BATCH = 500
#: Longest identifier.
MAX_TEXT = 255
#: How long an answer may be kept by whoever asked.
VALID_SECONDS = 1
SUBJECT_TYPE = "user"
SEMANTICS = ("execute_all", "deny_on_first_deny", "permit_on_first_permit")
#: Values of `context.acr` by which an application tells how its user logged in.
ACR = {"urn:yumen:acr:code": Assurance.CODE, "urn:yumen:acr:cert": Assurance.CERTIFICATE}

_CERTIFICATE = re.compile(r"([0-9a-f]{64}):([0-9a-f]{1,40})")

#: What the user may be told, by reason: English, Chinese.
WORDS = {
    "granted": ("you may", "允许"),
    "wrong_role": ("your roles do not include `{role}`", "您没有角色“{role}”"),
    "no_grant": ("nobody has been given this here", "该操作尚未授予任何人"),
    "out_of_scope": ("your role covers other units", "您的角色不覆盖该单位"),
    "expired": ("this right has ended", "该授权已到期"),
    "not_yet_valid": ("this right has not begun yet", "该授权尚未生效"),
    "condition": ("a condition of this right is not met", "不满足授权条件"),
    "step_up": ("log in with a stronger method", "请用更高强度的方式登录"),
    "forbidden": ("this is forbidden here", "该操作被明令禁止"),
    "unknown_subject": ("this person is not known", "查无此人"),
    "inactive": ("this person has left", "该人员已停用"),
    "blocked": ("this account is blocked", "该账户已被停用"),
    "revoked": ("the certificate is revoked", "证书已被吊销"),
    "suspended": ("the certificate is suspended", "证书已被挂起"),
    "unknown_certificate": ("the certificate that was named cannot be read", "所指证书无法识别"),
    "unregistered_action": ("the application has not registered this action", "应用未登记该操作"),
    "unregistered_type": ("the application has not registered this resource type", "应用未登记该资源类型"),
    "stale": ("the directory has not been read for too long", "目录信息过旧"),
    "over_budget": ("too many grants for one question", "授权条目过多"),
}


class Ask(NamedTuple):
    """One question as it was sent."""

    subject_type: str
    subject: str
    action: str
    type: str
    resource: str
    #: Properties by `subject.…`, `resource.…`, `action.…`.
    facts: Mapping[str, Any]
    assurance: Assurance


class Decided(NamedTuple):
    """One answer: what is sent, and what is recorded."""

    body: dict[str, Any]
    event: Event


class Answered(NamedTuple):
    """What is answered, as soon as the events are in the trail: `told` gives it for their receipts."""

    events: Sequence[Event]
    told: Callable[[Sequence[Receipt]], dict[str, Any]]


def evaluation(world: World, trail: Trail, caller: Caller, body: Any) -> Answered:
    """The answer to one question.

    Raises:
        Malformed: an entity is missing or of the wrong type.
        Denied, Unavailable: the caller is no application that may ask, or that cannot be recorded.
    """
    application, snapshot = asker(world, trail, caller, Action.EVALUATE)
    decided = decide(snapshot, application, read(members(body)), caller, world.clock())
    return Answered([decided.event], lambda receipts: _told(decided, receipts[0]))


def evaluations(world: World, trail: Trail, caller: Caller, body: Any) -> Answered:
    """The answers to a batch, in its order; a batch without members is one question.

    Raises:
        Malformed: the batch as a whole is malformed; a malformed member is answered with false.
        Denied, Unavailable: as `evaluation`.
    """
    whole = members(body)
    batch, semantic = whole.get("evaluations", []), _semantic(whole)
    if type(batch) is not list or len(batch) > MAX_BATCH:
        raise Malformed("`evaluations` must be a list of at most {limit} objects", limit=MAX_BATCH)
    if not batch:
        return evaluation(world, trail, caller, body)
    application, snapshot = asker(world, trail, caller, Action.EVALUATE)
    defaults: dict[str, Any] = {name: entity(whole, name) for name in ("subject", "action", "resource", "context") if name in whole}
    now, found = world.clock(), list[Decided]()
    for member in batch:
        found.append(_member(snapshot, application, defaults, member, caller, now))
        if _settles(semantic, found[-1].body["decision"]):
            break
    return Answered(
        [decided.event for decided in found],
        lambda receipts: {"evaluations": [_told(decided, receipt) for decided, receipt in zip(found, receipts, strict=True)]},
    )


def configuration(base: str) -> dict[str, Any]:
    """The metadata of the decision point at `base`, an https address without a slash at its end (section 9)."""
    return {
        "policy_decision_point": base,
        "access_evaluation_endpoint": f"{base}/access/v1/evaluation",
        "access_evaluations_endpoint": f"{base}/access/v1/evaluations",
        "search_subject_endpoint": f"{base}/access/v1/search/subject",
        "search_resource_endpoint": f"{base}/access/v1/search/resource",
        "search_action_endpoint": f"{base}/access/v1/search/action",
        "capabilities": [],
    }


def asker(world: World, trail: Trail, caller: Caller, action: Action) -> tuple[Application, Snapshot]:
    """The application that asks, which may, and the snapshot that answers."""
    application = caller.application
    ref = f"app:{application.id}" if application else "app:"
    snapshot = world.current()
    if application is None or snapshot.freshness is not Freshness.STALE:
        require(world, trail, caller, action, Target(ref, owner=application.id if application else ""))
    if application is None:
        raise RuntimeError("the policy let somebody evaluate who is no application")
    return snapshot.applications.get(application.id, application), snapshot


def members(body: Any) -> dict[str, Any]:
    """`body` as an object.

    Raises:
        Malformed: it is none.
    """
    if type(body) is not dict:
        raise Malformed("the body must be a JSON object")
    return body


def read(body: Mapping[str, Any]) -> Ask:
    """The question in `body`, with all its entities.

    Raises:
        Malformed: naming the member.
    """
    subject, action, resource = (entity(body, name) for name in ("subject", "action", "resource"))
    return Ask(
        text(subject, "subject", "type"),
        text(subject, "subject", "id"),
        text(action, "action", "name"),
        text(resource, "resource", "type"),
        text(resource, "resource", "id"),
        facts({"subject": subject, "action": action, "resource": resource}),
        assurance(body),
    )


def entity(body: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The entity `name` of `body`.

    Raises:
        Malformed: it is missing or no object.
    """
    value = body.get(name)
    if type(value) is not dict:
        raise Malformed("`{name}` must be an object", name=name) if name in body else Malformed("`{name}` is missing", name=name)
    return value


def text(value: Mapping[str, Any], name: str, member: str) -> str:
    """The text `member` of the entity `name`.

    Raises:
        Malformed: it is missing, empty, too long or no text.
    """
    found = value.get(member)
    if type(found) is not str or not 0 < len(found) <= MAX_TEXT:
        raise Malformed("`{name}.{member}` must be a text of 1 to {limit} characters", name=name, member=member, limit=MAX_TEXT)
    return found


def facts(entities: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The properties that were sent, by `entity.property`; values that no condition can compare are left out.

    Raises:
        Malformed: `properties` is no object.
    """
    found = {}
    for name, value in entities.items():
        for key, content in (entity(value, "properties") if "properties" in value else {}).items():
            if evaluate.comparable(content):
                found[f"{name}.{key}"] = content
    return found


def assurance(body: Mapping[str, Any]) -> Assurance:
    """How well the application's user is known, by `context.acr`.

    Raises:
        Malformed: `context` is no object.
    """
    acr = entity(body, "context").get("acr") if "context" in body else None
    return ACR.get(acr, Assurance.NONE) if type(acr) is str else Assurance.NONE


def decide(snapshot: Snapshot, application: Application, ask: Ask, caller: Caller, now: dt.datetime) -> Decided:
    """The answer to `ask` and its event. Pure."""
    person = snapshot.directory.find(ask.subject) if ask.subject_type == SUBJECT_TYPE else None
    verdict, question = weigh(snapshot, application, ask, person, now)
    return Decided(_body(snapshot, verdict, now), event(snapshot, verdict, ask, caller, person, question))


def weigh(
    snapshot: Snapshot, application: Application, ask: Ask, person: Person | None, now: dt.datetime
) -> tuple[Verdict, Question | None]:
    """The verdict on `ask` for `person`, and what the evaluator was asked if it was. Pure."""
    reason = obstacle(snapshot, application, ask, person)
    if person is None or reason:
        return Verdict(allowed=False, reason=reason), None
    question = question_of(snapshot, application, ask, person, now)
    return evaluate.weigh(snapshot.permits, snapshot.forbids, question), question


def obstacle(snapshot: Snapshot, application: Application, ask: Ask, person: Person | None) -> str:
    """Why no grant is even looked at; empty when they are."""
    if snapshot.freshness is Freshness.STALE:
        return "stale"
    if ask.action not in application.actions:
        return "unregistered_action"
    if ask.type not in application.types:
        return "unregistered_type"
    if person is None:
        return "unknown_subject"
    return snapshot.barred(person) or _certificate(snapshot, ask.facts.get("subject.certificate"))


def _certificate(snapshot: Snapshot, named: object) -> str:
    """What is wrong with the certificate that the application says its user logged in with (`<issuer's key hash>:<serial>`)."""
    if named is None:
        return ""
    found = _CERTIFICATE.fullmatch(named) if type(named) is str else None
    return snapshot.standing.get((found[1], int(found[2], 16)), "") if found else "unknown_certificate"


def question_of(snapshot: Snapshot, application: Application, ask: Ask, person: Person, now: dt.datetime) -> Question:
    """What the evaluator is asked: what we know of the resource counts before what the application says of it."""
    believed = {name: value for name, value in ask.facts.items() if name in application.asserts}
    unit = believed.pop("resource.unit", None)
    if known := snapshot.resources.get((application.id, ask.type), {}).get(ask.resource):
        believed |= {f"resource.{name}": value for name, value in known.properties.items()}
        unit = known.unit or unit
    above = None if unit is None else snapshot.above(unit) if type(unit) is str else frozenset[str]()
    key = (application.id, ask.action, ask.type)
    return Question(key, snapshot.roles(person.uuid), above, int(now.timestamp()), int(ask.assurance), believed)


def _member(
    snapshot: Snapshot, application: Application, defaults: Mapping[str, Any], member: Any, caller: Caller, now: dt.datetime
) -> Decided:
    """The answer to one member of a batch: an entity that it gives replaces the default whole."""
    try:
        return decide(snapshot, application, read({**defaults, **members(member)}), caller, now)
    except Malformed as error:
        body = {"decision": False, "context": {"error": {"status": 400, "message": error.detail}}}
        return Decided(body, refused_input(caller, error))


def refused_input(caller: Caller, error: Error) -> Event:
    """The event of a question that could not be read."""
    ref = f"app:{caller.application.id}" if caller.application else "app:"
    return Event(
        kind=Kind.INPUT_REFUSED,
        actor=caller.actor,
        object=ref,
        outcome="deny",
        reason=error.code,
        source=caller.source,
        request_id=caller.request_id,
    )


def _semantic(whole: Mapping[str, Any]) -> str:
    options = entity(whole, "options") if "options" in whole else {}
    semantic = options.get("evaluations_semantic", SEMANTICS[0])
    if type(semantic) is not str or semantic not in SEMANTICS:
        raise Malformed("`options.evaluations_semantic` must be one of {known}", known=", ".join(SEMANTICS))
    return semantic


def _settles(semantic: str, decision: object) -> bool:
    return semantic == ("permit_on_first_permit" if decision else "deny_on_first_deny")


def _body(snapshot: Snapshot, verdict: Verdict, now: dt.datetime) -> dict[str, Any]:
    (english, chinese), second = WORDS[verdict.reason], int(now.timestamp())
    context: dict[str, Any] = {
        "reason": verdict.reason,
        "reason_user": {"en": english.replace("{role}", verdict.role), "zh": chinese.replace("{role}", verdict.role)},
        "revision": snapshot.revision,
        "evaluated_at": _written(second),
        "valid_until": _written(second + VALID_SECONDS),
    }
    if verdict.allowed:
        context["rule"] = verdict.grant
    elif verdict.grant or verdict.role:
        context["nearest"] = {"rule": verdict.grant, "role": verdict.role}
    if verdict.reason == "step_up":
        context["acr_values"] = " ".join(ACR)
    return {"decision": verdict.allowed, "context": context}


@lru_cache(maxsize=16)
def _written(second: int) -> str:
    """A second since 1970 as answers tell it, which many answers share."""
    return dt.datetime.fromtimestamp(second, dt.UTC).isoformat().replace("+00:00", "Z")


def event(snapshot: Snapshot, verdict: Verdict, ask: Ask, caller: Caller, person: Person | None, question: Question | None) -> Event:
    """The event of an answer, with everything that it depended on."""
    details: dict[str, Any] = {"action": ask.action[:128], "type": ask.type[:128]}
    personal = {"resource": ask.resource}
    if person is None:
        personal["subject"] = ask.subject
    else:
        details["subject"] = person.id
    if question is not None:
        details["inputs"] = evaluate.inputs(question, evaluate.considered(snapshot, question))
    return Event(
        kind=Kind.DECISION,
        actor=caller.actor,
        # Who asked is the actor; whom it was about is what people look for.
        object=f"person:{person.id}" if person else f"app:{caller.application.id if caller.application else ''}",
        outcome="allow" if verdict.allowed else "deny",
        reason=verdict.reason,
        rule=verdict.grant,
        revision=snapshot.revision,
        source=caller.source,
        request_id=caller.request_id,
        details=details,
        personal=personal,
    )


def _told(decided: Decided, receipt: Receipt) -> dict[str, Any]:
    """The answer with its place in the trail, which also is its id."""
    body = decided.body
    body["context"]["receipt"] = {"log": receipt.log, "idx": receipt.idx, "leaf": receipt.leaf}
    return body
