"""The OpenAPI 3.1 document, made from what the routes declare: it cannot say anything that the service does not do."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from core.errors import Error
from web import problems, strict
from web.declare import Described, Opening

_PARAMETER = re.compile(r"<(?:(\w+):)?(\w+)>")
#: What a parameter of an address may be, by Flask's name for it.
_SEGMENT: dict[str, dict[str, Any]] = {
    "": {"type": "string", "pattern": r"^[^/\u0000]+$"},
    "path": {"type": "string", "pattern": r"^[^\u0000]+$"},
    "int": {"type": "integer", "minimum": 0, "maximum": 10**18 - 1},
}
_EVERYWHERE = ("malformed", "unauthenticated", "denied", "unavailable", "rate-limited")
_SECURITY: dict[Opening, list[dict[str, list[str]]]] = {
    Opening.ANYONE: [{}],
    Opening.PERSON: [{"session": []}],
    Opening.APPLICATION: [{"certificate": []}, {"apiKey": []}],
    Opening.LOOPBACK: [{}],
}


class Operation(NamedTuple):
    """One method of one address, as the door knows it."""

    method: str
    #: Address with parameters as Flask writes them: `/api/v1/requests/<int:request_id>`.
    rule: str
    name: str
    openings: frozenset[Opening]
    described: Described


def document(operations: Iterable[Operation], server: str) -> dict[str, Any]:
    """The document of `operations`, served at `server`."""
    paths: dict[str, Any] = {}
    shapes: set[type] = set()
    for operation in sorted(operations, key=lambda operation: (operation.rule, operation.method)):
        said = operation.described
        shapes |= set().union(*(strict.shapes_in(kind) for kind in (said.body, said.answer) if kind))
        paths.setdefault(_PARAMETER.sub(r"{\2}", operation.rule), {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Yumen", "version": "1", "description": "Certificates, identities, decisions, and the trail that proves them."},
        "servers": [{"url": server}],
        "paths": paths,
        "components": {
            "schemas": {shape.__name__: strict.object_schema(shape) for shape in sorted(shapes, key=lambda shape: shape.__name__)}
            | {"Problem": _problem(), "Json": strict.JSON, "JsonObject": strict.JSON_OBJECT},
            "responses": {code: _refusal(code) for code in problems.STATUS},
            "securitySchemes": {
                "session": {"type": "http", "scheme": "bearer", "description": "token of POST /api/v1/sessions, starts `ys_`"},
                "apiKey": {"type": "http", "scheme": "bearer", "description": "API key of an application, starts `yk_`"},
                "certificate": {"type": "mutualTLS", "description": "client certificate of an application"},
            },
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    said = operation.described
    found: dict[str, Any] = {
        "operationId": operation.name.replace(".", "_"),
        "summary": said.summary,
        "security": [way for opening in sorted(operation.openings) for way in _SECURITY[opening]],
        "parameters": _parameters(operation),
        "responses": _refusals(said) | {str(status): _answer(said) for status in (said.status, said.also) if status},
    }
    if said.body or said.takes:
        found["requestBody"] = {"required": not said.or_nothing, "content": {said.takes or "application/json": _sent(said)}}
    return found


def _sent(said: Described) -> dict[str, Any]:
    if not said.body:
        return {"schema": said.takes_schema} if said.takes_schema else {}
    shape = strict.schema(said.body)
    return {"schema": {"anyOf": [shape, {"type": "object", "maxProperties": 0}]} if said.or_nothing else shape}


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    path = [
        {"name": name, "in": "path", "required": True, "schema": _SEGMENT.get(kind, _SEGMENT[""])}
        for kind, name in _PARAMETER.findall(operation.rule)
    ]
    told = {name: operation.described.asked(name) for name in operation.described.query}
    query = [
        {"name": name, "in": "query", "required": one.needed, "description": one.meaning, "schema": strict.schema(one.kind)}
        for name, one in told.items()
    ]
    fields = [
        {"name": name, "in": "header", "required": False, "description": meaning, "schema": {"type": "string"}}
        for name, meaning in operation.described.fields.items()
    ]
    return path + query + fields


def _answer(said: Described) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": said.summary}
    if said.answer:
        answer["content"] = {"application/json": {"schema": strict.schema(said.answer)}}
    if said.gives:
        schema = {"schema": said.gives_schema} if said.gives_schema else {}
        answer.setdefault("content", {}).update(dict.fromkeys(said.gives.split(), schema))
    return answer


def _refusals(said: Described) -> dict[str, Any]:
    """By status: codes that share one (429) share the answer of the first."""
    by_status: dict[str, Any] = {}
    sent = ("too-large",) if said.body or said.takes else ()
    for code in said.only or (*_EVERYWHERE, *sent, *said.errors):
        by_status.setdefault(str(problems.STATUS[code]), {"$ref": f"#/components/responses/{code}"})
    return by_status


def _refusal(code: str) -> dict[str, Any]:
    kind = next((kind for kind in _tree(Error) if kind.code == code), Error)
    says = (kind.__doc__ or "").strip().splitlines()[0]
    return {"description": says, "content": {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}


def _tree(kind: type[Error]) -> Iterable[type[Error]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _tree(child)


def _problem() -> dict[str, Any]:
    text = {"type": "string"}
    return {
        "type": "object",
        "description": "RFC 9457 problem document",
        "properties": {
            "type": text,
            "title": text,
            "status": {"type": "integer"},
            "code": {"type": "string", "enum": sorted(problems.STATUS)},
            "detail": text,
            "reason": text,
            "instance": text,
        },
        "required": ["code", "detail", "status", "title", "type"],
    }
