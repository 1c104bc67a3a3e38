"""Certificates as identities: login, applications, verification. The chains are real; the authority is the test's own."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from audit.event import Event, Kind
from audit.permit import Action, Actor, ActorKind
from audit.record import recording
from authz import applications, enrol, login, province, sessions, standing, throttle, totp, verify
from authz.applications import Draft, Registration
from authz.caller import Caller
from authz.decide import Target
from authz.login import Attempt
from certs.chain import Trust
from certs.names import Kind as SubjectKind
from certs.names import Subject
from certs.profiles import PROFILES, Content, Issuer, template
from certs.suites import spki_sha256
from core.errors import Malformed, RateLimited, Unauthenticated, Unavailable

ROOT_SUBJECT = {"kind": "authority", "id": "root", "common_name": "Test Root", "unit_names": (), "organisation": "江州省", "mail": ""}


@dataclass
class Authority:
    """A root and an issuing authority with a key of each."""

    start: dt.datetime
    serial: int = 100
    keys: dict[str, ec.EllipticCurvePrivateKey] = field(default_factory=dict)
    root: x509.Certificate | None = None
    issuing: x509.Certificate | None = None

    def __post_init__(self):
        self.keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("root", "issuing")}
        content = self._content(ROOT_SUBJECT, self.keys["root"])
        profile = PROFILES["root"]
        self.root = template(profile, issuer=Issuer.itself(content, profile), content=content).sign(self.keys["root"], SHA256())
        content = self._content({**ROOT_SUBJECT, "id": "issuing", "common_name": "Test Issuing"}, self.keys["issuing"])
        self.issuing = template(PROFILES["issuing"], issuer=Issuer.of(self.root), content=content).sign(self.keys["root"], SHA256())

    def _content(self, subject, key):
        self.serial += 1
        return Content(
            subject=Subject(**{**subject, "kind": SubjectKind(subject["kind"])}),
            public_key=key.public_key(),
            serial=self.serial,
            not_before=self.start,
        )

    def issue(self, profile, kind, name, common_name="张三"):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = {"kind": kind, "id": name, "common_name": common_name, "unit_names": ("清河县",), "organisation": "江州省", "mail": ""}
        content = self._content(subject, key)
        return template(PROFILES[profile], issuer=Issuer.of(self.issuing), content=content).sign(self.keys["issuing"], SHA256())

    @property
    def spki(self):
        return spki_sha256(self.issuing.public_key())

    def trust(self):
        return Trust(roots=[self.root], intermediates=[self.issuing])


@pytest.fixture(scope="module")
def authority():
    return Authority(dt.datetime(2026, 11, 20, tzinfo=dt.UTC))


@pytest.fixture
def trusted(place, authority):
    trust = authority.trust()
    place.world.trust = lambda: trust
    return place


def staff(place, authority, uid="zhangsan"):
    return authority.issue("staff-sign", "person", place.accounts[uid].uuid)


def digest(certificate):
    return certificate.fingerprint(SHA256()).hex()


def revoke(place, authority, certificate):
    with recording(place.trail) as tx:
        standing.revoke(tx, authority.spki, certificate.serial_number, "keyCompromise")
        tx.record(Event(kind=Kind.CERT_REVOKED, actor=Actor.service("issuance"), object=f"cert:staff/{certificate.serial_number:x}"))
    place.world.refresh()


def test_certificate_opens_a_session_that_is_good_over_that_certificate_only(trusted, authority):
    mine, other = staff(trusted, authority), staff(trusted, authority)
    opened = login.by_certificate(trusted.world, [mine])
    assert opened.assurance == "cert"
    caller = sessions.caller(trusted.world, opened.token, digest(mine))
    assert caller.person.uid == "zhangsan"
    assert caller.actor.serial == f"{mine.serial_number:x}"
    for presented in ("", digest(other)):
        with pytest.raises(Unauthenticated) as refused:
            sessions.caller(trusted.world, opened.token, presented)
        assert refused.value.facts["reason"] == "other-certificate"


def test_revoked_certificate_opens_no_session_and_ends_those_it_opened(trusted, authority):
    mine = staff(trusted, authority)
    opened = login.by_certificate(trusted.world, [mine])
    revoke(trusted, authority, mine)
    with pytest.raises(Unauthenticated) as ended:
        sessions.caller(trusted.world, opened.token, digest(mine))
    assert ended.value.facts["reason"] == "revoked"
    with pytest.raises(Unauthenticated) as refused:
        login.by_certificate(trusted.world, [mine])
    assert refused.value.facts["reason"] == "revoked"
    assert trusted.count("AZ2008") == 1
    assert f"{authority.spki}:{mine.serial_number:x}".encode() in trusted.bodies("AZ2008")[0]


def test_revoked_issuing_authority_takes_its_certificates_with_it(trusted, authority):
    mine = staff(trusted, authority)
    with recording(trusted.trail) as tx:
        standing.revoke(tx, spki_sha256(authority.root.public_key()), authority.issuing.serial_number, "cACompromise")
        tx.record(Event(kind=Kind.CERT_REVOKED, actor=Actor.service("issuance"), object="cert:root/1"))
    trusted.world.refresh()
    with pytest.raises(Unauthenticated):
        login.by_certificate(trusted.world, [mine])


def test_same_serial_under_another_issuer_is_not_revoked(trusted, authority):
    mine = staff(trusted, authority)
    with recording(trusted.trail) as tx:
        standing.revoke(tx, "ab" * 32, mine.serial_number, "keyCompromise")
        tx.record(Event(kind=Kind.CERT_REVOKED, actor=Actor.service("issuance"), object="cert:x/1"))
    trusted.world.refresh()
    assert login.by_certificate(trusted.world, [mine])


def test_expired_certificate_is_refused_also_when_it_was_verified_before(trusted, authority):
    mine = staff(trusted, authority)
    assert login.by_certificate(trusted.world, [mine])
    trusted.time.pass_(days=366)
    trusted.world.refresh()
    with pytest.raises(Unauthenticated) as refused:
        login.by_certificate(trusted.world, [mine])
    assert refused.value.facts["reason"] == "expired"


def test_certificate_verified_before_is_measured_anew_when_the_authorities_change(trusted, authority):
    mine = staff(trusted, authority)
    assert login.by_certificate(trusted.world, [mine])
    without = Trust(roots=[authority.root])
    trusted.world.trust = lambda: without
    with pytest.raises(Unauthenticated) as refused:
        login.by_certificate(trusted.world, [mine])
    assert refused.value.facts["reason"] == "unknown-issuer"


def test_strangers_certificate_is_refused_and_left_to_be_counted(trusted):
    stranger = Authority(dt.datetime(2026, 11, 20, tzinfo=dt.UTC))
    with pytest.raises(Unauthenticated):
        login.by_certificate(trusted.world, [staff(trusted, stranger), stranger.issuing, stranger.root])
    assert trusted.count("AZ2008") == 0


def test_certificate_of_a_server_or_an_application_is_no_persons(trusted, authority):
    for profile, kind in (("application", "application"), ("staff-sign", "person")):
        with pytest.raises(Unauthenticated):
            login.by_certificate(
                trusted.world, [authority.issue(profile, kind, "nobody" if kind == "application" else province.entry_uuid(7, "x"))]
            )


def test_no_certificate_is_malformed(trusted):
    with pytest.raises(Malformed):
        login.by_certificate(trusted.world, [])


def test_login_by_certificate_is_never_delayed_by_failed_passwords(trusted, authority):
    for _ in range(6):
        with pytest.raises((Unauthenticated, RateLimited)):
            login.by_password(trusted.world, Attempt(uid="zhangsan", password="wrong", code="1", source="10.1.2.3"))
    assert login.by_certificate(trusted.world, [staff(trusted, authority)], "10.1.2.3")


def test_person_who_left_cannot_log_in_by_certificate(trusted, authority):
    dn = province.person_dn("zhangsan", "qinghe.linhe.jiangzhou")
    trusted.edit(lambda entry: entry._replace(attributes={**entry.attributes, "employeetype": ("inactive",)}) if entry.dn == dn else entry)
    trusted.world.refresh()
    with pytest.raises(Unauthenticated) as refused:
        login.by_certificate(trusted.world, [staff(trusted, authority)])
    assert refused.value.facts["reason"] == "inactive"


def test_blocked_account_is_refused_until_it_is_unblocked(trusted, authority):
    mine, person = staff(trusted, authority), trusted.person("zhangsan")
    opened = login.by_certificate(trusted.world, [mine])
    permit = trusted.permit("zhengshi", Action.ACCOUNT_BLOCK, Target(f"person:{person.id}", owner=person.id))
    with recording(trusted.trail) as tx:
        standing.block(tx, person.uuid, person.id, "left the office unlocked", permit=permit)
    trusted.world.refresh()
    with pytest.raises(Unauthenticated):
        sessions.caller(trusted.world, opened.token, digest(mine))
    with pytest.raises(Unauthenticated):
        login.by_certificate(trusted.world, [mine])
    with recording(trusted.trail) as tx:
        standing.unblock(tx, person.uuid, person.id, permit=permit)
    trusted.world.refresh()
    assert sessions.caller(trusted.world, opened.token, digest(mine)).known


def test_session_by_certificate_enrols_codes_without_a_registrar(trusted, authority):
    mine, person = staff(trusted, authority), trusted.person("zhangsan")
    opened = login.by_certificate(trusted.world, [mine])
    caller = sessions.caller(trusted.world, opened.token, digest(mine))
    from authz.decide import require

    permit = require(trusted.world, trusted.trail, caller, Action.TOTP_ENROL, Target(f"person:{person.id}", owner=person.id))
    with recording(trusted.trail) as tx:
        offer = enrol.begin_in_session(tx, trusted.world, person, permit=permit)
    trusted.secrets["zhangsan"] = offer.secret
    with pytest.raises(Unauthenticated), recording(trusted.trail) as tx:
        enrol.finish_in_session(tx, trusted.world, person, "000000", permit=permit)
    with recording(trusted.trail) as tx:
        codes = enrol.finish_in_session(tx, trusted.world, person, trusted.code("zhangsan"), permit=permit)
    assert len(codes) == totp.RECOVERY_CODES


@pytest.fixture
def oa(trusted):
    permit = trusted.permit("service:demo", Action.APPLICATION_REGISTER, Target("app:oa"))
    facts = {"name": "办公", "unit": trusted.unit("jiangzhou"), "owner": trusted.accounts["fenger"].uuid}
    with recording(trusted.trail) as tx:
        applications.register(tx, Registration(id="oa", actions=["read"], types=["doc"], **facts), permit=permit)
    permit = trusted.permit("service:demo", Action.GRANT_CHANGE, Target("app:oa"))
    with recording(trusted.trail) as tx:
        applications.add_grant(tx, Draft(application="oa", action="read", type="doc", role="staff"), permit=permit)
    application = trusted.world.refresh().applications["oa"]
    return Caller(actor=Actor(ActorKind.APPLICATION, "oa", "api-key"), application=application)


def pem(*chain):
    return b"".join(one.public_bytes(Encoding.PEM) for one in chain).decode()


def verified(place, caller, *chain):
    return verify.identity(place.world, place.trail, caller, pem(*chain))


def test_verification_tells_person_unit_and_only_the_roles_that_matter_here(trusted, authority, oa):
    told = verified(trusted, oa, staff(trusted, authority), authority.issuing)
    assert (told["valid"], told["reasons"]) == (True, [])
    assert told["subject"] == {"type": "user", "id": "zhangsan", "name": "张三"}
    assert told["unit"]["path"] == ["江州省", "临河市", "清河县"]
    assert {one["role"] for one in told["roles"]} == {"staff"}
    assert told["checked_at"].endswith("Z")
    assert trusted.count("AZ1003") == 1


def test_verification_of_a_revoked_certificate_names_the_reason_and_no_roles(trusted, authority, oa):
    mine = staff(trusted, authority)
    assert verified(trusted, oa, mine)["valid"]
    revoke(trusted, authority, mine)
    told = verified(trusted, oa, mine)
    assert (told["valid"], told["reasons"], told["roles"]) == (False, ["revoked"], [])


def test_verification_of_a_strangers_certificate_names_nobody(trusted, oa):
    stranger = Authority(dt.datetime(2026, 11, 20, tzinfo=dt.UTC))
    told = verified(trusted, oa, staff(trusted, stranger), stranger.issuing)
    assert not told["valid"]
    assert set(told["reasons"]) & login.STRANGERS
    assert (told["subject"], told["unit"], told["roles"]) == (None, None, [])


def test_verification_over_a_stale_directory_is_not_valid(trusted, authority, oa):
    trusted.path.unlink()
    trusted.time.pass_(seconds=11)
    told = verified(trusted, oa, staff(trusted, authority))
    assert (told["valid"], told["reasons"]) == (False, ["stale"])


@pytest.mark.parametrize("text", ["", "no pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "\udcff"])
def test_verification_of_what_is_no_certificate_is_malformed(trusted, oa, text):
    with pytest.raises(Malformed):
        verify.identity(trusted.world, trusted.trail, oa, text)


def known(place, chain):
    world = place.world
    return applications.by_certificate(world, world.verifier.present(chain, world.trust(), world.current(), world.clock()))


def test_application_is_known_by_its_certificate_until_that_is_revoked(trusted, authority, oa):
    mine = authority.issue("application", "application", "oa", "办公")
    caller = known(trusted, [mine])
    assert (caller.application.id, caller.actor.auth) == ("oa", "cert")
    revoke(trusted, authority, mine)
    with pytest.raises(Unauthenticated):
        known(trusted, [mine])
    with pytest.raises(Unauthenticated):
        known(trusted, [staff(trusted, authority)])
    with pytest.raises(Unauthenticated):
        known(trusted, [authority.issue("application", "application", "unknown", "无")])


def test_nobody_logs_in_while_the_directory_is_stale(trusted, authority):
    trusted.path.unlink()
    trusted.time.pass_(seconds=11)
    with pytest.raises(Unavailable):
        login.by_certificate(trusted.world, [staff(trusted, authority)])


def test_a_revoked_certificate_cannot_fill_the_trail_with_its_refusals(trusted, authority):
    mine = staff(trusted, authority)
    revoke(trusted, authority, mine)
    for _ in range(3 * throttle.EACH):
        with pytest.raises(Unauthenticated):
            login.by_certificate(trusted.world, [mine])
    assert trusted.count("AZ2008") == throttle.EACH
    trusted.time.pass_(seconds=61)
    trusted.world.tally.flush(trusted.trail, trusted.time.now)
    (counted,) = trusted.bodies("AZ2010")
    assert b'"count":%d' % (2 * throttle.EACH) in counted
    assert f"cert:{authority.spki}:{mine.serial_number:x}".encode() in counted
