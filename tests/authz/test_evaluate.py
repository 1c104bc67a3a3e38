"""The evaluator against a brute-force oracle, and what adding and removing grants may never do."""

from __future__ import annotations

import statistics
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.evaluate import Question, same, weigh
from authz.people import Holding
from authz.snapshot import ALWAYS, NEVER, Grant, index
from tests.examples import examples

#: A small tree: province, two cities, a county in each; unit names are their own ids.
ABOVE = {
    "p": frozenset("p"),
    "c1": frozenset(("p", "c1")),
    "c2": frozenset(("p", "c2")),
    "k1": frozenset(("p", "c1", "k1")),
    "k2": frozenset(("p", "c2", "k2")),
}
units = st.sampled_from(["", "", "", *ABOVE])
roles = st.sampled_from(["staff", "chief"])
values = st.sampled_from(["active", "archived", True, 1])
facts = st.dictionaries(st.sampled_from(["resource.status", "action.soft"]), values, max_size=2)
moments = st.integers(0, 6)


@st.composite
def grants(draw):
    made = []
    for number in range(draw(st.integers(1, 7))):
        effect = draw(st.sampled_from(["permit", "permit", "forbid"]))
        role = draw(st.sampled_from(["staff", "chief", *(["*"] if effect == "forbid" else [])]))
        conditions = tuple(sorted(draw(st.one_of(st.just({}), st.just({}), facts)).items(), key=lambda pair: pair[0]))
        limits = draw(st.sampled_from([(ALWAYS, NEVER), (ALWAYS, NEVER), (2, 4), (ALWAYS, 3), (3, NEVER)]))
        action = draw(st.sampled_from(["read", "read", "read", "write"]))
        made.append(
            Grant(f"g{number}", "oa", action, "doc", role, draw(units), effect, *limits, draw(st.sampled_from([0, 0, 1, 2])), conditions)
        )
    return made


@st.composite
def questions(draw):
    unit = draw(st.sampled_from([None, None, "elsewhere", *ABOVE]))
    places = st.sampled_from(["p", "p", "p", "c1", "k1"])
    held = draw(st.sets(st.builds(Holding, roles, places), min_size=1, max_size=4))
    above = None if unit is None else ABOVE.get(unit, frozenset())
    return Question(("oa", "read", "doc"), tuple(sorted(held)), above, draw(moments), draw(st.integers(0, 2)), draw(facts))


def decide(held, question):
    return weigh(index(one for one in held if one.effect == "permit"), index(one for one in held if one.effect == "forbid"), question)


def oracle(held, q):
    """Permit or deny by walking every grant: slow, and short enough to be seen to be right."""
    mine = [g for g in held if (g.application, g.action, g.type) == q.key]
    for g in mine:
        if g.effect == "forbid" and (g.role == "*" or any(g.role == h.role for h in q.holdings)):
            unit = not g.unit or not q.above or g.unit in q.above
            known = all(n not in q.facts or same(q.facts[n], v) for n, v in g.conditions)
            if unit and known and g.not_before <= q.at < g.not_after:
                return False
    for g in mine:
        for h in q.holdings:
            if g.effect == "permit" and g.role == h.role and g.not_before <= q.at < g.not_after and q.assurance >= g.assurance:
                unit = not g.unit if q.above is None else h.unit in q.above and (not g.unit or g.unit in q.above)
                if unit and all(n in q.facts and same(q.facts[n], v) for n, v in g.conditions):
                    return True
    return False


@examples(150)
@given(grants(), questions())
def test_evaluator_equals_the_oracle(held, question):
    assert decide(held, question).allowed is oracle(held, question)


@examples(100)
@given(grants(), questions(), st.data())
def test_adding_a_forbid_never_turns_no_into_yes(held, question, data):
    more = data.draw(grants().map(lambda made: [one._replace(effect="forbid", id=f"x{one.id}") for one in made]))
    if not decide(held, question).allowed:
        assert not decide(held + more, question).allowed


@examples(100)
@given(grants(), questions(), st.data())
def test_removing_a_permit_never_turns_no_into_yes(held, question, data):
    permits = [one for one in held if one.effect == "permit"]
    if permits and not decide(held, question).allowed:
        gone = data.draw(st.sampled_from(permits))
        assert not decide([one for one in held if one is not gone], question).allowed


@examples(80)
@given(grants(), questions())
def test_losing_a_role_never_turns_no_into_yes_unless_a_forbid_went_with_it(held, question):
    permits = [one for one in held if one.effect == "permit"]
    if not decide(permits, question).allowed:
        for gone in question.holdings:
            fewer = question._replace(holdings=tuple(one for one in question.holdings if one != gone))
            assert not decide(permits, fewer).allowed


