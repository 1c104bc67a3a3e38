"""What the authority works with: one value handed to every job. It opens nothing and decides nothing."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from audit.permit import Action, Permit
from audit.trail import Trail
from authz.snapshot import Snapshot
from ca.keys import Signers
from certs.profiles import StatusUrls
from core.database import Database
from core.settings import CA

#: Asks the policy for a permit of the service that works here: (action, resource). Refusals are recorded where they are made.
Permits = Callable[[Action, str], Permit]


@dataclass(frozen=True, kw_only=True)
class Works:
    """Everything a signing process needs. Made once by the process that holds the worker's secret."""

    trail: Trail
    signers: Signers
    #: The directory and the registers as they stand now: names are read again before every signature.
    snapshot: Callable[[], Snapshot]
    permits: Permits
    #: The status address as it is written into certificates.
    http_url: str
    settings: CA = field(default_factory=CA)
    #: Seconds of this machine that never jump: leases of others are judged by it alone.
    monotonic: Callable[[], float] = time.monotonic
    #: Whether the hour cannot be believed: then nothing is signed by the jobs, because whatever is bears a time.
    doubtful: Callable[[], bool] = lambda: False
    #: Whether the log of certificates is damaged and officers have not accepted that: then nothing is issued to anybody.
    damaged: Callable[[], bool] = lambda: False

    @property
    def database(self) -> Database:
        """The database that the trail writes to."""
        return self.trail.database

    def now(self) -> dt.datetime:
        """The present moment in whole seconds, as certificates tell it."""
        return self.trail.clock().replace(microsecond=0)


def status_urls(http_url: str, authority: str) -> StatusUrls:
    """Where the CRL, OCSP answers and the certificate of `authority` are served (one CRL: shard 0)."""
    base = http_url.rstrip("/")
    return StatusUrls(crl=f"{base}/crl/{authority}/0.crl", ocsp=f"{base}/ocsp/{authority}", ca=f"{base}/ca/{authority}.cer")
