"""How stored words (states, roles, reasons, profiles) are said to people. An unknown one is shown as it is stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from flask_babel import lazy_gettext as _l

from audit.event import Kind
from web.pages import language


@dataclass(frozen=True, slots=True)
class Word:
    """What is read, and how it looks: `good`, `wait`, `bad`, `idle` or plain."""

    label: Any
    look: str = ""


REQUEST: Mapping[str, Word] = {
    "submitted": Word(_l("Waiting for a registrar"), "wait"),
    "approved": Word(_l("Approved"), "wait"),
    "issuing": Word(_l("Being signed"), "wait"),
    "issued": Word(_l("Issued"), "good"),
    "refused": Word(_l("Refused"), "bad"),
    "returned": Word(_l("Returned"), "bad"),
    "failed": Word(_l("Failed"), "bad"),
}

CERTIFICATE: Mapping[str, Word] = {
    "valid": Word(_l("Valid"), "good"),
    "suspended": Word(_l("Suspended"), "wait"),
    "revoked": Word(_l("Revoked"), "bad"),
    "expired": Word(_l("Expired"), "idle"),
}

OUTCOME: Mapping[str, Word] = {
    "ok": Word(_l("Done"), "good"),
    "allow": Word(_l("Allowed"), "good"),
    "deny": Word(_l("Denied"), "bad"),
    "fail": Word(_l("Failed"), "bad"),
    "error": Word(_l("Error"), "bad"),
    "void": Word(_l("Void"), "idle"),
}

ROLE: Mapping[str, Any] = {
    "staff": _l("Staff"),
    "registrar": _l("Registrar"),
    "system-admin": _l("System administrator"),
    "security-admin": _l("Security administrator"),
    "auditor": _l("Auditor"),
    "app-owner": _l("Application owner"),
}


def roles(names: Iterable[str]) -> str:
    """Roles beside each other; what everybody has tells nothing."""
    people = [_l("Yumen itself") if name.startswith("service:") else say(ROLE, name) for name in names if name != "everyone"]
    return ", ".join(map(str, people)) or "–"


PROFILE: Mapping[str, Any] = {
    "staff-sign": _l("Staff signature and login"),
    "server": _l("Server"),
    "application": _l("Application"),
    "device": _l("Device"),
    "root": _l("Root authority"),
    "issuing": _l("Issuing authority"),
    "ocsp": _l("Status responder"),
}

AUTHENTICATION: Mapping[str, Any] = {
    "cert": _l("client certificate"),
    "password+totp": _l("password and one-time code"),
    "api-key": _l("API key"),
    "local": _l("inside Yumen"),
    "none": _l("not at all"),
}

#: How a person signed in, by the number that grants ask for.
ASSURANCE: Mapping[str, Any] = {
    "0": _l("anything"),
    "1": _l("password and one-time code"),
    "2": _l("client certificate"),
}

#: What a grant says.
EFFECT: Mapping[str, Any] = {"permit": _l("may"), "forbid": _l("must not")}

#: Of a grant, an application, an answer.
IN_FORCE, NOT_YET, ENDED = _l("In force"), _l("Not yet"), _l("Ended")
IN_USE, SWITCHED_OFF = _l("In use"), _l("Switched off")
NOW, THEN = _l("Now"), _l("Then")

#: What directory and confirmation make of a role.
AGREEMENT: Mapping[str, Word] = {
    "counts": Word(_l("Confirmed"), "good"),
    "unconfirmed": Word(_l("Not confirmed"), "wait"),
    "excluded": Word(_l("Does not count"), "bad"),
    "gone": Word(_l("Not in the directory"), "wait"),
}

#: The worker's jobs.
JOB: Mapping[str, Any] = {
    "issuance": _l("Issue what was approved"),
    "lists": _l("Publish revocation lists"),
    "checkpoint ca": _l("Sign the head of the log of keys and certificates"),
    "checkpoint access": _l("Sign the head of the log of logins and decisions"),
    "directory": _l("Read the directory"),
    "reconciler": _l("Compare facts and records"),
    "verifier": _l("Verify the whole trail"),
    "listener": _l("Renew the service's own certificate"),
}

#: How facts and events contradict each other.
CONTRADICTION: Mapping[str, Any] = {
    "fact-without-event": _l("a fact of which no event tells"),
    "event-without-fact": _l("an event whose fact is not there"),
    "differ": _l("the event says something else than the fact"),
    "told-twice": _l("told twice"),
    "numbers-missing": _l("events are missing"),
    "damaged": _l("damaged from that entry on"),
}

#: What is imagined before a grant is added.
IMAGINED: Mapping[str, Any] = {"": _l("– none –"), "permit": _l("lets the role"), "forbid": _l("forbids the role")}

#: Reasons of a revocation that a person may give (RFC 5280 section 5.3.1), the holder's first.
REVOCATION: Mapping[str, Any] = {
    "superseded": _l("I have a newer certificate"),
    "keyCompromise": _l("Key or password may be known to others"),
    "cessationOfOperation": _l("No longer needed"),
    "affiliationChanged": _l("Moved to another unit"),
    "privilegeWithdrawn": _l("Right withdrawn"),
    "unspecified": _l("Another reason"),
}

#: What the policy page can allow.
ACTION: Mapping[str, Any] = {
    "request:submit": _l("ask for a certificate"),
    "request:renew": _l("renew one's certificate"),
    "request:read": _l("look at a request"),
    "request:approve": _l("approve a request"),
    "request:refuse": _l("refuse a request"),
    "cert:read": _l("look at a certificate"),
    "cert:issue": _l("issue a certificate"),
    "cert:revoke": _l("revoke a certificate"),
    "cert:suspend": _l("suspend a certificate"),
    "cert:release": _l("release a suspended certificate"),
    "cert:sweep": _l("clear away an orphaned signature"),
    "status:publish": _l("publish a revocation list"),
    "ceremony:perform": _l("hold a key ceremony"),
    "authority:resume": _l("let a stopped authority go on"),
    "identity:verify": _l("verify an identity"),
    "access:evaluate": _l("ask for a decision"),
    "access:search": _l("search permissions"),
    "totp:enrol": _l("connect an authenticator"),
    "totp:code-issue": _l("hand out an enrolment code"),
    "session:end": _l("end sessions"),
    "person:confirm": _l("confirm a role"),
    "application:register": _l("register an application"),
    "application:switch": _l("switch an application off or on"),
    "register:read": _l("look at what is registered"),
    "grant:change": _l("add or withdraw a grant"),
    "asset:register": _l("register a server or device"),
    "history:read": _l("look at what concerns oneself"),
    "trail:read": _l("read the trail"),
    "trail:export": _l("export the trail"),
    "trail:verify": _l("verify the trail"),
    "system:read": _l("look at the system"),
    "system:assess": _l("assess the home"),
    "api-key:make": _l("make or withdraw an API key"),
    "account:block": _l("block an account"),
    "directory:accept": _l("accept a large change of the directory"),
    "authz:explain": _l("ask who may"),
    "contradiction:accept": _l("accept a contradiction"),
    "backup:make": _l("make a backup"),
    "backup:remove": _l("take away an old backup"),
    "backup:restore": _l("restore a home from a backup"),
    "drill:perform": _l("rehearse a restore"),
    "keys:reseal": _l("seal keys under a new secret"),
}

#: What can be done to a request or a certificate.
STEP: Mapping[str, Any] = {
    "approve": _l("approve"),
    "refuse": _l("refuse"),
    "return": _l("return"),
    "fail": _l("fail"),
    "intend": _l("intend"),
    "issue": _l("issue"),
    "suspend": _l("suspend"),
    "release": _l("release"),
    "revoke": _l("revoke"),
}

#: Why something was refused or ended, as the trail and the rows store it.
REASON: Mapping[str, Any] = {
    "allowed": _l("allowed"),
    "refused": _l("refused by a registrar"),
    "wrong-role": _l("none of the roles allows it"),
    "unconfirmed": _l("the role has not been confirmed"),
    "conflict": _l("administrator roles exclude each other"),
    "role-conflict": _l("administrator roles exclude each other"),
    "own-request": _l("nobody decides on what is their own"),
    "out-of-scope": _l("outside the scope of the role"),
    "not-owner": _l("it belongs to somebody else"),
    "inactive": _l("the account has ended"),
    "blocked": _l("the account is blocked"),
    "demo-only": _l("only in a demonstration"),
    "stale": _l("the directory has not been read for too long"),
    "wrong-kind": _l("not for this kind of caller"),
    "name-changed": _l("the name in the directory changed after the request"),
    "unit-changed": _l("the unit in the directory changed after the request"),
    "owner-changed": _l("the owner changed after the request"),
    "subject-inactive": _l("the person or asset is no longer active"),
    "not-buildable": _l("the certificate could not be made as asked; tell the operator"),
    "lint": _l("the certificate would break a rule; tell the operator"),
    "drops-too-much": _l("too many roles would be lost at once"),
    "bad-password": _l("wrong password"),
    "bad-code": _l("wrong one-time code"),
    "code-used": _l("one-time code used before"),
    "unknown": _l("unknown"),
    "throttled": _l("too many attempts"),
    "expired": _l("expired"),
    "revoked": _l("revoked"),
    "suspended": _l("suspended"),
    "malformed": _l("the input could not be read"),
    "unauthenticated": _l("not signed in"),
    "denied": _l("refused"),
    "not-found": _l("not there"),
    "keyCompromise": _l("key compromised"),
    "superseded": _l("replaced by a newer certificate"),
    "cessationOfOperation": _l("no longer needed"),
    "affiliationChanged": _l("moved to another unit"),
    "privilegeWithdrawn": _l("right withdrawn"),
    "certificateHold": _l("suspended for now"),
    "unspecified": _l("no reason given"),
}

#: Why an application is told yes or no.
VERDICT: Mapping[str, Any] = {
    "granted": _l("a grant allows it"),
    "wrong_role": _l("none of the roles has a grant"),
    "no_grant": _l("nobody has been given this"),
    "out_of_scope": _l("the role counts for other units"),
    "expired": _l("the grant has ended"),
    "not_yet_valid": _l("the grant has not begun"),
    "condition": _l("a condition is not met"),
    "step_up": _l("a stronger way of signing in is needed"),
    "forbidden": _l("a grant forbids it"),
    "unregistered_action": _l("the application has not registered the action"),
    "unregistered_type": _l("the application has not registered the resource type"),
    "over_budget": _l("too many grants for one question"),
    "inactive": _l("the account has ended"),
    "blocked": _l("the account is blocked"),
    "stale": _l("the directory has not been read for too long"),
}

#: What went wrong, as a heading, by the code of the error.
PROBLEM: Mapping[str, Any] = {
    "internal": _l("Something went wrong inside"),
    "malformed": _l("That cannot be read"),
    "unauthenticated": _l("Please sign in"),
    "denied": _l("Not allowed"),
    "not-found": _l("Not here"),
    "conflict": _l("Not possible any more"),
    "too-large": _l("Too large"),
    "rate-limited": _l("Too many attempts"),
    "code-used": _l("This code was used before"),
    "unavailable": _l("Not possible at the moment"),
    "recorded-not-yet-proved": _l("Done, the proof follows"),
}


def say(words: Mapping[str, Any], stored: str) -> Any:
    """The word for `stored`, or `stored` itself."""
    return words.get(stored, stored)


def mark(words: Mapping[str, Word], stored: str) -> Word:
    """The word and look for `stored`, or `stored` itself without a look."""
    return words.get(stored, Word(stored))


def kind(found: Kind | None, code: str) -> str:
    """What the event catalogue calls a kind of event; its code when this program does not know it yet."""
    if found is None:
        return code
    return found.value.zh if language.current() == "zh" else found.value.en
