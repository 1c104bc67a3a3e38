"""Checks an export bundle: every event stands in its log under a trusted head, and nothing in a told range is hidden.

A bundle is a zip file: `manifest.json`, `events.jsonl` (one exact body a line), `events.csv` (the same as a table),
`proofs/<log>-<epoch>/<idx>.tlog-proof`, `disclosures.jsonl` (openings of personal values), and per range `ranges/<log>-<epoch>.leaves`.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from .errors import Tampered, Unreadable
from .merkle import Frontier, leaf_hash, verify_consistency, verify_inclusion
from .note import Checkpoint, VerifierKey, open_checkpoint
from .proof import Proof
from .table import table

FORMAT = "yumen-bundle/1"
#: Larger members are refused: a zip file can promise far more than it holds.
MAX_MEMBER_BYTES = 1 << 30


@dataclass
class BundleReport:
    """What was shown: events by log, the trusted heads, personal values opened, entries withheld from told ranges."""

    query: str
    made_at: str
    events: dict[str, int] = field(default_factory=dict)
    heads: dict[str, Checkpoint] = field(default_factory=dict)
    disclosed: int = 0
    withheld: dict[str, int] = field(default_factory=dict)


def check_bundle(data: bytes, keys: Sequence[VerifierKey]) -> BundleReport:
    """Check a whole bundle under keys that came from elsewhere.

    Raises:
        Unreadable: not a bundle.
        Tampered: an event, an opening or a range does not hold.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _Bundle(archive, keys).check()
    except (zipfile.BadZipFile, EOFError, NotImplementedError, binascii.Error) as error:
        raise Unreadable("not a zip file, or a damaged one") from error
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise Unreadable(f"the bundle misses something or spells it wrong: {error}") from error


class _Bundle:
    def __init__(self, archive: zipfile.ZipFile, keys: Sequence[VerifierKey]) -> None:
        self._archive, self._keys = archive, keys
        self._bodies: dict[tuple[str, int], bytes] = {}
        self._opened: dict[bytes, Checkpoint] = {}

    def check(self) -> BundleReport:
        manifest = json.loads(self._read("manifest.json"))
        if manifest["format"] != FORMAT:
            raise Unreadable(f"the bundle's format is `{manifest['format']}`, this verifier reads `{FORMAT}`")
        report = BundleReport(str(manifest["query"]), str(manifest["made_at"]))
        lines = self._read("events.jsonl").split(b"\n")
        places = manifest["places"]
        if lines.pop() or len(lines) != len(places):
            raise Tampered(f"the manifest tells of {len(places)} events, the bundle holds {len(lines)}")
        for (log, index), body in zip(places, lines, strict=True):
            self._event(report, str(log), int(index), body)
        if "events.csv" in self._archive.namelist() and self._read("events.csv") != self._table(places):
            raise Tampered("the table `events.csv` is not what the events say")
        for told in self._read("disclosures.jsonl").splitlines():
            self._disclosure(json.loads(told))
            report.disclosed += 1
        for told in manifest["ranges"]:
            self._range(report, told)
        return report

    def _table(self, places: Sequence[tuple[str, int]]) -> bytes:
        return table((str(log), int(index), self._bodies[str(log), int(index)]) for log, index in places)

    def _read(self, name: str) -> bytes:
        member = self._archive.getinfo(name)
        if member.file_size > MAX_MEMBER_BYTES:
            raise Unreadable(f"`{name}` is larger than 1 GiB")
        return self._archive.read(member)

    def _event(self, report: BundleReport, log: str, index: int, body: bytes) -> None:
        if (log, index) in self._bodies:
            raise Tampered(f"entry {index} of {log} is in the bundle twice", index)
        proof = Proof.parse(self._read(f"proofs/{log.replace('/', '-')}/{index}.tlog-proof"))
        if proof.index != index:
            raise Tampered(f"the proof of entry {index} of {log} is about entry {proof.index}", index)
        head = self._head(proof.checkpoint, log)
        verify_inclusion(leaf_hash(body), index, head.size, proof.path, head.root)
        self._bodies[log, index] = body
        report.events[log] = report.events.get(log, 0) + 1
        report.heads[log] = head

    def _head(self, note: bytes, log: str) -> Checkpoint:
        """Open each distinct note once: a signature costs milliseconds here."""
        if note not in self._opened:
            self._opened[note] = open_checkpoint(note, self._keys)
        head = self._opened[note]
        if not head.origin.endswith("/" + log):
            raise Tampered(f"a proof for {log} carries a checkpoint of `{head.origin}`")
        return head

    def _disclosure(self, told: Mapping[str, Any]) -> None:
        body = json.loads(self._bodies[str(told["log"]), int(told["idx"])])
        name, value = str(told["field"]), str(told["value"])
        salt = base64.b64decode(told["salt"], validate=True)
        digest = sha256(salt + name.encode() + value.encode()).digest()
        if len(salt) != 16 or body["c"][name] != base64.b64encode(digest).decode():
            raise Tampered(f"the disclosed `{name}` is not what entry {told['idx']} of {told['log']} was committed to", int(told["idx"]))

    def _range(self, report: BundleReport, told: Mapping[str, Any]) -> None:
        """Every leaf between the first and the last told index is listed, disclosed or not, and leads to the head."""
        log, first, end = str(told["log"]), int(told["first"]), int(told["end"])
        leaves = self._read(f"ranges/{log.replace('/', '-')}.leaves")
        if end <= first or len(leaves) != 32 * (end - first):
            raise Tampered(f"the range {first} to {end - 1} of {log} is incomplete", first, end - 1)
        listed = [leaves[at : at + 32] for at in range(0, len(leaves), 32)]
        mine = {index: body for (name, index), body in self._bodies.items() if name == log}
        for index, body in mine.items():
            if not first <= index < end or listed[index - first] != leaf_hash(body):
                raise Tampered(f"entry {index} of {log} is not the one its range lists", index)
        head = self._head(str(told["checkpoint"]).encode(), log)
        tree = Frontier(first, base64.b64decode(told["edge"], validate=True))
        tree.extend(listed)
        proof = [base64.b64decode(digest, validate=True) for digest in told["proof"]]
        try:
            verify_consistency(end, head.size, tree.root(), head.root, proof)
        except Tampered as error:
            raise Tampered(f"the listed range of {log} does not lead to the trusted head", first, end - 1) from error
        report.withheld[log] = end - first - len(mine)
