"""What ours is compared with: `python -m bench.peer KIND` serves the same evaluator, recording in another way or not at all.

Everything but the recording is ours: listener, credentials, decision, the event with its commitments and canonical bytes.
`commit-each` puts each event into our tree in a transaction of its own. `row-each` leaves the tree out: one plain row for
the event and one for each opening, inserted and committed by the request's own thread, as audit tables usually are.

Two more show what the parts cost: `unrecorded` makes each event and writes none, `http` answers without looking at what was
asked.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

from audit.body import Entry
from audit.event import Event
from audit.trail import Receipt, Trail
from core.settings import load
from ops.node import Node
from ops.running import serving, settle_memory
from web import behind, compose

#: The plain tables; whoever makes the site makes them.
TABLES = """
CREATE TABLE public.plain_event (
    id text PRIMARY KEY, t bigint NOT NULL, code text NOT NULL, outcome text NOT NULL, actor text NOT NULL, object text NOT NULL,
    cert text NOT NULL, scope text NOT NULL, request_id text NOT NULL, body bytea NOT NULL
);
CREATE INDEX ON public.plain_event (actor, t);
CREATE INDEX ON public.plain_event (object, t);
CREATE TABLE public.plain_opening (id text, field text, salt bytea, value text, blind bytea, PRIMARY KEY (id, field));
GRANT USAGE ON SCHEMA public TO yumen_web;
GRANT INSERT ON public.plain_event, public.plain_opening TO yumen_web;
"""

Append = Callable[[Sequence[Event]], list[Receipt]]


def commit_each(trail: Trail) -> Append:
    """Each event in the tree by a transaction of its own."""
    return lambda events: trail._write(trail.prepare(events))  # noqa: SLF001 - what the flusher calls with a batch


def row_each(trail: Trail) -> Append:
    """Each event as a row, without a tree."""

    def append(events: Sequence[Event]) -> list[Receipt]:
        entries = trail.prepare(events)
        with closing(trail.database.engine.raw_connection()) as pooled:
            cursor = pooled.cursor()
            for entry in entries:
                _insert(cursor, entry)
            pooled.commit()
        return [Receipt(entry.log, entry.counter, entry.leaf.hex()) for entry in entries]

    return append


def _insert(cursor: Any, entry: Entry) -> None:
    row = (*entry.columns, entry.body)
    cursor.execute(f"INSERT INTO public.plain_event VALUES ({', '.join(['%s'] * 10)})", row)
    openings = [(entry.columns[0], *opening) for opening in entry.openings]
    cursor.executemany("INSERT INTO public.plain_opening VALUES (%s, %s, %s, %s, %s)", openings)


KINDS: dict[str, Callable[[Trail], Append]] = {"commit-each": commit_each, "row-each": row_each}


def listener(node: Node, kind: str) -> behind.SocketListener:
    """The listener of `node` that answers as this kind does."""
    web, trail = node.settings.web, node.trail
    if kind == "unrecorded":

        def unrecorded(events: Sequence[Event], then: Callable[[list[Receipt]], object]) -> None:
            then([Receipt(entry.log, entry.counter, entry.leaf.hex()) for entry in trail.prepare(events)])

        setattr(trail, "append_later", unrecorded)  # noqa: B010 - the one difference, put in by hand
        return behind.serve(node)
    if kind == "http":
        return behind.SocketListener(web.socket, _at_once, threads=1, max_body_bytes=web.max_body_bytes, quick=lambda _: True)
    setattr(trail, "append", KINDS[kind](trail))  # noqa: B010 - as above
    # Nothing is quick here: each answer waits for its own commit, in one of many threads.
    return behind.SocketListener(web.socket, compose.portal(node), threads=web.threads, max_body_bytes=web.max_body_bytes)


def _at_once(_environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """As many bytes as a decision has."""
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", "300")])
    return [b'{"status": "live"}'.ljust(300)]


def main() -> None:
    """Serve until SIGTERM."""
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    with serving(load(os.environ)) as node:
        listening = listener(node, sys.argv[1])
        listening.start()
        settle_memory()
        ended.wait()
        listening.stop()


if __name__ == "__main__":
    main()
