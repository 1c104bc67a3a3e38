"""Chains in the manner of x509-limbo: each case says VALID or INVALID, its chain, and the section that decides.

Every case is put to three verifiers: ours, OpenSSL through pyOpenSSL, and, inside ours, cryptography's. OpenSSL may be
laxer in the places that a case names; it is stricter only where it does not try a second path.
"""

import datetime as dt
import re
from dataclasses import dataclass, field

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import crypto

from certs import bundles, chain, der
from certs.chain import Reason, Trust
from certs.profiles import PROFILES, Purpose
from certs.suites import spki_sha256
from core.errors import Denied, Malformed
from tests.certs.hierarchy import NOW, house_of

DAY = dt.timedelta(days=1)
DEFAULT = object()


@dataclass
class Node:
    """A certificate with its key, made as carelessly as a case wants."""

    name: str
    issuer: "Node | None" = None
    key: object = None
    ca: bool | None = True
    path_length: int | None = None
    usage: tuple[str, ...] | None = None
    purposes: tuple[x509.ObjectIdentifier, ...] | None = None
    hosts: tuple[str, ...] = ()
    start: dt.datetime = NOW - DAY
    end: dt.datetime = NOW + DAY
    more: tuple[tuple[x509.ExtensionType, bool], ...] = ()
    signer: "Node | None" = None
    digest: object = DEFAULT
    cert: x509.Certificate = field(init=False)

    def __post_init__(self) -> None:
        self.key = self.key or ec.generate_private_key(ec.SECP256R1())
        issuer = self.issuer or self
        signer = self.signer or issuer
        builder = x509.CertificateBuilder(
            issuer_name=issuer.subject,
            subject_name=self.subject,
            public_key=self.key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=self.start,
            not_valid_after=self.end,
        )
        for value, critical in (*self._extensions(issuer), *self.more):
            builder = builder.add_extension(value, critical)
        digest = None if isinstance(signer.key, ed25519.Ed25519PrivateKey) else hashes.SHA256() if self.digest is DEFAULT else self.digest
        self.cert = builder.sign(signer.key, digest)

    @property
    def subject(self) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])

    def _extensions(self, issuer):
        if self.ca is not None:
            yield x509.BasicConstraints(self.ca, self.path_length), True
        usage = self.usage if self.usage is not None else ("key_cert_sign", "crl_sign") if self.ca else ("digital_signature",)
        if usage:
            names = "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign crl_sign"
            yield x509.KeyUsage(**{name: name in usage for name in names.split()}, encipher_only=False, decipher_only=False), True
        purposes = self.purposes if self.purposes is not None else () if self.ca else (ExtendedKeyUsageOID.CLIENT_AUTH,)
        if purposes:
            yield x509.ExtendedKeyUsage(purposes), False
        yield x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), False
        yield x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), False
        if self.hosts:
            yield x509.SubjectAlternativeName([x509.DNSName(host) for host in self.hosts]), False


@dataclass
class Case:
    """One question to the verifiers. `lax`: OpenSSL accepts what we refuse; `strict`: it refuses what we accept."""

    sent: list[Node]
    roots: list[Node]
    intermediates: list[Node] = field(default_factory=list)
    at: dt.datetime = NOW
    purpose: Purpose = Purpose.CLIENT
    reasons: tuple[Reason, ...] = ()
    lax: bool = False
    strict: bool = False
    depth: int = 0

    def ours(self) -> chain.Verified:
        trust = Trust(roots=[one.cert for one in self.roots], intermediates=[one.cert for one in self.intermediates])
        return chain.check([one.cert for one in self.sent], trust, at=self.at, purpose=self.purpose)

    def openssl(self) -> bool:
        store = crypto.X509Store()
        for root in self.roots:
            store.add_cert(crypto.X509.from_cryptography(root.cert))
        store.set_time(self.at)
        others = [crypto.X509.from_cryptography(one.cert) for one in (*self.sent[1:], *self.intermediates)]
        leaf = crypto.X509.from_cryptography(self.sent[0].cert)
        try:
            crypto.X509StoreContext(store, leaf, chain=others).verify_certificate()
        except crypto.X509StoreContextError:
            return False
        return True


CASES = []


def case(function):
    CASES.append(pytest.param(function, id=function.__name__))
    return function


