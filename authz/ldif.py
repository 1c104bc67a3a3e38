"""The embedded directory: one LDIF file (RFC 2849, content records only), read again when it changes.

A strict subset: no change records, no URLs, no attribute options but language tags, values outside ASCII in base64.
Passwords are Argon2id, written as OpenLDAP's argon2 module writes them: `{ARGON2}$argon2id$…`.
"""

from __future__ import annotations

import base64
import functools
import re
import threading
import time
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, Protocol

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError
from argon2.low_level import Type

from authz.people import Entry
from authz.tree import keyed
from core.errors import Malformed, Unauthenticated, Unavailable
from core.seal import write_durably

MAX_FILE_BYTES = 256 << 20
MAX_PASSWORD_BYTES = 1024

_TICK = 100_000_000
_SCHEME = "{ARGON2}"
_ATTRIBUTE = re.compile(r"[A-Za-z][A-Za-z0-9-]*(?:;lang-[a-z]{2})?")
_COST = re.compile(r"\$argon2id\$v=19\$m=(\d{1,7}),t=(\d{1,2}),p=(\d{1,2})\$")
#: At most this many password checks at a time: each takes its Argon2 memory.
_CHECKS = threading.BoundedSemaphore(4)

#: Cost of passwords written by Yumen, and of the check against an account that does not exist.
DEFAULT = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1, type=Type.ID)


