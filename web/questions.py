"""What questions and answers of AuthZEN look like, as JSON schemas: unlike our own bodies they may hold members nobody knows.

They are read by `authz.authzen` and `authz.search`; a test asks what these schemas allow and sees it taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from authz.authzen import MAX_BATCH, MAX_TEXT, SEMANTICS
from authz.search import MAX_PAGE
from web import strict

Schema = dict[str, Any]

_OBJECT: Schema = {"$ref": "#/components/schemas/JsonObject"}
_TEXT = strict.schema(Annotated[str, strict.Text(at_most=MAX_TEXT, at_least=1)])


def _open(properties: Mapping[str, Schema], *required: str) -> Schema:
    """An object with these members, and any others that JSON allows."""
    return strict.JSON_OBJECT | {"properties": dict(properties), "required": list(required)}


def _entity(*texts: str) -> Schema:
    return _open({**dict.fromkeys(texts, _TEXT), "properties": _OBJECT}, *texts)


_SUBJECT, _ACTION, _RESOURCE = _entity("type", "id"), _entity("name"), _entity("type", "id")
_ASKED = {"subject": _SUBJECT, "action": _ACTION, "resource": _RESOURCE, "context": _OBJECT}
_PAGE = _open(
    {"limit": {"type": ["integer", "null"], "minimum": 1, "maximum": MAX_PAGE}, "token": {"type": "string", "format": "page-token"}}
)
_OPTIONS = _open({"evaluations_semantic": {"enum": list(SEMANTICS)}})

EVALUATION = _open(_ASKED, "subject", "action", "resource")
#: One question, or several that share what the batch as a whole says; a member that cannot be read is answered with no.
EVALUATIONS: Schema = {
    "anyOf": [
        _open(_ASKED | {"options": _OPTIONS, "evaluations": {"type": "array", "maxItems": 0}}, "subject", "action", "resource"),
        _open(
            dict.fromkeys(_ASKED, _OBJECT) | {"options": _OPTIONS, "evaluations": {"type": "array", "minItems": 1, "maxItems": MAX_BATCH}},
            "evaluations",
        ),
    ]
}
DECISION: Schema = {
    "type": "object",
    "properties": {"decision": {"type": "boolean"}, "context": {"type": "object"}},
    "required": ["decision", "context"],
}
DECISIONS: Schema = {
    "anyOf": [
        DECISION,
        {"type": "object", "properties": {"evaluations": {"type": "array", "items": DECISION}}, "required": ["evaluations"]},
    ]
}
#: What is searched for needs no id.
SEARCHES: Mapping[str, Schema] = {
    "subject": _open(_ASKED | {"subject": _entity("type"), "page": _PAGE}, "subject", "action", "resource"),
    "resource": _open(_ASKED | {"resource": _entity("type"), "page": _PAGE}, "subject", "action", "resource"),
    "action": _open(_ASKED | {"action": {}, "page": _PAGE}, "subject", "resource"),
}
FOUND: Schema = {
    "type": "object",
    "properties": {
        "page": {
            "type": "object",
            "properties": {"next_token": {"type": "string"}, "count": {"type": "integer"}, "total": {"type": "integer"}},
            "required": ["next_token", "count", "total"],
        },
        "results": {"type": "array", "items": {"type": "object"}},
    },
    "required": ["page", "results"],
}
