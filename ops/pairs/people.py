"""How persons of rows appear in events: as pseudonyms, which only the trail's own keys give."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from audit.trail import Trail
from authz.snapshot import Snapshot


class People(Protocol):
    """How persons of rows appear in events."""

    def pseudonym(self, uuid: str) -> str:
        """The id of the person with this entryUUID."""

    def keyed(self, label: str, text: str) -> str:
        """The keyed hash of a text that events do not tell."""

    def uuids(self, pseudonyms: Collection[str]) -> list[str] | None:
        """The entryUUIDs of these ids; None when one of them is not in the directory."""


class Current(Protocol):
    """Whoever gives the snapshot of this moment."""

    def current(self) -> Snapshot:
        """The snapshot that is in force."""


class Directory:
    """How the persons of rows appear in events, by the trail's own keys and the directory as it stands now."""

    def __init__(self, trail: Trail, world: Current) -> None:
        self._trail, self._world = trail, world

    def pseudonym(self, uuid: str) -> str:
        """The id of the person; a row that names no person keeps what it names."""
        try:
            return self._trail.pseudonym(uuid)
        except ValueError:
            return f"?{uuid}"

    def keyed(self, label: str, text: str) -> str:
        """The keyed hash of a text that events do not tell."""
        return self._trail.privacy.keyed(label, text)

    def uuids(self, pseudonyms: Collection[str]) -> list[str] | None:
        """The entryUUIDs of these ids; None when one of them is not in the directory."""
        known = self._world.current().directory.by_id
        found = [known[one].uuid for one in pseudonyms if one in known]
        return found if len(found) == len(pseudonyms) else None
