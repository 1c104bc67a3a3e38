"""For application servers: `granian --interface wsgi --factory wsgi:create`. Loads the settings, builds the app, nothing else."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from core.settings import load
from ops.node import open_node
from web.compose import portal

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


def create() -> WSGIApplication:
    """The application of the home that the environment names."""
    return portal(open_node(load(os.environ), role="serve", with_keys=False))
