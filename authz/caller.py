"""Who is calling, as the door resolved it: passed down as one value."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from audit.permit import ANONYMOUS, Actor, ActorKind
from authz.people import Person
from authz.snapshot import Application


class Assurance(IntEnum):
    """How well a caller's identity was proved; grants can demand a least level."""

    NONE = 0
    CODE = 1
    CERTIFICATE = 2


#: Assurance by how the caller was authenticated.
ASSURANCE = {"cert": Assurance.CERTIFICATE, "password+totp": Assurance.CODE}


class Certificate(NamedTuple):
    """The certificate a caller proved possession of: hash of its issuer's key, its serial, its own SHA-256 in hex."""

    issuer: str
    serial: int
    sha256: str


class Caller(NamedTuple):
    """A person in a session, an application, a part of Yumen, or nobody known."""

    actor: Actor = ANONYMOUS
    person: Person | None = None
    application: Application | None = None
    #: Id of the session, or empty.
    session: str = ""
    #: The certificate that standing is asked for at every decision.
    certificate: Certificate | None = None
    #: Network address, and the request's id.
    source: str = ""
    request_id: str = ""

    @property
    def known(self) -> bool:
        """Whether anybody authenticated."""
        return self.actor.kind is not ActorKind.ANONYMOUS

    @property
    def assurance(self) -> Assurance:
        """How well the caller proved who it is."""
        return ASSURANCE.get(self.actor.auth, Assurance.NONE)
