"""The rules that every certificate is held to before it is signed, one function each, with their law.

They read the finished bytes of the rehearsal, not the template, so that a mistake in the template or in a library is
found as well. A rule returns what is wrong, or None; `problems` is empty for a certificate that may be signed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from certs import csr, der, reading
from certs.names import IDENTIFIED, IDENTITY, MAX_NAME, Kind, identity
from certs.profiles import ANY_POLICY, Issuer, Profile, key_usage, last_second
from core.errors import Malformed

_Value = TypeVar("_Value", bound=x509.ExtensionType)


@dataclass(frozen=True, slots=True)
class Sample:
    """One rehearsed certificate, and what it is measured against."""

    cert: x509.Certificate
    issuer: Issuer
    profile: Profile

    def value(self, kind: type[_Value]) -> _Value | None:
        """The extension of this kind, or None."""
        return reading.value(self.cert, kind)


Lint = Callable[[Sample], str | None]

_ATTRIBUTES = {NameOID.ORGANIZATION_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME, NameOID.COMMON_NAME, NameOID.USER_ID}
_CRITICAL = {x509.BasicConstraints.oid, x509.KeyUsage.oid}
_KNOWN = _CRITICAL | {
    x509.SubjectKeyIdentifier.oid,
    x509.AuthorityKeyIdentifier.oid,
    x509.CertificatePolicies.oid,
    x509.ExtendedKeyUsage.oid,
    x509.SubjectAlternativeName.oid,
    x509.OCSPNoCheck.oid,
    x509.CRLDistributionPoints.oid,
    x509.AuthorityInformationAccess.oid,
}
_FORMS: dict[Kind, tuple[type[x509.GeneralName], ...]] = {
    Kind.PERSON: (x509.RFC822Name, x509.OtherName),
    Kind.SERVER: (x509.DNSName, x509.IPAddress, x509.OtherName),
}


def problems(cert: x509.Certificate, issuer: Issuer, profile: Profile) -> list[str]:
    """Every rule that `cert` breaks; empty means clean. Bytes that no rule can read are a problem, not an exception."""
    sample = Sample(cert, issuer, profile)
    try:
        return [found for lint in LINTS if (found := lint(sample))]
    except reading.UNREADABLE as reason:
        return [f"the certificate cannot be read: {reason}"]


def version_is_3(it: Sample) -> str | None:
    """RFC 5280 section 4.1.2.1: with extensions, the version MUST be 3."""
    return None if it.cert.version is x509.Version.v3 else "version is not 3"


def serial_is_positive_and_short(it: Sample) -> str | None:
    """RFC 5280 section 4.1.2.2: positive, at most 20 octets."""
    return None if 0 < it.cert.serial_number < 1 << 159 else "serial out of range"


def signature_algorithm_is_the_issuers(it: Sample) -> str | None:
    """RFC 5280 section 4.1.2.3, and the parameters of RFC 5758 section 3.2, RFC 4055 section 5, RFC 8410 section 3."""
    outer = der.parts(it.cert.public_bytes(Encoding.DER))[1]
    inner = der.parts(it.cert.tbs_certificate_bytes)[2]
    return None if inner == outer == it.issuer.suite.algorithm else "signature algorithm is not the issuer's suite"


def issuer_is_the_issuers_subject(it: Sample) -> str | None:
    """RFC 5280 section 4.1.2.4 and 6.1.3 (a)(4): the names chain, here byte for byte."""
    return None if it.cert.issuer.public_bytes() == it.issuer.name_der else "issuer differs from the issuer's subject"


def subject_is_a_name_of_its_own(it: Sample) -> str | None:
    """RFC 5280 section 4.1.2.6: not empty, and only a root's equals its issuer's."""
    own = it.cert.subject.public_bytes() != it.issuer.name_der
    return None if len(it.cert.subject) and own is (it.profile.name != "root") else "subject is empty or the issuer's own"


def name_attributes_are_ours(it: Sample) -> str | None:
    """RFC 5280 appendix A.1: upper bounds; only O, OU, CN and UID are written, each as its own RDN."""
    for rdn in it.cert.subject.rdns:
        for attribute in rdn:
            if attribute.oid not in _ATTRIBUTES or not 0 < len(attribute.value) <= MAX_NAME or len(rdn) != 1:
                return f"attribute {attribute.oid.dotted_string} of the subject is unknown, empty or too long"
    return None


def validity_is_the_profiles(it: Sample) -> str | None:
    """RFC 5280 section 4.1.2.5: notAfter is included, so a lifetime ends one second early; never after the issuer."""
    end = min(last_second(it.cert.not_valid_before_utc, it.profile.lifetime), it.issuer.not_after)
    return None if it.cert.not_valid_before_utc < it.cert.not_valid_after_utc == end else "validity is not the profile's"


def times_are_encoded_by_their_year(it: Sample) -> str | None:
    """RFC 5280 section 4.1.2.5: UTCTime through 2049, GeneralizedTime from 2050, always with seconds and Z."""
    written = der.parts(der.parts(it.cert.tbs_certificate_bytes)[4])
    right = [der.time(it.cert.not_valid_before_utc), der.time(it.cert.not_valid_after_utc)]
    return None if written == right else "a time of the validity is not encoded as its year demands"


def key_is_sound(it: Sample) -> str | None:
    """RFC 8017, RFC 5480 and RFC 8410: kinds, sizes and values as for requests."""
    try:
        csr.require_sound(it.cert.public_key())
    except Malformed as reason:
        return reason.detail
    return None


def basic_constraints_are_the_profiles(it: Sample) -> str | None:
    """RFC 5280 section 4.2.1.9: critical in CAs; cA and pathLenConstraint as the profile says."""
    right = x509.BasicConstraints(it.profile.authority, it.profile.path_length)
    return None if it.value(x509.BasicConstraints) == right else "basic constraints are not the profile's"


def key_usage_is_the_profiles(it: Sample) -> str | None:
    """RFC 5280 section 4.2.1.3: present, and exactly the profile's bits."""
    return None if it.value(x509.KeyUsage) == key_usage(it.profile) else "key usage is not the profile's"


