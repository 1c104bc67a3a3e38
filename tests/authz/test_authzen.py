"""OpenID AuthZEN 1.0: the scenario of its certification, and the traps around it."""

from __future__ import annotations

import datetime as dt
import json

import pytest

from audit import search as trail_search
from audit.event import Kind
from audit.permit import Action, Actor, ActorKind
from audit.record import recording
from authz import applications, authzen, evaluate, explain, ldif, province, search
from authz.applications import Draft, Registration
from authz.caller import Assurance, Caller
from authz.decide import Target
from authz.people import Entry
from authz.tables import GrantRow
from core.errors import Conflict, Denied, Malformed, NotFound, Unauthenticated

RECORD = {"type": "record", "id": "record-1"}
ALICE, BOB = {"type": "user", "id": "alice"}, {"type": "user", "id": "bob"}
READ, WRITE = {"name": "read"}, {"name": "write"}
ARCHIVED = {"type": "record", "id": "record-2", "properties": {"status": "archived"}}
BOB_ADMIN = {**BOB, "properties": {"role": "admin"}}


def grant(place, **draft):
    app = draft.get("application", "records")
    permit = place.permit("service:demo", Action.GRANT_CHANGE, Target(f"app:{app}"))
    with recording(place.trail) as tx:
        return applications.add_grant(tx, Draft(**{"application": app, "type": "record", **draft}), permit=permit)


def register(place, **more):
    facts = {
        "id": "records",
        "name": "档案",
        "unit": place.unit("jiangzhou"),
        "owner": place.accounts["fenger"].uuid,
        "actions": ["read", "write", "delete"],
        "types": ["record"],
        "asserts": ["subject.role", "resource.status", "action.soft", "resource.unit"],
    } | more
    permit = place.permit("service:demo", Action.APPLICATION_REGISTER, Target(f"app:{facts['id']}"))
    with recording(place.trail) as tx:
        applications.register(tx, Registration(**facts), permit=permit)


def caller_of(place, app="records"):
    application = place.world.refresh().applications[app]
    return Caller(actor=Actor(ActorKind.APPLICATION, app, "api-key"), application=application, source="10.9.9.9", request_id="x-1")


@pytest.fixture
def fixture(place):
    """Alice edits, Bob administers; two records. The eight decisions that certification looks at follow from six grants."""
    entries = ldif.parse(place.path.read_bytes())
    for uid, role in (("alice", "editor"), ("bob", "admin")):
        who = {"objectclass": ("inetOrgPerson",), "uid": (uid,), "cn": (uid,), "entryuuid": (province.entry_uuid(1, f"person {uid}"),)}
        entries.append(Entry(province.person_dn(uid, "jiangzhou"), who))
        held = {"objectclass": ("groupOfNames",), "cn": (role,), "member": (province.person_dn(uid, "jiangzhou"),)}
        entries.append(Entry(province.group_dn(role, "jiangzhou"), {**held, "entryuuid": (province.entry_uuid(1, f"group {role}"),)}))
    ldif.write(place.path, entries)
    register(place)
    for role in ("editor", "admin"):
        grant(place, action="read", role=role)
    grant(place, action="write", role="editor", conditions={"resource.status": "active"})
    grant(place, action="write", role="admin", conditions={"resource.status": "archived"})
    grant(place, action="delete", role="editor", conditions={"action.soft": True})
    for name, status in (("record-1", "active"), ("record-2", "archived")):
        permit = place.permit("service:demo", Action.GRANT_CHANGE, Target("app:records"))
        with recording(place.trail) as tx:
            applications.put_resource(tx, "records", {"type": "record", "id": name, "properties": {"status": status}}, permit=permit)
    return place


def ask(place, body, caller=None, oracle=authzen.evaluation):
    answered = oracle(place.world, place.trail, caller or caller_of(place), body)
    return answered.told(place.trail.append(answered.events))


def asks(place, body):
    return ask(place, body, oracle=authzen.evaluations)


def question(subject=ALICE, action=READ, resource=RECORD, **more):
    return {"subject": subject, "action": action, "resource": resource, **more}


