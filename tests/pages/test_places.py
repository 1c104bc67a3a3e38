from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask

from authz.people import Directory, Unit
from core.errors import Malformed, NotFound
from web.pages import language
from web.pages.places import unit_id


def unit(identity: str, name: str, name_en: str, *above: str) -> Unit:
    chain = (*above, identity)
    return Unit(identity, name, name_en, above[-1] if above else "", len(above), "", chain, frozenset(chain))


UNITS = [
    unit("p", "江州省", "Jiangzhou"),
    unit("a", "甲县", "Jia", "p"),
    unit("b", "乙县", "Yi", "p"),
    unit("ap", "公安局", "Police", "p", "a"),
    unit("bp", "公安局", "Police", "p", "b"),
]
DIRECTORY = Directory({}, {}, {}, {one.id: one for one in UNITS}, {})


@pytest.fixture(autouse=True)
def english() -> Iterator[None]:
    app = Flask(__name__)
    language.register(app)
    with app.test_request_context(headers={"Accept-Language": "en"}):
        yield


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ""),
        (" ", ""),
        ("bp", "bp"),
        ("甲县", "a"),
        ("Yi", "b"),
        ("甲县/公安局", "ap"),
        ("江州省/乙县/公安局", "bp"),
        ("Jia / Police", "ap"),
    ],
)
def test_a_unit_is_found_by_id_name_or_way(text, found):
    assert unit_id(DIRECTORY, text) == found
    assert unit_id(DIRECTORY, text.replace("甲县", " Jia ").replace("公安局", "Police")) == found


def test_a_name_of_several_units_is_refused_with_the_ways_to_them():
    with pytest.raises(Malformed) as refused:
        unit_id(DIRECTORY, "公安局")
    assert refused.value.facts["ways"] == "Jia/Police, Yi/Police"


@pytest.mark.parametrize("text", ["nowhere", "公安局/甲县", "乙县/甲县", "/", "*" * 300])
def test_what_names_no_unit_is_refused(text):
    with pytest.raises(NotFound):
        unit_id(DIRECTORY, text)
