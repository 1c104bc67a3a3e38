"""Reports that stand in the trail with their SHA-256: one that somebody improved afterwards does not match."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from audit.event import Event
from audit.trail import Receipt, Trail
from core.errors import Unavailable
from core.seal import write_durably


def filed(trail: Trail, report: Path | None, text: str, event: Callable[[str], Event]) -> Receipt:
    """Write `text` to the new file `report`, mode 0600, and record `event` of its SHA-256; of nothing, where no report is wanted.

    Raises:
        Unavailable: the report or the trail cannot be written; then neither is there.
    """
    data = text.encode()
    if report:
        try:
            write_durably(report, data)
        except OSError as error:
            raise Unavailable("`{path}` cannot be written: {reason}", path=report, reason=error.strerror) from error
    try:
        (receipt,) = trail.append([event(hashlib.sha256(data).hexdigest() if report else "")])
    except BaseException:
        if report:
            report.unlink(missing_ok=True)  # a report that nobody recorded proves nothing
        raise
    return receipt