CERTIFIED = [
    (question(), True),
    (question(ALICE, WRITE), True),
    (question(BOB, READ), True),
    (question(BOB, WRITE), False),
    (question(ALICE, WRITE, ARCHIVED), False),
    (question(BOB_ADMIN, WRITE, ARCHIVED), True),
    (question(ALICE, {"name": "delete", "properties": {"soft": True}}), True),
    (question(ALICE, {"name": "delete", "properties": {"soft": False}}), False),
    (question(context={"time": "2025-06-27T18:03-07:00", "ip": "192.168.1.1"}), True),
    (question({**ALICE, "properties": {"department": "Sales", "role": "manager"}}, {**READ, "properties": {"method": "GET"}}), True),
    (question(foo="bar", futureField={"nested": True}), True),
    (question(ALICE, {"name": "delete", "properties": {"soft": 1}}), False),
]


def test_certification_decisions(fixture, subtests):
    for body, decision in CERTIFIED * 2:
        with subtests.test(body=body):
            answer = ask(fixture, body)
            assert answer["decision"] is decision
            assert isinstance(answer["context"], dict)


NOT_WHOLE = [
    {"action": READ, "resource": RECORD},
    {"subject": ALICE, "resource": RECORD},
    {"subject": ALICE, "action": READ},
    question({"id": "alice"}),
    question({"type": "user"}),
    question(action={}),
    question(resource={"id": "record-1"}),
    question(resource={"type": "record"}),
    question("alice"),
    question(action={"name": 123}),
    question(subject=None),
    question(subject=[]),
    question({"type": "user", "id": True}),
    question({"type": "user", "id": ""}),
    question({"type": "user", "id": "x" * 300}),
    question({**ALICE, "properties": "admin"}),
    question(context="now"),
    "alice",
    None,
    [],
    42,
]


def test_question_that_is_not_whole_is_malformed(fixture, subtests):
    for body in NOT_WHOLE:
        with subtests.test(body=body), pytest.raises(Malformed):
            ask(fixture, body)


def decisions(answer):
    return [one["decision"] for one in answer["evaluations"]]


def test_batch_inherits_whole_entities_keeps_order_and_answers_each(fixture):
    active = {"type": "record", "id": "record-1", "properties": {"status": "active"}}
    assert decisions(asks(fixture, {"subject": BOB, "resource": RECORD, "evaluations": [{"action": READ}, {"action": WRITE}]})) == [
        True,
        False,
    ]
    batch = {"subject": ALICE, "action": WRITE, "evaluations": [{"resource": active}, {"resource": ARCHIVED}]}
    assert decisions(asks(fixture, batch)) == [True, False]
    batch = {"action": WRITE, "resource": ARCHIVED, "evaluations": [{"subject": ALICE}, {"subject": BOB_ADMIN}]}
    assert decisions(asks(fixture, batch)) == [False, True]
    assert decisions(asks(fixture, {**question(), "evaluations": [{}, {"subject": {"type": "user", "id": "nobody"}}]})) == [True, False]


def test_given_entity_replaces_the_default_whole(fixture):
    answer = asks(fixture, {**question(), "evaluations": [{"resource": {"id": "record-1"}}]})
    assert decisions(answer) == [False]
    assert answer["evaluations"][0]["context"]["error"]["status"] == 400


def test_malformed_member_is_false_and_the_others_stand(fixture):
    answer = asks(
        fixture, {"subject": ALICE, "action": READ, "evaluations": [{"resource": RECORD}, {}, "x", {"resource": 7}, {"resource": RECORD}]}
    )
    assert decisions(answer) == [True, False, False, False, True]
    assert fixture.count("AZ1005") == 3


@pytest.mark.parametrize("body", [question(), question(evaluations=[])])
def test_batch_without_members_is_one_question(fixture, body):
    assert asks(fixture, body)["decision"] is True


@pytest.mark.parametrize(
    ("semantic", "expected"),
    [("execute_all", [True, False, True, False]), ("deny_on_first_deny", [True, False]), ("permit_on_first_permit", [True])],
)
def test_semantics_end_at_the_deciding_member(fixture, semantic, expected):
    batch = [{"action": READ}, {"action": WRITE}, {"action": READ}, {"action": WRITE}]
    body = {"subject": BOB, "resource": RECORD, "options": {"evaluations_semantic": semantic}, "evaluations": batch}
    assert decisions(asks(fixture, body)) == expected


