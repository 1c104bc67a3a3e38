"""A node: everything that one Yumen process holds open, in one immutable value.

The door takes a `Node` and nothing else. `open_node` opens the home that the settings name, in the order in which the
parts lean on each other, and `close` ends them in the opposite order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

    from audit.checkpoint import Publisher
    from audit.noise import Noise
    from audit.trail import Trail
    from authz.snapshot import World
    from ca.status import Responder
    from core.clock import Clock
    from core.database import Database
    from core.seal import Vault
    from core.settings import Settings


@dataclass(frozen=True, slots=True)
class Tls:
    """What the HTTPS listener shows: the chain, leaf first, and its private key."""

    chain_pem: bytes
    key: PrivateKeyTypes


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """The open parts of one process. Safe to share between threads."""

    settings: Settings
    clock: Clock
    database: Database
    #: Keys of web processes: OCSP, one-time codes, sessions, API keys, privacy, the listener's own.
    web_vault: Vault
    #: Keys of the worker: authorities and logs. `None` in a process that only serves.
    worker_vault: Vault | None
    trail: Trail
    world: World
    responder: Responder
    noise: Noise
    #: Signs checkpoints; `None` in a process that only serves.
    publisher: Publisher | None
    #: `None` until the home has a certificate of its own.
    tls: Tls | None
    #: Root and issuing authorities: their names are sent when a client certificate is asked for.
    client_cas: tuple[x509.Certificate, ...]
