"""A disk that takes its time: a library for PostgreSQL that makes each flush wait as long as a file says."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

SOURCE = Path(__file__).with_name("slow_fsync.c")


def slow(library: Path, seen: Path, milliseconds: Path) -> Mapping[str, str]:
    """Build it as `library`, which the server sees as `seen`; the environment by which its flushes wait as the file `milliseconds` says.

    Raises:
        FileNotFoundError, subprocess.CalledProcessError: there is no C compiler, or it fails.
    """
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", library, SOURCE, "-ldl"], check=True)
    return {"LD_PRELOAD": str(seen), "SLOW_FSYNC": str(milliseconds)}