NO_BATCHES = [
    {"evaluations": {}},
    {"evaluations": [{}] * 501},
    {"options": 1},
    {"options": {"evaluations_semantic": "some"}},
    {"subject": "alice"},
]


def test_malformed_batch_is_malformed_as_a_whole(fixture, subtests):
    for more in NO_BATCHES:
        with subtests.test(more=more), pytest.raises(Malformed):
            asks(fixture, {**question(), "evaluations": [{}], **more})


def test_each_decision_is_recorded_before_it_is_given_and_can_be_decided_again(fixture):
    answer = ask(fixture, question(BOB, WRITE))
    assert answer["context"]["receipt"]["log"] == "access/1"
    body = json.loads(fixture.bodies("AZ1001")[-1])
    assert body["out"] == "deny"
    assert body["pol"]["rev"] == answer["context"]["revision"]
    assert body["d"]["subject"] == fixture.person("bob").id
    assert b"record-1" not in fixture.bodies("AZ1001")[-1]
    grants = {one.id: one for roles in fixture.world.current().permits.values() for held in roles.values() for one in held}
    verdict = evaluate.replay(body["d"]["inputs"], grants)
    assert (verdict.allowed, verdict.reason, verdict.grant) == (False, answer["context"]["reason"], answer["context"]["nearest"]["rule"])


@pytest.mark.parametrize("stored", [{}, [], {"key": ["oa"]}, 7])
def test_a_decision_whose_inputs_cannot_be_read_is_not_decided_again(fixture, stored):
    body = {"rsn": "granted", "out": "allow", "pol": {"rule": "g1", "rev": 1}, "d": {"inputs": stored}}
    entry = trail_search.Entry("access", 1, 7, dt.datetime(2026, 1, 1, tzinfo=dt.UTC), Kind.DECISION, body, "", b"")
    with pytest.raises(Conflict, match="`7` of `access/1` cannot be read"):
        explain.replay(fixture.world.current(), entry)


def test_unregistered_actions_and_types_are_no_with_their_reason(fixture):
    assert ask(fixture, question(action={"name": "burn"}))["context"]["reason"] == "unregistered_action"
    assert ask(fixture, question(resource={"type": "car", "id": "1"}))["context"]["reason"] == "unregistered_type"
    assert ask(fixture, question({"type": "user", "id": "nobody"}))["context"]["reason"] == "unknown_subject"
    assert ask(fixture, question({"type": "robot", "id": "alice"}))["context"]["reason"] == "unknown_subject"


def test_property_that_the_application_may_not_assert_changes_nothing(fixture):
    register(fixture, id="quiet", asserts=[])
    grant(fixture, application="quiet", action="read", role="editor")
    with pytest.raises(Malformed):
        grant(fixture, application="quiet", action="write", role="editor", conditions={"resource.status": "active"})
    body = question(resource={**RECORD, "properties": {"unit": "elsewhere"}})
    assert ask(fixture, body, caller_of(fixture, "quiet"))["decision"] is True


def test_asserted_role_never_becomes_a_role_of_the_directory(fixture):
    assert ask(fixture, question({**ALICE, "properties": {"role": "admin"}}, WRITE, ARCHIVED))["decision"] is False


def test_what_is_known_of_a_resource_is_not_overruled(fixture):
    lie = {**ARCHIVED, "properties": {"status": "active"}}
    assert ask(fixture, question(ALICE, WRITE, lie))["decision"] is False


def test_application_sees_its_own_grants_only(fixture):
    register(fixture, id="other")
    answer = ask(fixture, question(), caller_of(fixture, "other"))
    assert (answer["decision"], answer["context"]["reason"]) == (False, "no_grant")


def test_persons_are_refused_the_decisions_of_applications(fixture):
    with pytest.raises(Denied):
        ask(fixture, question(), fixture.caller("zhangsan"))


