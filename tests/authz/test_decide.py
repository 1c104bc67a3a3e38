from __future__ import annotations

import dataclasses

import pytest

from audit.permit import ANONYMOUS, Action
from audit.record import recording
from authz import confirm, province
from authz.caller import Caller
from authz.confirm import Named
from authz.decide import NEARNESS, WORDS, Target, decide, require
from authz.policy import POLICY, ROWS
from authz.snapshot import Freshness
from core.errors import Conflict, Denied, NotFound, Unauthenticated


def request_of(place, uid):
    person = place.person(uid)
    return Target("request:1", unit=person.unit, owner=person.id, requester=person.id)


def reason(place, who, action, target):
    return decide(place.world.current(), place.caller(who), action, target).reason


def test_every_action_has_a_row_and_every_row_its_own_id():
    assert [action for action in Action if not ROWS[action]] == []
    assert len({rule.id for rule in POLICY}) == len(POLICY)


def test_registrar_of_the_county_approves_and_the_permit_says_under_which_rule(place):
    permit = place.permit("zhaoliu", Action.REQUEST_APPROVE, request_of(place, "zhangsan"))
    assert permit.rule == "request-approve.registrar"
    assert permit.actor.roles == ("everyone", "registrar")
    assert permit.unit == place.unit("qinghe.linhe.jiangzhou")
    assert permit.revision == place.world.current().revision
    permit.must_cover(Action.REQUEST_APPROVE, "request:1")
    with pytest.raises(RuntimeError):
        permit.must_cover(Action.REQUEST_REFUSE, "request:1")


@pytest.mark.parametrize(
    ("who", "whose", "why"),
    [
        ("zhaoliu", "zhaoliu", "own-request"),
        ("zhouba", "zhangsan", "out-of-scope"),
        ("qianyi", "zhangsan", "wrong-role"),
        ("zhangsan", "lisi", "wrong-role"),
        ("zhengshi", "zhangsan", "wrong-role"),
        ("wujiu", "zhangsan", "wrong-role"),
    ],
)
def test_nobody_else_approves_and_each_refusal_is_recorded_with_its_reason(place, who, whose, why):
    with pytest.raises(Denied) as denied:
        place.permit(who, Action.REQUEST_APPROVE, request_of(place, whose))
    assert denied.value.facts["reason"] == why
    assert "{" not in denied.value.detail
    assert place.count("AZ1002") == 1
    assert f'"rsn":"{why}"'.encode() in place.bodies("AZ1002")[0]


def test_request_for_somebody_else_is_still_ones_own(place):
    person = place.person("zhangsan")
    asked_by_me = Target("request:1", unit=person.unit, owner=person.id, requester=place.person("zhaoliu").id)
    assert reason(place, "zhaoliu", Action.REQUEST_APPROVE, asked_by_me) == "own-request"


def test_out_of_scope_tells_where_one_is_responsible_and_where_it_belongs(place):
    with pytest.raises(Denied) as denied:
        place.permit("zhouba", Action.REQUEST_APPROVE, request_of(place, "zhangsan"))
    assert denied.value.facts["places"] == "松岭县"
    assert denied.value.facts["unit"] == "清河县"


def test_bureau_above_in_the_same_line_is_in_charge_and_the_other_line_is_not(place):
    directory = place.world.current().directory
    below = place.unit("gongan.qinghe.linhe.jiangzhou")
    for above, covered in (
        ("qinghe.linhe.jiangzhou", True),
        ("linhe.jiangzhou", True),
        ("gongan.linhe.jiangzhou", True),
        ("gongan.jiangzhou", True),
        ("renshe.linhe.jiangzhou", False),
        ("gongan.yunshan.jiangzhou", False),
        ("gongan.shiqiao.linhe.jiangzhou", False),
        ("shiqiao.linhe.jiangzhou", False),
    ):
        assert directory.covers(place.unit(above), below) is covered, above


def test_request_without_a_unit_is_in_nobodys_scope(place):
    assert reason(place, "zhaoliu", Action.REQUEST_APPROVE, Target("request:1")) == "out-of-scope"


