"""The auditor's part: export what happened with its proofs, and verify it where nothing but the verifier is."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

from cli.client.api import Api
from cli.story.stage import Stage, StoryBroken, Tell
from core.errors import Unavailable

#: What the trail must tell of, by the code of its event.
CHAPTERS = {
    "CA1001": "requests",
    "CA1002": "approvals",
    "CA1005": "signatures announced",
    "CA1004": "certificates issued",
    "CA1007": "the revocation",
    "CA3002": "the list",
    "AZ1001": "decisions",
    "AZ1002": "refused approvals",
    "AZ1003": "the identity verified",
    "AZ2001": "logins",
    "AZ2008": "the refused certificate",
}

#: A head is signed each second; an event may have to wait for the next one.
_HEAD_SECONDS = 5.0


def prove(stage: Stage, auditor: Api, since: str, tell: Tell) -> dict[str, Any]:
    """Export the story's events, verify them offline, and see that a changed bundle does not hold.

    Raises:
        StoryBroken: the evidence does not hold, or a changed one does.
    """
    tell("\nthe auditor exports the story with its proofs")
    bundle = _export(auditor, f"since:{since}")
    with tempfile.TemporaryDirectory(prefix="yumen-empty-") as empty:
        folder = Path(empty)
        with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
            (folder / "yumen-verify.pyz").write_bytes(archive.read("yumen-verify.pyz"))
            codes = Counter(json.loads(line)["code"] for line in archive.read("events.jsonl").splitlines())
        if missing := CHAPTERS.keys() - codes:
            raise StoryBroken(f"the trail does not tell of: {', '.join(sorted(CHAPTERS[code] for code in missing))}")
        (folder / "story.zip").write_bytes(bundle)
        keys = [key.read_text("ascii").strip() for key in stage.verifier_keys()]
        tell("and verifies it in an empty environment that has only the verifier: python3 -I -S yumen-verify.pyz story.zip")
        status, said = _verify(folder, "story.zip", keys)
        if status:
            raise StoryBroken(f"the exported story does not verify: {said}")
        for line in said.splitlines():
            tell(f"  {line}")
        (folder / "changed.zip").write_bytes(_changed(bundle))
        status, objection = _verify(folder, "changed.zip", keys)
        if status != 1:
            raise StoryBroken(f"a changed export was not found out: {objection}")
        tell(f"with one byte of one event changed: {objection.strip().splitlines()[-1]}")
    return {"events": codes.total(), "said": said}


def _export(auditor: Api, query: str) -> bytes:
    end = time.monotonic() + _HEAD_SECONDS
    while True:
        try:
            return auditor.download("/api/v1/exports", {"q": query})
        except Unavailable:
            if time.monotonic() > end:
                raise
            time.sleep(0.3)


def _verify(folder: Path, bundle: str, keys: list[str]) -> tuple[int, str]:
    """Exit status and words of the verifier, run without our packages, our paths and our environment."""
    base = getattr(sys, "_base_executable", sys.executable)
    command = [base, "-I", "-S", "yumen-verify.pyz", bundle, *(part for key in keys for part in ("--key", key))]
    ended = subprocess.run(command, cwd=folder, env={}, capture_output=True, text=True, check=False)  # noqa: S603 - our own verifier
    return ended.returncode, ended.stdout + ended.stderr


def _changed(bundle: bytes) -> bytes:
    """The same bundle with one letter of its first event changed."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(bundle)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, data.replace(b'"out":"ok"', b'"out":"no"', 1) if name == "events.jsonl" else data)
    return out.getvalue()