def test_scope_time_and_assurance_are_told_as_the_nearest_miss(fixture):
    county, other = fixture.unit("qinghe.linhe.jiangzhou"), fixture.unit("songling.yunshan.jiangzhou")
    grant(fixture, action="delete", role="staff", unit=county, assurance=Assurance.CERTIFICATE)
    here = {"type": "record", "id": "r", "properties": {"unit": county}}
    there = {"type": "record", "id": "r", "properties": {"unit": other}}
    me, delete = {"type": "user", "id": "zhangsan"}, {"name": "delete"}
    assert ask(fixture, question(me, delete, there))["context"]["reason"] == "out_of_scope"
    weak = ask(fixture, question(me, delete, here, context={"acr": "urn:yumen:acr:code"}))
    assert (weak["decision"], weak["context"]["reason"]) == (False, "step_up")
    assert "urn:yumen:acr:cert" in weak["context"]["acr_values"]
    assert ask(fixture, question(me, delete, here, context={"acr": "urn:yumen:acr:cert"}))["decision"] is True
    assert (
        ask(fixture, question({"type": "user", "id": "wangwu"}, delete, there, context={"acr": "urn:yumen:acr:cert"}))["decision"] is False
    )
    made = grant(fixture, action="read", role="staff", not_after=fixture.time.now + dt.timedelta(hours=1))
    assert ask(fixture, question(me, READ, {"type": "record", "id": "r"}))["decision"] is True
    fixture.time.pass_(hours=1)
    ended = ask(fixture, question(me, READ, {"type": "record", "id": "r"}))
    assert (ended["context"]["reason"], ended["context"]["nearest"]["rule"]) == ("expired", made)


def test_withdrawn_grant_is_refused_at_once_and_stays_on_record(fixture):
    made = grant(fixture, action="read", role="staff")
    me = {"type": "user", "id": "zhangsan"}
    assert ask(fixture, question(me))["decision"] is True
    permit = fixture.permit("zhengshi", Action.GRANT_CHANGE, Target("app:records"))
    with recording(fixture.trail) as tx:
        applications.withdraw_grant(tx, "records", made, permit=permit)
    assert ask(fixture, question(me))["decision"] is False
    with pytest.raises(NotFound), recording(fixture.trail) as tx:
        applications.withdraw_grant(tx, "records", made, permit=permit)
    with fixture.trail.database.reading() as db:
        assert db.get(GrantRow, int(made[1:])).withdrawn_at is not None


def test_forbid_wins(fixture):
    assert ask(fixture, question())["decision"] is True
    grant(fixture, action="read", role="*", effect="forbid", conditions={"resource.status": "active"})
    answer = ask(fixture, question())
    assert (answer["decision"], answer["context"]["reason"]) == (False, "forbidden")


def test_stale_directory_is_no(fixture):
    caller = caller_of(fixture)
    fixture.path.unlink()
    fixture.time.pass_(seconds=11)
    answer = ask(fixture, question(), caller)
    assert (answer["decision"], answer["context"]["reason"]) == (False, "stale")


def test_certificate_that_the_user_logged_in_with_is_judged_when_it_is_named(fixture):
    from audit.event import Event, Kind
    from authz import standing

    def about(named):
        return ask(fixture, question({**ALICE, "properties": {"certificate": named}}))

    named = f"{'ab' * 32}:1f3a"
    assert about(named)["decision"] is True
    with recording(fixture.trail) as tx:
        standing.revoke(tx, "ab" * 32, 0x1F3A, "keyCompromise")
        tx.record(Event(kind=Kind.CERT_REVOKED, actor=Actor.service("issuance"), object="cert:staff/1f3a"))
    assert about(named)["context"]["reason"] == "revoked"
    assert about("1f3a")["context"]["reason"] == "unknown_certificate"
    assert about(7)["decision"] is False


def test_removed_role_is_no_at_the_next_look(fixture):
    assert ask(fixture, question())["decision"] is True
    group = province.group_dn("editor", "jiangzhou")
    fixture.without_member(group, province.person_dn("alice", "jiangzhou"))
    fixture.time.pass_(seconds=1)
    assert ask(fixture, question())["decision"] is False


