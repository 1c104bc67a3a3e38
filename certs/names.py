"""Names in certificates: made from the directory, never from a request, and read back as an identity.

A certificate says whom it is for in one otherName under Yumen's own arc, a UTF8String `kind:id`. A person's id is the
entryUUID: it outlives a change of name, unit or account, and it is not the pseudonym of the trail, so that a certificate
does not open the trail. URIs such as `urn:uuid:` would be the obvious form, but linters refuse them in subjectAltName.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address

from cryptography import x509
from cryptography.x509.oid import NameOID

from certs import der, reading
from core.errors import Malformed

#: Yumen's own arc. Below IANA's enterprise number for examples (RFC 5612), at random, until a deployment has its own
#: number; not below 2.25 (ITU-T X.667), because arcs beyond 28 bits make pkilint and other readers give up.
ARC = "1.3.6.1.4.1.32473.146409654"

#: The otherName that carries the identity.
IDENTITY = x509.ObjectIdentifier(f"{ARC}.1")

#: Upper bound of commonName, organizationName and organizationalUnitName (RFC 5280 appendix A.1), in characters. Of
#: commonName `cryptography` counts the octets, so that is its bound here.
MAX_NAME = 64

_ID = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?")
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
_MAIL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")


class Kind(StrEnum):
    """What a certificate can be for. Written into certificates; never renamed."""

    PERSON = "person"
    APPLICATION = "application"
    SERVER = "server"
    DEVICE = "device"
    #: A certificate authority: its certificate carries no identity, its name is enough.
    AUTHORITY = "authority"
    #: An OCSP responder of one authority.
    RESPONDER = "responder"


#: Kinds that present a certificate as a caller, or are called by one.
IDENTIFIED = frozenset({Kind.PERSON, Kind.APPLICATION, Kind.SERVER, Kind.DEVICE})


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a certificate is for."""

    kind: Kind
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Whom a certificate will be for, as the directory or the asset register knows them."""

    kind: Kind
    id: str
    common_name: str
    #: Organisation units from the root of the tree down, without the organisation itself.
    unit_names: tuple[str, ...] = ()
    organisation: str = ""
    mail: str = ""
    #: Approved DNS names and addresses of a server, in the order in which they are written.
    hosts: tuple[str, ...] = ()

    def name(self) -> x509.Name:
        """The distinguished name: O, OU from the root down, CN, and UID so that namesakes differ (RFC 4519).

        Raises:
            Malformed: a part is empty, too long, or has characters that a name must not have.
        """
        parts = [(NameOID.ORGANIZATION_NAME, self.organisation)] if self.organisation else []
        parts += [(NameOID.ORGANIZATIONAL_UNIT_NAME, unit) for unit in self.unit_names]
        parts.append((NameOID.COMMON_NAME, self.common_name))
        if self.kind in IDENTIFIED:
            parts.append((NameOID.USER_ID, self.id))
        checked = [(oid, _text(value)) for oid, value in parts]
        if len(self.common_name.encode()) > MAX_NAME:
            raise Malformed("name `{name}` has more than 64 octets in UTF-8, 21 Chinese characters; shorten it", name=self.common_name)
        return x509.Name([x509.NameAttribute(oid, value) for oid, value in checked])

    def alternative_names(self) -> x509.SubjectAlternativeName | None:
        """The subjectAltName with hosts, mail and identity, or None where the name alone is enough.

        Raises:
            Malformed: a host, the mail address or the id cannot stand in a certificate.
        """
        names: list[x509.GeneralName] = [host_name(host) for host in self.hosts]
        if self.mail:
            names.append(x509.RFC822Name(_mail(self.mail)))
        if self.kind in IDENTIFIED:
            names.append(Identified.encode(Identity(self.kind, self.id)))
        return x509.SubjectAlternativeName(names) if names else None


class Identified:
    """The otherName form of an `Identity`."""

    @staticmethod
    def encode(who: Identity) -> x509.OtherName:
        """The otherName that carries `who`.

        Raises:
            Malformed: the id has other characters than lower-case letters, digits, dot, hyphen and underscore.
        """
        if not _ID.fullmatch(who.id):
            raise Malformed("id `{id}` cannot stand in a certificate; use lower-case letters, digits, `.`, `_`, `-`", id=who.id)
        return x509.OtherName(IDENTITY, der.tlv(der.UTF8_STRING, f"{who.kind}:{who.id}".encode()))

    @staticmethod
    def parse(name: x509.OtherName) -> Identity:
        """Whom the otherName names.

        Raises:
            Malformed: it is not what `encode` makes.
        """
        kind, _, id_ = name.value[2:].decode("ascii", "replace").partition(":")
        if kind in IDENTIFIED and _ID.fullmatch(id_):
            found = Identity(Kind(kind), id_)
            if Identified.encode(found).value == name.value:
                return found
        raise Malformed("the certificate's identity cannot be read; use a certificate issued by Yumen")


def identity(certificate: x509.Certificate) -> Identity:
    """Whom `certificate` is for.

    Raises:
        Malformed: it names nobody, several, or in a form that is not ours.
    """
    alternatives = reading.read("certificate", lambda: reading.value(certificate, x509.SubjectAlternativeName))
    others = [] if alternatives is None else alternatives.get_values_for_type(x509.OtherName)
    ours = [name for name in others if name.type_id == IDENTITY]
    if len(ours) != 1:
        raise Malformed("the certificate names nobody known to Yumen; use a certificate issued by Yumen")
    return Identified.parse(ours[0])


def host_name(host: str) -> x509.DNSName | x509.IPAddress:
    """`host` as a GeneralName: an IP address when it reads as one, else a DNS name (RFC 5280 section 4.2.1.6).

    Raises:
        Malformed: neither; wildcards, upper case, underscores and trailing dots are refused.
    """
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        pass
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels) or labels[-1].isdigit():
        raise Malformed("host `{host}` is neither an address nor a DNS name; write it in lower-case ASCII (IDNA)", host=host)
    return x509.DNSName(host)


def _text(value: str) -> str:
    if not value or len(value) > MAX_NAME or value != value.strip():
        raise Malformed("name `{name}` must have 1 to 64 characters and no space at its ends; shorten it in the directory", name=value)
    if value != unicodedata.normalize("NFC", value) or any(unicodedata.category(letter)[0] == "C" for letter in value):
        raise Malformed("name `{name}` has invisible or decomposed characters; write it anew in the directory", name=value)
    return value


def _mail(address: str) -> str:
    local, _, domain = address.rpartition("@")
    if not _MAIL.fullmatch(local) or len(local) > 64 or not isinstance(host_name(domain.lower()), x509.DNSName):
        raise Malformed("mail address `{mail}` cannot stand in a certificate; correct it in the directory", mail=address)
    return f"{local}@{domain.lower()}"
