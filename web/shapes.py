"""What bodies and answers of the REST API look like. Each shape is read by `strict.read` and published as a schema."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from web.strict import Text

Line = Annotated[str, Text(at_most=255, at_least=1)]
Remark = Annotated[str, Text(at_most=1_000)]
Secret = Annotated[str, Text(at_most=1_024, at_least=1)]
Pem = Annotated[str, Text(at_most=65_536, at_least=1)]
Name = Annotated[str, Text(at_most=128, at_least=1, pattern=r"[A-Za-z0-9][A-Za-z0-9._:/@-]*")]
Moment = Annotated[str, Text(at_most=40, pattern=r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,15}Z")]  #: RFC 3339 in UTC


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """Directory password and one-time code. With a client certificate the body is empty."""

    uid: Line
    password: Secret
    totp: Annotated[str, Text(at_most=64)] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOpened:
    """A session: send the token as `Authorization: Bearer`."""

    token: str
    expires_at: str
    assurance: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleHeld:
    """A role and the unit in which it was given."""

    role: str
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Me:
    """Who is calling, as Yumen knows it now."""

    kind: str
    id: str
    name: str
    unit: str
    unit_name: str
    auth: str
    roles: list[RoleHeld]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestBody:
    """A request for a certificate. `for` names a registered asset and defaults to the caller."""

    profile: Name
    csr: Pem
    for_: Name | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """One officer's word on a request."""

    by: str
    word: str
    comment: str
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestAnswer:
    """A request and how far it is; `serial` once it is issued."""

    id: int
    state: str
    profile: str
    for_: str
    name: str
    unit: str
    requester: str
    submitted_at: str
    serial: str | None
    reasons: list[str]
    decisions: list[Decided]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestList:
    """Requests, newest first; give `next` as `after` for the next page."""

    items: list[RequestAnswer]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comment:
    """Why a request is approved or refused."""

    comment: Remark = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why a certificate is revoked, suspended or released: a CRLReason name of RFC 5280 section 5.3.1."""

    reason: Annotated[str, Text(at_most=32, pattern="[A-Za-z]*")] = "unspecified"


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateAnswer:
    """A certificate and its standing."""

    serial: str
    authority: str
    profile: str
    subject: str
    name: str
    unit: str
    standing: str
    reason: str
    not_before: str
    not_after: str
    request: int | None
    pem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateList:
    """Certificates, newest first; give `next` as `after` for the next page."""

    items: list[CertificateAnswer]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorityAnswer:
    """A certificate authority."""

    id: str
    name: str
    parent: str | None
    profiles: list[str]
    serial: str
    not_after: str
    pem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorityList:
    """The authorities, root first."""

    items: list[AuthorityAnswer]


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateShown:
    """A certificate that somebody showed to the calling application: PEM, leaf first."""

    certificate: Pem


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """Whose certificate it is and whether it stands: standing, not possession."""

    valid: bool
    reasons: list[str]
    subject: dict[str, Any] | None
    unit: dict[str, Any] | None
    roles: list[Any]
    #: Issuer's key (SHA-256) and serial, as evaluations and the trail name it; empty when it is not ours.
    certificate: str
    checked_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EventAnswer:
    """One entry of the trail: its place, and its body exactly as it was stored."""

    log: str
    idx: int
    leaf: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventList:
    """Entries, newest first; give `next` as `after` for the next page."""

    items: list[EventAnswer]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportBody:
    """Which entries to export, in the query language of the trail."""

    q: Annotated[str, Text(at_most=2_000)] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeFor:
    """The person who is to enrol one-time codes."""

    person: Line


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeIssued:
    """A one-time enrolment code, to be handed over in person. It is shown once."""

    code: str
    expires_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolBody:
    """Begin to enrol one-time codes: password and the registrar's code, or a session begun by certificate with nothing."""

    uid: Annotated[str, Text(at_most=255)] = ""
    password: Annotated[str, Text(at_most=1_024)] = ""
    code: Annotated[str, Text(at_most=64)] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolBegun:
    """The secret for the person's generator. It counts once its first code was shown."""

    id: str
    secret: str
    uri: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolFinish:
    """The first code of the new generator, with what `EnrolBody` gave."""

    totp: Annotated[str, Text(at_most=8, pattern="[0-9]{6,8}")]
    uid: Annotated[str, Text(at_most=255)] = ""
    password: Annotated[str, Text(at_most=1_024)] = ""
    code: Annotated[str, Text(at_most=64)] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryCodes:
    """Codes for the day the generator is lost. They are shown once."""

    codes: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationBody:
    """An application to register: what it asks about, who answers for it."""

    id: Annotated[str, Text(at_most=40, pattern="[a-z][a-z0-9-]*")]
    name: Line
    unit: Line
    owner: Line
    actions: list[Name] = field(default_factory=list)
    types: list[Name] = field(default_factory=list)
    #: Properties whose values are taken from the application, such as `resource.unit`.
    asserts: list[Name] = field(default_factory=lambda: ["resource.unit"])
    proxy: bool = False  #: whether its proxy may ask at the gate


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationAnswer:
    """A registered application."""

    id: str
    name: str
    unit: str
    owner: str
    active: bool
    actions: list[str]
    types: list[str]
    proxy: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationList:
    """The registered applications."""

    items: list[ApplicationAnswer]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyMade:
    """An API key. It is shown once."""

    id: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantBody:
    """What a role may, or may not, do in one application."""

    application: Name
    action: Name
    type: Name
    role: Name
    unit: Annotated[str, Text(at_most=36)] = ""
    effect: Annotated[str, Text(at_most=8, pattern="permit|forbid")] = "permit"
    not_before: Moment | None = None
    not_after: Moment | None = None
    assurance: int = 0
    conditions: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantAnswer:
    """A grant that was added."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetBody:
    """A server or device that may have certificates, with its approved names; applications are registered as such."""

    ref: Annotated[str, Text(at_most=128, pattern="(server|device):[a-z0-9][a-z0-9._-]*")]
    name: Line
    owner: Line
    unit: Line
    names: list[Name] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The act was done and recorded; `receipts` are the places of its events in the trail."""

    receipts: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleBody:
    """The role and the unit whose holding is confirmed."""

    role: Name
    unit: Line


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocking:
    """Why an account is blocked."""

    reason: Line


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryDigest:
    """The directory change that is accepted, by its digest."""

    digest: Annotated[str, Text(at_most=64, pattern="[0-9a-f]{64}")]


@dataclass(frozen=True, slots=True, kw_only=True)
class WhoCanBody:
    """The act that somebody would do, and the unit that its object belongs to."""

    action: Name
    unit: Annotated[str, Text(at_most=36)] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Able:
    """Somebody who may, and the rule that says so."""

    id: str
    uid: str
    name: str
    unit: str
    rule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AbleList:
    """Persons who may, at most 200."""

    items: list[Able]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """What the policy answers now, by which rule, and the rule that came nearest with what it lacked."""

    allowed: bool
    reason: str
    rule: str
    revision: int
    nearest: str
    lacked: str
    needed: str
