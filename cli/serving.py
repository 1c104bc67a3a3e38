"""The service behind its listeners."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core import logs
from core.errors import Unavailable
from core.settings import Settings
from ops import demo
from ops.running import addresses, settle_memory
from ops.running import serving as opened
from web import behind, server


@contextmanager
def running(settings: Settings) -> Iterator[dict[str, str]]:
    """The whole service, listening while the block runs; gives its addresses.

    Raises:
        Unavailable: an address is taken, or a part of the home cannot be opened.
    """
    logs.configure()
    if settings.demo:
        demo.refresh_accounts(settings)
    with opened(settings) as node:
        servers = behind.serve(node) if settings.web.socket != Path() else server.serve(node)
        try:
            servers.start()
        except OSError as error:
            raise Unavailable(
                "an address cannot be had: {reason}; end the other service, or set web.https and web.http, or web.socket", reason=error
            ) from error
        settle_memory()
        try:
            yield addresses(settings)
        finally:
            servers.stop()
