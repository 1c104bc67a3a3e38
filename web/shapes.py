"""What bodies and answers of the REST API look like. Each shape is read by `strict.read` and published as a schema."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from audit.permit import Action
from authz.applications import MAX_ASSERTS, MAX_NAMES
from certs.crl import HOLD
from web.kinds import (
    Chain,
    Conditions,
    Effect,
    Host,
    Level,
    Line,
    Moment,
    Name,
    Pkcs10,
    Property,
    Remark,
    Secret,
    TrailQuery,
    Unit,
    Why,
    Word,
)
from web.strict import Items, Text


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
    csr: Pkcs10
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
    """Why a certificate is revoked: a CRLReason name of RFC 5280 section 5.3.1."""

    reason: Why = "unspecified"


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspension:
    """Why a certificate is suspended: there is one reason only."""

    reason: Annotated[str, Text(at_most=32, pattern="certificateHold|unspecified")] = HOLD


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Why a suspension ends: there is one reason only."""

    reason: Annotated[str, Text(at_most=32, pattern="removeFromCRL|unspecified")] = "removeFromCRL"


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

    certificate: Chain


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
    """Entries, newest first; give `next` as `after` for the next page.

    With `reached` the page ended early: back to that moment was looked, and `next` goes on from there.
    """

    items: list[EventAnswer]
    next: str | None
    reached: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportBody:
    """Which entries to export, in the query language of the trail."""

    q: TrailQuery = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationBody:
    """An application to register: what it asks about, who answers for it."""

    id: Annotated[str, Text(at_most=40, at_least=1, pattern="[a-z](?:[a-z0-9-]*[a-z0-9])?")]
    name: Line
    unit: Line
    owner: Line
    actions: Annotated[list[Word], Items(at_most=MAX_NAMES)] = field(default_factory=list)
    types: Annotated[list[Word], Items(at_most=MAX_NAMES)] = field(default_factory=list)
    #: Properties whose values are taken from the application, such as `resource.unit`.
    asserts: Annotated[list[Property], Items(at_most=MAX_ASSERTS)] = field(default_factory=lambda: ["resource.unit"])
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
    unit: Unit = ""
    effect: Effect = "permit"
    not_before: Moment | None = None
    not_after: Moment | None = None
    assurance: Level = 0
    #: What properties must be; each is one that the application may assert.
    conditions: Conditions = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantAnswer:
    """A grant that was added."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetBody:
    """A server or device that may have certificates, with its approved names; applications are registered as such."""

    ref: Annotated[str, Text(at_most=70, pattern="(?:server|device):[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?")]
    name: Line
    owner: Line
    unit: Line
    names: Annotated[list[Host], Items(at_most=MAX_NAMES)] = field(default_factory=list)


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

    action: Action
    unit: Unit = ""


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