def near(**change):
    grant = Grant("g1", "oa", "read", "doc", "staff", "", "permit", ALWAYS, NEVER, 0, ())
    question = Question(("oa", "read", "doc"), (Holding("staff", "c1"),), ABOVE["k1"], 3, 0, {})
    for name, value in change.items():
        grant = grant._replace(**{name: value}) if name in Grant._fields else grant
        question = question._replace(**{name: value}) if name in Question._fields else question
    return decide([grant], question)


def test_nearest_miss_says_what_was_lacking():
    assert near().allowed
    assert near(unit="k2").reason == "out_of_scope"
    assert near(above=ABOVE["k2"]).reason == "out_of_scope"
    assert near(above=None, unit="k1").reason == "out_of_scope"
    assert near(not_after=3).reason == "expired"
    assert near(not_before=4).reason == "not_yet_valid"
    assert near(conditions=(("resource.status", "active"),)).reason == "condition"
    assert near(role="chief") == (False, "wrong_role", "", "chief")
    assert near(action="write").reason == "no_grant"


def test_step_up_is_the_nearest_miss():
    grants_ = [
        Grant("g1", "oa", "read", "doc", "staff", "k2", "permit", ALWAYS, NEVER, 0, ()),
        Grant("g2", "oa", "read", "doc", "staff", "", "permit", ALWAYS, NEVER, 2, ()),
    ]
    verdict = decide(grants_, Question(("oa", "read", "doc"), (Holding("staff", "c1"),), ABOVE["k1"], 3, 1, {}))
    assert verdict == (False, "step_up", "g2", "staff")


def test_true_is_not_one():
    assert not near(conditions=(("action.soft", True),), facts={"action.soft": 1}).allowed


@pytest.mark.slow
def test_a_hundred_thousand_grants_cost_as_much_as_a_thousand():
    """The ratio only: this machine's speed is nobody's promise."""

    def cost(size):
        made = [Grant(f"g{n}", f"app{n % 997}", f"act{n // 997}", "doc", "staff", "", "permit", ALWAYS, NEVER, 0, ()) for n in range(size)]
        permits, wanted = index(made), made[size // 2]
        question = Question((wanted.application, wanted.action, "doc"), (Holding("staff", "p"),), ABOVE["k1"], 3, 0, {})
        samples = []
        for _ in range(15):
            began = time.perf_counter_ns()
            for _ in range(400):
                weigh(permits, {}, question)
            samples.append(time.perf_counter_ns() - began)
        return min(samples)

    small, large = cost(1_000), cost(100_000)
    assert statistics.fmean([large]) < small * 2.5


def test_over_budget_is_no():
    held = tuple(Holding(f"r{n:03}", "p") for n in range(201))
    grant = Grant("g1", "oa", "read", "doc", "r000", "", "permit", ALWAYS, NEVER, 0, ())
    assert decide([grant], Question(("oa", "read", "doc"), held, ABOVE["k1"], 3, 0, {})).reason == "over_budget"
    many = [grant._replace(id=f"g{n}", unit="k2") for n in range(1_000)]
    assert decide([*many, grant], Question(("oa", "read", "doc"), held[:1], ABOVE["k1"], 3, 0, {})).reason == "over_budget"


def test_grant_counts_from_its_first_second_to_before_its_last():
    assert near(not_before=3, not_after=4).allowed
    assert not near(not_before=4).allowed
    assert not near(not_after=3).allowed


def test_forbid_that_cannot_be_judged_applies():
    permit = Grant("g1", "oa", "read", "doc", "staff", "", "permit", ALWAYS, NEVER, 0, ())
    forbid = permit._replace(id="g2", role="*", effect="forbid", conditions=(("resource.status", "archived"),))
    question = Question(("oa", "read", "doc"), (Holding("staff", "c1"),), ABOVE["k1"], 3, 0, {})
    assert decide([permit, forbid], question).reason == "forbidden"
    assert decide([permit, forbid], question._replace(facts={"resource.status": "archived"})).reason == "forbidden"
    assert decide([permit, forbid], question._replace(facts={"resource.status": "active"})).allowed
    scoped = forbid._replace(conditions=(), unit="k2")
    assert decide([permit, scoped], question).allowed
    assert decide([permit, scoped], question._replace(above=None)).reason == "forbidden"
    assert decide([permit, scoped], question._replace(above=frozenset())).reason == "forbidden"
