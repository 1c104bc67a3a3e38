"""Every table says whose it is, keeps time in one way, and is a fact unless it stands here with a reason."""

from __future__ import annotations

import importlib

import pytest
from sqlalchemy import DateTime

from core.database import Model, UtcDateTime
from ops.pairs import PAIRS, UNPAIRED
from tests.shape.rules import ROOT

ROOMS = [path.parent.name for path in sorted(ROOT.glob("*/tables.py"))]
for _room in ROOMS:
    importlib.import_module(f"{_room}.tables")

#: Rows that may change without an event: each is no fact, and losing or changing it changes no decision about anybody.
VOLATILE = {
    "authz_session_seen": "when a session was last used, written at most now and then",
    "authz_look": "that a look at the directory began and succeeded; what it found is an event",
    "authz_throttle": "recent failures by account and network; each failure is an event of its own",
    "ca_lease": "a worker's sign of life, written several times a minute",
    "ops_notice": "what people are to be told; that it was sent or given up is an event of its own",
}

#: In the order of their names: the registry is a set, and two workers must collect the same tests.
MAPPERS = sorted(
    (mapper for mapper in Model.registry.mappers if mapper.class_.__module__.rpartition(".")[0] in ROOMS),
    key=lambda mapper: mapper.class_.__tablename__,
)


def test_only_these_tables_change_without_an_event() -> None:
    assert {mapper.class_.__tablename__ for mapper in MAPPERS if mapper.class_.__volatile__} == set(VOLATILE)


@pytest.mark.parametrize("mapper", MAPPERS, ids=lambda mapper: mapper.class_.__tablename__)
def test_a_table_bears_the_name_of_its_room(mapper) -> None:
    room = mapper.class_.__module__.partition(".")[0]
    assert mapper.class_.__tablename__.startswith({"audit": "trail_"}.get(room, f"{room}_"))


@pytest.mark.parametrize("mapper", MAPPERS, ids=lambda mapper: mapper.class_.__tablename__)
def test_no_column_keeps_a_time_of_unknown_zone(mapper) -> None:
    assert [column.name for column in mapper.local_table.columns if isinstance(column.type, DateTime)] == []
    kinds = [type(column.type) for column in mapper.local_table.columns if "DATETIME" in str(column.type).upper()]
    assert set(kinds) <= {UtcDateTime}


def test_every_table_of_facts_is_compared_with_its_events() -> None:
    facts = {mapper.class_.__tablename__ for mapper in MAPPERS if not mapper.class_.__volatile__}
    facts = {name for name in facts if not name.startswith("trail_")}
    paired = {pair.table for pair in PAIRS}
    assert paired | set(UNPAIRED) == facts
    assert not paired & set(UNPAIRED)