def hierarchy(**leaf):
    root = Node("root")
    sub = Node("sub", root, path_length=0)
    return root, sub, Node("leaf", sub, ca=leaf.pop("ca", False), **leaf)


@case
def three_certificates():
    """VALID root -> sub -> leaf. RFC 5280 section 6.1."""
    root, sub, leaf = hierarchy()
    return Case([leaf, sub], [root], depth=3)


@case
def known_intermediate_need_not_be_sent():
    """VALID root -> (sub) -> leaf. Authorities that we know ourselves complete the path."""
    root, sub, leaf = hierarchy()
    return Case([leaf], [root], [sub], depth=3)


@case
def order_of_what_follows_the_leaf_does_not_matter():
    """VALID root -> a -> b -> leaf, sent as leaf, a, b. RFC 8446 section 4.4.2 tolerates it."""
    root = Node("root")
    a = Node("a", root)
    b = Node("b", a)
    return Case([Node("leaf", b, ca=False), a, b], [root], depth=4)


@case
def root_may_be_sent_too():
    """VALID root -> sub -> leaf with the root in the message."""
    root, sub, leaf = hierarchy()
    return Case([leaf, sub, root], [root], depth=3)


@case
def strangers_in_the_message_do_no_harm():
    """VALID root -> sub -> leaf, with certificates of another hierarchy between."""
    root, sub, leaf = hierarchy()
    other, other_sub, other_leaf = hierarchy()
    return Case([leaf, other_sub, sub, other_leaf, other], [root], depth=3)


@case
def ed25519_chain():
    """VALID root -> sub -> leaf in Ed25519. RFC 8410."""
    root = Node("root", key=ed25519.Ed25519PrivateKey.generate())
    sub = Node("sub", root, key=ed25519.Ed25519PrivateKey.generate())
    return Case([Node("leaf", sub, ca=False), sub], [root], depth=3)


@case
def p256_leaf_under_an_ed25519_root():
    """VALID root (Ed25519) -> leaf (P-256): the suites of a path may differ."""
    root = Node("root", key=ed25519.Ed25519PrivateKey.generate())
    return Case([Node("leaf", root, ca=False)], [root], depth=2)


@case
def last_second():
    """VALID root -> leaf at notAfter. RFC 5280 section 4.1.2.5: through notAfter, inclusive."""
    root, sub, leaf = hierarchy()
    return Case([leaf, sub], [root], at=NOW + DAY, depth=3)


@case
def last_fraction_of_the_last_second():
    """VALID root -> leaf within the second of notAfter: certificates know no fractions."""
    root, sub, leaf = hierarchy()
    return Case([leaf, sub], [root], at=NOW + DAY + dt.timedelta(microseconds=999_999), depth=3)


@case
def one_second_late():
    """INVALID root -> leaf after notAfter. RFC 5280 section 6.1.3 (a)(2)."""
    root, sub, leaf = hierarchy()
    return Case([leaf, sub], [root], at=NOW + DAY + dt.timedelta(seconds=1), reasons=(Reason.EXPIRED,))


@case
def one_second_early():
    """INVALID root -> leaf before notBefore. RFC 5280 section 6.1.3 (a)(2)."""
    root, sub, leaf = hierarchy()
    return Case([leaf, sub], [root], at=NOW - DAY - dt.timedelta(seconds=1), reasons=(Reason.NOT_YET_VALID,))


@case
def expired_leaf():
    """INVALID root -> leaf (expired). RFC 5280 section 6.1.3 (a)(2)."""
    root, sub, leaf = hierarchy(end=NOW - dt.timedelta(hours=1))
    return Case([leaf, sub], [root], reasons=(Reason.EXPIRED,))


@case
def future_leaf():
    """INVALID root -> leaf (not yet valid). RFC 5280 section 6.1.3 (a)(2)."""
    root, sub, leaf = hierarchy(start=NOW + dt.timedelta(hours=1))
    return Case([leaf, sub], [root], reasons=(Reason.NOT_YET_VALID,))


@case
def expired_authority():
    """INVALID root -> sub (expired) -> leaf. RFC 5280 section 6.1.3 (a)(2) holds for every certificate."""
    root = Node("root")
    sub = Node("sub", root, end=NOW - dt.timedelta(hours=1))
    return Case([Node("leaf", sub, ca=False), sub], [root], reasons=(Reason.EXPIRED,))


