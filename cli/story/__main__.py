"""`python -m cli.story`: tell the main story, against the service of $YUMEN_HOME when it runs, else against a fresh one."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from cli.story.plot import play
from cli.story.stage import StoryBroken, stage
from core.errors import Error


def main() -> int:
    """Tell it; 0 when it ended as it must, 1 when it broke."""
    home = Path(os.environ.get("YUMEN_HOME") or "var").absolute()
    began = time.monotonic()
    try:
        with stage(home, print) as place:
            outcome = play(place, print)
    except (StoryBroken, Error) as error:
        print(f"\nthe story broke: {error}", file=sys.stderr)
        return 1
    slowest = max(outcome.refused_after.values())
    print(f"\nthe story is told in {time.monotonic() - began:.0f} s: refused everywhere after at most {slowest:.2f} s,", end=" ")
    print(f"in the revocation list after {outcome.listed_after:.2f} s")
    for why in outcome.skipped:
        print(f"left out: {why}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
