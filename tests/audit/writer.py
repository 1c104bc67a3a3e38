"""One writing process of the load and kill tests: `python -m tests.audit.writer FOLDER NODE RATE SECONDS [early]`.

Every acknowledgement goes to standard output at once as `idx leaf milliseconds`; arrivals follow a fixed schedule, so
that waiting counts. With `early` it acknowledges before the commit: the negative control, which must be caught.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

from audit.append import Receipt
from audit.trail import Trail, Writer, open_trail
from core.clock import system
from core.database import open_sqlite
from core.settings import Audit
from tests.audit.homes import PRIVACY, decision

THREADS = 12


def tell(receipts: list[Receipt], since: float) -> None:
    text = "".join(f"{one.idx} {one.leaf} {(time.monotonic() - since) * 1000:.1f}\n" for one in receipts if one.log == "access/1")
    os.write(1, text.encode())


def acknowledge_early(trail: Trail) -> None:
    place = trail._place

    def hasty(*arguments: object) -> dict[int, Receipt]:
        receipts = place(*arguments)  # type: ignore[arg-type]
        tell(list(receipts.values()), time.monotonic())
        time.sleep(0.003)
        return receipts

    trail._place = hasty  # type: ignore[method-assign]


def load(trail: Trail, offset: int, rate: float, end: float, *, quiet: bool) -> None:
    """Append on schedule: every `THREADS / rate` seconds, beginning a little later in each thread."""
    due = time.monotonic() + offset / rate
    while due < end:
        if (pause := due - time.monotonic()) > 0:
            time.sleep(pause)
        receipts = trail.append([decision(offset)])
        if not quiet:
            tell(receipts, due)
        due += THREADS / rate


def main(folder: str, node: str, rate: str, seconds: str, mode: str = "") -> None:
    trail = open_trail(open_sqlite(Path(folder) / "yumen.db"), system, Writer.fresh(node), PRIVACY, Audit(origin="yumen.test"))
    if mode == "early":
        acknowledge_early(trail)
    os.write(1, b"ready\n")
    if mode != "early":
        sys.stdin.readline()
    end = time.monotonic() + float(seconds)
    told = {"quiet": mode == "early"}
    threads = [threading.Thread(target=load, args=(trail, offset, float(rate), end), kwargs=told, daemon=True) for offset in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    trail.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