@case
def expired_root():
    """INVALID root (expired) -> leaf: trust ends with the anchor's own dates."""
    root = Node("root", end=NOW - dt.timedelta(hours=1))
    return Case([Node("leaf", root, ca=False)], [root], reasons=(Reason.EXPIRED,))


@case
def nobody_known_issued_it():
    """INVALID other root -> leaf. RFC 5280 section 6.1."""
    _, sub, leaf = hierarchy()
    return Case([leaf, sub], [Node("ours")], reasons=(Reason.UNKNOWN_ISSUER,))


@case
def intermediate_is_missing():
    """INVALID root -> (missing) -> leaf."""
    root, _, leaf = hierarchy()
    return Case([leaf], [root], reasons=(Reason.UNKNOWN_ISSUER,))


@case
def self_signed_leaf():
    """INVALID leaf, signed by itself."""
    return Case([Node("leaf", ca=False)], [Node("root")], reasons=(Reason.UNKNOWN_ISSUER,))


@case
def root_of_the_same_name():
    """INVALID false root -> leaf: a namesake of our root with another key."""
    return Case([Node("leaf", Node("root"), ca=False)], [Node("root")], reasons=(Reason.BAD_SIGNATURE,))


@case
def issuer_did_not_sign():
    """INVALID root -> sub -> leaf, the leaf signed by a stranger in sub's name. RFC 5280 section 6.1.3 (a)(1)."""
    root, sub, _ = hierarchy()
    return Case([Node("leaf", sub, ca=False, signer=Node("stranger")), sub], [root], reasons=(Reason.BAD_SIGNATURE,))


@case
def issuer_did_not_sign_with_an_agreed_digest():
    """INVALID root -> leaf signed with another digest than the suite of the root has."""
    root = Node("root")
    leaf = Node("leaf", root, ca=False, digest=hashes.SHA512())
    return Case([leaf], [root], reasons=(Reason.BAD_SIGNATURE,), lax=True)


@case
def p521_root():
    """INVALID root (P-521) -> leaf: a kind of key that no suite has."""
    root = Node("root", key=ec.generate_private_key(ec.SECP521R1()))
    return Case([Node("leaf", root, ca=False)], [root], reasons=(Reason.BAD_SIGNATURE,), lax=True)


@case
def leaf_issues():
    """INVALID root -> leaf -> leaf. RFC 5280 section 6.1.4 (k): cA must be TRUE."""
    root = Node("root")
    middle = Node("middle", root, ca=False)
    return Case([Node("leaf", middle, ca=False), middle], [root], reasons=(Reason.WRONG_PURPOSE,))


@case
def authority_without_basic_constraints():
    """INVALID root -> sub (no basic constraints) -> leaf. RFC 5280 section 6.1.4 (k)."""
    root = Node("root")
    middle = Node("middle", root, ca=None, usage=("key_cert_sign",), purposes=())
    return Case([Node("leaf", middle, ca=False), middle], [root], reasons=(Reason.WRONG_PURPOSE,))


@case
def authority_that_may_not_sign():
    """INVALID root -> sub (without keyCertSign) -> leaf. RFC 5280 section 6.1.4 (n)."""
    root = Node("root")
    middle = Node("middle", root, usage=("crl_sign",))
    return Case([Node("leaf", middle, ca=False), middle], [root], reasons=(Reason.WRONG_PURPOSE,))


@case
def authority_without_key_usage():
    """INVALID root -> sub (no key usage) -> leaf. RFC 5280 section 4.2.1.3: conforming CAs MUST include it."""
    root = Node("root")
    middle = Node("middle", root, usage=())
    return Case([Node("leaf", middle, ca=False), middle], [root], reasons=(Reason.WRONG_PURPOSE,), lax=True)


@case
def path_is_too_long():
    """INVALID root (pathlen 0) -> a -> leaf. RFC 5280 section 6.1.4 (l), (m)."""
    root = Node("root", path_length=0)
    middle = Node("middle", root)
    return Case([Node("leaf", middle, ca=False), middle], [root], reasons=(Reason.WRONG_PURPOSE,))


