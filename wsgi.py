"""The application for a WSGI server of your own: loads the settings, builds the app, nothing else.

`granian --interface wsgi --factory --ssl-certificate … --ssl-keyfile … wsgi:create` serves the home that the environment names.
Such a server ends TLS itself, with no proxy in front, and nobody told it how to hand a certificate over: people log in with
password and code, applications with their key, and a header field that speaks of a certificate is refused (ADR 20).
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from multiprocessing.util import Finalize
from typing import TYPE_CHECKING

from core import logs
from core.settings import load
from ops.running import serving
from web.compose import portal

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


def create() -> WSGIApplication:
    """Everything that `yumen serve` answers with, without its listeners; the home is closed when the process ends.

    Raises:
        BadSettings, Unavailable: as `yumen serve`.
    """
    logs.configure()
    until_the_end = ExitStack()
    Finalize(None, until_the_end.close, exitpriority=0)  # `atexit` alone is passed over where workers are multiprocessing's
    return portal(until_the_end.enter_context(serving(load(os.environ))))
