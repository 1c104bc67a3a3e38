"""From an event, as its author knows it, to the bytes that are stored and hashed, once and for ever."""

from __future__ import annotations

import secrets
from typing import Any, NamedTuple

from audit.event import Event, canonical
from audit.permit import Actor
from audit.privacy import Opening, Privacy
from audit.verifier.merkle import leaf_hash

VERSION = 1


class Writer(NamedTuple):
    """One process that writes: the node's name (one per process of a home) and the random id of this start."""

    node: str
    boot: str

    @classmethod
    def fresh(cls, node: str) -> Writer:
        """A writer for a process that starts now."""
        return cls(node, secrets.token_hex(8))


class Entry(NamedTuple):
    """An event ready to be placed: the searchable columns, the exact bytes, the leaf and the openings."""

    log: str
    counter: int
    columns: tuple[str, int, str, str, str, str, str, str, str]
    leaf: bytes
    body: bytes
    openings: tuple[Opening, ...]


def entry(happened: Event, at: int, writer: Writer, counter: int, privacy: Privacy) -> Entry:
    """Write `happened` down as of `at` (microseconds).

    Raises:
        ValueError: a field is outside the canonical profile or too long.
    """
    about, cert, scope, request = map(_storable, (happened.object, happened.cert, happened.scope, happened.request_id))
    personal = {field: _storable(value) for field, value in happened.personal.items()}
    if happened.source:
        personal["source"] = happened.source
    # One call for all that is random: each lets go of the interpreter, and under load another thread takes it.
    drawn = secrets.token_bytes(16 + 16 * len(personal))
    # The seconds in front keep neighbours together in indexes; 96 random bits remain, and the body tells its time anyway.
    identity, code = f"{at // 1_000_000:08x}{drawn[:12].hex()}", happened.kind.code
    body: dict[str, Any] = {
        "v": VERSION,
        "id": identity,
        "t": at,
        "code": code,
        "act": happened.kind.value.name,
        "out": happened.outcome,
        "actor": _actor(happened.actor),
        "obj": about,
        "w": {"n": writer.node, "b": writer.boot, "s": counter},
    }
    if happened.reason:
        body["rsn"] = happened.reason
    if happened.rule or happened.revision:
        body["pol"] = {"rule": happened.rule, "rev": happened.revision}
    optional = (("cert", cert), ("scope", scope), ("req", request), ("d", dict(happened.details)))
    body |= {name: value for name, value in optional if value}
    openings = []
    if personal:
        committed = body["c"] = {}
        for number, (field, value) in enumerate(personal.items(), 1):
            committed[field], opening = privacy.commit(field, value, drawn[16 * number : 16 * number + 16])
            openings.append(opening)
    data = canonical(body)
    who = f"{happened.actor.kind}:{happened.actor.id}"
    columns = (identity, at, code, happened.outcome, who, about, cert, scope, request)
    return Entry(happened.kind.log, counter, columns, leaf_hash(data), data, tuple(openings))


def _storable(text: str) -> str:
    """`text` without NUL, which no text of PostgreSQL can hold: whatever a stranger sends must not keep a batch from being written."""
    return text.replace("\0", "\N{SYMBOL FOR NULL}") if "\0" in text else text


def _actor(actor: Actor) -> dict[str, Any]:
    told: dict[str, Any] = {"k": str(actor.kind), "id": actor.id, "auth": actor.auth}
    if actor.serial:
        told["ser"] = actor.serial
    if actor.roles:
        told["roles"] = list(actor.roles)
    return told