@case
def path_is_deeper_than_anybody_needs():
    """INVALID root -> five authorities -> leaf: longer than any hierarchy of ours."""
    root = one = Node("root")
    middle = []
    for n in range(5):
        one = Node(f"sub {n}", one)
        middle.append(one)
    return Case([Node("leaf", one, ca=False), *middle], [root], reasons=(Reason.UNKNOWN_ISSUER,), lax=True)


@case
def server_is_no_client():
    """INVALID root -> leaf (serverAuth) for a client. RFC 5280 section 4.2.1.12."""
    root, sub, leaf = hierarchy(purposes=(ExtendedKeyUsageOID.SERVER_AUTH,))
    return Case([leaf, sub], [root], reasons=(Reason.WRONG_PURPOSE,), lax=True)


@case
def client_is_no_server():
    """INVALID root -> leaf (clientAuth) for a server. RFC 5280 section 4.2.1.12."""
    root, sub, leaf = hierarchy()
    return Case([leaf, sub], [root], purpose=Purpose.SERVER, reasons=(Reason.WRONG_PURPOSE,), lax=True)


@case
def client_is_no_responder():
    """INVALID root -> leaf (clientAuth) for an OCSP responder. RFC 6960 section 4.2.2.2."""
    root, sub, leaf = hierarchy()
    return Case([leaf, sub], [root], purpose=Purpose.OCSP, reasons=(Reason.WRONG_PURPOSE,), lax=True)


@case
def any_purpose_is_no_purpose():
    """INVALID root -> leaf (anyExtendedKeyUsage): our profiles name their purposes."""
    root, sub, leaf = hierarchy(purposes=(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,))
    return Case([leaf, sub], [root], reasons=(Reason.WRONG_PURPOSE,), lax=True)


@case
def no_purpose_is_no_purpose():
    """INVALID root -> leaf without extended key usage."""
    root, sub, leaf = hierarchy(purposes=())
    return Case([leaf, sub], [root], reasons=(Reason.WRONG_PURPOSE,), lax=True)


@case
def leaf_may_not_sign_anything():
    """INVALID root -> leaf with keyAgreement only: TLS 1.3 needs digitalSignature (RFC 8446 section 4.4.2.2)."""
    root, sub, leaf = hierarchy(usage=("key_agreement",))
    return Case([leaf, sub], [root], reasons=(Reason.WRONG_PURPOSE,), lax=True)


@case
def leaf_without_key_usage():
    """INVALID root -> leaf without key usage."""
    root, sub, leaf = hierarchy(usage=())
    return Case([leaf, sub], [root], reasons=(Reason.WRONG_PURPOSE,), lax=True)


@case
def authority_is_no_client():
    """INVALID root -> sub as a client, even with clientAuth and digitalSignature."""
    root = Node("root")
    sub = Node("sub", root, usage=("key_cert_sign", "digital_signature"), purposes=(ExtendedKeyUsageOID.CLIENT_AUTH,))
    return Case([sub], [root], reasons=(Reason.WRONG_PURPOSE,), lax=True)


@case
def authority_as_authority():
    """VALID root -> sub, asked as an authority."""
    root, sub, _ = hierarchy()
    return Case([sub], [root], purpose=Purpose.AUTHORITY, depth=2)


@case
def root_as_authority():
    """VALID root alone."""
    root = Node("root")
    return Case([root], [root], purpose=Purpose.AUTHORITY, depth=1)


@case
def leaf_is_no_authority():
    """INVALID root -> leaf, asked as an authority."""
    root, sub, leaf = hierarchy()
    return Case([leaf, sub], [root], purpose=Purpose.AUTHORITY, reasons=(Reason.WRONG_PURPOSE,), lax=True)


