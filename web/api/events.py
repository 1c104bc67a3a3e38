"""The trail for its officers: find, look at one entry, prove it, export; and the logs in the form of C2SP tlog-tiles."""

from __future__ import annotations

import time
from dataclasses import dataclass

from flask import Blueprint, Response

from audit import export, search
from audit.event import Event, Kind
from audit.permit import Action, Permit
from audit.search import Entry
from audit.tiles import PublishedLog, TilePath
from audit.timeline import timeline
from audit.verifier.proof import Proof
from authz import explain
from authz.decide import Target
from authz.evaluate import Verdict
from core.clock import microseconds
from core.errors import Malformed, Unavailable
from web import door
from web.declare import Asked
from web.kinds import Cursor, Digits, TrailQuery
from web.shapes import EventAnswer, EventList, ExportBody

routes = Blueprint("api_events", __name__)

TRAIL = Target("trail")
#: Most entries that one export holds.
MOST = 10_000
#: How long a proof waits for the checkpoint that covers its entry.
PATIENCE_SECONDS = 2.0
#: Seconds that an export waits for the checkpoint over its newest entry: one is signed each second.
PATIENCE = 4.0
#: Seconds that a page looks for matches before it tells how far back it came.
LOOKING = 0.1
_PERMANENT = "private, max-age=31536000, immutable"
_TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """An answer to an application: by which grant (or the one that came nearest), at which revision."""

    decision: bool
    reason: str
    rule: str
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayAnswer:
    """A recorded decision, and what the same inputs get with the grants in force now."""

    recorded: Weighed
    now: Weighed
    same: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """One stretch of time: its first microsecond since 1970, how many entries match, and how many of them say no."""

    t: int
    count: int
    refused: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineAnswer:
    """Stretches of `step` microseconds without gaps; with `counted_from`, what was before that moment was not counted."""

    step: int
    bars: list[Stretch]
    counted_from: int | None


@routes.get("/api/v1/events")
@door.open_to(door.PERSON)
@door.described(
    summary="Find entries of the trail, newest first",
    query={
        "q": Asked("terms such as `actor:oa code:CA* -out:ok since:2026-01-31`", TrailQuery),
        "after": Asked("`next` of the page before", Cursor),
        "limit": Asked("at most 500", Digits),
    },
    answer=EventList,
)
def listing() -> Response:
    """Entries that the query matches; the search itself is recorded."""
    asked = door.query("q", "after", "limit")
    permit = door.permit(Action.TRAIL_READ, TRAIL)
    query = search.parse_query(asked.get("q", ""), door.node().trail.privacy)
    with door.node().database.reading() as session:
        page = search.find(session, query, asked.get("after", ""), door.number(asked.get("limit"), "limit") or 50, LOOKING)
    record(permit, Kind.TRAIL_SEARCHED, query.text, len(page.entries))
    reached = page.reached.isoformat(timespec="microseconds").replace("+00:00", "Z") if page.reached else None
    return door.answer(EventList(items=[_shown(found) for found in page.entries], next=page.after or None, reached=reached))


@routes.get("/api/v1/events/timeline")
@door.open_to(door.PERSON)
@door.described(
    summary="How many entries match, stretch by stretch of time",
    query={"q": Asked("as for the list; bound it with `since:` and `until:`", TrailQuery)},
    answer=TimelineAnswer,
)
def over_time() -> Response:
    """The bars that the page draws."""
    query = search.parse_query(door.query("q").get("q", ""), door.node().trail.privacy)
    permit = door.permit(Action.TRAIL_READ, TRAIL)
    node = door.node()
    with node.database.reading() as session:
        drawn = timeline(session, query, microseconds(node.clock()))
    record(permit, Kind.TRAIL_SEARCHED, query.text, drawn.count)
    bars = [Stretch(t=bar.t, count=bar.number, refused=bar.refused) for bar in drawn.bars]
    return door.answer(TimelineAnswer(step=drawn.step, bars=bars, counted_from=drawn.counted_from))


@routes.get("/api/v1/events/<log>/<int:idx>", defaults={"epoch": None})
@routes.get("/api/v1/events/<log>/<int:epoch>/<int:idx>")
@door.open_to(door.PERSON)
@door.described(summary="One entry of the trail; without an epoch, of the present one", answer=EventAnswer, errors=("not-found",))
def show(log: str, epoch: int | None, idx: int) -> Response:
    """One entry, its body exactly as it was stored."""
    door.permit(Action.TRAIL_READ, TRAIL)
    with door.node().database.reading() as session:
        return door.answer(_shown(search.entry(session, log, PublishedLog(session, log, epoch).epoch, idx)))


@routes.get("/api/v1/events/<log>/<int:idx>/proof", defaults={"epoch": None})
@routes.get("/api/v1/events/<log>/<int:epoch>/<int:idx>/proof")
@door.open_to(door.PERSON)
@door.described(
    summary="The offline proof of one entry (C2SP tlog-proof); 503 while no checkpoint covers it",
    gives="text/plain",
    errors=("not-found",),
)
def proof(log: str, epoch: int | None, idx: int) -> Response:
    """Inclusion of one entry under the newest signed checkpoint; for the newest entries that one is signed within the second."""
    door.permit(Action.TRAIL_READ, TRAIL)
    return Response(_receipt(log, epoch, idx).encode(), content_type=_TEXT)