def test_nobody_known_is_told_to_log_in(place):
    with pytest.raises(Unauthenticated):
        require(place.world, place.trail, Caller(actor=ANONYMOUS), Action.REQUEST_SUBMIT, Target("person:x"))


def test_permit_is_refused_while_a_write_transaction_is_open(place):
    with pytest.raises(RuntimeError), recording(place.trail):
        place.permit("zhaoliu", Action.REQUEST_APPROVE, request_of(place, "zhangsan"))


def test_blocked_and_inactive_persons_may_do_nothing(place):
    caller, snapshot = place.caller("zhangsan"), place.world.current()
    mine = Target(f"person:{caller.person.id}", owner=caller.person.id)
    assert decide(snapshot, caller, Action.REQUEST_SUBMIT, mine).allowed
    blocked = dataclasses.replace(snapshot, blocked=frozenset({caller.person.uuid}))
    assert decide(blocked, caller, Action.REQUEST_SUBMIT, mine).reason == "blocked"


def test_revoked_certificate_of_the_caller_refuses_everything(place):
    from authz.caller import Certificate

    caller = place.caller("zhangsan", "cert")._replace(certificate=Certificate("ab" * 32, 77, "cd" * 32))
    mine = Target(f"person:{caller.person.id}", owner=caller.person.id)
    snapshot = place.world.current()
    assert decide(snapshot, caller, Action.REQUEST_SUBMIT, mine).allowed
    revoked = dataclasses.replace(snapshot, standing={("ab" * 32, 77): "revoked"})
    assert decide(revoked, caller, Action.REQUEST_SUBMIT, mine).reason == "revoked"


def test_operator_may_neither_approve_nor_grant_nor_read_the_trail(place):
    for action in (
        Action.REQUEST_APPROVE,
        Action.GRANT_CHANGE,
        Action.TRAIL_READ,
        Action.CERT_ISSUE,
        Action.REQUEST_SUBMIT,
        Action.PERSON_CONFIRM,
    ):
        with pytest.raises(Denied):
            place.permit("service:operator", action, Target("x"))


def test_demo_rows_count_in_a_demo_home_only(place):
    assert place.permit("service:demo", Action.GRANT_CHANGE, Target("app:oa"))
    production = dataclasses.replace(place.world.current(), demo=False)
    from audit.permit import Actor

    refused = decide(production, Caller(actor=Actor.service("demo")), Action.GRANT_CHANGE, Target("app:oa"))
    assert (refused.allowed, refused.reason) == (False, "demo-only")


def test_stale_directory_refuses_people_and_not_the_publishing_of_status(place):
    from audit.permit import Actor

    stale = dataclasses.replace(place.world.current(), freshness=Freshness.STALE)
    approve = decide(stale, place.caller("zhaoliu"), Action.REQUEST_APPROVE, request_of(place, "zhangsan"))
    assert approve.reason == "stale"
    assert decide(stale, Caller(actor=Actor.service("issuance")), Action.CERT_ISSUE, Target("x")).reason == "stale"
    assert decide(stale, Caller(actor=Actor.service("issuance")), Action.STATUS_PUBLISH, Target("x")).allowed
    ageing = dataclasses.replace(stale, freshness=Freshness.AGEING)
    assert decide(ageing, place.caller("zhaoliu"), Action.REQUEST_APPROVE, request_of(place, "zhangsan")).reason == "stale"
    assert decide(ageing, place.caller("zhaoliu"), Action.REQUEST_REFUSE, request_of(place, "zhangsan")).allowed


def test_every_reason_has_words(place):
    assert set(NEARNESS) <= set(WORDS)


ROLES_GROUP = province.group_dn("registrar", "qinghe.linhe.jiangzhou")


def test_role_given_by_the_directory_alone_has_no_effect_and_alarms(place):
    place.with_member(ROLES_GROUP, province.person_dn("zhangsan", "qinghe.linhe.jiangzhou"))
    place.world.refresh()
    assert reason(place, "zhangsan", Action.REQUEST_APPROVE, request_of(place, "sunqi")) == "unconfirmed"
    assert place.count("AZ3005") == 1