@case
def unknown_critical_extension():
    """INVALID root -> leaf with a critical extension that nobody knows. RFC 5280 section 4.2."""
    strange = (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.32473.9"), b"\x05\x00"), True)
    root, sub, leaf = hierarchy(more=(strange,))
    return Case([leaf, sub], [root], reasons=(Reason.MALFORMED,))


@case
def unknown_critical_extension_with_ed25519():
    """INVALID as before, in Ed25519, where the walk is alone. RFC 5280 section 4.2."""
    strange = (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.32473.9"), b"\x05\x00"), True)
    root = Node("root", key=ed25519.Ed25519PrivateKey.generate())
    return Case([Node("leaf", root, ca=False, more=(strange,))], [root], reasons=(Reason.MALFORMED,))


@case
def unreadable_extension():
    """INVALID root -> leaf with garbage for a subjectAltName."""
    garbage = (x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\xff\xff"), False)
    root, sub, leaf = hierarchy(more=(garbage,))
    return Case([leaf, sub], [root], reasons=(Reason.MALFORMED,))


def constrained(host, **root):
    names = x509.NameConstraints([x509.DNSName("example.cn")], None)
    anchor = Node("root", **root)
    sub = Node("sub", anchor, more=((names, True),))
    return Case([Node("leaf", sub, ca=False, hosts=(host,)), sub], [anchor])


@case
def inside_the_name_constraints():
    """VALID root -> sub (permitted example.cn) -> leaf a.example.cn. RFC 5280 section 4.2.1.10."""
    found = constrained("a.example.cn")
    found.depth = 3
    return found


@case
def outside_the_name_constraints():
    """INVALID root -> sub (permitted example.cn) -> leaf a.example.com. RFC 5280 section 4.2.1.10."""
    found = constrained("a.example.com")
    found.reasons = (Reason.NAME_CONSTRAINT,)
    return found


@case
def name_constraints_with_ed25519():
    """INVALID here: the verifier that applies name constraints knows no Ed25519, so the walk refuses what it cannot judge."""
    found = constrained("a.example.cn", key=ed25519.Ed25519PrivateKey.generate())
    found.reasons, found.lax = (Reason.NAME_CONSTRAINT,), True
    return found


@case
def authority_without_critical_basic_constraints():
    """INVALID root -> sub (basic constraints not critical) -> leaf. RFC 5280 section 4.2.1.9: only the other verifier minds."""
    root = Node("root")
    sub = Node("sub", root, ca=None, usage=("key_cert_sign",), purposes=(), more=((x509.BasicConstraints(True, None), False),))
    return Case([Node("leaf", sub, ca=False), sub], [root], reasons=(Reason.MALFORMED,), lax=True)


@case
def cross_certified_with_one_path_expired():
    """VALID root -> sub -> leaf, though the same sub was also certified by a root that has expired (AddTrust, 2020)."""
    old, root = Node("old", end=NOW - dt.timedelta(hours=1)), Node("root")
    key = ec.generate_private_key(ec.SECP256R1())
    one, other = Node("sub", old, key=key), Node("sub", root, key=key)
    return Case([Node("leaf", one, ca=False), one, other], [old, root], depth=3, strict=True)


@case
def cross_certified_by_a_stranger():
    """VALID root -> sub -> leaf, with a second certificate of sub from a root that we do not know."""
    root, stranger = Node("root"), Node("stranger")
    key = ec.generate_private_key(ec.SECP256R1())
    one, other = Node("sub", stranger, key=key), Node("sub", root, key=key)
    return Case([Node("leaf", one, ca=False), one, other], [root], depth=3, strict=True)


@case
def several_reasons_at_once():
    """INVALID root -> leaf: expired and for another purpose. All reasons are named, once each."""
    root, sub, leaf = hierarchy(end=NOW - dt.timedelta(hours=1), purposes=(ExtendedKeyUsageOID.SERVER_AUTH,))
    return Case([leaf, sub], [root], reasons=(Reason.EXPIRED, Reason.WRONG_PURPOSE))


@pytest.mark.parametrize("make", CASES)
def test_chain(make):
    asked = make()
    found = asked.ours()
    assert found.reasons == asked.reasons
    assert make.__doc__.startswith("INVALID" if asked.reasons else "VALID")
    if not asked.reasons:
        assert len(found.chain) == asked.depth
    assert found.leaf == asked.sent[0].cert
    # OpenSSL does not judge purposes unless asked, and knows kinds of keys that we do not.
    assert asked.openssl() is (asked.lax or not (asked.strict or asked.reasons))


@pytest.mark.parametrize("make", CASES)
def test_verify_raises_what_check_says(make):
    asked = make()
    trust = Trust(roots=[one.cert for one in asked.roots], intermediates=[one.cert for one in asked.intermediates])
    sent = [one.cert for one in asked.sent]
    if not asked.reasons:
        assert chain.verify(sent, trust, at=asked.at, purpose=asked.purpose).leaf == sent[0]
        return
    with pytest.raises(Denied) as refused:
        chain.verify(sent, trust, at=asked.at, purpose=asked.purpose)
    assert refused.value.facts == {"reason": asked.reasons[0], "reasons": list(asked.reasons)}


@pytest.mark.parametrize("profile", ["staff-sign", "server", "application", "device", "ocsp"])
def test_every_profile_passes_for_its_purpose_and_no_other(every_house, profile):
    trust = Trust(roots=[every_house.root.cert], intermediates=[every_house.staff.cert])
    for purpose in Purpose:
        found = chain.check([every_house.leaves[profile]], trust, at=NOW, purpose=purpose)
        assert found.reasons == (() if purpose is PROFILES[profile].purpose else (Reason.WRONG_PURPOSE,))


def test_evidence_names_every_certificate_below_the_root(house):
    found = chain.verify([house.leaves["device"], house.staff.cert], Trust(roots=[house.root.cert]), at=NOW, purpose=Purpose.CLIENT)
    assert found.evidence == (
        (spki_sha256(house.staff.key.public_key()), house.leaves["device"].serial_number),
        (spki_sha256(house.root.key.public_key()), house.staff.cert.serial_number),
    )


def test_chains_come_as_pem_der_or_loaded(house):
    trust = Trust(roots=[house.root.cert], intermediates=[house.staff.cert])
    leaf = house.leaves["application"]
    for sent in (bundles.pem([leaf, house.staff.cert]), leaf.public_bytes(bundles.Encoding.DER), [leaf]):
        assert chain.verify(sent, trust, at=NOW, purpose=Purpose.CLIENT).leaf == leaf


def test_empty_and_endless_chains_are_malformed(house):
    for sent in ([], [house.staff.cert] * 11, b"", b"-----BEGIN CERTIFICATE-----"):
        with pytest.raises(Malformed):
            chain.check(sent, Trust(roots=[house.root.cert]), at=NOW, purpose=Purpose.CLIENT)


def test_many_cross_certificates_cost_little():
    """Ten namesakes with one key, each certifying each: the number of paths is bounded."""
    key = ec.generate_private_key(ec.SECP256R1())
    top = Node("x", key=key)
    loop = [Node("x", top, key=key) for _ in range(9)]
    found = Case([Node("leaf", top, ca=False), *loop], [Node("root")]).ours()
    assert found.reasons
    assert len(found.chain) <= chain.MAX_DEPTH


def with_unused_bit(whole: bytes, tbs: bytes, suite, signer) -> bytes:
    """The signed `tbs` with a BIT STRING that leaves out the signature's last bit, which is 0: readable, and not what was signed."""
    signature = suite.sign(signer, tbs)
    while signature[-1] & 1:
        signature = suite.sign(signer, tbs)
    return der.sequence(tbs, der.parts(whole)[1], der.tlv(der.BIT_STRING, b"\x01" + signature))


def test_signature_with_unused_bits_is_refused(house):
    """RFC 5280 section 4.1.1.3; cryptography and OpenSSL read over it, so one certificate would have several encodings."""
    leaf = house.leaves["device"]
    other = with_unused_bit(leaf.public_bytes(bundles.Encoding.DER), leaf.tbs_certificate_bytes, house.suite, house.staff.key)
    trust = Trust(roots=[house.root.cert], intermediates=[house.staff.cert])
    assert chain.check(other, trust, at=NOW, purpose=Purpose.CLIENT).reasons == (Reason.BAD_SIGNATURE,)


@given(at=st.integers(0, 900), change=st.integers(1, 255))
def test_damaged_leaf_is_never_accepted(at, change):
    house = house_of("ecdsa-p256-sha256")
    damaged = bytearray(house.leaves["device"].public_bytes(bundles.Encoding.DER))
    damaged[at % len(damaged)] ^= change
    try:
        found = chain.check(
            bytes(damaged), Trust(roots=[house.root.cert], intermediates=[house.staff.cert]), at=NOW, purpose=Purpose.CLIENT
        )
    except Malformed:
        return
    assert found.reasons


def test_every_reason_has_a_case():
    assert {reason for param in CASES for reason in param.values[0]().reasons} == set(Reason)
    assert all(re.match(r"(IN)?VALID ", param.values[0].__doc__) for param in CASES)
