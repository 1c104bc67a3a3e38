"""What rows and events say, side by side. Pure: given both, it tells what contradicts itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

from audit.event import Event, Kind
from audit.history import Told
from audit.permit import Actor
from ops.pairs.pair import Key, Pair, Value
from ops.pairs.people import People

ITSELF = Actor.service("reconciler")

#: A word of a value is told up to here.
_MOST = 300


class Contradiction(NamedTuple):
    """What events say of a key and what the row shows; None where there is neither."""

    pair: str
    key: Key
    #: `fact-without-event`, `event-without-fact`, `differ`, `told-twice`, `numbers-missing`.
    problem: str
    said: Value
    shown: Value

    @property
    def id(self) -> str:
        """What names exactly this one: another value on either side is another contradiction."""
        return hashlib.sha256(json.dumps(self).encode()).hexdigest()[:32]

    @property
    def sentence(self) -> str:
        """For people: what is wrong with what."""
        return f"{self.pair} {' '.join(self.key)}: {self.problem}"


def compare(pair: Pair, keys: Collection[Key], events: Iterable[Told], rows: Iterable[Any], people: People) -> list[Contradiction]:
    """What contradicts itself about `keys`, given everything that `events` (in their order) and `rows` say of them."""
    said: dict[Key, Value] = {}
    times: dict[tuple[Key, Kind | None], int] = {}
    for told in events:
        claim = claim_of(pair, told)
        if claim is not None and claim[0] in keys:
            said[claim[0]] = claim[1]
            times[claim[0], told.kind] = times.get((claim[0], told.kind), 0) + 1
    twice = {key for (key, kind), number in times.items() if number > 1 and kind in pair.once}
    shown: dict[Key, Value] = {}
    for row in rows:
        key, value = pair.shown(row, people)
        if key in keys and value is not None:
            shown[key] = ("several rows",) if key in shown else value
    return [found for key in sorted(keys) if (found := _contradiction(pair, key, said.get(key), shown.get(key), twice))]


def _contradiction(pair: Pair, key: Key, said: Value, shown: Value, twice: Collection[Key]) -> Contradiction | None:
    if said == shown and key not in twice:
        return None
    problem = "fact-without-event" if said is None else "event-without-fact" if shown is None else "differ"
    return Contradiction(pair.name, key, "told-twice" if key in twice else problem, _short(said), _short(shown))


def claim_of(pair: Pair, told: Told) -> tuple[Key, Value] | None:
    """What an event claims; one whose body was forged claims nothing, so that its fact is found without it."""
    try:
        return pair.said(told)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def alarm(one: Contradiction) -> Event:
    """The event that tells of it."""
    details = {"pair": one.pair, "key": list(one.key), "said": one.said, "shown": one.shown}
    return Event(kind=Kind.CONTRADICTED, actor=ITSELF, object=one.key[0][:255], outcome="fail", reason=one.problem, details=details)


def _short(value: Value) -> Value:
    return None if value is None else tuple(word[:_MOST] for word in value)


def alarmed(told: Told) -> Contradiction:
    """What an alarm told of."""
    details = told.details
    values = [None if (words := details.get(name)) is None else tuple(words) for name in ("said", "shown")]
    return Contradiction(str(details.get("pair")), tuple(details.get("key", ())), str(told.body.get("rsn")), values[0], values[1])
