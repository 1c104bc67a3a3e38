"""Profiles: what each kind of certificate contains, as data with versions; and the one template that follows them.

A change of any value is a new version: intents and certificates quote name and version. Nothing in a template depends
on the issuer's private key, so that a rehearsal with a throw-away key has the same tbsCertificate.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from certs import reading
from certs.names import ARC, Kind, Subject
from certs.suites import PublicKey, Suite, suite_of
from core.errors import Malformed

#: Certificates for any purpose of the authority itself (RFC 5280 section 4.2.1.4).
ANY_POLICY = "2.5.29.32.0"

#: No certificate and no CRL says more than a year has; leap days are not counted.
YEAR = dt.timedelta(days=365)


class Purpose(StrEnum):
    """What a chain is checked for. The value is what people read."""

    CLIENT = "client"
    SERVER = "server"
    OCSP = "ocsp"
    AUTHORITY = "authority"


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A frozen recipe. `key_usage` holds names of RFC 5280 section 4.2.1.3."""

    name: str
    #: Raised with every change of what a certificate contains.
    version: int
    #: Last arc of the certificate policy that says which profile a certificate follows; never reused.
    policy: int
    purpose: Purpose
    #: Kinds of subjects that may have it.
    kind: Kind
    #: Includes the last second (RFC 5280 section 4.1.2.5).
    lifetime: dt.timedelta
    key_usage: tuple[str, ...]
    extended_key_usage: tuple[str, ...] = ()
    #: CAs allowed below; None for end entities.
    path_length: int | None = None
    #: Approvals needed, none of them by the requester.
    approvals: int = 0
    #: Whether such a certificate may be put on hold and released.
    may_suspend: bool = False
    #: id-pkix-ocsp-nocheck (RFC 6960 section 4.2.2.2.1): the certificate is short-lived instead of revocable.
    no_check: bool = False

    @property
    def authority(self) -> bool:
        """Whether holders issue certificates."""
        return self.purpose is Purpose.AUTHORITY

    @property
    def policy_oid(self) -> str:
        """The certificate policy of this profile, dotted."""
        return f"{ARC}.2.{self.policy}"


_CLIENT, _SERVER = ExtendedKeyUsageOID.CLIENT_AUTH.dotted_string, ExtendedKeyUsageOID.SERVER_AUTH.dotted_string
_MAIL, _OCSP = ExtendedKeyUsageOID.EMAIL_PROTECTION.dotted_string, ExtendedKeyUsageOID.OCSP_SIGNING.dotted_string

_TABLE = (
    Profile(
        name="root",
        version=1,
        policy=1,
        purpose=Purpose.AUTHORITY,
        kind=Kind.AUTHORITY,
        lifetime=20 * YEAR,
        key_usage=("keyCertSign", "cRLSign"),
        path_length=1,
    ),
    Profile(
        name="issuing",
        version=1,
        policy=2,
        purpose=Purpose.AUTHORITY,
        kind=Kind.AUTHORITY,
        lifetime=10 * YEAR,
        key_usage=("keyCertSign", "cRLSign"),
        path_length=0,
    ),
    Profile(
        name="ocsp",
        version=1,
        policy=3,
        purpose=Purpose.OCSP,
        kind=Kind.RESPONDER,
        lifetime=dt.timedelta(days=90),
        key_usage=("digitalSignature",),
        extended_key_usage=(_OCSP,),
        no_check=True,
    ),
    Profile(
        name="staff-sign",
        version=1,
        policy=4,
        purpose=Purpose.CLIENT,
        kind=Kind.PERSON,
        lifetime=YEAR,
        key_usage=("digitalSignature", "contentCommitment"),
        extended_key_usage=(_CLIENT, _MAIL),
        approvals=1,
        may_suspend=True,
    ),
    Profile(
        name="server",
        version=1,
        policy=5,
        purpose=Purpose.SERVER,
        kind=Kind.SERVER,
        lifetime=YEAR,
        key_usage=("digitalSignature",),
        extended_key_usage=(_SERVER,),
        approvals=1,
    ),
    Profile(
        name="application",
        version=1,
        policy=6,
        purpose=Purpose.CLIENT,
        kind=Kind.APPLICATION,
        lifetime=YEAR,
        key_usage=("digitalSignature",),
        extended_key_usage=(_CLIENT,),
        approvals=1,
        may_suspend=True,
    ),
    Profile(
        name="device",
        version=1,
        policy=7,
        purpose=Purpose.CLIENT,
        kind=Kind.DEVICE,
        lifetime=YEAR,
        key_usage=("digitalSignature",),
        extended_key_usage=(_CLIENT,),
        approvals=1,
        may_suspend=True,
    ),
)

#: Every profile by its name.
PROFILES: Mapping[str, Profile] = MappingProxyType({profile.name: profile for profile in _TABLE})


