from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy.exc import IntegrityError

from audit.permit import Action
from audit.record import recording
from ca import ceremony, registration
from ca.registration import Draft, Filter
from ca.states import RequestState
from ca.subjects import facts
from ca.tables import Approval
from certs import csr
from core.errors import Conflict, Denied, Malformed, NotFound
from tests.ca.town import Town, make_csr


def test_a_request_is_approved_by_a_registrar_of_the_unit_and_issued(town: Town):
    certificate = town.issued()
    request = town.request(1)
    assert request.state == RequestState.ISSUED
    assert certificate.common_name == "张三"
    assert [event["act"] for event in town.events("obj:request:1")] == ["request.submitted", "request.approved"]


def test_names_in_the_request_are_ignored(town: Town):
    subject = town.chain(town.issued())[0].subject.rfc4514_string()
    assert "ignored" not in subject
    assert "张三" in subject


def test_nobody_approves_a_request_of_their_own(town: Town):
    request_id = town.submit("zhaoliu")
    with pytest.raises(Denied) as refusal:
        town.decide("zhaoliu", request_id)
    assert refusal.value.facts["reason"] == "own-request"
    assert town.request(request_id).state == RequestState.SUBMITTED


def test_the_locked_row_refuses_one_s_own_request_whatever_the_policy_said(town: Town):
    request_id = town.submit("zhaoliu")
    request = town.request(request_id)
    permit = town.permit("sunqi", Action.REQUEST_APPROVE, registration.target(request))
    permit = replace(permit, actor=permit.actor._replace(id=request.owner))
    with pytest.raises(Denied), recording(town.trail) as tx:
        registration.approve(tx, request_id, permit=permit)


@pytest.mark.parametrize("uid", ["zhouba", "qianyi", "zhengshi", "lisi"])
def test_only_registrars_in_scope_decide(town: Town, uid: str):
    request_id = town.submit("zhangsan")
    with pytest.raises(Denied):
        town.decide(uid, request_id)
    assert town.request(request_id).state == RequestState.SUBMITTED


def test_a_row_that_moved_after_the_decision_is_not_touched(town: Town):
    request_id = town.submit("zhangsan")
    permit = town.permit("zhaoliu", Action.REQUEST_APPROVE, registration.target(town.request(request_id)))
    with pytest.raises(Conflict), recording(town.trail) as tx:
        registration.approve(tx, request_id, permit=replace(permit, unit=town.person("wangwu").unit))


def test_a_permit_for_another_request_is_a_bug(town: Town):
    first, second = town.submit("zhangsan"), town.submit("zhangsan")
    permit = town.permit("zhaoliu", Action.REQUEST_APPROVE, registration.target(town.request(first)))
    with pytest.raises(RuntimeError), recording(town.trail) as tx:
        registration.approve(tx, second, permit=permit)


def test_nobody_speaks_twice_and_nothing_is_decided_twice(town: Town):
    request_id = town.submit("zhangsan")
    town.decide("zhaoliu", request_id)
    with pytest.raises(Conflict):
        town.decide("zhaoliu", request_id)
    with pytest.raises(Conflict):
        town.decide("sunqi", request_id)
    with pytest.raises(Conflict):
        town.decide("sunqi", request_id, Action.REQUEST_REFUSE)


def test_two_approvals_of_one_officer_cannot_be_stored(town: Town):
    request_id = town.submit("zhangsan")
    town.decide("zhaoliu", request_id)
    who = town.request(request_id).approvals[0].approver
    with pytest.raises(IntegrityError), recording(town.trail) as tx:
        tx.db.add(Approval(request_id=request_id, approver=who, word="approve", comment="", rule="", revision=1, at=tx.now))


def test_a_refused_request_is_never_issued(town: Town):
    request_id = town.submit("zhangsan")
    town.decide("zhaoliu", request_id, Action.REQUEST_REFUSE)
    town.worker().step()
    request = town.request(request_id)
    assert (request.state, request.reasons, request.certificate) == (RequestState.REFUSED, "refused", None)


def test_a_profile_is_for_its_kind_of_subject_and_issued_by_somebody(town: Town):
    with pytest.raises(Malformed):
        town.submit("zhangsan", profile="server")
    with pytest.raises(NotFound):
        town.submit("zhangsan", profile="root")
    with pytest.raises(NotFound):
        town.submit("zhangsan", profile="nothing")


