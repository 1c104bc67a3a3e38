"""What is known of the logs from outside a backup: heads that somebody saved, against what the backup says of itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from audit.epochs import epoch_of
from audit.trail import LOGS
from audit.verifier.errors import Tampered, Unreadable
from audit.verifier.note import Checkpoint, Note, VerifierKey, open_checkpoint
from core.errors import Conflict, Malformed
from ops.backup import HOME, Head
from ops.unpack import Looked


@dataclass(frozen=True, slots=True)
class Witnessed:
    """The heads of one log: signed before the backup, the last one known, and all that the restored rows must agree with."""

    signed: Checkpoint
    known: Checkpoint
    heads: tuple[Checkpoint, ...]
    #: Whether somebody showed us a head from outside.
    shown: bool


def compare(looked: Looked, trust: Sequence[Path], *, accept_loss: bool) -> Mapping[str, Witnessed]:
    """Compare the backup with notes that were saved outside.

    Raises:
        Malformed: a note cannot be read, or no log of this home signed it.
        Conflict: a note was signed after the backup, and the loss of what is between was not accepted.
    """
    keys = {log: _key(looked, log) for log in LOGS}
    notes = [_opened(path.read_bytes(), str(path), keys, looked.manifest.origin) for path in trust]
    found = {}
    for log in LOGS:
        head = looked.manifest.logs[log]
        _, signed = _opened(head.note.encode(), "the note in the backup", keys, looked.manifest.origin)
        mine = [checkpoint for name, checkpoint in notes if name == log]
        later = [one for one in mine if (epoch_of(one), one.size) > (head.epoch, head.size)]
        if later and not accept_loss:
            raise _older(log, head, max(later, key=_order))
        agree = tuple(one for one in [signed, *mine] if one not in later)
        found[log] = Witnessed(signed, max([signed, *mine], key=_order), agree, shown=bool(mine))
    return found


def _older(log: str, head: Head, seen: Checkpoint) -> Conflict:
    if epoch_of(seen) > head.epoch:
        return Conflict(
            "the backup is older than what was witnessed: it ends in {log}/{epoch}, and {origin} had {seen} entries; find a newer backup, "
            "or accept the loss with `--accept-loss`",
            log=log,
            epoch=head.epoch,
            origin=seen.origin,
            seen=seen.size,
        )
    return Conflict(
        "the backup is older than what was witnessed: it ends after {size} entries of {log}/{epoch}, {seen} were there; find a newer one, "
        "or accept the loss of entries {size} to {last} with `--accept-loss`",
        size=head.size,
        log=log,
        epoch=head.epoch,
        seen=seen.size,
        last=seen.size - 1,
    )


def _opened(note: bytes, what: str, keys: Mapping[str, VerifierKey], origin: str) -> tuple[str, Checkpoint]:
    """The log that a note is about, and its head: all epochs of a log are signed by its one key, each under its own name."""
    try:
        claimed = Checkpoint.parse(Note.parse(note).text).origin
        before, log, epoch = claimed.rsplit("/", 2)
        if before != origin or log not in keys or not epoch.isdigit():
            raise Malformed("`{note}` is a note of `{claimed}`, which is no log of this home", note=what, claimed=claimed)
        return log, open_checkpoint(note, [VerifierKey(claimed, keys[log].public)])
    except (Tampered, Unreadable, ValueError) as error:
        raise Malformed("`{note}` is no note that a log of this home signed: {reason}", note=what, reason=error) from error


def _key(looked: Looked, log: str) -> VerifierKey:
    try:
        return VerifierKey.parse(looked.small[f"{HOME}notes/{log}.vkey"].decode("ascii"))
    except (KeyError, ValueError, Unreadable) as error:
        raise Malformed("the backup lacks the verifier key of the log `{log}`; take another one", log=log) from error


def _order(head: Checkpoint) -> tuple[int, int]:
    return epoch_of(head), head.size
