"""The vocabulary of acts: who, what, on what; and the proof that the policy said yes.

It lives below the rooms that decide and act, so that both can speak it. Only `authz.decide` constructs a `Permit`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Action(StrEnum):
    """Everything that Yumen's own policy page can allow. Written `object:verb`; never renamed, never reused."""

    REQUEST_SUBMIT = "request:submit"
    REQUEST_RENEW = "request:renew"
    REQUEST_READ = "request:read"
    REQUEST_APPROVE = "request:approve"
    REQUEST_REFUSE = "request:refuse"
    CERT_READ = "cert:read"
    CERT_ISSUE = "cert:issue"
    CERT_REVOKE = "cert:revoke"
    CERT_SUSPEND = "cert:suspend"
    CERT_RELEASE = "cert:release"
    CERT_SWEEP = "cert:sweep"
    STATUS_PUBLISH = "status:publish"
    CEREMONY_PERFORM = "ceremony:perform"
    AUTHORITY_RESUME = "authority:resume"
    IDENTITY_VERIFY = "identity:verify"
    EVALUATE = "access:evaluate"
    SEARCH = "access:search"
    TOTP_ENROL = "totp:enrol"
    TOTP_CODE_ISSUE = "totp:code-issue"
    SESSION_END = "session:end"
    PERSON_CONFIRM = "person:confirm"
    APPLICATION_REGISTER = "application:register"
    APPLICATION_SWITCH = "application:switch"
    REGISTER_READ = "register:read"
    GRANT_CHANGE = "grant:change"
    ASSET_REGISTER = "asset:register"
    HISTORY_READ = "history:read"
    TRAIL_READ = "trail:read"
    TRAIL_EXPORT = "trail:export"
    TRAIL_VERIFY = "trail:verify"
    SYSTEM_READ = "system:read"
    SYSTEM_ASSESS = "system:assess"
    API_KEY_MAKE = "api-key:make"
    ACCOUNT_BLOCK = "account:block"
    DIRECTORY_ACCEPT = "directory:accept"
    AUTHZ_EXPLAIN = "authz:explain"
    CONTRADICTION_ACCEPT = "contradiction:accept"
    BACKUP_MAKE = "backup:make"
    BACKUP_RESTORE = "backup:restore"
    BACKUP_REMOVE = "backup:remove"
    DRILL_PERFORM = "drill:perform"
    KEYS_RESEAL = "keys:reseal"


class ActorKind(StrEnum):
    """What kind of caller an actor is."""

    PERSON = "person"
    APPLICATION = "application"
    SERVICE = "service"
    ANONYMOUS = "anonymous"


class Actor(NamedTuple):
    """Who is asking and how they proved it. A person's `id` is the pseudonym made from entryUUID, never a name."""

    kind: ActorKind
    #: Pseudonym of a person, id of an application, name of a service (`operator`, `issuance`, …), empty when anonymous.
    id: str
    #: How the caller was authenticated: `cert`, `password+totp`, `api-key`, `local`, `none`.
    auth: str
    #: Serial number of the certificate used, lower-case hex, or empty.
    serial: str = ""
    #: The roles that counted, sorted.
    roles: tuple[str, ...] = ()

    @classmethod
    def service(cls, name: str) -> Actor:
        """A part of Yumen itself, acting under its own rows of the policy page."""
        return cls(ActorKind.SERVICE, name, "local")


#: A caller that nobody knows.
ANONYMOUS = Actor(ActorKind.ANONYMOUS, "", "none")


@dataclass(frozen=True, slots=True)
class Permit:
    """`actor` may do `action` on `resource` under `rule` of snapshot `revision`. The check returns it, the act demands it."""

    actor: Actor
    action: Action
    #: What the permit is for, such as `request:42`, `cert:staff/1f3a`, `ca:staff`, or `*` for a kind without objects.
    resource: str
    rule: str
    revision: int
    #: Unit of the object when the policy was asked (entryUUID, or empty): the act compares it with the locked row.
    unit: str = ""

    def must_cover(self, action: Action, resource: str) -> None:
        """Refuse a permit that was given for something else: a bug in the caller, never a user's error."""
        if (self.action, self.resource) != (action, resource):
            raise RuntimeError(f"permit for {self.action} {self.resource} used for {action} {resource}")