def profile_of(certificate: x509.Certificate) -> Profile | None:
    """The profile that `certificate` says it follows, or None. What an issuer says counts only after its chain."""
    try:
        policies = reading.value(certificate, x509.CertificatePolicies) or ()
    except reading.UNREADABLE:
        return None
    named = {policy.policy_identifier.dotted_string for policy in policies}
    return next((profile for profile in _TABLE if profile.policy_oid in named), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusUrls:
    """Where relying parties ask about a certificate; plain HTTP, and an empty one is left out."""

    crl: str = ""
    ocsp: str = ""
    #: The issuer's own certificate (caIssuers).
    ca: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """All that a certificate takes over from its issuer."""

    name: x509.Name
    key_identifier: bytes
    suite: Suite
    not_after: dt.datetime
    #: Names in DER as they stand in the issuer's own subject: chains compare bytes.
    name_der: bytes

    @classmethod
    def of(cls, certificate: x509.Certificate) -> Issuer:
        """The facts of the authority whose `certificate` this is.

        Raises:
            Malformed: it has no subject key identifier (RFC 5280 section 4.2.1.2), or a key outside the suites.
        """
        return cls(
            name=certificate.subject,
            key_identifier=key_identifier(certificate),
            suite=suite_of(certificate.public_key()),
            not_after=certificate.not_valid_after_utc,
            name_der=certificate.subject.public_bytes(),
        )

    @classmethod
    def itself(cls, content: Content, profile: Profile) -> Issuer:
        """The facts of a root that will sign its own certificate."""
        name = content.subject.name()
        return cls(
            name=name,
            key_identifier=x509.SubjectKeyIdentifier.from_public_key(content.public_key).digest,
            suite=suite_of(content.public_key),
            not_after=last_second(content.not_before, profile.lifetime),
            name_der=name.public_bytes(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What one certificate adds to its profile."""

    subject: Subject
    public_key: PublicKey
    serial: int
    not_before: dt.datetime
    urls: StatusUrls = StatusUrls()


def last_second(not_before: dt.datetime, lifetime: dt.timedelta) -> dt.datetime:
    """The notAfter of a certificate that is valid for `lifetime`: the last second is part of it."""
    return not_before + lifetime - dt.timedelta(seconds=1)


def template(profile: Profile, *, issuer: Issuer, content: Content) -> x509.CertificateBuilder:
    """Everything that will be signed, unsigned. notAfter is the issuer's when the profile's would be later.

    Raises:
        Malformed: the subject is of another kind than the profile's, cannot be named, or its issuer ends too early.
    """
    if content.subject.kind is not profile.kind:
        raise Malformed(
            "profile `{profile}` is for subjects of kind {kind}, not {given}; choose another profile",
            profile=profile.name,
            kind=profile.kind,
            given=content.subject.kind,
        )
    not_before = content.not_before.replace(microsecond=0)
    not_after = min(last_second(not_before, profile.lifetime), issuer.not_after)
    if not_after <= not_before:
        raise Malformed("the issuer's certificate ends at {end}; renew it before issuing", end=issuer.not_after.isoformat())
    builder = (
        x509.CertificateBuilder()
        .issuer_name(issuer.name)
        .subject_name(content.subject.name())
        .public_key(content.public_key)
        .serial_number(content.serial)
        .not_valid_before(not_before)
        .not_valid_after(not_after)
    )
    for value, critical in _extensions(profile, issuer, content):
        builder = builder.add_extension(value, critical)
    return builder


def _extensions(profile: Profile, issuer: Issuer, content: Content) -> list[tuple[x509.ExtensionType, bool]]:
    policy = ANY_POLICY if profile.authority else profile.policy_oid
    found: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(profile.authority, profile.path_length), True),
        (key_usage(profile), True),
        (x509.SubjectKeyIdentifier.from_public_key(content.public_key), False),
        (x509.AuthorityKeyIdentifier(issuer.key_identifier, None, None), False),
        (x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier(policy), None)]), False),
    ]
    if profile.extended_key_usage:
        usages = [x509.ObjectIdentifier(dotted) for dotted in profile.extended_key_usage]
        found.append((x509.ExtendedKeyUsage(usages), False))
    if alternatives := content.subject.alternative_names():
        found.append((alternatives, False))
    if profile.no_check:
        found.append((x509.OCSPNoCheck(), False))
    return found + _status(content.urls)


def _status(urls: StatusUrls) -> list[tuple[x509.ExtensionType, bool]]:
    found: list[tuple[x509.ExtensionType, bool]] = []
    if urls.crl:
        point = x509.DistributionPoint([x509.UniformResourceIdentifier(urls.crl)], None, None, None)
        found.append((x509.CRLDistributionPoints([point]), False))
    methods = ((AuthorityInformationAccessOID.OCSP, urls.ocsp), (AuthorityInformationAccessOID.CA_ISSUERS, urls.ca))
    access = [x509.AccessDescription(method, x509.UniformResourceIdentifier(url)) for method, url in methods if url]
    if access:
        found.append((x509.AuthorityInformationAccess(access), False))
    return found


_USAGE = {
    "digitalSignature": "digital_signature",
    "contentCommitment": "content_commitment",
    "keyEncipherment": "key_encipherment",
    "dataEncipherment": "data_encipherment",
    "keyAgreement": "key_agreement",
    "keyCertSign": "key_cert_sign",
    "cRLSign": "crl_sign",
}


def key_usage(profile: Profile) -> x509.KeyUsage:
    """The KeyUsage of `profile`."""
    return x509.KeyUsage(**{field: name in profile.key_usage for name, field in _USAGE.items()}, encipher_only=False, decipher_only=False)


def key_identifier(certificate: x509.Certificate) -> bytes:
    """The subject key identifier that children and CRLs of `certificate` quote.

    Raises:
        Malformed: it has none (RFC 5280 section 4.2.1.2: CAs MUST).
    """
    found = reading.value(certificate, x509.SubjectKeyIdentifier)
    if found is None:
        raise Malformed("the issuer's certificate has no subject key identifier; use one issued by Yumen")
    return found.digest