def test_confirmation_counts_for_its_unit_only(place):
    """A registrar moved to the city by the directory gains nothing there, and loses the county."""
    dn = province.person_dn("zhaoliu", "qinghe.linhe.jiangzhou")
    city = province.group_dn("registrar", "linhe.jiangzhou")
    place.without_member(ROLES_GROUP, dn)
    place.edit(lambda entry: entry._replace(dn=city) if entry.dn == ROLES_GROUP else entry)
    place.with_member(city, dn)
    place.world.refresh()
    assert reason(place, "zhaoliu", Action.REQUEST_APPROVE, request_of(place, "zhangsan")) == "unconfirmed"


def test_security_administrator_confirms_for_others_and_never_for_themselves(place):
    place.with_member(ROLES_GROUP, province.person_dn("zhangsan", "qinghe.linhe.jiangzhou"))
    place.world.refresh()
    person, unit = place.person("zhangsan"), place.unit("qinghe.linhe.jiangzhou")
    permit = place.permit("zhengshi", Action.PERSON_CONFIRM, Target(f"person:{person.id}", owner=person.id))
    directory = place.world.current().directory
    with recording(place.trail) as tx:
        confirm.confirm(tx, directory, Named(person.uuid, "registrar", unit), permit=permit)
    place.world.refresh()
    assert reason(place, "zhangsan", Action.REQUEST_APPROVE, request_of(place, "sunqi")) == "allowed"
    with recording(place.trail) as tx:
        confirm.withdraw(tx, directory, Named(person.uuid, "registrar", unit), permit=permit)
    place.world.refresh()
    assert reason(place, "zhangsan", Action.REQUEST_APPROVE, request_of(place, "sunqi")) == "unconfirmed"
    me = place.person("zhengshi")
    with pytest.raises(Denied):
        place.permit("zhengshi", Action.PERSON_CONFIRM, Target(f"person:{me.id}", owner=me.id))


def test_second_ceremony_cannot_name_people(place):
    permit = place.permit("service:operator", Action.CEREMONY_PERFORM, Target("ceremony:two"))
    named = [Named(place.accounts["zhangsan"].uuid, "registrar", place.unit("jiangzhou"))]
    with pytest.raises(Conflict), recording(place.trail) as tx:
        confirm.first(tx, place.world.current().directory, named, permit=permit)


def test_excluding_administrator_roles_of_one_person_both_stop_counting_and_alarm(place):
    """The auditor is made security administrator by the directory: an alarm, and neither role counts."""
    place.with_member(province.group_dn("security-admin", "jiangzhou"), province.person_dn("qianyi", "jiangzhou"))
    place.world.refresh()
    assert reason(place, "qianyi", Action.TRAIL_READ, Target("trail")) == "conflict"
    assert reason(place, "qianyi", Action.GRANT_CHANGE, Target("app:oa")) == "conflict"
    assert reason(place, "zhengshi", Action.GRANT_CHANGE, Target("app:oa")) == "allowed"
    assert place.count("AZ3003") == 1


def test_excluding_roles_are_found_through_nested_groups(place):
    inner = province.group_dn("auditor", "jiangzhou")
    place.with_member(province.group_dn("system-admin", "jiangzhou"), inner)
    place.world.refresh()
    assert place.world.current().conflict(place.accounts["qianyi"].uuid) == {"auditor", "system-admin"}


def test_confirming_an_excluding_role_is_refused(place):
    place.with_member(province.group_dn("security-admin", "jiangzhou"), province.person_dn("qianyi", "jiangzhou"))
    place.world.refresh()
    person = place.person("qianyi")
    permit = place.permit("zhengshi", Action.PERSON_CONFIRM, Target(f"person:{person.id}", owner=person.id))
    named = Named(person.uuid, "security-admin", place.unit("jiangzhou"))
    with pytest.raises(Conflict), recording(place.trail) as tx:
        confirm.confirm(tx, place.world.current().directory, named, permit=permit)


def test_only_roles_that_need_it_are_confirmed(place):
    person = place.person("zhangsan")
    permit = place.permit("zhengshi", Action.PERSON_CONFIRM, Target(f"person:{person.id}", owner=person.id))
    with pytest.raises(NotFound), recording(place.trail) as tx:
        confirm.confirm(tx, place.world.current().directory, Named(person.uuid, "staff", person.unit), permit=permit)
