"""Export: chosen entries with everything that proves them, checked offline by the one file that travels along.

The trusted keys do not travel along: whoever checks must have them from somewhere else. Between the first and the last
entry of each log the leaf of everything that is not disclosed is listed, so that nothing there can be hidden.
"""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Iterable, Sequence
from importlib import resources

from sqlalchemy.orm import Session

from audit.search import Entry, openings
from audit.tiles import PublishedLog
from audit.trail import Trail
from audit.verifier.bundle import FORMAT
from audit.verifier.note import Checkpoint, Note, encode64
from audit.verifier.table import table

#: A wider range is not listed leaf by leaf: 32 bytes each.
MAX_LISTED = 1_000_000
_LOOK_SECONDS = 0.1
#: Zip files cannot tell an earlier time; a fixed one makes the verifier reproducible.
_EPOCH = (1980, 1, 1, 0, 0, 0)

_README = """Yumen export bundle

Check it on any machine with Python 3.11 or later, without network and without installing anything:

    python3 -I -S yumen-verify.pyz bundle.zip --key KEY-OF-EACH-LOG

Take the keys (and, for a first check, yumen-verify.pyz itself) from the ceremony's transcript or another source that
you trust, never from this file. events.jsonl has the exact bytes that were recorded, one event a line; events.csv is
the same as a table, which the verifier makes anew and compares. A cell there that begins with an apostrophe would
otherwise have been taken for a formula.

玉门导出包

在任何装有 Python 3.11 或更高版本的机器上即可核验，无需联网，无需安装：

    python3 -I -S yumen-verify.pyz bundle.zip --key 各日志的公钥

公钥（首次核验时还包括 yumen-verify.pyz 本身）请取自密钥仪式记录或其他可信来源，不要取自本文件。
events.jsonl 为原始记录字节，每行一条；events.csv 为同一内容的表格，核验程序会重新生成并比对。
表中以撇号开头的单元格，原文会被表格软件当作公式。
"""


def bundle(trail: Trail, entries: Sequence[Entry], *, query: str = "", disclose: bool = False, patience: float = 0) -> bytes:
    """A zip file that proves `entries`; with `disclose` it opens their personal values.

    Waits up to `patience` seconds for a checkpoint over the newest of them: while something happens all the time, the
    newest entry is never signed at once.

    Raises:
        Unavailable: an entry is not yet under a signed checkpoint; try again in a second.
    """
    chosen = sorted({(found.log, found.epoch, found.idx) for found in entries})
    _wait_for_checkpoints(trail, chosen, time.monotonic() + patience)
    by_place = {(found.log, found.epoch, found.idx): found for found in entries}
    files: dict[str, bytes] = {}
    ranges = []
    with trail.database.reading() as session:
        for log, epoch in sorted({place[:2] for place in chosen}):
            view = PublishedLog(session, log, epoch)
            indices = [idx for *place, idx in chosen if tuple(place) == (log, epoch)]
            for idx in indices:
                files[f"proofs/{log}-{epoch}/{idx}.tlog-proof"] = view.receipt(idx).encode()
            if indices[-1] - indices[0] < MAX_LISTED:
                ranges.append(_range(view, indices[0], indices[-1] + 1, files))
        ordered = [by_place[place] for place in chosen]
        disclosed = list(_disclosures(session, ordered)) if disclose else []
    manifest = {
        "format": FORMAT,
        "made_at": trail.clock().isoformat(timespec="seconds"),
        "query": query,
        "places": [[found.place, found.idx] for found in ordered],
        "ranges": ranges,
    }
    files["manifest.json"] = json.dumps(manifest, indent=1).encode()
    files["events.jsonl"] = b"".join(found.raw + b"\n" for found in ordered)
    files["events.csv"] = table((found.place, found.idx, found.raw) for found in ordered)
    files["disclosures.jsonl"] = b"".join(disclosed)
    files["README.txt"] = _README.encode()
    files["yumen-verify.pyz"] = verifier_app()
    return _zip(files)


def _wait_for_checkpoints(trail: Trail, chosen: Sequence[tuple[str, int, int]], until: float) -> None:
    newest = {(log, epoch): idx for log, epoch, idx in chosen}
    while time.monotonic() < until:
        with trail.database.reading() as session:
            if all(PublishedLog(session, *place).signed() > idx for place, idx in newest.items()):
                return
        time.sleep(_LOOK_SECONDS)


def verifier_app() -> bytes:
    """The stand-alone verifier as one file, the same bytes every time: `python3 -I -S yumen-verify.pyz …`."""
    files = {
        f"yumen_verifier/{item.name}": item.read_bytes()
        for item in resources.files("audit.verifier").iterdir()
        if item.name.endswith(".py")
    }
    files["__main__.py"] = b"import sys\n\nfrom yumen_verifier.__main__ import main\n\nsys.exit(main())\n"
    return b"#!/usr/bin/env python3\n" + _zip(files)


def _range(view: PublishedLog, first: int, end: int, files: dict[str, bytes]) -> dict[str, object]:
    note = view.checkpoint()
    size = Checkpoint.parse(Note.parse(note).text).size
    files[f"ranges/{view.log}-{view.epoch}.leaves"] = b"".join(view.leaves(first, end))
    return {
        "log": view.name,
        "first": first,
        "end": end,
        "edge": encode64(view.edge(first)),
        "proof": [encode64(digest) for digest in view.consistency(end, size)],
        "checkpoint": note.decode(),
    }


def _disclosures(session: Session, entries: Iterable[Entry]) -> Iterable[bytes]:
    for found in entries:
        for field, (salt, value) in sorted(openings(session, found).items()):
            told = {"log": found.place, "idx": found.idx, "field": field, "salt": encode64(salt), "value": value}
            yield json.dumps(told, ensure_ascii=False).encode() + b"\n"


def _zip(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), files[name], zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
