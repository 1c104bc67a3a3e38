"""The system administrator's place: is everything well, and what others rely on: keys, lists, jobs, room to grow."""

from __future__ import annotations

from flask import Blueprint, render_template

from audit import rounds
from audit.permit import Action
from authz.decide import Target
from ca import certificates, crls
from ops import capacity, copies, jobs, own, readiness, reconcile
from ops.leadership import is_led
from web import door
from web.pages import figures

blueprint = Blueprint("system", __name__, url_prefix="/system")

#: Backups that are named.
_COPIES = 12


@blueprint.get("")
@door.open_to(door.PERSON)
def overview() -> str:
    """Whether what others rely on is fresh."""
    door.permit(Action.SYSTEM_READ, Target("system"))
    node, now = door.node(), door.node().clock()
    with node.database.reading() as session:
        compared = reconcile.last(session)
        return render_template(
            "system/overview.html",
            reasons=readiness.reasons(node, node.lead),
            tiles=figures.tiles(node, compared),
            authorities=[figures.authority(row, crls.latest(session, row.id), now) for row in certificates.authorities(session)],
            certificates=[figures.certificate(name, one, now) for name, one in own.listing(node.settings, session)],
            led=is_led(node.settings, session),
            jobs=[figures.job(one) for one in jobs.look(node, session, now)],
            room=figures.room(capacity.look(node.settings, session, now)),
            compared=figures.compared(compared),
            verified=figures.verified(rounds.last(session)),
            copies=[figures.copy(one, now, node.settings.backup.late) for one in copies.listing(session, _COPIES)],
        )
