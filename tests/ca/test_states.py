from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca import states
from ca.states import CERTIFICATES, INTENTS, LISTS, REQUESTS, RequestState, RequestStep, Standing, StandingStep, after
from core.errors import Conflict

TABLES = {"REQUESTS": REQUESTS, "INTENTS": INTENTS, "CERTIFICATES": CERTIFICATES, "LISTS": LISTS}


@pytest.mark.parametrize("name", TABLES)
def test_the_lives_in_the_docs_are_drawn_from_the_tables(name):
    drawn = re.search(rf"<!-- {name} -->\n```\n(.*?)\n```", Path("docs/lives.md").read_text("utf-8"), re.DOTALL)
    assert drawn
    assert drawn[1] == states.diagram(TABLES[name])


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_every_state_is_reached_from_the_first(table):
    first, reached = next(iter(table))[0], set()
    waiting = [first]
    while waiting:
        state = waiting.pop()
        reached.add(state)
        waiting += [result for (source, _), result in table.items() if source == state and result not in reached]
    assert reached == set(type(first))


@given(st.lists(st.sampled_from(RequestStep)))
def test_issued_only_through_approval_and_an_announced_signature(steps):
    state, done = RequestState.SUBMITTED, []
    for step in steps:
        if (state, step) in REQUESTS:
            state = REQUESTS[state, step]
            done.append(step)
    if state is RequestState.ISSUED:
        assert done[0] is RequestStep.APPROVE
        assert done[-2:] == [RequestStep.INTEND, RequestStep.ISSUE]


@given(st.lists(st.sampled_from(StandingStep)))
def test_revoked_is_for_ever(steps):
    state = Standing.REVOKED
    for step in steps:
        with pytest.raises(Conflict):
            after(CERTIFICATES, state, step, "cert:x/1")