def extended_key_usage_is_the_profiles(it: Sample) -> str | None:
    """RFC 5280 section 4.2.1.12: exactly the profile's purposes."""
    found = it.value(x509.ExtendedKeyUsage) or ()
    same = [usage.dotted_string for usage in found] == list(it.profile.extended_key_usage)
    return None if same else "extended key usage is not the profile's"


def subject_key_identifier_is_the_keys(it: Sample) -> str | None:
    """RFC 5280 section 4.2.1.2: present, and made by method (1)."""
    right = x509.SubjectKeyIdentifier.from_public_key(it.cert.public_key())
    return None if it.value(x509.SubjectKeyIdentifier) == right else "subject key identifier is not the key's"


def authority_key_identifier_is_the_issuers(it: Sample) -> str | None:
    """RFC 5280 section 4.2.1.1: keyIdentifier is the issuer's, without issuer and serial."""
    right = x509.AuthorityKeyIdentifier(it.issuer.key_identifier, None, None)
    return None if it.value(x509.AuthorityKeyIdentifier) == right else "authority key identifier is not the issuer's"


def policy_is_the_profiles(it: Sample) -> str | None:
    """RFC 5280 section 4.2.1.4: one policy without qualifiers; anyPolicy in authorities."""
    right = ANY_POLICY if it.profile.authority else it.profile.policy_oid
    found = it.value(x509.CertificatePolicies) or ()
    same = [(one.policy_identifier.dotted_string, one.policy_qualifiers) for one in found] == [(right, None)]
    return None if same else "certificate policy is not the profile's"


def names_only_whom_the_profile_is_for(it: Sample) -> str | None:
    """One identity of the profile's kind, and the same id as UID of the subject; none in authorities and responders."""
    if it.profile.kind not in IDENTIFIED:
        return "there is a subject alternative name" if it.value(x509.SubjectAlternativeName) else None
    try:
        who = identity(it.cert)
    except Malformed as reason:
        return reason.detail
    uids = [attribute.value for attribute in it.cert.subject.get_attributes_for_oid(NameOID.USER_ID)]
    return None if who.kind is it.profile.kind and uids == [who.id] else "the identity is not of the profile's kind or not the subject's"


def alternative_names_are_of_allowed_forms(it: Sample) -> str | None:
    """RFC 5280 section 4.2.1.6: forms by kind of subject; a server names at least one host."""
    names = list(it.value(x509.SubjectAlternativeName) or ())
    allowed = _FORMS.get(it.profile.kind, (x509.OtherName,))
    strange = [name for name in names if not isinstance(name, allowed) or getattr(name, "type_id", IDENTITY) != IDENTITY]
    if strange or len(set(names)) != len(names):
        return "a subject alternative name is repeated or of a form that the profile does not have"
    if it.profile.kind is Kind.SERVER and not any(isinstance(name, x509.DNSName | x509.IPAddress) for name in names):
        return "a server certificate names no host"
    return None


def status_is_asked_over_plain_http(it: Sample) -> str | None:
    """RFC 5280 sections 4.2.1.13 and 4.2.2.1: HTTP, since HTTPS would need the certificate that is being checked."""
    points = [name for point in it.value(x509.CRLDistributionPoints) or () for name in point.full_name or ()]
    names = points + [access.access_location for access in it.value(x509.AuthorityInformationAccess) or ()]
    plain = all(isinstance(name, x509.UniformResourceIdentifier) and name.value.startswith("http://") for name in names)
    return None if plain else "a status address is not an http URI"


def revocable_or_unchecked(it: Sample) -> str | None:
    """RFC 6960 section 4.2.2.2.1: id-pkix-ocsp-nocheck in responders and nowhere else, and never beside a CRL."""
    unchecked = it.value(x509.OCSPNoCheck) is not None
    if unchecked is not it.profile.no_check:
        return "id-pkix-ocsp-nocheck is missing or misplaced"
    contradicts = unchecked and it.value(x509.CRLDistributionPoints) is not None
    return "id-pkix-ocsp-nocheck stands beside a CRL distribution point" if contradicts else None


def extensions_are_known_and_rightly_critical(it: Sample) -> str | None:
    """RFC 5280 section 4.2: basic constraints and key usage are critical, no other; nothing that no profile has."""
    for extension in it.cert.extensions:
        if extension.oid not in _KNOWN or extension.critical is not (extension.oid in _CRITICAL):
            return f"extension {extension.oid.dotted_string} is unknown or wrongly critical"
    return None


LINTS: tuple[Lint, ...] = (
    version_is_3,
    serial_is_positive_and_short,
    signature_algorithm_is_the_issuers,
    issuer_is_the_issuers_subject,
    subject_is_a_name_of_its_own,
    name_attributes_are_ours,
    validity_is_the_profiles,
    times_are_encoded_by_their_year,
    key_is_sound,
    basic_constraints_are_the_profiles,
    key_usage_is_the_profiles,
    extended_key_usage_is_the_profiles,
    subject_key_identifier_is_the_keys,
    authority_key_identifier_is_the_issuers,
    policy_is_the_profiles,
    names_only_whom_the_profile_is_for,
    alternative_names_are_of_allowed_forms,
    status_is_asked_over_plain_http,
    revocable_or_unchecked,
    extensions_are_known_and_rightly_critical,
)