def test_one_key_belongs_to_one_subject(town: Town):
    key = ec.generate_private_key(ec.SECP256R1())
    town.submit("zhangsan", key=key)
    town.submit("zhangsan", key=key)
    with pytest.raises(Conflict):
        town.submit("lisi", key=key)


def test_a_compromised_key_is_never_certified_again(town: Town):
    key = ec.generate_private_key(ec.SECP256R1())
    request_id = town.submit("zhangsan", key=key)
    town.decide("zhaoliu", request_id)
    town.worker().step()
    certificate = town.request(request_id).certificate
    assert certificate
    town.revoke("zhangsan", certificate, "keyCompromise")
    with pytest.raises(Conflict):
        town.submit("zhangsan", key=key)


def test_who_has_left_gets_no_certificate(town: Town):
    draft = Draft(profile="staff-sign", csr=csr.parse(make_csr()), facts=facts(town.snapshot, f"person:{town.person('zhangsan').id}"))
    permit = town.permit("zhangsan", Action.REQUEST_SUBMIT, (draft.facts.ref, draft.facts.unit, draft.facts.owner, ""))
    gone = replace(draft, facts=replace(draft.facts, active=False))
    with pytest.raises(Conflict), recording(town.trail) as tx:
        registration.submit(tx, permit=permit, draft=gone)


def test_unknown_subjects_and_requests_are_named(town: Town):
    with pytest.raises(NotFound, match="server:nowhere"):
        facts(town.snapshot, "server:nowhere")
    with pytest.raises(NotFound, match="99"):
        town.request(99)


def test_a_name_that_no_certificate_can_carry_is_refused_before_anybody_approves_it(town: Town):
    town.move("zhangsan", name="五" * 22)
    with pytest.raises(Malformed, match="more than 64 octets"):
        town.submit("zhangsan")
    assert town.events("code:CA1001 obj:request:*") == []
    town.move("zhangsan", name="五" * 21)
    assert town.request(town.submit("zhangsan")).state == "submitted"


def test_lists_are_newest_first_and_by_scope(town: Town):
    mine, other = town.submit("zhangsan"), town.submit("wangwu")
    county = town.person("zhangsan").unit
    with town.trail.database.reading() as session:
        assert [row.id for row in registration.listing(session, Filter())] == [other, mine]
        assert [row.id for row in registration.listing(session, Filter(), before=other)] == [mine]
        assert [row.id for row in registration.listing(session, Filter(units=[county]))] == [mine]
        assert registration.listing(session, Filter(units=[])) == []
        assert [row.id for row in registration.listing(session, Filter(owner=town.person("wangwu").id))] == [other]
        assert [row.id for row in registration.listing(session, Filter(states=["issued"]))] == []


def admit(town: Town, ref: str, profile: str) -> int:
    permit = town.service("operator", Action.CEREMONY_PERFORM, "ceremony:first")
    draft = Draft(profile=profile, csr=csr.parse(make_csr()), facts=facts(town.snapshot, ref))
    with recording(town.trail) as tx:
        return ceremony.admit(tx, draft, permit=permit).id


def test_the_ceremony_admits_the_first_servers_and_applications_only(town: Town):
    ids = [admit(town, "server:portal", "server"), admit(town, "application:oa", "application")]
    town.worker().step()
    assert [town.request(each).state for each in ids] == [RequestState.ISSUED] * 2
    with pytest.raises(Conflict):
        admit(town, f"person:{town.person('zhangsan').id}", "staff-sign")
    town.submit("zhangsan")
    with pytest.raises(Conflict):
        admit(town, "server:portal", "server")


def renew(town: Town, previous: str, ref: str = "server:portal") -> int:
    about = facts(town.snapshot, ref)
    permit = town.service("renewal", Action.REQUEST_SUBMIT, ref, about.unit)
    with recording(town.trail) as tx:
        draft = Draft(profile="server", csr=csr.parse(make_csr()), facts=about)
        return registration.renew(tx, permit=permit, draft=draft, previous=previous).id


def test_a_service_renews_what_is_in_good_standing_and_nothing_else(town: Town):
    admit(town, "server:portal", "server")
    town.worker().step()
    certificate = town.request(1).certificate
    assert certificate
    renewed = renew(town, certificate.ref)
    town.worker().step()
    assert town.request(renewed).state == RequestState.ISSUED
    with pytest.raises(Denied):
        renew(town, "cert:servers/1")
    town.revoke("zhengshi", certificate)
    with pytest.raises(Denied):
        renew(town, certificate.ref)
