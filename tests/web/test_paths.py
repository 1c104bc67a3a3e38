"""What a proxy says was asked for is read in one way, or refused."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.errors import Malformed
from web import paths


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a/b/", "/a/b/"),
        ("/a?b=/../c//d;e%2f%00", "/a"),
        ("/a/./b/../c", "/a/c"),
        ("/a/..", "/"),
        ("/a/b/.", "/a/b/"),
        ("/a%20b", "/a b"),
        ("/%E7%8E%89%E9%97%A8", "/玉门"),
        ("/%41bc%7E~", "/Abc~~"),
        ("/a..b/...", "/a..b/..."),
        ("/.well-known/x", "/.well-known/x"),
        ("/a%2ehtml", "/a.html"),
        ("/a,b(c)!$&'*+=:@", "/a,b(c)!$&'*+=:@"),
    ],
)
def test_a_plain_address_has_one_path(address: str, path: str):
    assert paths.original(address) == path


@pytest.mark.parametrize(
    "address",
    [
        "",
        "a",
        "*",
        "http://elsewhere/a",
        "//a",
        "/a//b",
        "/a//",
        "/../a",
        "/a/../../b",
        "/%2e%2e/a",
        "/a/%2E./b",
        "/a/.%2e",
        "/a/%2e/b",
        "/a%2fb",
        "/a%2F..%2Fb",
        "/a%5cb",
        "/a\\b",
        "/a%252e%252e/b",
        "/a%25",
        "/a%00b",
        "/a%0d%0aX:y",
        "/a%1fb",
        "/a%7fb",
        "/a%c2%80b",
        "/a%e2%80%8bb",
        "/a%ff",
        "/a%c0%ae%c0%ae/b",
        "/a%c0%afb",
        "/a%ed%a0%80",
        "/a%",
        "/a%2",
        "/a%zz",
        "/a b",
        "/a\tb",
        "/é",
        "/a;b",
        "/a/..;/b",
        "/a%3b/b",
        "/a%3fb",
        "/a%23b",
        "/a#b",
        "/public,/admin",
        "/public?x,/admin",
        "/" + "a" * paths.MAX_ADDRESS,
    ],
)
def test_what_could_be_read_in_another_way_is_refused(address: str):
    with pytest.raises(Malformed) as refused:
        paths.original(address)
    assert refused.value.facts["reason"] == "ambiguous-path"


@example("%20")
@example("a%2C/b")
@given(st.text(alphabet="/.%25eEfF0aA\\;,?#", max_size=24))
def test_whatever_passes_has_no_way_out_and_passes_again_unchanged(text: str):
    try:
        path = paths.original("/" + text)
    except Malformed:
        return
    assert path.startswith("/")
    assert not {"", ".", ".."} & set(path.split("/")[1:-1])
    assert path.split("/")[-1] not in {".", ".."}
    assert not set("\\%;?#") & set(path)
    assert paths.original(quote(path)) == path