class Reading(NamedTuple):
    """What the directory held when it was looked at: entries by entryUUID; the same mapping while nothing changed."""

    by_id: Mapping[str, Entry]
    #: Whether whatever is not in it was asked for: otherwise something may be gone, and the next reading tells.
    settled: bool = True
    #: How far the servers were, for `read(after=…)`.
    mark: str = ""

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All entries."""
        return tuple(self.by_id.values())


class Source(Protocol):
    """A directory. Both calls may be made from any thread; neither retries; neither answers from an older reading."""

    def read(self, after: str = "") -> Reading:
        """Everything that is in it now; the same value again (by identity) while nothing changed.

        A server that is not yet as far as the mark `after` is not believed.

        Raises:
            Unavailable: it cannot be reached.
            Malformed: what it holds cannot be read.
        """

    def check_password(self, uid: str, password: str) -> None:
        """Return when `password` is that of the account `uid`.

        Raises:
            Unauthenticated: it is not, or there is no such account; both take equally long.
            Unavailable: it cannot be reached.
        """

    def close(self) -> None:
        """Let go of what it holds; not used afterwards."""


class LdifDirectory:
    """The directory in the file at `path`."""

    def __init__(self, path: Path, *, hasher: PasswordHasher = DEFAULT) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._stamp: tuple[int, ...] = ()
        self._reading: Reading | None = None
        self._digest = b""
        self._hasher = hasher
        self._nobody = _nobody(hasher)

    def read(self, after: str = "") -> Reading:
        """See `Source.read`."""
        with self._lock:
            try:
                seen = self._path.stat()
                stamp = (seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)
                if self._reading is not None and stamp == self._stamp:
                    return self._reading
                if seen.st_size > MAX_FILE_BYTES:
                    raise Malformed(
                        "the directory file `{path}` is larger than {limit} bytes; take out what is not needed",
                        path=self._path,
                        limit=MAX_FILE_BYTES,
                    )
                data = self._path.read_bytes()
            except OSError as error:
                raise Unavailable(
                    "the directory file `{path}` cannot be read: {reason}; put it back, readable for Yumen",
                    path=self._path,
                    reason=error.strerror,
                ) from error
            digest = sha256(data).digest()
            if self._reading is None or digest != self._digest:
                self._reading, self._digest = Reading(keyed(parse(data))), digest
            # A file changed a moment ago may change again within one tick of its time stamp.
            self._stamp = stamp if time.time_ns() - max(stamp[2:]) > _TICK else ()
            return self._reading

    def check_password(self, uid: str, password: str) -> None:
        """See `Source.check_password`."""
        stored = ""
        for entry in self.read().entries:
            if entry.one("uid") == uid:
                stored = entry.one("userpassword")
        known = stored.startswith(_SCHEME) and 0 < len(password.encode(errors="replace")) <= MAX_PASSWORD_BYTES
        try:
            with _CHECKS:
                self._hasher.verify(_affordable(stored.removeprefix(_SCHEME)) if known else self._nobody, password[:MAX_PASSWORD_BYTES])
        except (Argon2Error, InvalidHashError, UnicodeEncodeError):
            known = False
        if not known:
            raise Unauthenticated("name, password or code is wrong; try again")

    def close(self) -> None:
        """See `Source.close`: a file is open only while it is read."""


@functools.cache
def _nobody(hasher: PasswordHasher) -> str:
    """What an account that does not exist is checked against, so that it takes as long."""
    return hasher.hash("nobody has this password")


def _affordable(encoded: str) -> str:
    """Refuse a hash whose check would take the machine down, or none at all."""
    cost = _COST.match(encoded)
    if not cost or int(cost[1]) > 1 << 20 or int(cost[2]) > 16 or int(cost[3]) > 16:
        raise InvalidHashError
    return encoded


def password(word: str, hasher: PasswordHasher = DEFAULT) -> str:
    """The `userPassword` value for `word`."""
    return _SCHEME + hasher.hash(word)


def parse(data: bytes) -> list[Entry]:
    """The entries of an LDIF file.

    Raises:
        Malformed: naming the line.
    """
    try:
        lines = data.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise Malformed("the directory file is not UTF-8 at byte {offset}", offset=error.start) from error
    entries: list[Entry] = []
    record: list[tuple[int, list[str]]] = []
    in_comment = False
    for number, raw in enumerate([*lines, ""], 1):
        line = raw.removesuffix("\r")
        if line.startswith(" "):
            if in_comment:
                continue
            if not record:
                raise Malformed("line {line} of the directory file continues nothing", line=number)
            record[-1][1].append(line[1:])
            continue
        in_comment = line.startswith("#")
        if line and not in_comment:
            record.append((number, [line]))
        elif not line and record:
            entries += _record([(at, "".join(pieces)) for at, pieces in record])
            record = []
    return entries


def _record(lines: list[tuple[int, str]]) -> Iterable[Entry]:
    if lines[0][1] == "version: 1":
        lines = lines[1:]
    if not lines:
        return ()
    values: dict[str, list[str]] = {}
    for number, line in lines:
        name, value = _attribute(number, line)
        values.setdefault(name, []).append(value)
    first = _attribute(*lines[0])
    if first[0] != "dn" or len(values["dn"]) != 1 or "changetype" in values:
        raise Malformed("the record at line {line} of the directory file must begin with one `dn:` and hold no change", line=lines[0][0])
    del values["dn"]
    return (Entry(first[1], {name: tuple(held) for name, held in values.items()}),)


def _attribute(number: int, line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not _ATTRIBUTE.fullmatch(name) or value.startswith("<"):
        raise Malformed("line {line} of the directory file is not `name: value`", line=number)
    if value.startswith(":"):
        try:
            return name.lower(), base64.b64decode(value[1:].strip(" "), validate=True).decode("utf-8")
        except ValueError as error:
            raise Malformed("line {line} of the directory file holds base64 that is no UTF-8 text", line=number) from error
    if not value.isascii() or not value.isprintable():
        raise Malformed("line {line} of the directory file holds characters outside ASCII; write `name:: base64`", line=number)
    return name.lower(), value.lstrip(" ")


def encode(entries: Iterable[Entry]) -> bytes:
    """The LDIF file that holds `entries`; `parse` gives them back."""
    return ("version: 1\n\n" + "\n\n".join(map(record, entries)) + "\n").encode()


def record(entry: Entry) -> str:
    """The lines of one entry, without the empty line that ends it."""
    pairs = [("dn", entry.dn), *((name, value) for name, values in entry.attributes.items() for value in values)]
    return "\n".join(_line(name, value) for name, value in pairs)


def _line(name: str, value: str) -> str:
    plain = value.isascii() and value.isprintable() and value == value.strip(" ") and value[:1] not in {":", "<"}
    return f"{name}: {value}" if plain else f"{name}:: {base64.b64encode(value.encode()).decode()}"


def write(path: Path, entries: Iterable[Entry]) -> None:
    """Replace the directory file; readers see the old or the new one, whole."""
    write_durably(path, encode(entries))