def find(place, kind, body):
    return ask(place, body, oracle=getattr(search, kind))


def test_searches_list_what_evaluation_would_allow(fixture):
    found = find(fixture, "subject", {"subject": {"type": "user"}, "action": READ, "resource": RECORD})
    assert found["results"] == [ALICE, BOB]
    assert found["page"]["next_token"] == ""
    assert find(fixture, "subject", {"subject": {"type": "user", "id": "ignored"}, "action": WRITE, "resource": ARCHIVED})["results"] == [
        BOB
    ]
    assert RECORD in find(fixture, "resource", {"subject": ALICE, "action": READ, "resource": {"type": "record"}})["results"]
    archived = find(fixture, "resource", {"subject": BOB_ADMIN, "action": WRITE, "resource": {"type": "record"}})
    assert archived["results"] == [{"type": "record", "id": "record-2"}]
    assert find(fixture, "action", {"subject": ALICE, "resource": RECORD})["results"] == [READ, WRITE]
    assert WRITE in find(fixture, "action", {"subject": BOB_ADMIN, "resource": ARCHIVED})["results"]


def test_search_for_what_is_not_known_finds_nothing(fixture):
    assert find(fixture, "subject", {"subject": {"type": "robot"}, "action": READ, "resource": RECORD})["results"] == []
    assert find(fixture, "subject", {"subject": {"type": "user"}, "action": {"name": "burn"}, "resource": RECORD})["results"] == []
    assert find(fixture, "resource", {"subject": ALICE, "action": READ, "resource": {"type": "car"}})["results"] == []
    assert find(fixture, "action", {"subject": {"type": "user", "id": "nobody"}, "resource": RECORD})["results"] == []


NO_SEARCHES = [
    ("subject", {"subject": {"type": "user"}, "action": READ, "resource": {"type": "record"}}),
    ("subject", {"action": READ, "resource": RECORD}),
    ("subject", {"subject": {"type": "user"}, "resource": RECORD}),
    ("resource", {"subject": {"type": "user"}, "action": READ, "resource": {"type": "record"}}),
    ("action", {"subject": {"type": "user"}, "resource": RECORD}),
    ("action", {"subject": ALICE, "resource": {"type": "record"}}),
]


def test_search_needs_the_id_of_what_is_given(fixture, subtests):
    for kind, body in NO_SEARCHES:
        with subtests.test(kind=kind, body=body), pytest.raises(Malformed):
            find(fixture, kind, body)


