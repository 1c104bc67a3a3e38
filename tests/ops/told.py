"""A town whose people are told things: its trail and directory, settings that name where notices arrive, and a round of the leader's."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from audit.event import Event, Kind
from audit.permit import Actor, ActorKind
from authz.snapshot import Snapshot
from core.settings import Notices as Section
from core.settings import Settings
from ops.hour import Hour
from ops.notices import rounds
from ops.notices.rounds import Notices
from ops.tables import Notice
from tests.ca.town import Town
from tests.ops.post import PASSWORD


@dataclass
class Told:
    """See the module. `refused` is what the world says of a directory that waits."""

    town: Town
    settings: Settings
    refused: str = ""
    _notices: Notices | None = field(default=None)

    @classmethod
    def of(cls, town: Town, **section: Any) -> Told:
        """With these values of the section `[notices]`; secrets are written beside the home."""
        for name, word in (("mail_password_file", PASSWORD), ("webhook_secret_file", "a secret of the platform's")):
            path = town.folder.with_name(name)
            path.write_text(word)
            if section.get("mail_account" if name.startswith("mail") else "webhook_url"):
                section[name] = path
        settings = Settings(home=town.folder, mode="demo", notices=Section(**section))
        assert settings.problems() == []
        return cls(town, settings)

    @cached_property
    def hour(self) -> Hour:
        """A clock that is believed, until a test steps it."""
        return Hour(self.town.clock.now, self.town.clock.monotonic, kept=lambda: False)

    @property
    def trail(self):
        return self.town.trail

    @property
    def world(self) -> Told:
        return self

    def current(self) -> Snapshot:
        return self.town.snapshot

    @property
    def notices(self) -> Notices:
        """The leader's; a new one after `restart`."""
        if self._notices is None:
            self._notices = Notices(self, rounds.channels(self.settings), self.town.clock.monotonic)
        return self._notices

    def restart(self) -> None:
        """Another process leads from now on."""
        self._notices = None

    def turn(self, *, leads: bool = True, **later: float) -> None:
        """A round, after that much time."""
        if later:
            self.town.clock.advance(**later)
        self.notices.turn(leads=leads)

    def rows(self) -> list[Notice]:
        return sorted(self.town.rows(Notice), key=lambda row: row.id)

    def signed_in(self, uid: str, source: str, session: str) -> None:
        """A login as the door records it."""
        actor = Actor(ActorKind.PERSON, self.town.person(uid).id, "password+totp")
        self.trail.append([Event(kind=Kind.LOGIN, actor=actor, object=f"session:{session}", source=source)])
