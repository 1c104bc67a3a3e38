"""`yumen-verify FILE --key KEY`: checks a bundle, a proof, a checkpoint or a trail database, offline.

Exit status: 0 the evidence holds, 1 it does not, 2 the question cannot be answered (no key, unreadable file, usage).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .bundle import check_bundle
from .database import check_database
from .errors import Tampered, Unreadable
from .note import Checkpoint, VerifierKey, open_checkpoint
from .proof import Proof

_EXAMPLES = """examples:
  yumen-verify bundle.zip --key 'yumen.local/ca/1+0a1b2c3d+AbCd...' --key access.vkey
  yumen-verify receipt.tlog-proof --entry event.json --key ca.vkey
  yumen-verify yumen.db --note saved-ca.note --note saved-access.note --key keys.txt

The keys must come from somewhere else than the evidence: from the ceremony's transcript, from an earlier visit, from
paper. A file given as a key holds one key a line."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and give its exit status."""
    parser = argparse.ArgumentParser("yumen-verify", epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="bundle (zip), tlog-proof, checkpoint note, or SQLite database")
    parser.add_argument("--key", action="append", default=[], help="trusted verifier key, or a file of them; repeatable")
    parser.add_argument("--note", action="append", default=[], type=Path, help="checkpoint saved outside (for a database); repeatable")
    parser.add_argument("--entry", type=Path, help="the exact bytes of the event (for a proof)")
    given = parser.parse_args(arguments)
    try:
        lines = _check(given, _trusted(given.key))
    except Tampered as error:
        place = "" if error.first is None else f" [entries {error.first} to {error.last}]"
        sys.stderr.write(f"DOES NOT HOLD: {error}{place}\n")
        return 1
    except (Unreadable, OSError) as error:
        sys.stderr.write(f"cannot tell: {error}\n")
        return 2
    sys.stdout.write("".join(line + "\n" for line in lines))
    return 0


def _trusted(texts: Sequence[str]) -> list[VerifierKey]:
    keys = [key for text in texts for key in read_keys(text)]
    if not keys:
        raise Unreadable("no trusted key: give --key with a key that did not come with this file")
    return keys


def read_keys(text: str) -> list[VerifierKey]:
    """The keys in `text`: one verifier key, or the path of a file with one a line (`#` begins a comment).

    Raises:
        Unreadable: neither.
    """
    path = Path(text)
    if text.count("+") >= 2 and not path.is_file():
        return [VerifierKey.parse(text)]
    if not path.is_file():
        raise Unreadable(f"`{text}` is neither a verifier key nor a file")
    lines = path.read_text("utf-8").splitlines()
    return [VerifierKey.parse(line) for line in lines if line.strip() and not line.startswith("#")]


def _check(given: argparse.Namespace, keys: Sequence[VerifierKey]) -> list[str]:
    with given.file.open("rb") as file:
        start = file.read(16)
    if start.startswith(b"SQLite format 3\0"):
        return _database(given.file, [open_checkpoint(path.read_bytes(), keys) for path in given.note])
    data = given.file.read_bytes()
    if start.startswith(b"PK"):
        return _bundle(data, keys)
    if start.startswith(b"c2sp.org/tlog-pr"):
        if given.entry is None:
            raise Unreadable("a proof needs --entry: the exact bytes of the event it is about")
        proof = Proof.parse(data)
        head = proof.verify(given.entry.read_bytes(), keys)
        return [f"holds: the entry stands at {proof.index} of {_told(head)}"]
    return [f"holds: {_told(open_checkpoint(data, keys))}"]


def _bundle(data: bytes, keys: Sequence[VerifierKey]) -> list[str]:
    report = check_bundle(data, keys)
    lines = [f"holds: {sum(report.events.values())} events, query `{report.query}`, exported {report.made_at}"]
    for log, count in sorted(report.events.items()):
        hidden = ", nothing is shown about what stands between them"
        if log in report.withheld:
            hidden = f", {report.withheld[log]} more withheld in that range"
        lines.append(f"  {log}: {count} events in {_told(report.heads[log])}{hidden}")
    if report.disclosed:
        lines.append(f"  {report.disclosed} personal values disclosed, each as committed")
    return lines


def _database(path: Path, heads: Sequence[Checkpoint]) -> list[str]:
    report = check_database(path, heads)
    lines = ["holds: every entry, tile and journal row agrees"]
    lines += [f"  {log.origin}: {log.size} entries, the first {log.proved} proved by {log.heads} saved checkpoints" for log in report.logs]
    for (node, boot), ranges in sorted(report.open_numbers.items()):
        told = ", ".join(f"{first}-{last}" for first, last in ranges)
        lines.append(f"  not yet settled by {node}/{boot} (expected while it runs): {told}")
    return lines


def _told(head: Checkpoint) -> str:
    return f"{head.origin}, {head.size} entries, root {head.root.hex()}"


if __name__ == "__main__":
    sys.exit(main())