def test_pages_go_on_where_they_ended_and_are_bound_to_their_question(fixture):
    grant(fixture, action="read", role="everyone")
    body = {"subject": {"type": "user"}, "action": READ, "resource": RECORD}
    whole = find(fixture, "subject", body)["results"]
    seen, token, pages = [], "", 0
    while True:
        page = {"limit": 10} if not token else {"token": token}
        answer = find(fixture, "subject", {**body, "page": page})
        seen, token, pages = seen + answer["results"], answer["page"]["next_token"], pages + 1
        assert answer["page"]["total"] == len(whole)
        if not token:
            break
        kept = token
    assert seen == whole
    assert pages == -(-len(whole) // 10)
    for wrong in (
        {"token": kept, "limit": 11},
        {"token": kept + "0"},
        {"token": "0.10.x"},
        {"token": 7},
        {"limit": 0},
        {"limit": True},
        {"token": "\udcff.1.x"},
    ):
        with pytest.raises(Malformed):
            find(fixture, "subject", {**body, "page": wrong})
    with pytest.raises(Malformed):
        find(fixture, "subject", {**body, "action": WRITE, "page": {"token": kept}})
    grant(fixture, action="read", role="nobody")
    with pytest.raises(Malformed):
        find(fixture, "subject", {**body, "page": {"token": kept}})


def test_discovery_names_every_endpoint_under_one_address():
    told = authzen.configuration("https://localhost:8443")
    assert told["policy_decision_point"] == "https://localhost:8443"
    assert all(value.startswith("https://localhost:8443/access/v1/") for name, value in told.items() if name.endswith("_endpoint"))
    assert len(told) == 7


def make_key(place):
    permit = place.permit("service:demo", Action.API_KEY_MAKE, Target("app:records"))
    with recording(place.trail) as tx:
        return applications.make_key(tx, place.world, "records", permit=permit)


def test_api_key_names_its_application_until_it_is_withdrawn(fixture):
    key = make_key(fixture)
    fixture.world.refresh()
    assert key.startswith("yk_")
    assert applications.by_key(fixture.world, key).application.id == "records"
    assert key.split("_", 2)[2].encode() not in fixture.stored()
    identity = key.split("_")[1]
    for wrong in ("", "yk_", key + "x", f"yk_{identity}_", f"yk_{identity[::-1]}_{key.split('_', 2)[2]}", "yk_\udcff_x"):
        with pytest.raises(Unauthenticated):
            applications.by_key(fixture.world, wrong)
    permit = fixture.permit("service:demo", Action.API_KEY_MAKE, Target("app:records"))
    with recording(fixture.trail) as tx:
        applications.withdraw_key(tx, "records", identity, permit=permit)
    with pytest.raises(Unauthenticated):
        applications.by_key(fixture.world, key)


@pytest.mark.parametrize(
    "more",
    [{"id": "Bad Id"}, {"actions": ["a b"]}, {"types": [""]}, {"asserts": ["role"]}, {"asserts": [f"resource.p{n}" for n in range(17)]}],
)
def test_registration_outside_the_allowed_letters_is_refused(fixture, more):
    with pytest.raises(Malformed):
        register(fixture, **{"id": "fresh", **more})


def test_id_of_an_application_is_given_once(fixture):
    with pytest.raises(Conflict):
        register(fixture)


def test_assets_have_plain_names_and_one_registration(fixture):
    permit = fixture.permit("service:demo", Action.ASSET_REGISTER, Target("server:web"))
    facts = {"name": "门户", "owner": "", "unit": fixture.unit("jiangzhou"), "names": ["web.example", "10.0.0.1"]}
    with recording(fixture.trail) as tx:
        applications.register_asset(tx, "server:web", facts, permit=permit)
    assert fixture.world.refresh().assets["server:web"].names == ("web.example", "10.0.0.1")
    with pytest.raises(Conflict), recording(fixture.trail) as tx:
        applications.register_asset(tx, "server:web", facts, permit=permit)
    for names in (["*.example"], ["a b"], ["UPPER.example"], ["-x"], ["x" * 300]):
        with pytest.raises(Malformed), recording(fixture.trail) as tx:
            applications.register_asset(tx, "server:web", {**facts, "names": names}, permit=permit)


def test_nobody_registers_the_name_of_another_asset_or_an_application_as_an_asset(fixture):
    permit = fixture.permit("service:demo", Action.ASSET_REGISTER, Target("server:one"))
    facts = {"name": "门户", "owner": "", "unit": fixture.unit("jiangzhou"), "names": ["one.example", "10.0.0.1", "fd00::1"]}
    with recording(fixture.trail) as tx:
        applications.register_asset(tx, "server:one", facts, permit=permit)
    permit = fixture.permit("service:demo", Action.ASSET_REGISTER, Target("server:two"))
    for name in facts["names"]:
        with pytest.raises(Conflict), recording(fixture.trail) as tx:
            applications.register_asset(tx, "server:two", {**facts, "names": ["two.example", name]}, permit=permit)
    for names in (["fd00:0::1"], ["fe80::1%eth0"], [f"h{number}.example" for number in range(applications.MAX_NAMES + 1)]):
        with pytest.raises(Malformed), recording(fixture.trail) as tx:
            applications.register_asset(tx, "server:two", {**facts, "names": names}, permit=permit)
    permit = fixture.permit("service:demo", Action.ASSET_REGISTER, Target("application:fresh"))
    with pytest.raises(Malformed), recording(fixture.trail) as tx:
        applications.register_asset(tx, "application:fresh", {**facts, "names": []}, permit=permit)


def test_more_actions_than_an_event_can_hold_are_refused(fixture):
    with pytest.raises(Malformed):
        register(fixture, id="fresh", actions=[f"action{number}" for number in range(applications.MAX_NAMES + 1)])
