"""Both sources of directories behind one set of words, so that one suite holds them to one contract."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

from authz import ldif, province
from authz.directory import LdapDirectory
from authz.ldif import Reading, Source
from authz.people import Entry
from tests.authz.slapd import Slapd


def whole(source: Source) -> Reading:
    """What is in the directory, after whatever is gone was looked for as well."""
    while not (reading := source.read()).settled:
        pass
    return reading


class LdifSide:
    """The province in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.source: Source = ldif.LdifDirectory(path, hasher=province.QUICK)

    def add(self, *entries: Entry) -> None:
        ldif.write(self.path, [*ldif.parse(self.path.read_bytes()), *entries])

    def set(self, dn: str, name: str, values: tuple[str, ...]) -> None:
        self._edit(lambda entry: Entry(entry.dn, {**entry.attributes, name: values}) if entry.dn == dn else entry)

    def rename(self, dn: str, rdn: str) -> None:
        """As a server does that keeps references whole: every value that names the entry is changed with it."""
        new, (kind, _, name) = f"{rdn},{dn.partition(',')[2]}", rdn.partition("=")

        def change(entry: Entry) -> Entry:
            held = {key: tuple(new if value == dn else value for value in values) for key, values in entry.attributes.items()}
            return Entry(new, {**held, kind: (name,)}) if entry.dn == dn else Entry(entry.dn, held)

        self._edit(change)

    def delete(self, dn: str) -> None:
        self._edit(lambda entry: None if entry.dn == dn else entry)

    def take_away(self) -> None:
        self.path.unlink()

    def _edit(self, change: Callable[[Entry], Entry | None]) -> None:
        entries = [made for entry in ldif.parse(self.path.read_bytes()) if (made := change(entry)) is not None]
        ldif.write(self.path, entries)


class LdapSide:
    """The province on a server."""

    def __init__(self, server: Slapd, source: LdapDirectory) -> None:
        self.server = server
        self.source: Source = source

    def add(self, *entries: Entry) -> None:
        for entry in entries:
            held = {name: values for name, values in entry.attributes.items() if name != "entryuuid"}
            lines = [_line(name, value) for name, values in held.items() for value in values]
            self.server.change("\n".join([_line("dn", entry.dn), "changetype: add", *lines]) + "\n")

    def set(self, dn: str, name: str, values: tuple[str, ...]) -> None:
        lines = [_line("dn", dn), "changetype: modify", f"replace: {name}", *(_line(name, value) for value in values)]
        self.server.change("\n".join(lines) + "\n")

    def rename(self, dn: str, rdn: str) -> None:
        self.server.change(f"{_line('dn', dn)}\nchangetype: modrdn\nnewrdn: {rdn}\ndeleteoldrdn: 1\n")

    def delete(self, dn: str) -> None:
        self.server.change(f"{_line('dn', dn)}\nchangetype: delete\n")

    def take_away(self) -> None:
        self.server.kill()


def _line(name: str, value: str) -> str:
    return f"{name}:: {base64.b64encode(value.encode()).decode()}"
