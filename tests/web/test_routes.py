"""Every door says who may come in, and the published document says the same."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path

import pytest
from flask import Flask

from tests.web.conftest import Service
from web import door
from web.api import meta
from web.app import create_app
from web.decisions import DECISION_ROUTES
from web.declare import Opening, description, openings
from web.gate import GATE_ROUTES
from web.hot import STATUS_ROUTES

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def app(service: Service) -> Flask:
    return create_app(service.node)


def test_every_route_declares_who_may_come_in(app: Flask) -> None:
    undeclared = [rule.rule for rule in app.url_map.iter_rules() if not openings(app.view_functions[rule.endpoint])]
    assert undeclared == []
    assert all(route.openings and route.described.summary for route in (*STATUS_ROUTES, *DECISION_ROUTES, *GATE_ROUTES))


def test_every_address_that_a_page_or_a_view_names_exists(app: Flask) -> None:
    sources = [path for pattern in ("web/templates/**/*.html", "web/pages/*.py") for path in Path(__file__).parents[2].glob(pattern)]
    named = {(path.name, name) for path in sources for name in re.findall(r"""url_for\(\s*["']([\w.]+)["']""", path.read_text("utf-8"))}
    assert len(named) > 40
    assert [place for place in sorted(named) if place[1] not in app.view_functions] == []


def test_every_route_for_programs_is_described(app: Flask) -> None:
    programs = [rule for rule in app.url_map.iter_rules() if door.for_programs(rule.rule)]
    assert len(programs) > 30
    assert [rule.rule for rule in programs if description(app.view_functions[rule.endpoint]) is None] == []


def test_only_these_doors_are_open_to_anyone(app: Flask) -> None:
    open_doors = {
        rule.rule
        for rule in app.url_map.iter_rules()
        if Opening.ANYONE in openings(app.view_functions[rule.endpoint]) and door.for_programs(rule.rule)
    }
    assert open_doors == {
        "/api/v1/sessions",
        "/api/v1/totp/enrolments",
        "/api/v1/totp/enrolments/confirm",
        "/api/v1/openapi.json",
        "/healthz",
        "/readyz",
    }
    asking = [route for route in (*DECISION_ROUTES, *GATE_ROUTES) if route.rule.startswith(("/access", "/gate"))]
    assert len(asking) == 6
    assert all(Opening.ANYONE not in route.openings for route in asking)


def test_nobody_known_is_turned_away_everywhere_else(app: Flask, service: Service) -> None:
    with contextlib.nullcontext(service.client()) as client:
        for rule in app.url_map.iter_rules():
            if not door.for_programs(rule.rule) or openings(app.view_functions[rule.endpoint]) & {Opening.ANYONE, Opening.LOOPBACK}:
                continue
            path = re.sub(r"<(?:int:\w+|\w+:)?\w*>", "1", rule.rule)
            for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
                answer = client.request(method, path, json={})
                assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), (method, path)
        for route in DECISION_ROUTES:
            if route.rule.startswith("/access"):
                assert client.post(route.rule, json={}).status_code == 401


def test_the_published_document_names_every_route_and_nothing_else(app: Flask, service: Service) -> None:
    published = service.client().get("/api/v1/openapi.json").json()
    told = {(method.upper(), path) for path, operations in published["paths"].items() for method in operations}
    real = {(operation.method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", operation.rule)) for operation in meta.operations(app)}
    assert told == real
    assert ("POST", "/api/v1/requests/{request_id}/approve") in told
    assert ("POST", "/access/v1/evaluation") in told
    assert ("GET", "/ocsp/{authority}/{request}") in told


def test_the_published_document_is_whole(service: Service) -> None:
    """OpenAPI 3.1: references resolve, operation ids are unique, path parameters are declared, every answer is described."""
    published = service.client().get("/api/v1/openapi.json").json()
    assert published["openapi"] == "3.1.0"
    assert {"title", "version"} <= set(published["info"])
    for reference in re.findall(r'"\$ref": ?"([^"]+)"', json.dumps(published)):
        found = published
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
    operations = [operation for path in published["paths"].values() for operation in path.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(names) == len(set(names))
    for path, methods in published["paths"].items():
        for operation in methods.values():
            declared = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"}
            assert declared == set(re.findall(r"{(\w+)}", path)), path
            assert all("description" in answer or "$ref" in answer for answer in operation["responses"].values())
            assert all(set(way) <= set(published["components"]["securitySchemes"]) for way in operation["security"])


def test_refusals_are_published(service: Service) -> None:
    paths = service.client().get("/api/v1/openapi.json").json()["paths"]
    limit = service.node.settings.web.max_body_bytes
    asked = (
        ("get", "/crl/{authority}/{shard}.crl", "/crl/nobody/0.crl", b""),
        ("get", "/ca/{authority}.cer", "/ca/nobody.cer", b""),
        ("post", "/ocsp/{authority}", "/ocsp/staff", b"x" * 5000),
        ("post", "/access/v1/evaluation", "/access/v1/evaluation", b" " * (limit + 1)),
        ("post", "/api/v1/sessions", "/api/v1/sessions", b" " * (limit + 1)),
    )
    for method, path, address, content in asked:
        status = service.client().request(method, address, content=content).status_code
        assert str(status) in paths[path][method]["responses"], (path, status)
        assert status in {404, 413}


def test_answers_have_the_published_shape(service: Service) -> None:
    published = service.client().get("/api/v1/openapi.json").json()
    schemas = published["components"]["schemas"]
    me = service.person("zhangsan").get("/api/v1/me").json()
    assert set(me) == set(schemas["Me"]["required"])
    problem = service.client().get("/api/v1/me").json()
    assert set(schemas["Problem"]["required"]) <= set(problem) <= set(schemas["Problem"]["properties"])
