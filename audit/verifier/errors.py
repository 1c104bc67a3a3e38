"""What a check can find wrong. Two classes: text that cannot be read, and evidence that something was changed."""

from __future__ import annotations


class Unreadable(Exception):
    """The bytes are no note, proof, key or bundle as their format demands; `args[0]` says where."""


class Tampered(Exception):
    """The evidence contradicts itself or a trusted head.

    `first` and `last` bound the place (both inclusive); they are equal when one entry is named, and None when the
    contradiction is not about entries (a signature, a key).
    """

    def __init__(self, message: str, first: int | None = None, last: int | None = None) -> None:
        super().__init__(message)
        self.first = first
        self.last = first if last is None else last
        #: Log and epoch, such as `ca/1`, where one is concerned and known.
        self.log = ""