@routes.get("/api/v1/events/<log>/<int:idx>/replay", defaults={"epoch": None})
@routes.get("/api/v1/events/<log>/<int:epoch>/<int:idx>/replay")
@door.open_to(door.PERSON)
@door.described(
    summary="Decide a recorded decision again: its inputs as they were stored, the grants of now",
    answer=ReplayAnswer,
    errors=("not-found", "conflict"),
)
def replay(log: str, epoch: int | None, idx: int) -> Response:
    """What an application was told, and what it would be told now."""
    permit = door.permit(Action.TRAIL_READ, TRAIL)
    with door.node().database.reading() as session:
        found = search.entry(session, log, PublishedLog(session, log, epoch).epoch, idx)
    snapshot = door.node().world.current()
    told = explain.replay(snapshot, found)
    record(permit, Kind.TRAIL_SEARCHED, f"replay {found.place}/{idx}", 1)
    return door.answer(
        ReplayAnswer(recorded=_weighed(told.recorded, told.revision), now=_weighed(told.now, snapshot.revision), same=told.same)
    )


@routes.post("/api/v1/exports")
@door.open_to(door.PERSON)
@door.described(summary="Entries with all that proves them, as a zip file", body=ExportBody, gives="application/zip")
def bundle() -> Response:
    """Everything that the query matches, at most `MOST` entries, with the stand-alone verifier."""
    query = search.parse_query(door.body(ExportBody).q, door.node().trail.privacy)
    permit = door.permit(Action.TRAIL_EXPORT, TRAIL)
    entries = matching(query)
    data = export.bundle(door.node().trail, entries, query=query.text, patience=PATIENCE)
    record(permit, Kind.TRAIL_EXPORTED, query.text, len(entries))
    return Response(data, mimetype="application/zip", headers={"Content-Disposition": 'attachment; filename="yumen-export.zip"'})


@routes.get("/log/<log>/checkpoint", defaults={"epoch": None})
@routes.get("/log/<log>/<int:epoch>/checkpoint")
@door.open_to(door.PERSON)
@door.described(summary="The newest signed checkpoint of a log (C2SP tlog-checkpoint)", gives="text/plain", errors=("not-found",))
def checkpoint(log: str, epoch: int | None) -> Response:
    """The newest signed note."""
    door.permit(Action.TRAIL_VERIFY, TRAIL)
    with door.node().database.reading() as session:
        return Response(PublishedLog(session, log, epoch).checkpoint(), content_type=_TEXT, headers={"Cache-Control": "no-cache"})


@routes.get("/log/<log>/tile/<path:path>", defaults={"epoch": None})
@routes.get("/log/<log>/<int:epoch>/tile/<path:path>")
@door.open_to(door.PERSON)
@door.described(summary="A tile of a log (C2SP tlog-tiles)", gives="application/octet-stream", errors=("not-found",))
def tile(log: str, epoch: int | None, path: str) -> Response:
    """A hash tile for who may verify, an entry bundle for who may read."""
    wanted = TilePath.parse(f"tile/{path}")
    door.permit(Action.TRAIL_READ if wanted.level is None else Action.TRAIL_VERIFY, TRAIL)
    with door.node().database.reading() as session:
        view = PublishedLog(session, log, epoch)
        data = view.entries(wanted.n, wanted.width) if wanted.level is None else view.tile(wanted.level, wanted.n, wanted.width)
    return Response(data, mimetype="application/octet-stream", headers={"Cache-Control": "no-store" if epoch is None else _PERMANENT})


def matching(query: search.Query) -> list[Entry]:
    """Everything that the query matches, newest first.

    Raises:
        Malformed: that is more than one export holds.
    """
    found: list[Entry] = []
    after = ""
    with door.node().database.reading() as session:
        while True:
            page = search.find(session, query, after, search.MAX_PAGE)
            found += page.entries
            after = page.after
            if len(found) > MOST:
                raise Malformed("the query matches more than {most} entries; narrow it by `since:` and `until:`", most=MOST)
            if not after:
                return found


def record(permit: Permit, kind: Kind, query: str, count: int) -> None:
    """Put a search or an export into the trail."""
    caller = door.caller()
    event = Event.under(
        permit,
        kind,
        "trail",
        source=caller.source,
        request_id=caller.request_id,
        details={"count": count},
        personal={"query": query} if query else {},
    )
    door.node().trail.append([event])


def _receipt(log: str, epoch: int | None, idx: int) -> Proof:
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            with door.node().database.reading() as session:
                return PublishedLog(session, log, epoch).receipt(idx)
        except Unavailable:
            if time.monotonic() > until:
                raise
        time.sleep(0.1)


def _weighed(verdict: Verdict, revision: int) -> Weighed:
    return Weighed(decision=verdict.allowed, reason=verdict.reason, rule=verdict.grant, revision=revision)


def _shown(found: Entry) -> EventAnswer:
    return EventAnswer(log=found.place, idx=found.idx, leaf=found.leaf, body=dict(found.body))
