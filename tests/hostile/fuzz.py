"""Coverage leads the way into the parsers: `python -m tests.hostile.fuzz NAME… [libFuzzer options]`; no name means all of them.

With several parsers the first byte of an input chooses one. An input that breaks something is left as `crash-…` in the
present folder; give it to the corpus of `test_parsers.py` together with the repair.
"""

from __future__ import annotations

import sys
import tempfile
import time
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["core", "certs", "audit", "authz", "ca", "web", "ops.archive"]):
    from tests.hostile.parsers import PARSERS, judge


#: Seconds of a processor that one input may cost; libFuzzer's own limit goes by the clock on the wall, which runs while others work.
COSTS = 5.0


def main(arguments: list[str]) -> None:
    chosen = [PARSERS[name] for name in arguments if not name.startswith("-")] or list(PARSERS.values())
    options = [one for one in arguments if one.startswith("-")]
    warnings.simplefilter("ignore")

    def one(data: bytes) -> None:
        began = time.process_time()
        if len(chosen) == 1:
            judge(chosen[0], data)
        elif data:
            judge(chosen[data[0] % len(chosen)], data[1:])
        if (cost := time.process_time() - began) > COSTS:
            raise TimeoutError(f"this input costs {cost:.1f} s of a processor")

    with tempfile.TemporaryDirectory() as folder:
        for number, parser in enumerate(chosen):
            for at, seed in enumerate(parser.seeds()):
                prefix = b"" if len(chosen) == 1 else bytes([number])
                Path(folder, f"{parser.name}-{at}").write_bytes(prefix + seed)
        atheris.Setup([sys.argv[0], *options, folder], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
